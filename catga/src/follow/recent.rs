//! The commits of the topic that were read last, kept for all runners.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    cluster::Checkpoint,
    log::{Commit, Position, Record, StreamId},
    model::{DecodeError, ParsedRecord, SkippedEvents},
    store::partition_of,
};

/// How many commits are read at once and given to a runner.
pub(crate) const PAGE: usize = 1024;

/// How many bytes of commits are kept; the page that was read last is always kept.
const RECENT_BYTES: usize = 5 << 20;

/// A stretch of this many bytes gets no more commits.
const STRETCH_BYTES: usize = RECENT_BYTES / 16;

/// A commit with what every runner needs to know about it.
#[derive(Debug)]
pub(crate) struct DecodedCommit {
    pub(crate) record: Record,
    pub(crate) partition: u16,
    /// Its last event.
    pub(crate) last: Checkpoint,
}

impl DecodedCommit {
    pub(crate) fn new(record: &Record) -> Result<Self, DecodeError> {
        Self::of(&ParsedRecord::of(record, SkippedEvents::NONE)?)
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

    /// Its stream, decoded again each time: keeping a name for each commit would double the memory.
    pub(crate) fn stream(&self) -> Result<StreamId, DecodeError> {
        Ok(Commit::stream_in(&self.record.frame)?)
    }

    /// The names of its events.
    pub(crate) fn event_names(&self) -> impl Iterator<Item = &[u8]> {
        Commit::event_names(&self.record.frame)
    }

    /// About how many bytes it takes; a short commit takes more than its frame.
    fn bytes(&self) -> usize {
        self.record.frame.len() + size_of::<Self>()
    }
}

/// What a runner is given: the commits of its partition up to some position of the topic.
#[derive(Debug)]
pub(crate) struct FeedPage {
    pub(crate) commits: Vec<Arc<DecodedCommit>>,
    /// The last event of the topic that was looked at, in any partition.
    pub(crate) end: Checkpoint,
}

/// The pages that were read last, by the tail at the end of the topic and by runners that are behind it.
#[derive(Default)]
pub(crate) struct RecentCommits {
    /// The stretch that was begun last is at the back.
    stretches: VecDeque<Stretch>,
    bytes: usize,
    /// The last position that was read.
    end: Position,
}

/// Consecutive commits: a page that was read at once, or some that came one after the other.
struct Stretch {
    /// The position right before the first one.
    after: Position,
    commits: Vec<Arc<DecodedCommit>>,
    bytes: usize,
}

/// What [`RecentCommits`] has for a runner.
pub(crate) enum Lookup {
    Page(FeedPage),
    /// It was read, and is no longer kept.
    Behind,
    /// Nothing more has been read.
    End,
}

impl FeedPage {
    pub(crate) fn of<'a>(
        partition: u16,
        commits: impl DoubleEndedIterator<Item = &'a Arc<DecodedCommit>> + Clone,
    ) -> Option<Self> {
        let end = commits.clone().next_back()?.last;
        let commits = commits.filter(|commit| commit.partition == partition).cloned().collect();
        Some(Self { commits, end })
    }
}

impl Stretch {
    fn end(&self) -> Position {
        self.commits.last().map_or(self.after, |commit| commit.last.position)
    }

    /// Whether the commit that follows `after` is here.
    fn continues(&self, after: Position) -> bool {
        (self.after..self.end()).contains(&after)
    }
}

