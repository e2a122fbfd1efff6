//! The nodes of a cluster: who is alive, and who works on what.
//!
//! Nodes are equal. Each writes a beat into one small value in the keyed store, the roster, and counts as alive for
//! as long as the others see it change. No node trusts another one's clock: a node gives itself up when it could
//! not write its beat for a part of the lease time, by its own clock, and the others give it up when they saw the
//! same beat for a larger part of it, by theirs
//! ([Gray and Cheriton, Leases, 1989](https://doi.org/10.1145/74851.74870)). The beat was written before it was
//! seen, so a node stops before anybody takes over from it.
//!
//! What is to be done by one node at a time is a share: a handler on a partition, or the relay. Every node works
//! out from the roster whose a share is, and claims its own. That a paused node may not know that it was given
//! up is no danger: a claim is a conditional write, and so is all that its owner writes.

mod leases;
mod roster;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use self::{
    leases::{Held, Leases, Over, Share},
    roster::{JoinError, Membership},
};
use crate::Timestamp;

/// How a program is part of a cluster.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// Where this node is reached; the other nodes show it.
    pub address: String,
    /// The version of the program; the other nodes show it.
    pub version: String,
    /// How long after its end a node's work is taken over, at most. One second or more.
    pub lease: Duration,
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub node: String,
    /// Where it is reached.
    pub address: String,
    /// The version of its program.
    pub version: String,
    /// When it started, by its own clock.
    pub started_at: Timestamp,
    /// When it wrote its last beat, by its own clock.
    pub last_seen: Timestamp,
    /// What it works on: `{handler}/{partition}`, or `relay`.
    pub leases: Vec<String>,
    /// Tells this run of the node from any other.
    run: Uuid,
    /// Rises with every beat.
    beat: u64,
    /// The event handlers that its program has.
    handlers: Vec<String>,
}

/// What a node knows of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct View {
    /// This run of this node, while it is alive in the eyes of all.
    me: Option<Uuid>,
    /// Everybody who is alive, in the order of their names; empty when the node is not in a cluster.
    members: Vec<Member>,
}

impl View {
    /// Whether this node is to work on `share`: the partitions of each handler go round the nodes that have it.
    fn gives(&self, share: &Share) -> bool {
        let Some(me) = self.me else { return false };
        if self.members.is_empty() {
            return true;
        }
        let able = |member: &&Member| match share {
            Share::Relay => true,
            Share::Handler { name, .. } => member.handlers.iter().any(|handler| handler == name),
        };
        let able: Vec<_> = self.members.iter().filter(able).collect();
        let turn = match share {
            Share::Relay => 0,
            // Not every handler's first partition is on the first node.
            Share::Handler { name, partition } => {
                crc32fast::hash(name.as_bytes()) as usize + usize::from(*partition)
            }
        };
        !able.is_empty() && able[turn % able.len()].run == me
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: &str, handlers: &[&str]) -> Member {
        Member {
            node: node.to_owned(),
            address: String::new(),
            version: String::new(),
            started_at: Timestamp::default(),
            last_seen: Timestamp::default(),
            leases: Vec::new(),
            run: Uuid::new_v4(),
            beat: 0,
            handlers: handlers.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    fn owners(members: &[Member], share: &Share) -> Vec<String> {
        let gives = |member: &&Member| {
            let view = View { me: Some(member.run), members: members.to_vec() };
            view.gives(share)
        };
        members.iter().filter(gives).map(|member| member.node.clone()).collect()
    }

    #[test]
    fn every_share_has_one_owner_and_the_nodes_have_equally_many() {
        let members = ["a", "b", "c", "d"].map(|node| member(node, &["one", "two"]));
        for name in ["one", "two"] {
            let mut count = std::collections::HashMap::new();
            for partition in 0..8 {
                let owners = owners(&members, &Share::Handler { name, partition });
                assert_eq!(owners.len(), 1, "{name}/{partition}");
                *count.entry(owners[0].clone()).or_insert(0) += 1;
            }
            assert!(count.values().all(|&n| n == 2), "{count:?}");
        }
        assert_eq!(owners(&members, &Share::Relay).len(), 1);
    }

    #[test]
    fn a_handler_is_run_where_it_is() {
        // In a rolling upgrade, the new node has a handler that the old ones don't have yet.
        let members = [member("old", &["one"]), member("new", &["one", "two"])];
        for partition in 0..8 {
            assert_eq!(owners(&members, &Share::Handler { name: "two", partition }), ["new"]);
        }
        assert!(owners(&members, &Share::Handler { name: "none", partition: 0 }).is_empty());
    }

    #[test]
    fn a_node_that_gave_itself_up_has_nothing_and_one_alone_everything() {
        let members = vec![member("a", &["one"])];
        let share = Share::Handler { name: "one", partition: 0 };
        assert!(!View { me: None, members }.gives(&share));
        assert!(View { me: Some(Uuid::new_v4()), members: Vec::new() }.gives(&share));
    }
}
