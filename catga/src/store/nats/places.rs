//! Where the commits of each stream are: each message lists the ones before it, and what was read is kept for a
//! while. So a load is the stream's last message and then its others at once, and an append on a stream that is
//! known is one message.

use std::sync::Arc;

use quick_cache::{Weighter, sync::Cache};

use super::message::{Place, Stored};
use crate::{StoreError, StreamId, Version};

/// How many earlier commits a message lists. Those before are found through the oldest of these.
const LISTED: usize = 64;

/// How many commits of a stream are remembered when it is only appended to.
const REMEMBERED: usize = 4 * LISTED;

/// How many bytes of places are kept.
const BYTES: u64 = 32 << 20;

/// The places of a stream's last commits, oldest first: all from some commit on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) commits: Vec<Place>,
    /// The version of the stream.
    pub(super) version: Version,
}

impl Places {
    /// What the last message tells.
    pub(super) fn of(last: &Stored) -> Self {
        let mut commits = last.earlier.clone();
        commits.push(last.place);
        Self { commits, version: last.last_version() }
    }

    /// The sequence of the last commit, 0 when there is none.
    pub(super) fn sequence(&self) -> u64 {
        self.commits.last().map_or(0, |place| place.sequence)
    }

    /// What the next message lists.
    pub(super) fn to_list(&self) -> &[Place] {
        &self.commits[self.commits.len().saturating_sub(LISTED)..]
    }

    /// The places after one more commit.
    pub(super) fn with(&self, place: Place, events: u64) -> Self {
        let keep = self.commits.len().saturating_sub(REMEMBERED);
        let mut commits = self.commits[keep..].to_vec();
        commits.push(place);
        Self { commits, version: self.version + events }
    }

    /// The oldest commit that is known, if there are ones before it.
    pub(super) fn oldest(&self) -> Option<Place> {
        self.commits.first().copied().filter(|place| place.first > 1)
    }

    /// Adds older commits: those that the oldest one lists.
    pub(super) fn add_older(&mut self, older: Vec<Place>) -> Result<(), StoreError> {
        let oldest = self.oldest().map_or(0, |place| place.first);
        let is_older = older.last().is_some_and(|place| place.first < oldest);
        if !is_older {
            return Err(StoreError::corrupt("a commit does not list the ones before it"));
        }
        self.commits.splice(0..0, older);
        Ok(())
    }

    /// Adds what `known`, an earlier view of the same stream, has beyond this.
    pub(super) fn join(&mut self, known: &Self) {
        let Some(oldest) = self.commits.first() else { return };
        if let Ok(at) = known.commits.binary_search_by_key(&oldest.sequence, |p| p.sequence) {
            self.commits.splice(0..0, known.commits[..at].iter().copied());
        }
    }

    /// The commits that hold version `from` or a later one, at most `limit`.
    pub(super) fn from(&self, from: Version, limit: usize) -> &[Place] {
        if from > self.version {
            return &[];
        }
        let after = self.commits.partition_point(|place| place.first <= from);
        let start = after.saturating_sub(1);
        &self.commits[start..start.saturating_add(limit).min(self.commits.len())]
    }
}

/// The places of the streams that were used last.
pub(super) struct PlaceCache(Cache<StreamId, Arc<Places>, ByLength>);

#[derive(Clone)]
struct ByLength;

impl Weighter<StreamId, Arc<Places>> for ByLength {
    fn weight(&self, _: &StreamId, places: &Arc<Places>) -> u64 {
        160 + 16 * places.commits.len() as u64
    }
}

impl PlaceCache {
    pub(super) fn new() -> Self {
        Self(Cache::with_weighter(1 << 16, BYTES, ByLength))
    }

    pub(super) fn get(&self, stream: &StreamId) -> Option<Arc<Places>> {
        self.0.get(stream)
    }

    pub(super) fn keep(&self, stream: &StreamId, places: Places) -> Arc<Places> {
        let places = Arc::new(places);
        self.0.insert(stream.clone(), places.clone());
        places
    }
}
