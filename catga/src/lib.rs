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
    Command, Event, Query, command, command_handler, event, event_handler, projection, query,
    query_handler,
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
        Aggregate, BoxError, Command, CommandId, Consistency, DecodeError, Error, ErrorKind, Event,
        EventType, Expected, FieldError, Interrupt, KeyField, MAX_COMMAND_ID, Metadata, Query,
        Recorded, Result, Root, Snapshots, StreamKey, Targeted, Validate,
    },
    program::{
        Behavior, Call, CommandOutput, Context, FromContext, FromContextMut, Handled, HandlerError,
        IntoOutcome, Kind, Next, Registration, Setup, State, catalogue,
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
        Metadata, Next, Projection, Query, ReadModel, Recorded, Root, Snapshots, State, Timestamp,
        Validate, command_handler, event_handler, projection, query_handler,
    };
}

/// Names the crates whose handlers, projections and events the program has.
///
/// The linker leaves out a crate that nothing names, and its handlers would be missing without a word. Written once in the
/// binary, this links each crate; one that brings nothing is a start error.
///
/// ```ignore
/// catga::handlers!(orders, billing);
/// ```
#[macro_export]
macro_rules! handlers {
    ($($name:ident),+ $(,)?) => {$(
        #[allow(unused_imports, clippy::single_component_path_imports)]
        use $name as _;
        const _: () = {
            $crate::__private::inventory::submit! {
                $crate::__private::NamedCrate {
                    name: ::core::stringify!($name),
                    file: ::core::file!(),
                    line: ::core::line!(),
                }
            }
        };
    )+};
}

/// Ends a handler with an error unless something holds.
///
/// ```
/// # #[derive(Debug, PartialEq)] enum OrderError { NotPaid }
/// fn ship(is_paid: bool) -> Result<(), OrderError> {
///     catga::ensure!(is_paid, OrderError::NotPaid);
///     Ok(())
/// }
/// assert_eq!(ship(false), Err(OrderError::NotPaid));
/// ```
///
/// The error is turned into the one that the function returns, as by `?`.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $error:expr $(,)?) => {
        if !$condition {
            return ::core::result::Result::Err(::core::convert::From::from($error));
        }
    };
}

/// What generated code uses. Not a public interface.
#[doc(hidden)]
pub mod __private {
    pub use inventory;
    pub use serde;

    pub use crate::{
        model::{decode_payload, encode_payload, no_key, stream_by},
        program::NamedCrate,
        react::register_event_handler,
        read::register_projection,
    };

    /// Whether a type is a `Result`, under whatever name.
    #[derive(Debug)]
    pub struct IsResult<T>(std::marker::PhantomData<T>);

    impl<T, E> IsResult<Result<T, E>> {
        /// It is.
        pub const ANSWER: bool = true;

        /// It is refused for that.
        pub fn stored() {}
    }

    /// The answer for all other types: what a type says itself comes first.
    pub trait IsNoResult {
        /// It is not.
        const ANSWER: bool = false;

        /// The type.
        type Value;

        /// Makes the compiler say what a command's answer lacks to be stored.
        fn stored()
        where
            Self::Value: crate::program::CommandOutput,
        {
        }
    }

    impl<T> IsNoResult for IsResult<T> {
        type Value = T;
    }

    /// Boxes the future of an event handler. As a call, it makes the compiler name the function whose
    /// future is not `Send`.
    pub fn boxed<'a, T>(
        future: impl Future<Output = T> + Send + 'a,
    ) -> crate::store::BoxFuture<'a, T> {
        Box::pin(future)
    }
}

/// The example of an order, run.
#[cfg(doctest)]
#[doc = concat!("```\n", include_str!("../examples/order.rs"), "\n```")]
#[derive(Debug)]
pub struct OrderExample;

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
