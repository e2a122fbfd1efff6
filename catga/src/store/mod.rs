//! What a backend implements: the log of commits, a small key-value store beside it, and a topic for event handlers.
//!
//! [`conformance`](crate::conformance) states the promises for any implementation.

mod append_once;
mod backend;
mod backoff;
mod durability;
mod event_store;
#[cfg(feature = "file")]
mod file;
#[cfg(any(feature = "nats", feature = "redis"))]
mod guard;
mod index;
mod kv_store;
mod memory;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "nats", feature = "redis"))]
mod seen_head;
#[cfg(any(feature = "nats", feature = "redis"))]
mod shared;
mod supervise;
#[cfg(any(feature = "nats", feature = "redis"))]
mod tasks;
mod transport;

#[cfg(feature = "file")]
pub use self::file::{FileError, FileStore, Verified};
#[cfg(feature = "nats")]
pub use self::nats::{NatsOptions, NatsStore, NatsTransport};
#[cfg(feature = "redis")]
pub use self::redis::{RedisOptions, RedisStore, RedisTransport};
#[cfg(any(feature = "nats", feature = "redis"))]
pub(crate) use self::tasks::Tasks;
pub(crate) use self::{
    append_once::{NotAppended, append_once},
    backoff::Backoff,
    durability::NOT_DURABLE,
    supervise::{
        LONGEST_REASON, RUNS_WELL, TASKS_STOPPED, first_chars, guarded, guarded_here, panic_text,
        supervised,
    },
    transport::partition_of,
};
pub use self::{
    backend::Backend,
    durability::{Durability, DurabilityReport, DurabilitySet, UnknownDurability},
    event_store::{Append, AppendError, Appended, EventStore},
    kv_store::{KvEntry, KvStore},
    memory::{MemoryKvStore, MemoryStore},
    supervise::{TASK_PANICS, TaskTrouble},
    transport::{InMemoryTransport, PARTITIONS, Transport, partition},
};
pub use crate::log::StoreError;

/// A boxed future, as object-safe traits answer it.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
