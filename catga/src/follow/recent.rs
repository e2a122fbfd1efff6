//! What was read of the topic last, for all runners.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    cluster::Checkpoint,
    log::{Commit, Position, Record, StreamId},
    model::{DecodeError, ParsedRecord},
    store::partition_of,
};

/// How many commits are read at once, and given to a runner.
pub(crate) const PAGE: usize = 1024;

/// How many bytes of commits are kept, and at least the page that was read last.
const RECENT_BYTES: usize = 5 << 20;

/// Up to how many bytes a stretch of them is added to.
const STRETCH_BYTES: usize = RECENT_BYTES / 16;

/// A commit with what every runner wants to know of it.
#[derive(Debug)]
pub(crate) struct DecodedCommit {
    pub(crate) record: Record,
    pub(crate) partition: u16,
    /// Its last event.
    pub(crate) last: Checkpoint,
}

impl DecodedCommit {
    pub(crate) fn new(record: &Record) -> Result<Self, DecodeError> {
        Self::of(&ParsedRecord::of(record)?)
    }

    pub(crate) fn of(decoded: &ParsedRecord<'_>) -> Result<Self, DecodeError> {
        let ParsedRecord { record, commit, .. } = decoded;
        let event = commit.events[commit.events.len() - 1].id;
        Ok(Self {
            record: Record::clone(record),
            partition: partition_of(commit.stream),
            last: Checkpoint { position: decoded.end(), event },
        })
    }

    /// Its stream. It is not kept: with a name each, what is kept would take twice the memory.
    pub(crate) fn stream(&self) -> Result<StreamId, DecodeError> {
        Ok(Commit::stream_in(&self.record.frame)?)
    }

    /// The names of its events.
    pub(crate) fn event_names(&self) -> impl Iterator<Item = &[u8]> {
        Commit::event_names(&self.record.frame)
    }

    /// About how many bytes it takes: of a short commit, more than its frame.
    fn bytes(&self) -> usize {
        self.record.frame.len() + size_of::<Self>()
    }
}

/// What a runner is given: the commits of its partition up to some place in the topic.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) commits: Vec<Arc<DecodedCommit>>,
    /// The last event of the topic that was looked at, of whichever partition.
    pub(crate) end: Checkpoint,
}

/// The pages that were read last, by the tail at the end of the topic and by runners that are behind.
#[derive(Default)]
pub(crate) struct Recent {
    /// The one that was begun last is at the back.
    stretches: VecDeque<Stretch>,
    bytes: usize,
    /// Up to where anybody has read.
    end: Position,
}

/// Consecutive commits: a page that was read at once, or some that came one after the other.
struct Stretch {
    /// They begin right after this position.
    after: Position,
    commits: Vec<Arc<DecodedCommit>>,
    bytes: usize,
}

/// What [`Recent`] has for a runner.
pub(crate) enum Lookup {
    Page(Page),
    /// It was read, and is not here any more.
    Behind,
    /// Nothing more has been read.
    End,
}

impl Page {
    pub(crate) fn of<'a>(
        partition: u16,
        commits: impl DoubleEndedIterator<Item = &'a Arc<DecodedCommit>> + Clone,
    ) -> Option<Self> {
        let end = commits.clone().next_back()?.last;
        let commits = commits.filter(|fed| fed.partition == partition).cloned().collect();
        Some(Self { commits, end })
    }
}

impl Stretch {
    fn end(&self) -> Position {
        self.commits.last().map_or(self.after, |fed| fed.last.position)
    }

    /// Whether the commit that follows `after` is here.
    fn continues(&self, after: Position) -> bool {
        (self.after..self.end()).contains(&after)
    }
}

impl Recent {
    /// What is here after `after`, as far as `partition` wants to know.
    pub(crate) fn after(&self, partition: u16, after: Position) -> Lookup {
        let page = self.stretch(after).and_then(|stretch| {
            let first = behind(&stretch.commits, after);
            Page::of(partition, stretch.commits[first..].iter())
        });
        match page {
            Some(page) => Lookup::Page(page),
            None if after < self.end => Lookup::Behind,
            None => Lookup::End,
        }
    }

    fn stretch(&self, after: Position) -> Option<&Stretch> {
        self.stretches.iter().rev().find(|stretch| stretch.continues(after))
    }

