//! Parked events (dead letters): what a handler gave up on, kept in the log itself.
//!
//! An event that fails to the last attempt is parked, and with it every later event of its stream for that
//! handler; other streams go on. The parked events are not copied: the log holds them, and the letter says
//! where to go on. Letters are events of a stream per handler, `catga-parked/{handler}`, so every node
//! knows them all, and they survive whatever the log survives.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Append, Commit, Consistency, DecodeError, Error, Event, EventFrame, EventId, Position,
    Projection, Recorded, StreamId, Timestamp, Version, context::new_event_id, error::StopReason,
    repository::append_once, runtime::Runtime,
};

/// The aggregate part of the names of the streams that hold letters.
const AGGREGATE: &str = "catga-parked";

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

/// All that happens to letters.
#[derive(Debug, Clone, PartialEq, catga_macros::Event)]
pub(crate) enum ParkingEvent {
    Parked(EventParked),
    Retry(RetryRequested),
    Drop(DropRequested),
    Released(StreamReleased),
}

/// An event that a handler gave up on. The later events of its stream wait behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadLetterStatus {
    /// Nothing: it waits for somebody.
    Parked,
    /// It is being tried again, and then the events behind it.
    Retrying,
    /// It is being left out, and the events behind it are delivered.
    Dropping,
}

/// All letters, by handler and stream: a handler has at most one for a stream.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    by_stream: BTreeMap<(String, StreamId), DeadLetter>,
}

/// The dead letters of every handler.
#[catga_macros::projection]
impl Projection for Letters {
    type Event = ParkingEvent;
    const NAME: &'static str = "catga-dead-letters";

    fn apply(&mut self, recorded: &Recorded<ParkingEvent>) {
        match &recorded.event {
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

impl Letters {
    fn park(&mut self, parked: &EventParked, time: Timestamp) {
        let Ok(stream) = parked.stream.parse::<StreamId>() else { return };
        let id = letter_id(&parked.handler, parked.event_id);
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

pub(crate) fn letter_id(handler: &str, event: EventId) -> String {
    format!("{handler}.{event}")
}

impl Runtime {
    /// The letters that were parked before this call, unless `consistency` says otherwise.
    pub(crate) async fn letters(&self, consistency: Consistency) -> Result<Vec<DeadLetter>, Error> {
        self.read_barrier(consistency).await?;
        Ok(self.parts.expect::<crate::ReadModel<Letters>>().read().all())
    }

    /// Asks the handler of letter `id` to act on it, wherever that handler runs.
    pub(crate) async fn request(
        &self,
        id: &str,
        request: ParkingEvent,
    ) -> Result<Option<DeadLetter>, Error> {
        let letters = self.letters(Consistency::Latest).await?;
        let Some(mut letter) = letters.into_iter().find(|letter| letter.id == id) else {
            return Ok(None);
        };
        letter.status = match &request {
            ParkingEvent::Drop(_) => DeadLetterStatus::Dropping,
            _ => DeadLetterStatus::Retrying,
        };
        self.append_parking(&letter.handler, &request).await?;
        Ok(Some(letter))
    }

    /// Appends `event` to the stream of `handler`'s letters, whatever version that stream has.
    pub(crate) async fn append_parking(
        &self,
        handler: &str,
        event: &ParkingEvent,
    ) -> Result<Position, Error> {
        let stream = StreamId::new(AGGREGATE, handler)
            .map_err(|_| Error::misuse("an event handler's name can't be part of a stream's"))?;
        let (ty, payload) = event.encode()?;
        let time = self.clock.now();
        let id = new_event_id(time);
        let (mut version, mut token) = (0, 0);
        loop {
            let commit = Commit {
                stream: stream.as_str(),
                first_version: version + 1,
                time,
                node: &self.node,
                command: None,
                correlation: None,
                causation: None,
                traceparent: None,
                events: vec![EventFrame {
                    id,
                    name: ty.name,
                    schema: ty.version,
                    payload: &payload,
                }],
            };
            let append =
                Append { stream: &stream, version, token, events: 1, frame: commit.encode() };
            match append_once(self.store(), append, id).await {
                Ok(appended) => return Ok(appended.position),
                Err(stop) => match stop.0 {
                    StopReason::Error(error) => return Err(error),
                    StopReason::Again | StopReason::Replay { .. } => {
                        (version, token) = self.end_of(&stream, version).await?;
                    }
                },
            }
        }
    }

    /// The version and token of the end of `stream`, which is beyond `version`.
    async fn end_of(&self, stream: &StreamId, version: Version) -> Result<(Version, u64), Error> {
        let mut end = (version, 0);
        loop {
            let page = self.store().read_stream(stream, end.0 + 1, 512).await?;
            let Some(last) = page.last() else { return Ok(end) };
            end = (last.commit().map_err(DecodeError::from)?.last_version(), last.token);
        }
    }
}
