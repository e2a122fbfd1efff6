//! What a program is made of: events, aggregates, commands and queries, and how handling one can end.

mod aggregate;
mod error;
mod event;
mod message;
mod metadata;
mod snapshots;

pub use self::{
    aggregate::{Aggregate, Root},
    error::{Error, ErrorKind, Interrupt},
    event::{DecodeError, Event, EventType, Recorded, decode_payload, encode_payload},
    message::{Command, FieldError, Query, Targeted, Validate},
    metadata::{CommandId, Consistency, Expected, MAX_COMMAND_ID, Metadata},
    snapshots::Snapshots,
};
pub(crate) use self::{error::InterruptReason, event::ParsedRecord};
