//! Dead letters: the events that a handler gave up on, as a read model of the log.
//!
//! An event that fails to the last attempt is parked, and with it every later event of its stream for that
//! handler; other streams go on. The parked events are not copied: the log holds them, and the dead letter says
//! where to go on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    log::{EventId, Position, StreamId, Timestamp, Version},
    model::{Recorded, Snapshots},
    react::parking_event::{EventParked, ParkingEvent},
    read::Projection,
};

/// An event that a handler gave up on. The later events of its stream wait behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// `{handler}.{event id}`.
    pub id: String,
    /// The handler.
    pub handler: String,
    /// The stream that waits.
    pub stream: StreamId,
    /// The event's version.
    pub version: Version,
    /// The event's position.
    pub position: Position,
    /// The event's id.
    pub event_id: EventId,
    /// The event's type.
    pub event_type: String,
    /// How often it was tried, over all retries.
    pub attempts: u32,
    /// What the handler answered last.
    pub error: String,
    /// When it was parked first.
    pub since: Timestamp,
    /// What is being done about it.
    pub status: DeadLetterStatus,
}

/// What is being done about a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeadLetterStatus {
    /// Nothing: it waits for somebody.
    Parked,
    /// It is being tried again, and then the events behind it.
    Retrying,
    /// It is being left out, and the events behind it are delivered.
    Dropping,
}

impl DeadLetter {
    /// Whether somebody acted on it and its handler has not finished yet.
    pub fn is_in_progress(&self) -> bool {
        self.status != DeadLetterStatus::Parked
    }
}

/// All dead letters, by handler and stream: a handler has at most one for a stream.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct DeadLetters {
    by_stream: BTreeMap<(String, StreamId), DeadLetter>,
}

/// The dead letters of every handler.
#[catga_macros::projection]
impl Projection for DeadLetters {
    type Event = ParkingEvent;
    const NAME: &'static str = "catga-dead-letters";
    /// As often as the program's own projections.
    const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::every(10_000));

    fn apply(&mut self, recorded: &Recorded<ParkingEvent>) {
        match &recorded.event {
            ParkingEvent::Taken(_) => {}
            ParkingEvent::Parked(parked) => self.park(parked, recorded.time),
            ParkingEvent::Retry(retry) => {
                self.set_status(&retry.letter, DeadLetterStatus::Retrying);
            }
            ParkingEvent::Drop(drop) => self.set_status(&drop.letter, DeadLetterStatus::Dropping),
            ParkingEvent::Released(released) => {
                if let Ok(stream) = released.stream.parse() {
                    self.by_stream.remove(&(released.handler.clone(), stream));
                }
            }
        }
    }
}

impl DeadLetters {
    fn park(&mut self, parked: &EventParked, time: Timestamp) {
        let Ok(stream) = parked.stream.parse::<StreamId>() else { return };
        let id = dead_letter_id(&parked.handler, parked.event_id);
        let key = (parked.handler.clone(), stream.clone());
        let earlier = self.by_stream.get(&key).filter(|letter| letter.id == id);
        let letter = DeadLetter {
            since: earlier.map_or(time, |letter| letter.since),
            attempts: earlier.map_or(0, |letter| letter.attempts) + parked.attempts,
            id,
            handler: parked.handler.clone(),
            stream,
            version: parked.version,
            position: parked.position,
            event_id: parked.event_id,
            event_type: parked.event_type.clone(),
            error: parked.error.clone(),
            status: DeadLetterStatus::Parked,
        };
        self.by_stream.insert(key, letter);
    }

    fn set_status(&mut self, id: &str, status: DeadLetterStatus) {
        // There are few letters: somebody looks after each of them by hand.
        if let Some(letter) = self.by_stream.values_mut().find(|letter| letter.id == id) {
            letter.status = status;
        }
    }

    /// All letters, oldest event first.
    pub(crate) fn all(&self) -> Vec<DeadLetter> {
        let mut all: Vec<_> = self.by_stream.values().cloned().collect();
        all.sort_by_key(|letter| letter.position);
        all
    }

    /// The letters of `handler`.
    pub(crate) fn of(&self, handler: &str) -> Vec<DeadLetter> {
        self.by_stream.values().filter(|letter| letter.handler == handler).cloned().collect()
    }
}

fn dead_letter_id(handler: &str, event: EventId) -> String {
    format!("{handler}.{event}")
}
