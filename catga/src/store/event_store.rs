//! The log as a backend keeps it.

use bytes::Bytes;

use crate::{
    log::{LogId, Position, Record, StoreError, StreamId, Version},
    store::{BoxFuture, DurabilityReport, TaskTrouble},
};

/// The log: commits in one total order, each also in the order of its stream.
///
/// A store keeps opaque frames, and need not look into one. All methods can be called from many tasks
/// at once.
pub trait EventStore: Send + Sync + 'static {
    /// Which log this is. Should another log take its place while the store is open, every call answers
    /// [`StoreError::ended`] from then on.
    fn log_id(&self) -> LogId;

    /// Whether the store can go on as it is open now. It asks nobody, so it answers at once.
    ///
    /// # Errors
    /// [`StoreError::ended`] when only a new start helps.
    fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The tasks of the store's own that do not go well, if it has any. It asks nobody.
    fn task_troubles(&self) -> Vec<TaskTrouble> {
        Vec::new()
    }

    /// Appends one commit at the end of its stream and of the log, if the stream still ends at
    /// [`Append::version`]. When it answers `Ok`, the commit is as durable as
    /// [`durability`](Self::durability) says, and every later read sees it.
    ///
    /// # Errors
    /// See [`AppendError`]: refused, or not known.
    fn append<'a>(&'a self, append: Append<'a>) -> BoxFuture<'a, Result<Appended, AppendError>>;

    /// The commits of `stream` that hold version `from` or a later one, oldest first, at most
    /// `limit` (1 or more) of them, and fewer only when the stream ends there.
    ///
    /// # Errors
    /// [`StoreError`] when the store can't be read.
    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        from: Version,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>>;

    /// The first commits of `stream`, oldest first, at most `limit` (1 or more) of them, and fewer only when the stream
    /// ends there. It may be `None` instead when the stream has more than `limit` events: of a long one there
    /// mostly is a snapshot, and a store that knows beforehand need not read what nobody looks at.
    ///
    /// # Errors
    /// [`StoreError`] when the store can't be read.
    fn read_short<'a>(
        &'a self,
        stream: &'a StreamId,
        limit: usize,
    ) -> BoxFuture<'a, Result<Option<Vec<Record>>, StoreError>> {
        Box::pin(async move { self.read_stream(stream, Version::FIRST, limit).await.map(Some) })
    }

    /// The commits that hold a position above `after`, in log order, at most `limit` (1 or more) of
    /// them, and none only when the log ends there. A commit is in the answer only when every commit before
    /// it is visible too.
    ///
    /// # Errors
    /// [`StoreError`] when the store can't be read.
    fn read_log(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// The position of the last event in the log, 0 when it is empty. It is at least that of every
    /// append answered before the call.
    ///
    /// # Errors
    /// [`StoreError`] when the store can't be asked.
    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>>;

    /// Returns once the log has, or may have, an event above `after`.
    ///
    /// # Errors
    /// [`StoreError`] when the store can't be asked.
    fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>>;

    /// What an acknowledged append survives, read from how the live store is set now (P2).
    ///
    /// # Errors
    /// [`StoreError`] when the store can't be asked.
    fn durability(&self) -> BoxFuture<'_, Result<DurabilityReport, StoreError>>;
}

/// A commit to append.
#[derive(Debug, Clone)]
pub struct Append<'a> {
    /// Where to.
    pub stream: &'a StreamId,
    /// The version that the stream must have now: 0 when there must be no stream.
    pub version: Version,
    /// The store's own mark of the stream's end: [`Record::token`] or [`Appended::token`] of the
    /// commit that ends at `version`, 0 when there is none.
    pub token: u64,
    /// How many events are in the frame, and so how many positions it takes.
    pub events: usize,
    /// The encoded [`Commit`](crate::log::Commit).
    pub frame: Bytes,
}

/// A commit that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The position of its first event.
    pub position: Position,
    /// What to append right after it with.
    pub token: u64,
}

/// How an append ended when it did not end well.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The stream is at another version. Nothing was written.
    #[error("the stream is at version {actual}, not at the expected one")]
    Conflict {
        /// The version that the stream has.
        actual: Version,
    },
    /// The store refused it. Nothing was written, and nothing will be.
    #[error(transparent)]
    Refused(StoreError),
    /// The answer was lost: the commit may be in the log, now or soon. The runtime finds out by
    /// appending the same frame again and, at a conflict, looking for the commit's id (P3).
    #[error("it is not known whether the commit was stored: {0}")]
    Unknown(StoreError),
}
