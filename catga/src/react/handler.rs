//! Event handlers: at least once, per stream in order, and a failing event stops only its stream.
//!
//! Each handler has a runner per partition, on one node at a time. It reads the topic from its checkpoint, works on
//! many streams at once and on each stream in order, tries a failing event again with growing
//! delays, and parks it after the last attempt. The checkpoint is the end of the oldest stretch of
//! the log in which everything is handled or parked; it is the position and the id of an event, so
//! that a log that lost its tail is noticed.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;

use crate::{
    model::{
        DecodeError, Error, Event, EventType, Interrupt, Metadata, ParsedRecord, Recorded,
        SkippedEvents,
    },
    program::{Call, Context, Kind, Program, Setup},
    react::lanes::Delivery,
    store::{BoxFuture, panic_text},
};

/// The first parameter of an event handler: [`Recorded<E>`], or the event `E` alone.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "the first parameter of an event handler is `Recorded<E>` or `E`, where `E` is an event",
    note = "events derive `catga::Event`"
)]
pub trait Delivered: Sized + Send {
    /// The events that the handler gets.
    type Event: Event + Clone;

    /// The parameter for one event.
    fn deliver(event: Recorded<Self::Event>) -> Self;
}

impl<E: Event + Clone> Delivered for Recorded<E> {
    type Event = E;

    fn deliver(event: Self) -> Self {
        event
    }
}

impl<E: Event + Clone> Delivered for E {
    type Event = E;

    fn deliver(event: Recorded<E>) -> Self {
        event.event
    }
}

/// An event handler, whatever its event's type.
pub(crate) trait EventHandler: Send + Sync {
    fn name(&self) -> &'static str;

    /// The event types it gets.
    fn types(&self) -> &'static [EventType];

    /// Runs it once on an event, for `limit` at most.
    fn handle(
        self: Arc<Self>,
        program: Arc<Program>,
        delivery: Delivery,
        attempt: u32,
        limit: Duration,
    ) -> BoxFuture<'static, Result<(), Error>>;
}

/// The generated function around an annotated one.
pub(crate) type HandlerFn<E> =
    for<'c> fn(&'c Context<'c>, Recorded<E>) -> BoxFuture<'c, Result<(), Interrupt>>;

/// An annotated function with the type of its first parameter.
pub(crate) struct TypedHandler<P: Delivered> {
    pub(crate) name: &'static str,
    pub(crate) call: HandlerFn<P::Event>,
    /// Whether it has room to block.
    pub(crate) may_block: bool,
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
        program: Arc<Program>,
        delivery: Delivery,
        attempt: u32,
        limit: Duration,
    ) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move {
            // Whatever panics here is the event's failure, not the runner's: upcasters run while the event is decoded.
            let decoding =
                AssertUnwindSafe(|| event_of::<P::Event>(&program.skipped, &delivery, attempt));
            let decoded = catch_unwind(decoding);
            let decoded = decoded.map_err(|payload| panicked("the event's decoding", &*payload))?;
            let Some((event, metadata)) = decoded? else { return Ok(()) };
            let cx = Context::new(&program, &metadata);
            let (kind, name, may_block) = (Kind::EventHandler, self.name, self.may_block);
            let call = Call { kind, name, metadata: &metadata, may_block };
            let handler = pin!(async {
                match AssertUnwindSafe((self.call)(&cx, event)).catch_unwind().await {
                    Err(payload) => Err(panicked("the handler", &*payload)),
                    Ok(outcome) => outcome.map_err(Interrupt::into_error),
                }
            });
            let run = AssertUnwindSafe(program.pipeline.run(&call, limit, handler));
            let ran = run.catch_unwind().await;
            ran.unwrap_or_else(|payload| Err(panicked("a behavior around the handler", &*payload)))
        })
    }
}

fn panicked(what: &str, payload: &(dyn Any + Send)) -> Error {
    Error::misuse(format!("{what} panicked: {}", panic_text(payload)))
}

/// An event for a handler, if it is of type `E`, and what travels with it.
fn event_of<E: Event>(
    skipped: &SkippedEvents,
    delivery: &Delivery,
    attempt: u32,
) -> Result<Option<(Recorded<E>, Metadata)>, DecodeError> {
    let Delivery { stream, commit, index, .. } = delivery;
    let (record, stream) = (&commit.record, stream.clone().into());
    let decoded = ParsedRecord { record, commit: record.commit()?, stream, skipped };
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

/// The event handlers of a program.
pub(crate) type EventHandlers = Vec<Arc<dyn EventHandler>>;

/// Adds an event handler to a program. Generated code calls it.
pub fn register_event_handler<P: Delivered + 'static>(
    setup: &mut Setup<'_>,
    name: &'static str,
    may_block: bool,
    call: HandlerFn<P::Event>,
) {
    setup.part::<EventHandlers>().push(Arc::new(TypedHandler::<P> { name, call, may_block }));
}
