//! Events: what happened, and how it stays readable for ever.

use std::{cell::OnceCell, fmt, ops::Deref};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::log::{
    Commit, EventFrame, EventId, FrameError, Origin, Position, Record, StreamId, Timestamp,
    Version, codec, readable::append_readable,
};
use crate::model::{ReadBack, SkippedEvents};

/// The name and the schema version that an event is stored under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType {
    /// Stable for ever, whatever the Rust type is called.
    pub name: &'static str,
    /// Starts at 1; one more with every change to the fields.
    pub version: u16,
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{}", self.name, self.version)
    }
}

/// Something that happened: one event type (a struct), or all of an aggregate's (an enum of them).
///
/// Derive it with `#[derive(Event)]`.
///
/// ```
/// use catga::prelude::*;
///
/// #[catga::event]
/// enum OrderEvent {
///     #[event(name = "EventDocCreated")]
///     Created { customer: String },
///     #[event(name = "EventDocShipped", version = 2, upcast(1 = ShippedV1))]
///     Shipped { tracking: Option<String> },
/// }
///
/// /// The fields of version 1.
/// #[derive(serde::Deserialize)]
/// struct ShippedV1 {}
///
/// impl From<ShippedV1> for OrderEvent {
///     fn from(_: ShippedV1) -> Self {
///         Self::Shipped { tracking: None }
///     }
/// }
///
/// assert_eq!(OrderEvent::TYPES[1].to_string(), "EventDocShipped v2");
/// let old = OrderEvent::decode("EventDocShipped", 1, b"")?;
/// assert_eq!(old, Some(OrderEvent::Shipped { tracking: None }));
/// # Ok::<(), catga::handler::DecodeError>(())
/// ```
///
/// # What can be stored
///
/// Events are stored in [postcard](https://postcard.jamesmunns.com/wire-format), whose bytes do not say what they are, so some of what serde
/// can write to JSON can't be read again: a field that `skip_serializing_if` leaves out, enums with `tag` or `untagged`,
/// `flatten`, `serde_json::Value`, and types that look at what comes when they are read, as `rust_decimal::Decimal` does
/// without `serde(with = "rust_decimal::serde::str")`.
///
/// The derive refuses what it can see. All else is found when an event is recorded: it is read back at once, and if that fails, or
/// gives something else, the command fails with [`DecodeError::Encode`], which names the field and the cause, and nothing is
/// appended. Events whose fields are numbers, text, times, ids, and options and collections of these are always
/// readable, so of those only the first ones are read back.
///
/// The same holds for the answer of a command that was sent with an id, which is stored with the events. It has 768 KiB at
/// most. A snapshot that could not be read is not written, and the log says so once.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "not an event",
    note = "write `#[derive(Event)]` and `#[event(name = \"..\", version = 1)]` above the struct, or `#[derive(Event)]` above the enum of events"
)]
pub trait Event: Sized + Send + Sync + 'static {
    /// The types this is made of: one for a struct, one a variant for an enum.
    const TYPES: &'static [EventType];

    /// Which of [`TYPES`](Self::TYPES) it is.
    fn event_type(&self) -> EventType;

    /// Adds the payload to store to the end of `payload`, and answers the type to store with it.
    ///
    /// # Errors
    /// [`DecodeError::Encode`] when a field can't be encoded in postcard. A part of it may be in `payload` then.
    fn encode(&self, payload: &mut Vec<u8>) -> Result<EventType, DecodeError>;

    /// The event that was stored under `name` and schema version `schema`, lifted to today's type;
    /// `None` when `name` is none of [`TYPES`](Self::TYPES).
    ///
    /// # Errors
    /// [`DecodeError`] when the name is known, and the version or the bytes are not.
    fn decode(name: &str, schema: u16, payload: &[u8]) -> Result<Option<Self>, DecodeError>;
}

/// Why an event can't be stored or read. Whoever reads the log stops here, until an operator [skips](crate::skip) the event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// No linked crate has an event type of this name.
    #[error(
        "event type `{name}` is not known to this program (version {version} at position {position})"
    )]
    UnknownType {
        /// The stored name.
        name: String,
        /// The stored schema version.
        version: u16,
        /// Where it is in the log.
        position: Position,
    },
    /// A later program wrote it, or no upcaster leads from it.
    #[error(
        "event `{name}` is stored with schema version {stored}, and this program knows 1 to {known}"
    )]
    UnknownVersion {
        /// The event's name.
        name: &'static str,
        /// The stored schema version.
        stored: u16,
        /// The newest version this program knows.
        known: u16,
    },
    /// The bytes are not an event of that type and version.
    #[error("the payload of `{0}` is damaged, or its fields changed without a new version")]
    Payload(EventType),
    /// It would not be read again as it is, so it is not stored: see [what can be stored](Event#what-can-be-stored). The text
    /// names the field, if it is known, and the cause.
    #[error("`{0}` can't be stored: {1}")]
    Encode(EventType, String),
    /// The commit around the event.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl DecodeError {
    /// That no type is known for the event in `frame`, which is at `position`.
    #[cold]
    pub(crate) fn unknown_type(frame: &EventFrame<'_>, position: Position) -> Self {
        let (name, version) = (frame.name.to_owned(), frame.schema);
        Self::UnknownType { name, version, position }
    }
}

