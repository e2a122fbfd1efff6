//! Event handlers: at least once, per stream in order, and a failing event stops only its stream.
//!
//! Each handler has a runner per partition, on one node at a time. It reads the topic from its checkpoint, works on
//! many streams at once and on each stream in order, tries a failing event again with growing
//! delays, and parks it after the last attempt. The checkpoint is the end of the oldest stretch of
//! the log in which everything is handled or parked; it is the position and the id of an event, so
//! that a log that lost its tail is noticed.

mod blocking;
mod breaker;
mod dead_letter_stream;
mod dead_letters;
mod dispatcher;
mod handler;
mod lanes;
mod parking;
mod parking_event;
mod progress;
mod relay;
mod requests;
mod runner;
mod task;
mod work_state;

pub use self::{
    blocking::blocking,
    dead_letters::{
        DeadLetter, DeadLetterFilter, DeadLetterPage, DeadLetterPlace, DeadLetterStatus,
    },
    dispatcher::DeliverySettings,
    handler::{Delivered, register_event_handler},
};
pub(crate) use self::{
    breaker::Breaker,
    dispatcher::Dispatcher,
    handler::{EventHandler, EventHandlers},
    parking_event::{DropRequested, ParkingEvent, RetryRequested},
    relay::Relay,
    requests::{dead_letter_counts, dead_letter_page, dead_letters, request, retry_all},
    runner::Runner,
    work_state::WorkState,
};