    /// Takes in what of the commits after `after` is not here.
    pub(crate) fn push(&mut self, mut after: Position, mut page: &[Arc<DecodedCommit>]) {
        while let Some(known) = self.stretch(after) {
            after = known.end();
            page = &page[behind(page, after)..];
        }
        self.end = self.end.max(page.last().map_or(after, |fed| fed.last.position));
        if page.is_empty() {
            return;
        }
        let bytes = page.iter().map(|fed| fed.bytes()).sum::<usize>();
        let has_room = |stretch: &&mut Stretch| {
            stretch.end() == after
                && stretch.commits.len() + page.len() <= PAGE
                && stretch.bytes + bytes <= STRETCH_BYTES
        };
        match self.stretches.iter_mut().find(has_room) {
            Some(stretch) => {
                stretch.commits.extend_from_slice(page);
                stretch.bytes += bytes;
            }
            None => self.stretches.push_back(Stretch { after, commits: page.to_vec(), bytes }),
        }
        self.bytes += bytes;
        while self.bytes > RECENT_BYTES && self.stretches.len() > 1 {
            let Some(oldest) = self.stretches.pop_front() else { return };
            self.bytes -= oldest.bytes;
        }
    }
}

/// How many of `commits` do not lie behind `after`.
fn behind(commits: &[Arc<DecodedCommit>], after: Position) -> usize {
    commits.partition_point(|fed| fed.last.position <= after)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn page(
        positions: impl IntoIterator<Item = Position>,
        bytes: usize,
    ) -> Vec<Arc<DecodedCommit>> {
        let fed = |position| {
            let record = Record { position, token: 0, frame: vec![0; bytes].into() };
            let last = Checkpoint { position, event: Uuid::nil() };
            Arc::new(DecodedCommit { record, partition: 0, last })
        };
        positions.into_iter().map(fed).collect()
    }

    fn positions(recent: &Recent, after: Position) -> Vec<Position> {
        match recent.after(0, after) {
            Lookup::Page(page) => page.commits.iter().map(|fed| fed.last.position).collect(),
            Lookup::Behind | Lookup::End => Vec::new(),
        }
    }

    #[test]
    fn what_was_read_is_found_again_and_never_with_a_gap() {
        let mut recent = Recent::default();
        recent.push(0, &page(1..=3, 10));
        recent.push(3, &page(4..=5, 10));
        assert_eq!(positions(&recent, 0), [1, 2, 3, 4, 5]);
        assert_eq!(positions(&recent, 4), [5]);
        // Somebody was far ahead, and nobody reads across the gap.
        recent.push(100, &page(101..=102, 10));
        assert!(matches!(recent.after(0, 5), Lookup::Behind));
        assert_eq!(positions(&recent, 100), [101, 102]);
        assert!(matches!(recent.after(0, 102), Lookup::End));
        // What was skipped is found as well, and what is here already is not taken in again.
        recent.push(4, &page(5..=8, 10));
        assert_eq!(positions(&recent, 2), [3, 4, 5, 6, 7, 8]);
        assert!(matches!(recent.after(0, 8), Lookup::Behind));
        let bytes = recent.bytes;
        recent.push(1, &page(2..=8, 10));
        assert_eq!(recent.bytes, bytes);
    }

    #[test]
    fn a_page_is_never_more_than_one() {
        let mut recent = Recent::default();
        for first in (1..=3000).step_by(300) {
            recent.push(first - 1, &page(first..first + 300, 10));
        }
        let (mut found, mut after) = (0, 0);
        while let Lookup::Page(page) = recent.after(0, after) {
            assert!(page.commits.len() <= PAGE);
            (found, after) = (found + page.commits.len(), page.end.position);
        }
        assert_eq!((found, after), (3000, 3000));
    }

    #[test]
    fn other_partitions_go_by() {
        let mut recent = Recent::default();
        recent.push(0, &page(1..=3, 10));
        let Lookup::Page(page) = recent.after(7, 1) else { panic!("there is something") };
        assert_eq!((page.commits.len(), page.end.position), (0, 3));
        assert!(matches!(recent.after(7, 3), Lookup::End));
    }

    #[test]
    fn it_is_bounded_in_bytes() {
        let mut recent = Recent::default();
        for position in 1..=20 {
            recent.push(position - 1, &page([position], 1 << 20));
            assert!(recent.bytes <= RECENT_BYTES + (1 << 20));
        }
        assert!(matches!(recent.after(0, 0), Lookup::Behind));
        assert_eq!(positions(&recent, 19), [20]);
        // Short commits take more than their frames.
        for first in (21..200_000).step_by(PAGE) {
            recent.push(first - 1, &page(first..first + PAGE as u64, 1));
        }
        let commits = recent.stretches.iter().map(|stretch| stretch.commits.len());
        assert!(commits.sum::<usize>() * size_of::<DecodedCommit>() <= RECENT_BYTES);
    }
}
