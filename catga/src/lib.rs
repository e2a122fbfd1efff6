//! Event sourcing in Rust: annotate plain functions, and the runtime rebuilds aggregates from
//! their events, appends what a handler records in one atomic commit, and drives read models and
//! event handlers from the same log.
//!
//! ```standalone_crate
#![doc = include_str!("../examples/command.rs")]
//! ```
//!
//! # Examples
//! Each shows one thing, in `catga/examples`; `cargo run -p catga --example command` runs the one above.
//! - `command`: a command, its handler and the event that it records
//! - `order`: an aggregate with rules, and errors of its own
//! - `query_and_projection`: a query that is answered from a read model
//! - `effect_with_retry`: an event handler with an effect outside, called again until it succeeds
//! - `subscribe`: the log as a stream of events
//! - `upcasting`: an event whose fields changed
//! - `snapshots`: an aggregate with a long stream
//! - `state`: values of the program in handlers, and a parameter of one's own
//! - `testing`: tests of handlers
//! - `custom_store`: a store of one's own, held to the promises
//!
//! # Modules
//! The names that programs use every day are here, and those of handlers in the [`prelude`].
//! - [`read_model`]: tables with indexes and pages, for projections
//! - [`store`]: where the log is kept, and what a backend implements
//! - [`log`]: events as they are stored
//! - [`cluster`]: many nodes
//! - [`testing`], [`conformance`]: tests of handlers; the promises as tests for any backend
//! - [`migrate`]: copying a log from one store to another; [`repair`]: going on after a log lost its end;
//!   [`skip`]: going on without an event that can't be read
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
pub mod repair;
mod runtime;
pub mod skip;
pub mod store;
pub mod testing;
mod write;

pub use catga_macros::{
    Command, Event, Query, command, command_handler, event, event_handler, projection, query,
    query_handler,
};

pub use crate::{
    log::{Clock, Timestamp},
    model::{
        Aggregate, BoxError, Command, CommandId, Consistency, Error, ErrorKind, Event, Expected,
        FieldError, MAX_COMMAND_ID, Metadata, Query, Recorded, Result, Root, Snapshots, Validate,
    },
    program::State,
    react::{
        DeadLetter, DeadLetterFilter, DeadLetterPage, DeadLetterPlace, DeadLetterStatus,
        DeliverySettings,
    },
    read::{History, HistoryPage, Projection, ReadModel, Subscription, read_model},
    runtime::{
        Builder, Catga, CommandRequest, HandlerStatus, Health, PausedHandler, QueryRequest,
        StartError,
    },
    write::CommandOutcome,
};

/// What the authors of handlers use: `use catga::prelude::*`.
pub mod prelude {
    pub use crate::{
        Aggregate, Catga, Clock, Command, Event, FieldError, History, Metadata, Projection, Query,
        ReadModel, Recorded, Root, Snapshots, State, Timestamp, Validate, command_handler,
        event_handler, projection, query_handler,
    };
}

/// What handlers are made of: the traits behind their parameters and answers, and the catalogue of all of them.
///
/// A parameter of one's own implements [`FromContext`](handler::FromContext).
pub mod handler {
    pub use crate::{
        model::{DecodeError, EventType, Interrupt, KeyField, StreamKey, Targeted},
        program::{
            CommandOutput, Context, FromContext, FromContextMut, Handled, HandlerError,
            IntoOutcome, Kind, Registration, Setup, catalogue,
        },
        react::Delivered,
    };
}

/// Layers around every handler, given to the builder with [`Builder::behavior`].
pub mod pipeline {
    pub use crate::program::{Behavior, Call, Next};
}

/// Names the crates whose handlers, projections and events the program has.
///
/// The linker leaves out a crate that nothing names, and its handlers would be missing without a word. Written once in the
/// binary, this links each crate; one that brings nothing is a start error.
///
/// ```text
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
    pub use catga_macros::beside;
    pub use inventory;
    pub use serde;

    pub use crate::{
        model::{
            IsNotPlain, IsPlain, ReadBack, decode_payload, encode_payload, no_key, stored,
            stream_by,
        },
        program::NamedCrate,
        react::{blocking, register_event_handler},
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
#[doc = concat!("```standalone_crate\n", include_str!("../examples/order.rs"), "\n```")]
#[derive(Debug)]
pub struct OrderExample;

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
