//! What happens to dead letters, as events of the log. Their names and fields are stored, so they never change.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::log::{Position, Version};

/// A handler gave up on an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, catga_macros::Event)]
#[event(name = "catga.EventParked", version = 1)]
pub(crate) struct EventParked {
    pub(crate) handler: String,
    pub(crate) stream: String,
    pub(crate) version: Version,
    pub(crate) position: Position,
    pub(crate) event_id: Uuid,
    pub(crate) event_type: String,
    pub(crate) attempts: u32,
    pub(crate) error: String,
}

/// Somebody asked for another try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, catga_macros::Event)]
#[event(name = "catga.RetryRequested", version = 1)]
pub(crate) struct RetryRequested {
    pub(crate) letter: String,
}

/// Somebody asked to go on without the event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, catga_macros::Event)]
#[event(name = "catga.DropRequested", version = 1)]
pub(crate) struct DropRequested {
    pub(crate) letter: String,
    pub(crate) reason: Option<String>,
}

/// The handler has caught up with the stream: nothing of it is parked any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, catga_macros::Event)]
#[event(name = "catga.StreamReleased", version = 1)]
pub(crate) struct StreamReleased {
    pub(crate) handler: String,
    pub(crate) stream: String,
}

/// A node has taken over the handler's partition from one that did not hand it over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, catga_macros::Event)]
#[event(name = "catga.HandlerTaken", version = 1)]
pub(crate) struct HandlerTaken {
    pub(crate) handler: String,
    pub(crate) partition: u16,
    pub(crate) node: String,
}

/// All that happens to letters.
#[derive(Debug, Clone, PartialEq, catga_macros::Event)]
pub(crate) enum ParkingEvent {
    Taken(HandlerTaken),
    Parked(EventParked),
    Retry(RetryRequested),
    Drop(DropRequested),
    Released(StreamReleased),
}
