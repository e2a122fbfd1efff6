//! The two traits a backend implements: the log of commits, and a small keyed store beside it.
//!
//! The promises P1–P5 are stated by [`conformance`](crate::conformance), which runs against any
//! implementation.

mod file;
mod index;
mod memory;
mod memory_frames;
mod memory_keyed;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "nats", feature = "redis"))]
mod shared;

use std::{fmt, str::FromStr, time::Duration};

use bytes::Bytes;

#[cfg(feature = "nats")]
pub use self::nats::{NatsOptions, NatsStore, NatsTransport};
#[cfg(feature = "redis")]
pub use self::redis::{RedisOptions, RedisStore, RedisTransport};
pub use self::{
    file::{FileError, FileStore, Verified},
    memory::MemoryStore,
    memory_keyed::MemoryKeyed,
};
use crate::{BoxFuture, Position, Record, StreamId, Version};

/// The log: commits in one total order, each also in the order of its stream.
///
/// A store keeps opaque frames, and need not look into one. All methods can be called from many tasks
/// at once.
pub trait EventStore: Send + Sync + 'static {
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
        Box::pin(async move { self.read_stream(stream, 1, limit).await.map(Some) })
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
    /// The encoded [`Commit`](crate::Commit).
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

/// A store that can't be reached, did not answer in time, or holds what it should not.
///
/// The text never shows an address, a password or a path: those go to the log only.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StoreErrorKind {
    Unavailable,
    Corrupt,
    TooLarge,
}

impl StoreError {
    /// The store can't be reached or did not answer in time. Worth trying again.
    pub fn unavailable(message: impl fmt::Display) -> Self {
        Self { kind: StoreErrorKind::Unavailable, message: message.to_string() }
    }

    /// The store holds bytes that it can't have been given. Trying again does not help.
    pub fn corrupt(message: impl fmt::Display) -> Self {
        Self { kind: StoreErrorKind::Corrupt, message: message.to_string() }
    }

    /// The commit is larger than the store takes. Nothing was written.
    pub fn too_large(message: impl fmt::Display) -> Self {
        Self { kind: StoreErrorKind::TooLarge, message: message.to_string() }
    }

    /// Whether the same call may succeed later.
    pub fn is_unavailable(&self) -> bool {
        self.kind == StoreErrorKind::Unavailable
    }

    /// Whether the commit was larger than the store takes.
    pub fn is_too_large(&self) -> bool {
        self.kind == StoreErrorKind::TooLarge
    }
}

/// What an acknowledged commit survives (P2), from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// It is gone with the process.
    Memory,
    /// A crash may take the last seconds.
    Seconds,
    /// It survives the kill of every process, not a power cut.
    ProcessCrash,
    /// It survives a power cut.
    PowerLoss,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Memory => "memory",
            Self::Seconds => "seconds",
            Self::ProcessCrash => "process-crash",
            Self::PowerLoss => "power-loss",
        })
    }
}

impl FromStr for Durability {
    type Err = UnknownDurability;

    fn from_str(text: &str) -> Result<Self, UnknownDurability> {
        let all = [Self::Memory, Self::Seconds, Self::ProcessCrash, Self::PowerLoss];
        all.into_iter().find(|level| level.to_string() == text).ok_or(UnknownDurability)
    }
}

/// A text that names no [`Durability`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("memory, seconds, process-crash and power-loss are allowed")]
pub struct UnknownDurability;

/// What an acknowledged commit survives on the live store, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurabilityReport {
    /// What it survives.
    pub level: Durability,
    /// The settings that were read, in the store's own words: name and value.
    pub settings: Vec<(&'static str, String)>,
    /// What keeps the level down and how to raise it, when the store knows.
    pub advice: Option<String>,
}

impl From<Durability> for DurabilityReport {
    fn from(level: Durability) -> Self {
        Self { level, settings: Vec::new(), advice: None }
    }
}

/// A small store of values under keys with compare-and-set: for checkpoints, and later leases,
/// membership and snapshots. It lives in the same backend as the log.
pub trait Keyed: Send + Sync + 'static {
    /// The value under `key`, or `None`.
    ///
    /// # Errors
    /// [`StoreError`] when the store can't be read.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>>;

    /// Puts `value` under `key` if the key's revision is `expected`, where 0 means that there must
    /// be no value; it is gone after `ttl`. Answers the new revision, or `None` when the revision
    /// was another one and nothing was written.
    ///
    /// # Errors
    /// [`StoreError`] when the store can't be written.
    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: u64,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Option<u64>, StoreError>>;

    /// Deletes `key` if its revision is `expected`. Answers whether it did.
    ///
    /// # Errors
    /// [`StoreError`] when the store can't be written.
    fn delete<'a>(&'a self, key: &'a str, expected: u64)
    -> BoxFuture<'a, Result<bool, StoreError>>;
}

/// A value in a [`Keyed`] store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// Rises with every write of the key; never 0.
    pub revision: u64,
}
