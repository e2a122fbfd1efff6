//! Which commits there are, in the order of the log and of each stream, in memory.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use foldhash::fast::RandomState;
use tokio::sync::Notify;

use super::StoreError;
use crate::{Position, StreamId, Version};

/// How many locks the streams are spread over.
const SHARDS: usize = 64;

/// How many commits a part of the log holds. The log grows part by part, so that no append ever waits for
/// the whole log to be copied into a larger vector.
const PART: usize = 8192;

/// The index of a log without gaps, whose first position is 1. `T` is a commit's frame, or where it is.
pub(super) struct Index<T> {
    /// Which commits each stream has, by hash of the stream. Locked before `log`.
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    /// All commits in order.
    log: RwLock<Log<T>>,
    /// The position of the last event; written under the lock of `log`.
    head: AtomicU64,
    /// Told whenever `head` has risen.
    risen: Notify,
}

type Shard = HashMap<StreamId, Stream, RandomState>;

/// A commit in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<T> {
    /// The position of its first event.
    pub(super) position: Position,
    pub(super) value: T,
}

#[derive(Default)]
struct Stream {
    version: Version,
    /// The first version of each commit, and the commit's place in the log.
    commits: Vec<(Version, usize)>,
}

struct Log<T> {
    head: Position,
    parts: Vec<Vec<Entry<T>>>,
}

impl<T: Clone> Log<T> {
    fn len(&self) -> usize {
        match self.parts.as_slice() {
            [] => 0,
            [full @ .., last] => full.len() * PART + last.len(),
        }
    }

    fn get(&self, at: usize) -> Entry<T> {
        self.parts[at / PART][at % PART].clone()
    }

    fn push(&mut self, entry: Entry<T>) {
        match self.parts.last_mut() {
            Some(last) if last.len() < PART => last.push(entry),
            _ => {
                let mut part = Vec::with_capacity(PART);
                part.push(entry);
                self.parts.push(part);
            }
        }
    }

    /// The place of the first commit that holds a position above `after`.
    fn first_after(&self, after: Position) -> usize {
        if after >= self.head {
            return self.len();
        }
        // The last commit that begins at or before the next position holds it: positions have no gaps here.
        let begins_later = |entry: &Entry<T>| entry.position > after + 1;
        let part = self.parts.partition_point(|part| !begins_later(&part[0])) - 1;
        part * PART + self.parts[part].partition_point(|entry| !begins_later(entry)) - 1
    }
}

impl<T: Clone> Index<T> {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            log: RwLock::new(Log { head: 0, parts: Vec::new() }),
            head: AtomicU64::new(0),
            risen: Notify::new(),
        }
    }

    fn shard(&self, stream: &StreamId) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(stream);
        let shard = usize::try_from(hash % SHARDS as u64).expect("less than SHARDS");
        // Nothing under these locks can panic half-way, so a poisoned one still holds whole commits.
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version of `stream`, 0 when there is none.
    pub(super) fn version(&self, stream: &StreamId) -> Version {
        self.shard(stream).get(stream).map_or(0, |stream| stream.version)
    }

    /// Adds a commit of `events` events at the end of the log, if `stream` is at `version`. Answers the
    /// position of its first event, or the version that the stream has.
    pub(super) fn push(
        &self,
        stream: &StreamId,
        version: Version,
        events: usize,
        value: T,
    ) -> Result<Position, Version> {
        assert!(events > 0, "a commit has at least one event");
        let mut shard = self.shard(stream);
        let known = match shard.get_mut(stream) {
            Some(known) => known,
            None if version == 0 => shard.entry(stream.clone()).or_default(),
            None => return Err(0),
        };
        if known.version != version {
            return Err(known.version);
        }
        let (at, position) = {
            let mut log = self.log.write().unwrap_or_else(PoisonError::into_inner);
            let (at, position) = (log.len(), log.head + 1);
            log.push(Entry { position, value });
            log.head += events as u64;
            self.head.store(log.head, Ordering::Release);
            (at, position)
        };
        known.commits.push((version + 1, at));
        known.version += events as u64;
        drop(shard);
        self.risen.notify_waiters();
        Ok(position)
    }

    /// As [`EventStore::read_stream`](super::EventStore::read_stream).
    pub(super) fn of_stream(
        &self,
        stream: &StreamId,
        from: Version,
        limit: usize,
    ) -> Vec<Entry<T>> {
        let places: Vec<usize> = {
            let shard = self.shard(stream);
            let Some(stream) = shard.get(stream).filter(|stream| from <= stream.version) else {
                return Vec::new();
            };
            let after = stream.commits.partition_point(|(first, _)| *first <= from);
            stream.commits[after.saturating_sub(1)..].iter().take(limit).map(|c| c.1).collect()
        };
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        places.into_iter().map(|at| log.get(at)).collect()
    }

    /// As [`EventStore::read_log`](super::EventStore::read_log).
    pub(super) fn of_log(&self, after: Position, limit: usize) -> Vec<Entry<T>> {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        let first = log.first_after(after);
        (first..log.len()).take(limit).map(|at| log.get(at)).collect()
    }

    pub(super) fn head(&self) -> Position {
        self.head.load(Ordering::Acquire)
    }

    pub(super) async fn wait(&self, after: Position) -> Result<(), StoreError> {
        loop {
            let risen = self.risen.notified();
            if self.head() > after {
                return Ok(());
            }
            risen.await;
        }
    }

    /// How many streams and commits there are.
    pub(super) fn counts(&self) -> (usize, usize) {
        let lock =
            |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).len();
        let commits = self.log.read().unwrap_or_else(PoisonError::into_inner).len();
        (self.shards.iter().map(lock).sum(), commits)
    }
}
