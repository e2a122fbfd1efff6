//! Transports: how commits come from the log to event handlers, and to other services.
//!
//! A transport is a durable copy of the log, a topic, which the [relay](crate::relay) fills. Commits keep
//! the positions that they have in the log, so that a handler's checkpoint means the same on every transport. For
//! other services the topic is split into [`PARTITIONS`]: all commits of one stream are in one of them, in order.

use std::{fmt, sync::Arc};

use crate::{
    log::{Position, Record, StoreError, StreamId},
    store::{BoxFuture, EventStore, TaskTrouble},
};

/// How many partitions streams are spread over. It is part of what is stored, so it never changes.
pub const PARTITIONS: u16 = 8;

/// The partition of a stream: the CRC-32 of its name modulo [`PARTITIONS`].
pub fn partition(stream: &StreamId) -> u16 {
    partition_of(stream.as_str())
}

pub(crate) fn partition_of(stream: &str) -> u16 {
    let hash = crc32fast::hash(stream.as_bytes());
    u16::try_from(hash % u32::from(PARTITIONS)).expect("it is below a u16")
}

/// A topic that holds a beginning of the log. The promises P5 and P7 are stated for it by
/// [`conformance`](crate::conformance::transport).
pub trait Transport: Send + Sync + 'static {
    /// Whether the transport can go on as it is open now. It asks nobody, so it answers at once.
    ///
    /// # Errors
    /// [`StoreError::ended`] when only a new start helps.
    fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The tasks of the transport's own that do not go well, if it has any. It asks nobody.
    fn task_troubles(&self) -> Vec<TaskTrouble> {
        Vec::new()
    }

    /// The commits that hold a position above `after`, in log order, at most `limit` (1 or more) of them, and none
    /// only when the topic ends there.
    ///
    /// # Errors
    /// [`StoreError`] when the topic can't be read.
    fn read(&self, after: Position, limit: usize)
    -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// Returns once the topic has, or may have, a commit above `after`.
    ///
    /// # Errors
    /// [`StoreError`] when the topic can't be asked.
    fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The last position in the topic, 0 when it is empty.
    ///
    /// # Errors
    /// [`StoreError`] when the topic can't be asked.
    fn end(&self) -> BoxFuture<'_, Result<Position, StoreError>>;

    /// Adds `records`, which follow one another in the log, if the topic ends at `after`. Answers whether it did:
    /// the topic is its own checkpoint, and of two who add to it at once one is refused.
    ///
    /// # Errors
    /// [`StoreError`] when that is not known. Then all of them, none or the first ones are in the topic, now or soon.
    fn publish<'a>(
        &'a self,
        after: Position,
        records: &'a [Record],
    ) -> BoxFuture<'a, Result<bool, StoreError>>;
}

/// The transport that needs no server: the log itself is the topic, and nothing is copied. It holds no queue that
/// could grow, and after a restart it goes on where the log is.
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
    fn read(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.store.read_log(after, limit)
    }

    fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.wait(after)
    }

    fn end(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.store.head()
    }

    /// What is in the log is in the topic, so there is never anything to add.
    fn publish<'a>(
        &'a self,
        _: Position,
        _: &'a [Record],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async { Ok(false) })
    }
}

impl fmt::Debug for InMemoryTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryTransport").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_what_any_language_computes() {
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!(partition_of("123456789"), (0xCBF4_3926_u32 % 8) as u16);
        assert_eq!(partition(&StreamId::new("order", "a").unwrap()), partition_of("order/a"));
    }
}
