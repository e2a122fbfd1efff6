//! What a program is made of: events, aggregates, commands and queries, and how handling one can end.

mod aggregate;
mod error;
mod event;
mod message;
mod metadata;
mod plain;
mod recording;
mod skipped;
mod snapshots;

pub use self::{
    aggregate::{Aggregate, Root},
    error::{BoxError, Error, ErrorKind, Interrupt, Result},
    event::{DecodeError, Event, EventType, Recorded, decode_payload, encode_payload, stored},
    message::{
        Command, FieldError, KeyField, Query, StreamKey, Targeted, Validate, no_key, stream_by,
    },
    metadata::{CommandId, Consistency, Expected, MAX_COMMAND_ID, Metadata},
    plain::{IsNotPlain, IsPlain, ReadBack},
    snapshots::Snapshots,
};
pub(crate) use self::{
    error::InterruptReason,
    event::ParsedRecord,
    recording::Recording,
    skipped::{EventSkipped, SkippedEvents},
};
