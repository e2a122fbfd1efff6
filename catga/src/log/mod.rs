//! The log as data: streams, times, commits and the bytes that every store keeps. It knows no store and no handler.

pub(crate) mod codec;
mod commit;
mod coordinate;
mod encoder;
mod error;
mod event_id;
mod frame;
mod log_id;
mod origin;
pub(crate) mod readable;
mod rfc3339;
mod stream;
mod time;

pub(crate) use self::event_id::new_event_id;
pub use self::{
    commit::{CommandRecord, Commit, EventFrame, FrameError, MAX_EVENTS, Record},
    coordinate::{Position, Version},
    error::StoreError,
    event_id::EventId,
    log_id::{InvalidLogId, LogId},
    origin::Origin,
    rfc3339::InvalidTimestamp,
    stream::{InvalidStreamId, MAX_KEY, StreamId},
    time::{Clock, Timestamp},
};
