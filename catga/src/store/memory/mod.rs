//! The log in memory: as fast as it gets, gone with the process.

mod frames;
mod kv;

use std::{fmt, future::ready};

pub use self::kv::MemoryKvStore;

use self::frames::{FrameLocation, Frames};
use super::{
    Append, AppendError, Appended, Durability, DurabilityReport, EventStore, StoreError,
    index::Index,
};
use crate::{
    log::{LogId, Position, Record, StreamId, Version},
    store::BoxFuture,
};

/// An [`EventStore`] in memory, bound by every promise but P2.
pub struct MemoryStore {
    id: LogId,
    index: Index<FrameLocation>,
    frames: Frames,
}

impl MemoryStore {
    /// An empty log.
    pub fn new() -> Self {
        Self { id: LogId::random(), index: Index::new(), frames: Frames::default() }
    }
}

impl EventStore for MemoryStore {
    fn log_id(&self) -> LogId {
        self.id
    }

    fn append<'a>(&'a self, append: Append<'a>) -> BoxFuture<'a, Result<Appended, AppendError>> {
        let Append { stream, version, events, frame, .. } = append;
        let pushed = self.index.push(stream, version, events, || self.frames.add(&frame));
        Box::pin(ready(match pushed {
            Ok(position) => Ok(Appended { position, token: 0 }),
            Err(actual) => Err(AppendError::Conflict { actual }),
        }))
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        from: Version,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(ready(Ok(self.frames.records(&self.index.of_stream(stream, from, limit)))))
    }

    fn read_log(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(ready(Ok(self.frames.records(&self.index.of_log(after, limit)))))
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(ready(Ok(self.index.head())))
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
