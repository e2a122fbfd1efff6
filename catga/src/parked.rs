//! Parked events (dead letters): what a handler gave up on, kept in the log itself.
//!
//! An event that fails to the last attempt is parked, and with it every later event of its stream for that
//! handler; other streams go on. The parked events are not copied: the log holds them, and the letter says
//! where to go on. Letters are events of a stream per handler and partition, `catga-parked-{partition}/{handler}`,
//! so every node knows them all, and they survive whatever the log survives.
//!
//! Who takes over a handler's partition from a node that did not hand it over writes that into this stream first. A
//! paused node that wakes up would park under its old lease; it writes at the version it knows, and is refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Append, Appended, Commit, Consistency, DecodeError, Error, Event, EventFrame, EventId,
    Position, Projection, Recorded, Snapshots, StreamId, Timestamp, Version, cluster::Held,
    context::new_event_id, error::StopReason, repository::append_once, runtime::Runtime,
    transport::partition,
};

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

/// All letters, by handler and stream: a handler has at most one for a stream.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Letters {
    by_stream: BTreeMap<(String, StreamId), DeadLetter>,
}

/// The dead letters of every handler.
#[catga_macros::projection]
impl Projection for Letters {
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
        let mut letters = self.parked_stream(&letter.handler, partition(&letter.stream))?;
        loop {
            match self.try_append_parking(&letters, &request).await? {
                Some(_) => return Ok(Some(letter)),
                None => self.find_end(&mut letters).await?,
            }
        }
    }

    /// The stream of `handler`'s letters in a partition, at its begin.
    pub(crate) fn parked_stream(
        &self,
        handler: &str,
        partition: u16,
    ) -> Result<ParkedStream, Error> {
        let stream = StreamId::new(&format!("catga-parked-{partition}"), handler)
            .map_err(|_| Error::misuse("an event handler's name can't be part of a stream's"))?;
        Ok(ParkedStream { stream, version: 0, token: 0 })
    }

    /// Appends what the owner of a share does to its letters.
    ///
    /// # Errors
    /// When somebody else owns the share now: what `letters` knows of the stream is older than their first event.
    pub(crate) async fn append_parking(
        &self,
        letters: &mut ParkedStream,
        held: &Held,
        event: &ParkingEvent,
    ) -> Result<Position, Error> {
        loop {
            if let Some(appended) = self.try_append_parking(letters, event).await? {
                letters.version += 1;
                letters.token = appended.token;
                return Ok(appended.position);
            }
            // First the end, then the lease: who takes over in between moves the end.
            let mut end = letters.clone();
            self.find_end(&mut end).await?;
            held.check().await?;
            *letters = end;
        }
    }

    /// Appends `event` where `letters` ends; `None` when it ends elsewhere.
    async fn try_append_parking(
        &self,
        letters: &ParkedStream,
        event: &ParkingEvent,
    ) -> Result<Option<Appended>, Error> {
        let &ParkedStream { ref stream, version, token } = letters;
        let mut payload = Vec::new();
        let ty = event.encode(&mut payload)?;
        let time = self.clock.now();
        let id = new_event_id(time);
        let commit = Commit {
            stream: stream.as_str(),
            first_version: version + 1,
            time,
            node: &self.node,
            command: None,
            correlation: None,
            causation: None,
            traceparent: None,
            events: [EventFrame { id, name: ty.name, schema: ty.version, payload: &payload }]
                .into(),
        };
        let append = Append { stream, version, token, events: 1, frame: commit.encode() };
        match append_once(self.store(), append, id).await {
            Ok(appended) => Ok(Some(appended)),
            Err(stop) => match stop.0 {
                StopReason::Error(error) => Err(error),
                StopReason::Again | StopReason::Replay { .. } => Ok(None),
            },
        }
    }

    async fn find_end(&self, letters: &mut ParkedStream) -> Result<(), Error> {
        self.read_parking(letters, |_| {}).await
    }

    /// Reads on to the end of the stream.
    async fn read_parking(
        &self,
        letters: &mut ParkedStream,
        mut each: impl FnMut(&Recorded<ParkingEvent>),
    ) -> Result<(), Error> {
        loop {
            let page = self.store().read_stream(&letters.stream, letters.version + 1, 512).await?;
            let Some(last) = page.last() else { return Ok(()) };
            for record in &page {
                Recorded::read(record)?.iter().for_each(&mut each);
            }
            letters.version = last.commit().map_err(DecodeError::from)?.last_version();
            letters.token = last.token;
        }
    }

    /// The letters in the stream, which is read to its end, and the position of what came last. The read models may
    /// not be there yet.
    pub(crate) async fn parked_in(
        &self,
        stream: &mut ParkedStream,
    ) -> Result<(Vec<DeadLetter>, Position), Error> {
        let (mut letters, mut end) = (Letters::default(), 0);
        self.read_parking(stream, |event| {
            letters.apply(event);
            end = event.position;
        })
        .await?;
        Ok((letters.all(), end))
    }
}

/// A stream of letters, and where it ends as far as is known.
#[derive(Debug, Clone)]
pub(crate) struct ParkedStream {
    stream: StreamId,
    version: Version,
    token: u64,
}
