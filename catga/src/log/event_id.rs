//! The identity of events.

use uuid::Uuid;

use crate::log::Timestamp;

/// The identity of one event, unique over all logs. The first event's is the commit's too.
pub type EventId = Uuid;

/// A new id: a UUID of version 7, so that ids follow the order of time.
pub(crate) fn new_event_id(now: Timestamp) -> EventId {
    let micros = u64::try_from(now.as_micros()).unwrap_or(0);
    let nanos = u32::try_from(micros % 1_000_000 * 1000).expect("less than a second");
    let seconds = micros / 1_000_000;
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos))
}
