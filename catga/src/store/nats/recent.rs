//! The end of the log in memory: what is read of it, and what this node appended, as soon as that is answered.

use std::collections::{BTreeMap, VecDeque};

use crate::log::Record;

/// How many bytes are kept.
const BYTES: usize = 8 << 20;

/// What a record takes beside its frame.
const OVERHEAD: usize = size_of::<Record>();

/// The last commits, without gaps, and the barriers between them: records without a frame.
#[derive(Default)]
pub(super) struct RecentMessages {
    /// The sequence of the first record, 0 while nobody follows the log.
    first: u64,
    records: VecDeque<Record>,
    /// The sequence of the last commit in `records`, 0 when there was none since it was begun.
    head: u64,
    /// Commits of ours behind a gap. Most are there for a moment, as answers overtake each other; but another node's
    /// commit may be what is missing.
    early: BTreeMap<u64, Record>,
    bytes: usize,
    /// How many commits were ours, since the store was opened.
    ours: u64,
    /// The last commit that was seen before somebody ceased to follow, which the server has to show again then.
    last: Option<Record>,
}

impl RecentMessages {
    /// Forgets what is kept, and begins anew with the record at `first`; 0 when nobody follows.
    pub(super) fn begin(&mut self, first: u64) {
        let (ours, last) = (self.ours, self.last.take());
        *self = Self { first, ours, last, ..Self::default() };
    }

    /// Takes in a commit that was followed: there is no commit between the one before and this. Answers the sequence of the
    /// last commit up to which all are known.
    pub(super) fn put(&mut self, record: Record) -> u64 {
        self.reach(record.token);
        self.keep_last(&record);
        if self.first == 0 { record.token } else { self.insert(record) }
    }

    /// Takes in that a barrier was passed. Answers as [`put`](Self::put).
    pub(super) fn pass(&mut self, sequence: u64) -> u64 {
        self.reach(sequence);
        self.put_barrier(sequence)
    }

    /// As [`put`](Self::put), for a commit of this node.
    pub(super) fn put_ours(&mut self, record: Record) -> u64 {
        self.ours += 1;
        self.keep_last(&record);
        if self.first == 0 { record.token } else { self.insert(record) }
    }

    /// As [`put`](Self::put), for a barrier of this node.
    pub(super) fn put_barrier(&mut self, sequence: u64) -> u64 {
        let (position, frame) = Default::default();
        if self.first == 0 { 0 } else { self.insert(Record { position, token: sequence, frame }) }
    }

    /// Begins anew at what is not next to what is kept.
    fn reach(&mut self, sequence: u64) {
        if self.first > 0 && sequence > self.next() {
            let head = self.head;
            self.begin(sequence);
            self.head = head;
        }
    }

    fn keep_last(&mut self, record: &Record) {
        // While nobody follows, what was seen before counts: a server that lost it may have put this in its place.
        if self.last.as_ref().is_none_or(|last| self.first > 0 && last.token < record.token) {
            self.last = Some(record.clone());
        }
    }

    fn insert(&mut self, record: Record) -> u64 {
        let (sequence, next) = (record.token, self.next());
        if sequence >= next {
            self.bytes += OVERHEAD + record.frame.len();
            if sequence > next {
                self.early.insert(sequence, record);
            } else {
                self.push(record);
                while let Some(record) = self.early.remove(&self.next()) {
                    self.push(record);
                }
            }
            self.shrink();
        }
        self.head
    }

    fn push(&mut self, record: Record) {
        if !record.frame.is_empty() {
            self.head = record.token;
        }
        self.records.push_back(record);
    }

    fn shrink(&mut self) {
        while self.bytes > BYTES {
            if let Some(oldest) = self.records.pop_front() {
                self.bytes -= OVERHEAD + oldest.frame.len();
                self.first += 1;
            } else {
                // Who follows reads them.
                self.early.clear();
                self.bytes = 0;
            }
        }
    }

