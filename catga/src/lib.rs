//! Event sourcing in Rust: annotate plain functions, and the runtime rebuilds aggregates from
//! their events, appends what a handler records in one atomic commit, and drives read models and
//! event handlers from the same log.
//!
//! ```
#![doc = include_str!("../examples/counter.rs")]
//! ```
//!
//! # Modules
//! The names that programs use every day are here, and those of handlers in the [`prelude`].
//! - [`store`]: where the log is kept, and what a backend implements
//! - [`log`]: events as they are stored
//! - [`cluster`]: many nodes
//! - [`testing`], [`conformance`]: tests of handlers; the promises as tests for any backend
//! - [`migrate`]: copying a log from one store to another
//! - [`handler`]: parameters of one's own for handlers, and the catalogue of all handlers
//! - [`pipeline`]: layers around every handler
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

pub use crate::{
    log::{Clock, Timestamp},
    model::{
        Aggregate, Command, CommandId, Consistency, Error, ErrorKind, Event, Expected, FieldError,
        MAX_COMMAND_ID, Metadata, Query, Recorded, Root, Snapshots, Validate,
    },
    program::Resource,
    react::{DeadLetter, DeadLetterStatus, DeliverySettings},
    read::{History, Projection, ReadModel},
    runtime::{Builder, Catga, CommandRequest, HandlerStatus, Health, QueryRequest, StartError},
    write::CommandOutcome,
};

/// What the authors of handlers use: `use catga::prelude::*`.
pub mod prelude {
    pub use crate::{
        Aggregate, Catga, Clock, Command, Event, FieldError, History, Metadata, Projection, Query,
        ReadModel, Recorded, Resource, Root, Snapshots, Timestamp, Validate, command_handler,
        event_handler, projection, query_handler,
    };
}

/// What handlers are made of: the traits behind their parameters and answers, and the catalogue of all of them.
///
/// A parameter of one's own implements [`FromContext`](handler::FromContext).
pub mod handler {
    pub use crate::{
        model::{DecodeError, EventType, Interrupt, Targeted},
        program::{
            Context, FromContext, FromContextMut, Handled, IntoOutcome, Kind, Registration, Setup,
            catalogue,
        },
        react::Delivered,
    };
}

/// Layers around every handler, given to the builder with [`Builder::behavior`].
pub mod pipeline {
    pub use crate::program::{Behavior, Call, Next};
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