impl RecentCommits {
    /// The commits of `partition` that are kept after `after`.
    pub(crate) fn after(&self, partition: u16, after: Position) -> Lookup {
        let page = self.stretch(after).and_then(|stretch| {
            let first = behind(&stretch.commits, after);
            FeedPage::of(partition, stretch.commits[first..].iter())
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

    /// Adds those of the commits after `after` that are not kept yet.
    pub(crate) fn push(&mut self, mut after: Position, mut page: &[Arc<DecodedCommit>]) {
        while let Some(known) = self.stretch(after) {
            after = known.end();
            page = &page[behind(page, after)..];
        }
        self.end = self.end.max(page.last().map_or(after, |commit| commit.last.position));
        if page.is_empty() {
            return;
        }
        let bytes = page.iter().map(|commit| commit.bytes()).sum::<usize>();
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

/// How many of `commits` end at or before `after`.
fn behind(commits: &[Arc<DecodedCommit>], after: Position) -> usize {
    commits.partition_point(|commit| commit.last.position <= after)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn page(positions: impl IntoIterator<Item = u64>, bytes: usize) -> Vec<Arc<DecodedCommit>> {
        let commit = |position: u64| {
            let position = position.into();
            let record = Record { position, token: 0, frame: vec![0; bytes].into() };
            let last = Checkpoint { position, event: Uuid::nil() };
            Arc::new(DecodedCommit { record, partition: 0, last })
        };
        positions.into_iter().map(commit).collect()
    }

    fn positions(recent: &RecentCommits, after: u64) -> Vec<Position> {
        match recent.after(0, after.into()) {
            Lookup::Page(page) => page.commits.iter().map(|commit| commit.last.position).collect(),
            Lookup::Behind | Lookup::End => Vec::new(),
        }
    }

    #[test]
    fn what_was_read_is_found_again_and_never_with_a_gap() {
        let mut recent = RecentCommits::default();
        recent.push(0.into(), &page(1..=3, 10));
        recent.push(3.into(), &page(4..=5, 10));
        assert_eq!(positions(&recent, 0), [1, 2, 3, 4, 5]);
        assert_eq!(positions(&recent, 4), [5]);
        // A runner was far ahead, and nobody reads across the gap.
        recent.push(100.into(), &page(101..=102, 10));
        assert!(matches!(recent.after(0, 5.into()), Lookup::Behind));
        assert_eq!(positions(&recent, 100), [101, 102]);
        assert!(matches!(recent.after(0, 102.into()), Lookup::End));
        // What was skipped is found too, and what is kept already is not added again.
        recent.push(4.into(), &page(5..=8, 10));
        assert_eq!(positions(&recent, 2), [3, 4, 5, 6, 7, 8]);
        assert!(matches!(recent.after(0, 8.into()), Lookup::Behind));
        let bytes = recent.bytes;
        recent.push(1.into(), &page(2..=8, 10));
        assert_eq!(recent.bytes, bytes);
    }

    #[test]
    fn a_page_is_never_more_than_one() {
        let mut recent = RecentCommits::default();
        for first in (1..=3000).step_by(300) {
            recent.push((first - 1).into(), &page(first..first + 300, 10));
        }
        let (mut found, mut after) = (0, Position::ZERO);
        while let Lookup::Page(page) = recent.after(0, after) {
            assert!(page.commits.len() <= PAGE);
            (found, after) = (found + page.commits.len(), page.end.position);
        }
        assert_eq!((found, after), (3000, 3000.into()));
    }

    #[test]
    fn other_partitions_go_by() {
        let mut recent = RecentCommits::default();
        recent.push(0.into(), &page(1..=3, 10));
        let Lookup::Page(page) = recent.after(7, 1.into()) else { panic!("there is something") };
        assert_eq!((page.commits.len(), page.end.position), (0, 3.into()));
        assert!(matches!(recent.after(7, 3.into()), Lookup::End));
    }

    #[test]
    fn it_is_bounded_in_bytes() {
        let mut recent = RecentCommits::default();
        for position in 1..=20 {
            recent.push((position - 1).into(), &page([position], 1 << 20));
            assert!(recent.bytes <= RECENT_BYTES + (1 << 20));
        }
        assert!(matches!(recent.after(0, 0.into()), Lookup::Behind));
        assert_eq!(positions(&recent, 19), [20]);
        // Short commits take more than their frames.
        for first in (21..200_000).step_by(PAGE) {
            recent.push((first - 1).into(), &page(first..first + PAGE as u64, 1));
        }
        let commits = recent.stretches.iter().map(|stretch| stretch.commits.len());
        assert!(commits.sum::<usize>() * size_of::<DecodedCommit>() <= RECENT_BYTES);
    }
}
