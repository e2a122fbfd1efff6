//! Which commits there are, in the order of the log and of each stream, in memory.

use std::{
    hash::BuildHasher,
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use foldhash::fast::RandomState;
use hashbrown::{HashTable, hash_table::Entry as Slot};
use tokio::sync::Notify;

use super::StoreError;
use crate::log::{Position, StreamId, Version};

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
    log: RwLock<CommitList<T>>,
    /// The position of the last event; written under the lock of `log`.
    head: AtomicU64,
    /// Told whenever `head` has risen.
    risen: Notify,
}

/// Each stream by its hash, which is reckoned once for an append, and never again.
type Shard = HashTable<Stream>;

/// A commit in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexEntry<T> {
    /// The position of its first event.
    pub(super) position: Position,
    pub(super) value: T,
}

struct Stream {
    hash: u64,
    id: StreamId,
    version: Version,
    /// The first version of each commit, and the commit's place in the log. Fewer than 2^32 of either fit in memory.
    commits: Vec<(u32, u32)>,
}

impl Stream {
    fn new(hash: u64, id: StreamId) -> Self {
        Self { hash, id, version: Version::ZERO, commits: Vec::new() }
    }
}

fn small(n: impl TryInto<u32, Error: std::fmt::Debug>) -> u32 {
    n.try_into().expect("fewer than 2^32 commits fit in memory")
}

struct CommitList<T> {
    head: Position,
    parts: Vec<Vec<IndexEntry<T>>>,
}

impl<T: Clone> CommitList<T> {
    fn len(&self) -> usize {
        match self.parts.as_slice() {
            [] => 0,
            [full @ .., last] => full.len() * PART + last.len(),
        }
    }

    fn get(&self, at: usize) -> IndexEntry<T> {
        self.parts[at / PART][at % PART].clone()
    }

    fn push(&mut self, entry: IndexEntry<T>) {
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
        let begins_later = |entry: &IndexEntry<T>| entry.position > after.next();
        let part = self.parts.partition_point(|part| !begins_later(&part[0])) - 1;
        part * PART + self.parts[part].partition_point(|entry| !begins_later(entry)) - 1
    }
}

impl<T: Clone> Index<T> {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            log: RwLock::new(CommitList { head: Position::ZERO, parts: Vec::new() }),
            head: AtomicU64::new(0),
            risen: Notify::new(),
        }
    }

    /// The lock of the stream with this hash.
    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        let shard = usize::try_from(hash % SHARDS as u64).expect("less than SHARDS");
        // Nothing under these locks can panic half-way, so a poisoned one still holds whole commits.
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `look` sees of `stream`, if it is there.
    fn look<R>(&self, stream: &StreamId, look: impl FnOnce(&Stream) -> R) -> Option<R> {
        let hash = self.hasher.hash_one(stream);
        self.shard(hash).find(hash, |known| known.id == *stream).map(look)
    }

    /// The version of `stream`, 0 when there is none.
    #[cfg(feature = "file")]
    pub(super) fn version(&self, stream: &StreamId) -> Version {
        self.look(stream, |stream| stream.version).unwrap_or_default()
    }

    /// Adds a commit of `events` events at the end of the log, if `stream` is at `version`: what `value` makes.
    /// Answers the position of its first event, or the version that the stream has.
    pub(super) fn push(
        &self,
        stream: &StreamId,
        version: Version,
        events: usize,
        value: impl FnOnce() -> T,
    ) -> Result<Position, Version> {
        assert!(events > 0, "a commit has at least one event");
        let hash = self.hasher.hash_one(stream);
        let mut shard = self.shard(hash);
        let mut known = match shard.entry(hash, |known| known.id == *stream, |known| known.hash) {
            Slot::Occupied(known) => known,
            Slot::Vacant(free) if version == 0 => free.insert(Stream::new(hash, stream.clone())),
            Slot::Vacant(_) => return Err(Version::ZERO),
        };
        let known = known.get_mut();
        if known.version != version {
            return Err(known.version);
        }
        let (at, position) = {
            let mut log = self.log.write().unwrap_or_else(PoisonError::into_inner);
            let (at, position) = (log.len(), log.head.next());
            log.push(IndexEntry { position, value: value() });
            log.head += events as u64;
            self.head.store(log.head.get(), Ordering::Release);
            (at, position)
        };
        known.commits.push((small(version.next().get()), small(at)));
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
    ) -> Vec<IndexEntry<T>> {
        let places = self.look(stream, |stream| {
            if from > stream.version {
                return Vec::new();
            }
            let after =
                stream.commits.partition_point(|(first, _)| u64::from(*first) <= from.get());
            let commits = &stream.commits[after.saturating_sub(1)..];
            commits.iter().take(limit).map(|(_, place)| *place as usize).collect()
        });
        let Some(places) = places else { return Vec::new() };
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        places.into_iter().map(|at| log.get(at)).collect()
    }

    /// As [`EventStore::read_log`](super::EventStore::read_log).
    pub(super) fn of_log(&self, after: Position, limit: usize) -> Vec<IndexEntry<T>> {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        let first = log.first_after(after);
        (first..log.len()).take(limit).map(|at| log.get(at)).collect()
    }

    pub(super) fn head(&self) -> Position {
        Position::new(self.head.load(Ordering::Acquire))
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
    #[cfg(feature = "file")]
    pub(super) fn counts(&self) -> (usize, usize) {
        let lock =
            |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).len();
        let commits = self.log.read().unwrap_or_else(PoisonError::into_inner).len();
        (self.shards.iter().map(lock).sum(), commits)
    }
}
