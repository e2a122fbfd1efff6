//! Event handlers: at least once, per stream in order, and a failing event stops only its stream.
//!
//! Each handler has a runner per partition, on one node at a time. It reads the topic from its checkpoint, works on
//! many streams at once and on each stream in order, tries a failing event again with growing
//! delays, and parks it after the last attempt. The checkpoint is the end of the oldest stretch of
//! the log in which everything is handled or parked; it is the position and the id of an event, so
//! that a log that lost its tail is noticed.

mod claim;
mod feed;
mod lanes;
mod recent;
mod runner;
mod task;

use std::{
    fmt,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures_util::FutureExt;

pub(crate) use self::{
    claim::{Checkpoint, Claim},
    feed::{Feed, Offers},
    lanes::Delivery,
    recent::Fed,
    runner::Runner,
};
use crate::{
    BoxFuture, Call, Context, DecodeError, Delivered, Error, ErrorKind, Event, EventType, Kind,
    Metadata, Position, Recorded, Stop, cluster::Share, error::StopReason, event::DecodedCommit,
    pipeline, runtime::Runtime,
};

/// An event handler, whatever its event's type.
pub(crate) trait EventHandler: Send + Sync {
    fn name(&self) -> &'static str;

    /// The event types it gets.
    fn types(&self) -> &'static [EventType];

    /// Runs it once on an event.
    fn handle(
        self: Arc<Self>,
        runtime: Arc<Runtime>,
        delivery: Delivery,
        attempt: u32,
    ) -> BoxFuture<'static, Result<(), Error>>;
}

/// The generated function around an annotated one.
pub(crate) type HandlerFn<E> =
    for<'c> fn(&'c Context<'c>, Recorded<E>) -> BoxFuture<'c, Result<(), Stop>>;

/// An annotated function with the type of its first parameter.
pub(crate) struct TypedHandler<P: Delivered> {
    pub(crate) name: &'static str,
    pub(crate) call: HandlerFn<P::Event>,
}

impl<P: Delivered + 'static> EventHandler for TypedHandler<P> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn types(&self) -> &'static [EventType] {
        P::Event::TYPES
    }

    fn handle(
        self: Arc<Self>,
        runtime: Arc<Runtime>,
        delivery: Delivery,
        attempt: u32,
    ) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move {
            let Some((event, metadata)) = event_of::<P::Event>(&delivery, attempt)? else {
                return Ok(());
            };
            let cx = Context::new(&runtime, &metadata);
            let call = Call { kind: Kind::EventHandler, name: self.name, metadata: &metadata };
            let handler = pin!(async {
                match AssertUnwindSafe((self.call)(&cx, event)).catch_unwind().await {
                    Err(_) => Err(Error::misuse("the handler panicked")),
                    Ok(outcome) => outcome.map_err(Stop::into_error),
                }
            });
            pipeline::run(&runtime, &call, runtime.delivery.timeout, handler).await
        })
    }
}

/// An event for a handler, if it is of type `E`, and what travels with it.
fn event_of<E: Event>(
    delivery: &Delivery,
    attempt: u32,
) -> Result<Option<(Recorded<E>, Metadata)>, DecodeError> {
    let Delivery { stream, fed, index, .. } = delivery;
    let (record, stream) = (&fed.record, stream.clone().into());
    let decoded = DecodedCommit { record, commit: record.commit()?, stream };
    let event = decoded.event(*index)?;
    Ok(event.map(|mut event: Recorded<E>| {
        let commit = &decoded.commit;
        event.attempt = attempt;
        let metadata = Metadata {
            correlation: commit.correlation.map(str::to_owned),
            causation: Some(event.id),
            traceparent: commit.traceparent.map(str::to_owned),
            ..Metadata::default()
        };
        (event, metadata)
    }))
}

impl Stop {
    /// The error; a handler that only reads never ends for another reason.
    pub(crate) fn into_error(self) -> Error {
        match self.0 {
            StopReason::Error(error) => error,
            StopReason::Again | StopReason::Replay { .. } => ErrorKind::Contention.into(),
        }
    }
}

/// How the work on a share is, for health and metrics.
pub(crate) struct WorkState {
    pub(crate) share: Share,
    /// Whether this node works on it.
    is_held: AtomicBool,
    /// Everything up to here is done, as far as this node knows.
    position: AtomicU64,
    /// Why it stopped for good, if it did.
    stopped: Mutex<Option<String>>,
}

impl WorkState {
    pub(crate) fn new(share: Share) -> Self {
        let (is_held, position, stopped) = Default::default();
        Self { share, is_held, position, stopped }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Relaxed)
    }

    pub(crate) fn position(&self) -> Position {
        self.position.load(Ordering::Relaxed)
    }

    pub(crate) fn stopped(&self) -> Option<String> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_held(&self, is_held: bool) {
        self.is_held.store(is_held, Ordering::Relaxed);
    }

    pub(crate) fn set_position(&self, position: Position) {
        self.position.store(position, Ordering::Relaxed);
    }

    pub(crate) fn set_stopped(&self, reason: String) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
}

impl fmt::Debug for WorkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkState")
            .field("share", &self.share)
            .field("is_held", &self.is_held())
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}
