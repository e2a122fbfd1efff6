//! Event sourcing in Rust: annotate plain functions, and the runtime rebuilds aggregates from
//! their events, appends what a handler records in one atomic commit, and drives read models and
//! event handlers from the same log.
//!
//! ```
#![doc = include_str!("../examples/counter.rs")]
//! ```
//!
//! # Modules
//! - [`log`], [`store`]: how events are stored, and what a backend implements
//! - [`read_model`]: tables with indexes and pages, for projections
//! - [`cluster`]: many nodes
//! - [`testing`], [`conformance`]: tests of handlers; the promises as tests for any backend
//! - [`migrate`]: copying a log from one store to another
#![cfg_attr(doc, allow(rustdoc::private_intra_doc_links))]

extern crate self as catga;

pub mod cluster;
pub mod conformance;
mod follow;
pub mod log;
pub mod migrate;
mod model;
mod program;
mod react;
mod read;
mod runtime;
pub mod store;
pub mod testing;
mod write;

pub use catga_macros::{
    Command, Event, Query, command_handler, event_handler, projection, query_handler,
};

pub use crate::read::read_model;
#[cfg(feature = "file")]
pub use crate::store::{FileError, FileStore, Verified};
#[cfg(feature = "nats")]
pub use crate::store::{NatsOptions, NatsStore, NatsTransport};
#[cfg(feature = "redis")]
pub use crate::store::{RedisOptions, RedisStore, RedisTransport};
pub use crate::{
    cluster::{ClusterSettings, Member},
    log::{
        Clock, CommandRecord, Commit, EventFrame, EventId, FrameError, InvalidStreamId,
        InvalidTimestamp, MAX_EVENTS, MAX_KEY, Origin, Position, Record, StreamId, Timestamp,
        Version,
    },
    migrate::{Copied, CopyError, CopyProgress, CopyStep, copy},
    model::{
        Aggregate, Command, CommandId, Consistency, DecodeError, Error, ErrorKind, Event,
        EventType, Expected, FieldError, Interrupt, MAX_COMMAND_ID, Metadata, Query, Recorded,
        Root, Snapshots, Targeted, Validate,
    },
    program::{
        Behavior, Call, Context, FromContext, FromContextMut, Handled, IntoOutcome, Kind, Next,
        Registration, Resource, Setup, catalogue,
    },
    react::{DeadLetter, DeadLetterStatus, Delivered, DeliverySettings},
    read::{History, Projection, ReadModel, Subscription},
    runtime::{Builder, Catga, CommandRequest, HandlerStatus, Health, QueryRequest, StartError},
    store::{
        Append, AppendError, Appended, Backend, BoxFuture, Durability, DurabilityReport, Entry,
        EventStore, InMemoryTransport, KvStore, MemoryKvStore, MemoryStore, PARTITIONS, StoreError,
        Transport, UnknownDurability, partition,
    },
    write::CommandOutcome,
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

    pub use crate::{
        model::{decode_payload, encode_payload},
        react::register_event_handler,
        read::register_projection,
    };

    /// Boxes the future of an event handler. As a call, it makes the compiler name the function whose
    /// future is not `Send`.
    pub fn boxed<'a, T>(
        future: impl Future<Output = T> + Send + 'a,
    ) -> crate::store::BoxFuture<'a, T> {
        Box::pin(future)
    }
}

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
