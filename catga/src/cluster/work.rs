//! Work assignment: what one node at a time works on, and whose turn it is.

use std::fmt;

use uuid::Uuid;

use crate::cluster::{Claim, Member};

/// A piece of work, which one node at a time does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// An event handler on a partition.
    Handler { name: &'static str, partition: u16 },
    /// Bringing the log to the transport.
    Relay,
}

impl Work {
    /// Where the claim on it is kept.
    pub(crate) fn key(self) -> String {
        match self {
            Self::Handler { name, partition } => Claim::key(name, partition),
            Self::Relay => "relay".to_owned(),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handler { name, partition } => write!(f, "{name}/{partition}"),
            Self::Relay => f.write_str("relay"),
        }
    }
}

/// What a node knows of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct View {
    /// This run of this node, while it is alive in the eyes of all.
    pub(crate) me: Option<Uuid>,
    /// Everybody who is alive, in the order of their names; empty when the node is not in a cluster.
    pub(crate) members: Vec<Member>,
}

impl View {
    /// Whether this node is to do `work`: the partitions of each handler go round the nodes that have it. What stopped
    /// for good on a node is for those on which it did not.
    pub(crate) fn gives(&self, work: &Work) -> bool {
        let Some(me) = self.me else { return false };
        if self.members.is_empty() {
            return true;
        }
        let has = |member: &Member| match work {
            Work::Relay => true,
            Work::Handler { name, .. } => member.handlers.iter().any(|handler| handler == name),
        };
        let shown = work.to_string();
        let able = |member: &&Member| has(member) && !member.stopped.contains(&shown);
        let able: Vec<_> = self.members.iter().filter(able).collect();
        let turn = match work {
            Work::Relay => 0,
            // Not every handler's first partition is on the first node.
            Work::Handler { name, partition } => {
                crc32fast::hash(name.as_bytes()) as usize + usize::from(*partition)
            }
        };
        !able.is_empty() && able[turn % able.len()].run == me
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::member;

    fn owners(members: &[Member], work: &Work) -> Vec<String> {
        let gives = |member: &&Member| {
            let view = View { me: Some(member.run), members: members.to_vec() };
            view.gives(work)
        };
        members.iter().filter(gives).map(|member| member.node.clone()).collect()
    }

    #[test]
    fn every_piece_of_work_has_one_owner_and_the_nodes_have_equally_many() {
        let members = ["a", "b", "c", "d"].map(|node| member(node, &["one", "two"]));
        for name in ["one", "two"] {
            let mut count = std::collections::HashMap::new();
            for partition in 0..8 {
                let owners = owners(&members, &Work::Handler { name, partition });
                assert_eq!(owners.len(), 1, "{name}/{partition}");
                *count.entry(owners[0].clone()).or_insert(0) += 1;
            }
            assert!(count.values().all(|&n| n == 2), "{count:?}");
        }
        assert_eq!(owners(&members, &Work::Relay).len(), 1);
    }

    #[test]
    fn a_handler_is_run_where_it_is() {
        // In a rolling upgrade, the new node has a handler that the old ones don't have yet.
        let members = [member("old", &["one"]), member("new", &["one", "two"])];
        for partition in 0..8 {
            assert_eq!(owners(&members, &Work::Handler { name: "two", partition }), ["new"]);
        }
        assert!(owners(&members, &Work::Handler { name: "none", partition: 0 }).is_empty());
    }

    #[test]
    fn what_stopped_on_a_node_is_for_the_others_and_nothing_else_moves() {
        let mut members = ["a", "b"].map(|node| member(node, &["one"]));
        let all = |members: &[Member]| {
            let work = |partition| Work::Handler { name: "one", partition };
            (0..8).map(|partition| owners(members, &work(partition))).collect::<Vec<_>>()
        };
        let before = all(&members);
        let at = before.iter().position(|owners| owners == &["a"]).unwrap();
        members[0].stopped.push(format!("one/{at}"));
        let mut expected = before;
        expected[at] = vec!["b".to_owned()];
        assert_eq!(all(&members), expected);
        members[1].stopped.push(format!("one/{at}"));
        assert!(all(&members)[at].is_empty(), "each had its try");
    }

    #[test]
    fn a_node_that_gave_itself_up_has_nothing_and_one_alone_everything() {
        let members = vec![member("a", &["one"])];
        let work = Work::Handler { name: "one", partition: 0 };
        assert!(!View { me: None, members }.gives(&work));
        assert!(View { me: Some(Uuid::new_v4()), members: Vec::new() }.gives(&work));
    }
}
