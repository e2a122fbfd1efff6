//! Event sourcing in Rust: annotate plain functions, and the runtime rebuilds aggregates from
//! their events, appends what a handler records in one atomic commit, and drives read models and
//! event handlers from the same log.
//!
//! ```
#![doc = include_str!("../examples/counter.rs")]
//! ```
//!
//! # Modules, in reading order
//! - [`stream`], [`time`], [`commit`]: the coordinates of an event, and how it is stored
//! - [`event`], [`message`], [`aggregate`], [`handler`]: what a program is made of
//! - [`context`], [`setup`], [`runtime`], [`pipeline`]: how it is put together and run
//! - [`repository`], [`snapshot`]: loading aggregates and appending to their streams
//! - [`projection`], [`history`]: reading
//! - [`store`], [`transport`]: what a backend implements; [`copy`](copy()): moving from one to another
//! - [`relay`], [`delivery`], [`parked`]: event handlers, retries and dead letters
//! - [`cluster`]: many nodes
//! - [`conformance`], [`testing`]: the promises as tests for any backend; tests of handlers
#![cfg_attr(doc, allow(rustdoc::private_intra_doc_links))]

extern crate self as catga;

mod aggregate;
mod cluster;
mod codec;
mod commit;
pub mod conformance;
mod context;
mod copy;
mod delivery;
mod error;
mod event;
mod few;
mod frame;
mod handler;
mod history;
mod message;
mod parked;
mod pipeline;
mod projection;
mod relay;
mod repository;
mod retry;
mod rfc3339;
mod runtime;
mod setup;
mod snapshot;
mod store;
mod stream;
mod telemetry;
pub mod testing;
mod time;
mod transport;

/// A boxed future, as object-safe traits answer it.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub use catga_macros::{
    Command, Event, Query, command_handler, event_handler, projection, query_handler,
};

#[cfg(feature = "nats")]
pub use crate::store::{NatsOptions, NatsStore, NatsTransport};
#[cfg(feature = "redis")]
pub use crate::store::{RedisOptions, RedisStore, RedisTransport};
pub use crate::{
    aggregate::{Aggregate, Root},
    cluster::{ClusterSettings, Member},
    commit::{CommandRecord, Commit, EventFrame, EventId, FrameError, MAX_EVENTS, Record},
    context::{CommandId, Consistency, Context, Expected, MAX_COMMAND_ID, Metadata},
    copy::{Copied, CopyError, CopyProgress, CopyStep, House, copy},
    error::{Error, ErrorKind, Stop},
    event::{DecodeError, Event, EventType, Origin, Recorded},
    few::Few,
    handler::{
        Delivered, FromContext, FromContextMut, Handled, IntoOutcome, Kind, Registration, Resource,
        catalogue,
    },
    history::History,
    message::{Command, FieldError, Query, Targeted, Validate},
    parked::{DeadLetter, DeadLetterStatus},
    pipeline::{Behavior, Call, Next},
    projection::{Projection, ReadModel},
    rfc3339::InvalidTimestamp,
    runtime::{Catga, Done, HandlerStatus, Health},
    setup::{Builder, DeliverySettings, Setup, StartError},
    snapshot::Snapshots,
    store::{
        Append, AppendError, Appended, Durability, DurabilityReport, Entry, EventStore, FileError,
        FileStore, Keyed, MemoryKeyed, MemoryStore, StoreError, UnknownDurability, Verified,
    },
    stream::{InvalidStreamId, MAX_KEY, Position, StreamId, Version},
    time::{Clock, Timestamp},
    transport::{InMemoryTransport, PARTITIONS, Transport, partition},
};

/// What most programs use: `use catga::prelude::*`.
pub mod prelude {
    pub use crate::{
        Aggregate, Behavior, Call, Catga, Clock, Command, Event, FieldError, History, Kind,
        Metadata, Next, Projection, Query, ReadModel, Recorded, Resource, Root, Snapshots,
        Timestamp, Validate, command_handler, event_handler, projection, query_handler,
    };
}

/// What generated code uses. Not a public interface.
#[doc(hidden)]
pub mod __private {
    pub use inventory;

    pub use crate::event::{decode_payload, encode_payload};

    /// Boxes the future of an event handler. As a call, it makes the compiler name the function whose
    /// future is not `Send`.
    pub fn boxed<'a, T>(future: impl Future<Output = T> + Send + 'a) -> crate::BoxFuture<'a, T> {
        Box::pin(future)
    }
}

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