/// What can be stored as an event.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be stored as an event",
    label = "can't be stored",
    note = "derive serde's `Serialize` and `Deserialize` for `{Self}`, or write `#[catga::event]` in place of the derives"
)]
#[doc(hidden)]
pub trait Storable: Serialize + DeserializeOwned {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Storable for T {}

/// Makes the compiler say what a type lacks to be stored. Named by derived code.
#[doc(hidden)]
pub fn stored<T: Storable>() {}

/// `value` in postcard, as the payload of an event of type `ty`, if it is read back as a `D` that is the same. Called by
/// derived code.
#[doc(hidden)]
pub fn encode_payload<D: Serialize + DeserializeOwned>(
    ty: EventType,
    read_back: &ReadBack,
    value: &impl Serialize,
    payload: &mut Vec<u8>,
) -> Result<EventType, DecodeError> {
    let encoded = match read_back.is_due() {
        true => append_readable::<D>(value, payload),
        false => codec::append(value, payload).map_err(|error| error.to_string()),
    };
    encoded.map_err(|reason| DecodeError::Encode(ty, reason))?;
    Ok(ty)
}

/// All of `payload` as a `T`. Called by derived code.
#[doc(hidden)]
pub fn decode_payload<T: DeserializeOwned>(
    ty: EventType,
    payload: &[u8],
) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        _ => Err(DecodeError::Payload(ty)),
    }
}

/// An event with its place in the log, as projections, event handlers and histories see it.
///
/// It derefs to the event.
///
/// ```
/// # use catga::prelude::*;
/// #[catga::event]
/// struct RecordedDocPaid { cents: u64 }
///
/// fn line(paid: &Recorded<RecordedDocPaid>) -> String {
///     format!("order {} paid {} cents at {}", paid.stream.key(), paid.cents, paid.time)
/// }
///
/// let paid = Recorded::new("order/7", 2.into(), RecordedDocPaid { cents: 500 });
/// assert_eq!(line(&paid), "order 7 paid 500 cents at 1970-01-01T00:00:00.000001Z");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Recorded<E> {
    /// The event.
    pub event: E,
    /// The event's identity. An effect that is made at most once per id is made exactly once.
    pub id: EventId,
    /// The stream it is in.
    pub stream: StreamId,
    /// Its place in the stream.
    pub version: Version,
    /// Its place in the log.
    pub position: Position,
    /// When the command that made it was decided.
    pub time: Timestamp,
    /// 1 the first time that a handler gets the event, one more with each retry. 0 outside handlers.
    pub attempt: u32,
    /// The commit it was stored in, for [`Recorded::origin`].
    frame: Bytes,
}

impl<E> Recorded<E> {
    /// Where the event came from. It is read from the stored commit at each call.
    pub fn origin(&self) -> Origin<'_> {
        Commit::origin(&self.frame).expect("the event was read from this very frame")
    }
}

impl<E: Event> Recorded<E> {
    /// The events of type `E` in `record`, in order; events of other types are left out.
    ///
    /// # Errors
    /// [`DecodeError`] when the frame or an event of one of `E`'s types can't be read.
    pub fn read(record: &Record) -> Result<Vec<Self>, DecodeError> {
        ParsedRecord::of(record, SkippedEvents::NONE)?.events().collect()
    }
}

/// A record with its commit. What is the same for all who look at it is made once, by who needs it first.
pub(crate) struct ParsedRecord<'r> {
    pub(crate) record: &'r Record,
    pub(crate) commit: Commit<'r>,
    pub(crate) stream: OnceCell<StreamId>,
    pub(crate) skipped: &'r SkippedEvents,
}

impl<'r> ParsedRecord<'r> {
    pub(crate) fn of(record: &'r Record, skipped: &'r SkippedEvents) -> Result<Self, FrameError> {
        Ok(Self { record, commit: record.commit()?, stream: OnceCell::new(), skipped })
    }

    /// The position of the last event.
    pub(crate) fn end(&self) -> Position {
        self.commit.last_position(self.record.position)
    }

    pub(crate) fn stream(&self) -> Result<StreamId, FrameError> {
        if let Some(stream) = self.stream.get() {
            return Ok(stream.clone());
        }
        let stream = self.commit.stream_id()?;
        Ok(self.stream.get_or_init(|| stream).clone())
    }

    /// The events of type `E`, in order.
    pub(crate) fn events<E: Event>(
        &self,
    ) -> impl Iterator<Item = Result<Recorded<E>, DecodeError>> {
        (0..self.commit.events.len()).filter_map(|index| self.event(index).transpose())
    }

    /// The event with index `index`, if it is of type `E`, and not one that can't be read and was skipped.
    pub(crate) fn event<E: Event>(&self, index: usize) -> Result<Option<Recorded<E>>, DecodeError> {
        let Self { record, commit, .. } = self;
        let frame = &commit.events[index];
        let event = match E::decode(frame.name, frame.schema, frame.payload) {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(None),
            Err(_) if self.skipped.contains(frame.id) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Recorded {
            event,
            id: frame.id,
            stream: self.stream()?,
            version: commit.first_version + index as u64,
            position: record.position + index as u64,
            time: commit.time,
            attempt: 0,
            frame: record.frame.clone(),
        }))
    }
}

impl<E> Deref for Recorded<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.event
    }
}

impl<E: fmt::Debug> fmt::Debug for Recorded<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("event", &self.event)
            .field("id", &self.id)
            .field("stream", &self.stream)
            .field("version", &self.version)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
