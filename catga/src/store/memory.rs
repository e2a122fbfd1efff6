//! The log in memory: as fast as it gets, gone with the process.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
};

use tokio::sync::watch;

use super::{Append, AppendError, Appended, Durability, DurabilityReport, EventStore, StoreError};
use crate::{BoxFuture, Position, Record, StreamId, Version};

/// How many locks the streams are spread over.
const SHARDS: usize = 64;

/// How many commits a segment of the log holds. The log grows segment by segment, so that no append ever
/// waits for the whole log to be copied into a larger vector.
const SEGMENT: usize = 8192;

/// An [`EventStore`] in memory, bound by every promise but P2.
pub struct MemoryStore {
    /// Which commits each stream has, by hash of the stream. Locked before `log`.
    shards: Vec<Mutex<HashMap<StreamId, Stream>>>,
    hasher: RandomState,
    /// All commits in order.
    log: RwLock<Log>,
    /// The position of the last event; written under the lock of `log`.
    head: watch::Sender<Position>,
}

#[derive(Default)]
struct Stream {
    version: Version,
    /// The first version of each commit, and the commit's index in the log.
    commits: Vec<(Version, usize)>,
}

#[derive(Default)]
struct Log {
    head: Position,
    segments: Vec<Vec<Record>>,
}

impl Log {
    fn len(&self) -> usize {
        match self.segments.as_slice() {
            [] => 0,
            [full @ .., last] => full.len() * SEGMENT + last.len(),
        }
    }

    fn get(&self, index: usize) -> &Record {
        &self.segments[index / SEGMENT][index % SEGMENT]
    }

    fn push(&mut self, record: Record) {
        match self.segments.last_mut() {
            Some(last) if last.len() < SEGMENT => last.push(record),
            _ => {
                let mut segment = Vec::with_capacity(SEGMENT);
                segment.push(record);
                self.segments.push(segment);
            }
        }
    }

    /// The index of the first commit that holds a position above `after`.
    fn first_after(&self, after: Position) -> usize {
        if after >= self.head {
            return self.len();
        }
        // The last commit that begins at or before the next position holds it: positions have no gaps here.
        let begins_later = |record: &Record| record.position > after + 1;
        let segment = self.segments.partition_point(|s| !begins_later(&s[0])) - 1;
        segment * SEGMENT + self.segments[segment].partition_point(|r| !begins_later(r)) - 1
    }
}

impl MemoryStore {
    /// An empty log.
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            log: RwLock::default(),
            head: watch::Sender::new(0),
        }
    }

    fn shard(&self, stream: &StreamId) -> MutexGuard<'_, HashMap<StreamId, Stream>> {
        let hash = self.hasher.hash_one(stream);
        let shard = usize::try_from(hash % SHARDS as u64).expect("less than SHARDS");
        // Nothing under these locks can panic half-way, so a poisoned one still holds whole commits.
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append_now(&self, append: Append<'_>) -> Result<Appended, AppendError> {
        assert!(append.events > 0, "a commit has at least one event");
        let mut shard = self.shard(append.stream);
        let actual = shard.get(append.stream).map_or(0, |stream| stream.version);
        if actual != append.version {
            return Err(AppendError::Conflict { actual });
        }
        let (index, position) = {
            let mut log = self.log.write().unwrap_or_else(PoisonError::into_inner);
            let (index, position) = (log.len(), log.head + 1);
            log.push(Record { position, token: 0, frame: append.frame });
            log.head += append.events as u64;
            self.head.send_replace(log.head);
            (index, position)
        };
        let stream = match shard.get_mut(append.stream) {
            Some(stream) => stream,
            None => shard.entry(append.stream.clone()).or_default(),
        };
        stream.commits.push((actual + 1, index));
        stream.version += append.events as u64;
        Ok(Appended { position, token: 0 })
    }

    fn read_stream_now(&self, stream: &StreamId, from: Version, limit: usize) -> Vec<Record> {
        let indexes: Vec<usize> = {
            let shard = self.shard(stream);
            let Some(stream) = shard.get(stream).filter(|stream| from <= stream.version) else {
                return Vec::new();
            };
            let after = stream.commits.partition_point(|(first, _)| *first <= from);
            stream.commits[after.saturating_sub(1)..].iter().take(limit).map(|c| c.1).collect()
        };
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        indexes.into_iter().map(|index| log.get(index).clone()).collect()
    }

    fn read_log_now(&self, after: Position, limit: usize) -> Vec<Record> {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        let first = log.first_after(after);
        (first..log.len()).take(limit).map(|index| log.get(index).clone()).collect()
    }
}

impl EventStore for MemoryStore {
    fn append<'a>(&'a self, append: Append<'a>) -> BoxFuture<'a, Result<Appended, AppendError>> {
        Box::pin(async move { self.append_now(append) })
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        from: Version,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move { Ok(self.read_stream_now(stream, from, limit)) })
    }

    fn read_log(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(async move { Ok(self.read_log_now(after, limit)) })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async { Ok(*self.head.borrow()) })
    }

    fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let mut head = self.head.subscribe();
            head.wait_for(|head| *head > after)
                .await
                .map_err(|_| StoreError::unavailable("the store was closed"))?;
            Ok(())
        })
    }

    fn durability(&self) -> BoxFuture<'_, Result<DurabilityReport, StoreError>> {
        Box::pin(async { Ok(Durability::Memory.into()) })
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("head", &*self.head.borrow()).finish_non_exhaustive()
    }
}
