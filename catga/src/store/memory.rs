//! The log in memory: as fast as it gets, gone with the process.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};

use super::{
    Append, AppendError, Appended, Durability, DurabilityReport, EventStore, StoreError,
    index::{Entry, Index},
};
use crate::{BoxFuture, Position, Record, StreamId, Version};

/// How many bytes of frames are allocated at once.
const BLOCK: usize = 256 << 10;

/// An [`EventStore`] in memory, bound by every promise but P2.
pub struct MemoryStore {
    index: Index<Bytes>,
    block: Mutex<BytesMut>,
}

impl MemoryStore {
    /// An empty log.
    pub fn new() -> Self {
        Self { index: Index::new(), block: Mutex::default() }
    }

    /// A copy of `frame` next to the ones before it: one by one they take half as much again.
    fn keep(&self, frame: &Bytes) -> Bytes {
        if frame.len() > BLOCK / 16 {
            return frame.clone();
        }
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        if block.capacity() < frame.len() {
            *block = BytesMut::with_capacity(BLOCK);
        }
        block.extend_from_slice(frame);
        block.split().freeze()
    }
}

fn records(entries: Vec<Entry<Bytes>>) -> Vec<Record> {
    entries.into_iter().map(|e| Record { position: e.position, token: 0, frame: e.value }).collect()
}

impl EventStore for MemoryStore {
    fn append<'a>(&'a self, append: Append<'a>) -> BoxFuture<'a, Result<Appended, AppendError>> {
        Box::pin(async move {
            let Append { stream, version, events, frame, .. } = append;
            match self.index.push(stream, version, events, || self.keep(&frame)) {
                Ok(position) => Ok(Appended { position, token: 0 }),
                Err(actual) => Err(AppendError::Conflict { actual }),
            }
        })
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        from: Version,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move { Ok(records(self.index.of_stream(stream, from, limit))) })
    }

    fn read_log(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(async move { Ok(records(self.index.of_log(after, limit))) })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async { Ok(self.index.head()) })
    }

    fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.index.wait(after))
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
        f.debug_struct("MemoryStore").field("head", &self.index.head()).finish_non_exhaustive()
    }
}
