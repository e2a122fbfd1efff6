//! A commit as a JetStream message, and where it is in the log.

use async_nats::{HeaderMap, HeaderName, jetstream::message::StreamMessage};
use bytes::Bytes;

use crate::log::{MAX_EVENTS, Position, Record, StoreError, Version};

/// How many positions each message has. The last event has the last one, so that the last message's sequence
/// alone tells the head.
const POSITIONS: u64 = 1024;

const _: () = assert!(MAX_EVENTS < 1024, "each event of a commit has a position");

// Names and not texts: those would be checked and copied for each message.
const FIRST: HeaderName = HeaderName::from_static("Catga-First-Version");
const EVENTS: HeaderName = HeaderName::from_static("Catga-Events");
const EARLIER: HeaderName = HeaderName::from_static("Catga-Earlier");
const POSITION: HeaderName = HeaderName::from_static("Catga-Position");

/// The position of the last event of the message with `sequence`; that of the log's end, if it is the last.
pub(super) fn last_position(sequence: u64) -> Position {
    Position::new(sequence * POSITIONS)
}

/// The sequence of the first message that holds a position above `after`.
pub(super) fn sequence_after(after: Position) -> u64 {
    after.get() / POSITIONS + 1
}

/// Where a commit of a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CommitLocation {
    pub(super) sequence: u64,
    /// The version of its first event.
    pub(super) first: Version,
}

/// A commit as it is stored.
#[derive(Debug, Clone)]
pub(super) struct CommitMessage {
    pub(super) place: CommitLocation,
    pub(super) events: u64,
    /// Some of the stream's earlier commits, up to the one just before, oldest first. None for the first commit.
    pub(super) earlier: Vec<CommitLocation>,
    /// The position of the first event, when it is not in its own log.
    pub(super) position: Option<Position>,
    pub(super) frame: Bytes,
}

impl CommitMessage {
    pub(super) fn last_version(&self) -> Version {
        self.place.first + self.events - 1
    }

    pub(super) fn record(self) -> Record {
        let CommitLocation { sequence, .. } = self.place;
        let position = self.position.unwrap_or(last_position(sequence) + 1 - self.events);
        Record { position, token: sequence, frame: self.frame }
    }

    /// The commit in a message with `sequence`.
    pub(super) fn read(
        sequence: u64,
        headers: Option<&HeaderMap>,
        frame: Bytes,
    ) -> Result<Self, StoreError> {
        let number = |name| headers?.get(name)?.as_str().parse::<u64>().ok();
        let earlier = headers.and_then(|headers| headers.get(EARLIER)).map_or("", |v| v.as_str());
        let stored = || {
            let place = CommitLocation { sequence, first: number(FIRST)?.into() };
            let listed = earlier.split(',').filter(|e| !e.is_empty()).map(parse);
            let events = number(EVENTS).filter(|events| (1..POSITIONS).contains(events))?;
            let (earlier, position) =
                (listed.collect::<Option<_>>()?, number(POSITION).map(Position::new));
            Some(Self { place, events, earlier, position, frame })
        };
        stored().ok_or_else(|| {
            StoreError::corrupt(format!("message {sequence} of the log is not one of catga's"))
        })
    }
}

impl TryFrom<StreamMessage> for CommitMessage {
    type Error = StoreError;

    fn try_from(message: StreamMessage) -> Result<Self, StoreError> {
        Self::read(message.sequence, Some(&message.headers), message.payload)
    }
}

fn parse(text: &str) -> Option<CommitLocation> {
    let (sequence, first) = text.split_once(':')?;
    Some(CommitLocation {
        sequence: sequence.parse().ok()?,
        first: Version::new(first.parse().ok()?),
    })
}

/// The headers of a commit of `events` events from version `first` on, after the commits at `earlier`.
pub(super) fn headers(first: Version, events: usize, earlier: &[CommitLocation]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(FIRST, first.to_string());
    headers.insert(EVENTS, events.to_string());
    if !earlier.is_empty() {
        let earlier = earlier.iter().map(|place| format!("{}:{}", place.sequence, place.first));
        headers.insert(EARLIER, earlier.collect::<Vec<_>>().join(","));
    }
    headers
}

/// Adds the position of the commit's first event in the log that it is a copy of.
pub(super) fn set_position(headers: &mut HeaderMap, position: Position) {
    headers.insert(POSITION, position.to_string());
}
