//! Transports: how commits come from the log to the event handlers.
//!
//! A transport is a durable topic of ordered partitions. All commits of one stream are in one
//! partition, in the order of the log, and are found by their log positions, so that a handler's
//! checkpoint means the same on every transport.

use std::{fmt, sync::Arc};

use crate::{BoxFuture, EventStore, Position, Record, StoreError};

/// A topic of partitions. The promises P5 and P7 are stated for it by
/// [`conformance`](crate::conformance::transport).
pub trait Transport: Send + Sync + 'static {
    /// How many partitions there are; 1 or more, and never another number for the same topic.
    fn partitions(&self) -> u16;

    /// The commits of `partition` that hold a position above `after`, in log order, at most `limit`
    /// (1 or more) of them.
    ///
    /// # Errors
    /// [`StoreError`] when the transport can't be read.
    fn read(
        &self,
        partition: u16,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// Returns once `partition` has, or may have, a commit above `after`.
    ///
    /// # Errors
    /// [`StoreError`] when the transport can't be asked.
    fn wait(&self, partition: u16, after: Position) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// The transport inside one process: the log itself is the topic, with one partition and nothing
/// copied. It holds no queue that could grow, and after a restart it goes on where the log is.
pub struct InMemoryTransport {
    store: Arc<dyn EventStore>,
}

impl InMemoryTransport {
    /// The transport over the log in `store`.
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store }
    }
}

impl Transport for InMemoryTransport {
    fn partitions(&self) -> u16 {
        1
    }

    fn read(
        &self,
        _: u16,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.store.read_log(after, limit)
    }

    fn wait(&self, _: u16, after: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.wait(after)
    }
}

impl fmt::Debug for InMemoryTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryTransport").finish_non_exhaustive()
    }
}
