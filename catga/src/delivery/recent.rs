//! What was read of the topic last: consecutive commits, for all runners.

use std::{collections::VecDeque, sync::Arc};

use super::Checkpoint;
use crate::{
    Commit, DecodeError, Position, Record, StreamId, event::DecodedCommit, transport::partition_of,
};

/// How many commits are read at once, and given to a runner.
pub(super) const PAGE: usize = 1024;

/// How many bytes of commits are kept.
const RECENT_BYTES: usize = 5 << 20;

/// A commit with what every runner wants to know of it.
#[derive(Debug)]
pub(crate) struct Fed {
    pub(super) record: Record,
    pub(super) partition: u16,
    /// Its last event.
    pub(super) last: Checkpoint,
}

impl Fed {
    pub(super) fn new(record: &Record) -> Result<Self, DecodeError> {
        Self::of(&DecodedCommit::of(record)?)
    }

    pub(crate) fn of(decoded: &DecodedCommit<'_>) -> Result<Self, DecodeError> {
        let DecodedCommit { record, commit, .. } = decoded;
        let event = commit.events[commit.events.len() - 1].id;
        Ok(Self {
            record: Record::clone(record),
            partition: partition_of(commit.stream),
            last: Checkpoint { position: decoded.end(), event },
        })
    }

    /// Its stream. It is not kept: with a name each, what is kept would take twice the memory.
    pub(super) fn stream(&self) -> Result<StreamId, DecodeError> {
        Ok(Commit::stream_in(&self.record.frame)?)
    }

    /// The names of its events.
    pub(super) fn event_names(&self) -> impl Iterator<Item = &[u8]> {
        Commit::event_names(&self.record.frame)
    }

    /// About how many bytes it takes: of a short commit, more than its frame.
    fn bytes(&self) -> usize {
        self.record.frame.len() + size_of::<Self>()
    }
}

/// What a runner is given: the commits of its partition up to some place in the topic.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) commits: Vec<Arc<Fed>>,
    /// The last event of the topic that was looked at, of whichever partition.
    pub(super) end: Checkpoint,
}

/// Consecutive commits.
#[derive(Default)]
pub(super) struct Recent {
    /// Where they begin: right after this position.
    start: Position,
    commits: VecDeque<Arc<Fed>>,
    bytes: usize,
}

/// What [`Recent`] has for a runner.
pub(super) enum Sight {
    Page(Page),
    /// What the runner wants was here, or never was.
    Behind,
    /// Nothing more has been read.
    End,
}

impl Page {
    pub(super) fn of<'a>(
        partition: u16,
        commits: impl DoubleEndedIterator<Item = &'a Arc<Fed>> + Clone,
    ) -> Option<Self> {
        let end = commits.clone().next_back()?.last;
        let commits = commits.filter(|fed| fed.partition == partition).cloned().collect();
        Some(Self { commits, end })
    }
}

impl Recent {
    fn end(&self) -> Position {
        self.commits.back().map_or(self.start, |fed| fed.last.position)
    }

    /// What is here after `after`, as far as `partition` wants to know.
    pub(super) fn after(&self, partition: u16, after: Position) -> Sight {
        if after >= self.end() {
            return Sight::End;
        }
        if after < self.start {
            return Sight::Behind;
        }
        let first = self.commits.partition_point(|fed| fed.last.position <= after);
        let page = Page::of(partition, self.commits.range(first..).take(PAGE));
        page.map_or(Sight::End, Sight::Page)
    }

    /// Takes in what of the commits after `after` is new here. Who catches up from far back brings nothing, and does not
    /// make the others read again.
    pub(super) fn push(&mut self, after: Position, page: &[Arc<Fed>]) {
        if after > self.end() {
            *self = Self { start: after, ..Self::default() };
        }
        let end = self.end();
        for fed in page.iter().filter(|fed| fed.last.position > end) {
            self.bytes += fed.bytes();
            self.commits.push_back(fed.clone());
        }
        while self.bytes > RECENT_BYTES {
            let Some(oldest) = self.commits.pop_front() else { return };
            self.bytes -= oldest.bytes();
            self.start = oldest.last.position;
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn page(positions: impl IntoIterator<Item = Position>, bytes: usize) -> Vec<Arc<Fed>> {
        let fed = |position| {
            let record = Record { position, token: 0, frame: vec![0; bytes].into() };
            let last = Checkpoint { position, event: Uuid::nil() };
            Arc::new(Fed { record, partition: 0, last })
        };
        positions.into_iter().map(fed).collect()
    }

    fn positions(recent: &Recent, after: Position) -> Vec<Position> {
        match recent.after(0, after) {
            Sight::Page(page) => page.commits.iter().map(|fed| fed.last.position).collect(),
            Sight::Behind | Sight::End => Vec::new(),
        }
    }

    #[test]
    fn what_was_read_is_found_again_and_never_with_a_gap() {
        let mut recent = Recent::default();
        recent.push(0, &page(1..=3, 10));
        recent.push(3, &page(4..=5, 10));
        assert_eq!(positions(&recent, 0), [1, 2, 3, 4, 5]);
        assert_eq!(positions(&recent, 4), [5]);
        // Somebody far behind changes nothing.
        recent.push(1, &page(2..=3, 10));
        assert_eq!(positions(&recent, 3), [4, 5]);
        // Somebody far ahead begins anew, and nobody reads across the gap.
        recent.push(100, &page(101..=102, 10));
        assert!(matches!(recent.after(0, 5), Sight::Behind));
        assert_eq!(positions(&recent, 100), [101, 102]);
    }

    #[test]
    fn other_partitions_go_by() {
        let mut recent = Recent::default();
        recent.push(0, &page(1..=3, 10));
        let Sight::Page(page) = recent.after(7, 1) else { panic!("there is something") };
        assert_eq!((page.commits.len(), page.end.position), (0, 3));
        assert!(matches!(recent.after(7, 3), Sight::End));
    }

    #[test]
    fn it_is_bounded_in_bytes() {
        let mut recent = Recent::default();
        recent.push(0, &page(1..=20, 1 << 20));
        assert!(recent.bytes <= RECENT_BYTES);
        assert!(matches!(recent.after(0, 0), Sight::Behind));
        let first = recent.start;
        assert_eq!(positions(&recent, first).first(), Some(&(first + 1)));
        assert_eq!(recent.end(), 20);
        // Short commits take more than their frames.
        recent.push(20, &page(21..=200_000, 1));
        assert!(recent.commits.len() * size_of::<Fed>() <= RECENT_BYTES);
    }
}