    /// The sequence of the next record, from which on nothing is known.
    pub(super) fn next(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// Up to which sequence all is known; 0 while nobody follows.
    pub(super) fn known(&self) -> u64 {
        self.next().saturating_sub(1)
    }

    /// Whether a commit is missing before one of ours.
    pub(super) fn has_gap(&self) -> bool {
        !self.early.is_empty()
    }

    pub(super) fn ours(&self) -> u64 {
        self.ours
    }

    pub(super) fn last(&self) -> Option<&Record> {
        self.last.as_ref()
    }

    /// The records from the sequence `first` on; none when that is not kept.
    pub(super) fn read(&self, first: u64, limit: usize) -> Vec<Record> {
        let Some(skip) = first.checked_sub(self.first).and_then(|n| usize::try_from(n).ok()) else {
            return Vec::new();
        };
        let records = self.records.iter().skip(skip);
        records.filter(|record| !record.frame.is_empty()).take(limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(sequence: u64) -> Record {
        Record { position: sequence.into(), token: sequence, frame: Bytes::from_static(&[7; 100]) }
    }

    fn kept(recent: &RecentMessages, first: u64) -> Vec<u64> {
        recent.read(first, 100).into_iter().map(|record| record.token).collect()
    }

    #[test]
    fn p5_what_is_kept_has_no_gap_and_no_repeat() {
        let mut recent = RecentMessages::default();
        assert_eq!(recent.put_ours(record(2)), 2, "nobody follows: it is the last that is known");
        assert!(kept(&recent, 1).is_empty() && kept(&recent, 2).is_empty());
        recent.begin(3);
        assert_eq!((recent.put_ours(record(3)), recent.has_gap()), (3, false));
        // Answers overtake each other, and another node's commit is 5.
        assert_eq!((recent.put_ours(record(6)), recent.has_gap()), (3, true));
        assert_eq!((recent.put_ours(record(4)), recent.has_gap()), (4, true));
        assert_eq!(kept(&recent, 3), [3, 4]);
        // The consumer brings all from 4 on.
        assert_eq!((recent.put(record(4)), recent.has_gap()), (4, true));
        assert_eq!((recent.put(record(5)), recent.has_gap()), (6, false));
        assert_eq!(recent.put(record(6)), 6);
        assert_eq!(kept(&recent, 3), [3, 4, 5, 6]);
        assert_eq!(kept(&recent, 6), [6]);
        assert!(kept(&recent, 2).is_empty() && kept(&recent, 7).is_empty());
        assert_eq!((recent.ours(), recent.last().map(|last| last.token)), (4, Some(6)));
        recent.begin(0);
        assert_eq!(recent.put_ours(record(7)), 7);
        assert_eq!(recent.last().map(|last| last.token), Some(6), "7 may be where 6 was lost");
        recent.begin(9);
        assert!(kept(&recent, 3).is_empty() && kept(&recent, 9).is_empty());
        assert_eq!((recent.ours(), recent.last().map(|last| last.token)), (5, Some(6)));
    }

    #[test]
    fn p5_barriers_are_known_and_not_read_and_leave_gaps_in_time() {
        let mut recent = RecentMessages::default();
        assert_eq!((recent.put_barrier(5), recent.known()), (0, 0), "nobody follows");
        recent.begin(6);
        assert_eq!((recent.pass(6), recent.known()), (0, 6));
        assert_eq!((recent.put(record(7)), recent.known()), (7, 7));
        // One of ours overtakes another node's commit.
        assert_eq!((recent.put_barrier(9), recent.known()), (7, 7));
        assert_eq!((recent.put(record(8)), recent.known()), (8, 9));
        assert_eq!(kept(&recent, 6), [7, 8]);
        assert_eq!(recent.last().map(|last| last.token), Some(8));
        // Those up to 19 are gone.
        assert_eq!((recent.put(record(20)), recent.known()), (20, 20));
        assert_eq!((kept(&recent, 6), kept(&recent, 20)), (vec![], vec![20]));
        (21..1_000_000).for_each(|sequence| _ = recent.pass(sequence));
        assert!(recent.records.len() * OVERHEAD <= BYTES, "{} barriers", recent.records.len());
    }

    #[test]
    fn little_is_kept_also_behind_a_gap() {
        let mut recent = RecentMessages::default();
        recent.begin(1);
        let large = Bytes::from(vec![7; BYTES / 4]);
        for sequence in (1..=6).chain(8..=20) {
            recent.put_ours(Record { frame: large.clone(), ..record(sequence) });
            assert!(recent.bytes <= BYTES);
        }
        assert!(kept(&recent, 6).is_empty(), "what is behind the gap took its place");
        assert_eq!(recent.put(Record { frame: large.clone(), ..record(7) }), recent.next() - 1);
    }
}
