//! Where the commits of each stream are: each message lists the ones before it, and what was read is kept for a
//! while. So a load is the stream's last message and then its others at once, and an append on a stream that is
//! known is one message.

use std::{hash::BuildHasher, ops::Deref, sync::Arc};

use foldhash::fast::RandomState;
use quick_cache::{Weighter, sync::Cache};

use super::message::{CommitLocation, CommitMessage};
use crate::log::{StoreError, StreamId, Version};

/// How many earlier commits a message lists. Those before are found through the oldest of these.
const LISTED: usize = 64;

/// How many commits of a stream are remembered when it is only appended to.
const REMEMBERED: usize = 4 * LISTED;

/// How many bytes of places are kept.
const BYTES: u64 = 32 << 20;

/// The places of a stream's last commits, oldest first: all from some commit on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CommitLocations {
    commits: Commits,
    /// The version of the stream.
    pub(super) version: Version,
}

/// Most streams that are appended to are young: one place is kept without an allocation. Many are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Commits {
    One(CommitLocation),
    Many(Arc<[CommitLocation]>),
}

impl Deref for Commits {
    type Target = [CommitLocation];

    fn deref(&self) -> &[CommitLocation] {
        match self {
            Self::One(place) => std::slice::from_ref(place),
            Self::Many(places) => places,
        }
    }
}

impl FromIterator<CommitLocation> for Commits {
    fn from_iter<I: IntoIterator<Item = CommitLocation>>(places: I) -> Self {
        let mut places = places.into_iter();
        match (places.next(), places.next()) {
            (Some(place), None) => Self::One(place),
            (first, second) => Self::Many(first.into_iter().chain(second).chain(places).collect()),
        }
    }
}

impl Default for Commits {
    fn default() -> Self {
        Self::Many(Arc::default())
    }
}

impl CommitLocations {
    /// What the last message tells.
    pub(super) fn of(last: &CommitMessage) -> Self {
        let commits = last.earlier.iter().copied().chain([last.place]).collect();
        Self { commits, version: last.last_version() }
    }

    /// The sequence of the last commit, 0 when there is none.
    pub(super) fn sequence(&self) -> u64 {
        self.commits.last().map_or(0, |place| place.sequence)
    }

    /// What the next message lists.
    pub(super) fn to_list(&self) -> &[CommitLocation] {
        &self.commits[self.commits.len().saturating_sub(LISTED)..]
    }

    /// The places after one more commit.
    pub(super) fn with(&self, place: CommitLocation, events: u64) -> Self {
        let forget = self.commits.len().saturating_sub(REMEMBERED - 1);
        let commits = self.commits[forget..].iter().copied().chain([place]).collect();
        Self { commits, version: self.version + events }
    }

    /// The oldest commit that is known, if there are ones before it.
    pub(super) fn oldest(&self) -> Option<CommitLocation> {
        self.commits.first().copied().filter(|place| place.first > 1)
    }

    /// Adds older commits: those that the oldest one lists.
    pub(super) fn add_older(&mut self, older: Vec<CommitLocation>) -> Result<(), StoreError> {
        let oldest = self.oldest().map_or(Version::ZERO, |place| place.first);
        let is_older = older.last().is_some_and(|place| place.first < oldest);
        if !is_older {
            return Err(StoreError::corrupt("a commit does not list the ones before it"));
        }
        self.prepend(older);
        Ok(())
    }

    /// Adds what `known`, an earlier view of the same stream, has beyond this.
    pub(super) fn join(&mut self, known: &Self) {
        let Some(oldest) = self.commits.first() else { return };
        if let Ok(at) = known.commits.binary_search_by_key(&oldest.sequence, |p| p.sequence) {
            self.prepend(known.commits[..at].iter().copied());
        }
    }

    fn prepend(&mut self, older: impl IntoIterator<Item = CommitLocation>) {
        self.commits = older.into_iter().chain(self.commits.iter().copied()).collect();
    }

    /// The commits that hold version `from` or a later one, at most `limit`.
    pub(super) fn from(&self, from: Version, limit: usize) -> &[CommitLocation] {
        if from > self.version {
            return &[];
        }
        let after = self.commits.partition_point(|place| place.first <= from);
        let start = after.saturating_sub(1);
        &self.commits[start..start.saturating_add(limit).min(self.commits.len())]
    }
}

/// The places of the streams that were used last, by a hash of their names. The names are not kept: a hundred thousand
/// small allocations that each live for a while leave the heap in pieces, and make all others slow.
///
/// Two streams may have the same hash. A sequence is that of one message, so it tells whose places they are.
pub(super) struct LocationCache {
    places: Cache<u64, CommitLocations, ByLength>,
    hasher: RandomState,
}

#[derive(Clone)]
struct ByLength;

impl Weighter<u64, CommitLocations> for ByLength {
    fn weight(&self, _: &u64, places: &CommitLocations) -> u64 {
        96 + 16 * places.commits.len() as u64
    }
}

impl LocationCache {
    pub(super) fn new() -> Self {
        let places = Cache::with_weighter(1 << 16, BYTES, ByLength);
        Self { places, hasher: RandomState::default() }
    }

    /// What is known of `stream`, or of another one with its hash: the sequences tell.
    pub(super) fn get(&self, stream: &StreamId) -> Option<CommitLocations> {
        self.places.get(&self.hasher.hash_one(stream))
    }

    pub(super) fn keep(&self, stream: &StreamId, places: CommitLocations) {
        self.places.insert(self.hasher.hash_one(stream), places);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits of one event each.
    fn places(sequences: &[u64], version: u64) -> CommitLocations {
        let first = version + 1 - sequences.len() as u64;
        let places = sequences.iter().zip(first..);
        let commits = places
            .map(|(&sequence, first)| CommitLocation { sequence, first: first.into() })
            .collect();
        CommitLocations { commits, version: version.into() }
    }

    #[test]
    fn what_is_known_is_added_only_of_the_same_stream() {
        let mut last = places(&[30, 40], 4);
        last.join(&places(&[11, 21, 31, 41], 4));
        last.join(&places(&[50], 3));
        assert_eq!(last, places(&[30, 40], 4), "the sequences are those of another stream");
        last.join(&places(&[10, 20, 30], 3));
        assert_eq!(last, places(&[10, 20, 30, 40], 4));
    }

    #[test]
    fn an_append_remembers_what_the_next_ones_list() {
        let mut all = CommitLocations::default();
        for sequence in 1..=1000 {
            all = all.with(CommitLocation { sequence, first: sequence.into() }, 1);
            let listed: Vec<_> = all.to_list().iter().map(|place| place.sequence).collect();
            let first = sequence.saturating_sub(LISTED as u64) + 1;
            assert_eq!(listed, (first..=sequence).collect::<Vec<_>>());
            assert!(all.commits.len() <= REMEMBERED);
        }
        assert_eq!((all.version, all.sequence()), (1000.into(), 1000));
    }
}
