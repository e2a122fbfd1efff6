//! The commit frame: what one command appended, as every store keeps it.
//!
//! A store only ever sees an opaque frame, so one codec, with its golden bytes, serves them all:
//! one byte of frame format, then the fields of [`Commit`] in order, in
//! [postcard](https://postcard.jamesmunns.com/wire-format).

use std::cell::{Cell, RefCell};

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::log::{
    EventId, Origin, Position, StreamId, Timestamp, Version,
    frame::{FrameReader, FrameWriter},
};

/// The most events a commit can have.
pub const MAX_EVENTS: usize = 1000;

/// The frame format this program writes, and the only one there is so far.
const FORMAT: u8 = 1;

/// How many bytes of frames are allocated at once. A buffer that has grown larger is not kept for the next frame.
const BLOCK: usize = 64 << 10;

/// Larger frames are allocated by themselves, so that one that is kept does not keep much else.
const LARGE: usize = BLOCK / 16;

thread_local! {
    /// Where frames are written before it is known how long they are.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// Where frames are kept, one next to the other: by itself each would take half as much again, and two
    /// allocations.
    static FRAMES: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(BLOCK));
}

/// What one command appended: one to [`MAX_EVENTS`] events of one stream, stored whole or not at
/// all. It borrows from the frame that it was read from, or from what is about to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit<'a> {
    /// The stream, as text. See [`Commit::stream_id`].
    pub stream: &'a str,
    /// The version of the first event: the commit says itself where it belongs.
    pub first_version: Version,
    /// When the command was decided, by the clock of its node.
    pub time: Timestamp,
    /// The node that decided it.
    pub node: &'a str,
    /// The command that had an id, so that its effect and its answer are one.
    pub command: Option<CommandRecord<'a>>,
    /// What ties together all that came of one outside request.
    pub correlation: Option<&'a str>,
    /// The event that this command reacted to.
    pub causation: Option<EventId>,
    /// The trace that the command was part of ([W3C Trace Context](https://www.w3.org/TR/trace-context/)).
    pub traceparent: Option<&'a str>,
    /// The events, in order.
    pub events: SmallVec<[EventFrame<'a>; 1]>,
}

/// A command with an id, its fingerprint and its answer, kept in the commit that it made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRecord<'a> {
    /// The id its sender gave it.
    pub id: &'a str,
    /// Tells the same command sent again from another one under the same id.
    pub fingerprint: u64,
    /// The encoded answer.
    pub reply: &'a [u8],
}

/// One event in a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFrame<'a> {
    /// The event's identity.
    pub id: EventId,
    /// The name of the event's type.
    pub name: &'a str,
    /// The version of the event's type.
    pub schema: u16,
    /// The event, encoded.
    pub payload: &'a [u8],
}

impl<'a> Commit<'a> {
    /// The commit as bytes to store.
    pub fn encode(&self) -> Bytes {
        let mut buffer = BUFFER.take();
        buffer.clear();
        self.write(&mut FrameWriter(&mut buffer));
        let frame = if buffer.len() > LARGE {
            Bytes::copy_from_slice(&buffer)
        } else {
            FRAMES.with_borrow_mut(|frames| {
                frames.extend_from_slice(&buffer);
                frames.split().freeze()
            })
        };
        if buffer.capacity() <= BLOCK {
            BUFFER.set(buffer);
        }
        frame
    }

    fn write(&self, frame: &mut FrameWriter<'_>) {
        frame.0.push(FORMAT);
        frame.bytes(self.stream.as_bytes());
        frame.number(self.first_version.get());
        frame.signed(self.time.as_micros());
        frame.bytes(self.node.as_bytes());
        frame.option(self.command.as_ref(), |frame, command| {
            frame.bytes(command.id.as_bytes());
            frame.number(command.fingerprint);
            frame.bytes(command.reply);
        });
        frame.option(self.correlation, |frame, id| frame.bytes(id.as_bytes()));
        frame.option(self.causation, |frame, id| frame.bytes(id.as_bytes()));
        frame.option(self.traceparent, |frame, parent| frame.bytes(parent.as_bytes()));
        frame.number(self.events.len() as u64);
        for event in &self.events {
            frame.bytes(event.id.as_bytes());
            frame.bytes(event.name.as_bytes());
            frame.number(event.schema.into());
            frame.bytes(event.payload);
        }
    }

    /// The commit in `frame`.
    ///
    /// # Errors
    /// [`FrameError`] when the bytes are of another format, or are not exactly one commit with
    /// events: a byte too few or too many is damage, never ignored.
    pub fn decode(frame: &'a [u8]) -> Result<Self, FrameError> {
        let (&format, rest) = frame.split_first().ok_or(FrameError::Damaged)?;
        if format != FORMAT {
            return Err(FrameError::Format(format));
        }
        let mut frame = FrameReader(rest);
        match Self::read(&mut frame) {
            Some(commit)
                if frame.0.is_empty() && !commit.events.is_empty() && commit.first_version > 0 =>
            {
                Ok(commit)
            }
            _ => Err(FrameError::Damaged),
        }
    }

    /// The stream of the commit in `frame`, the version before it, and how many events it has. What comes behind that is
    /// not looked at; `None` when the begin is not that of a commit.
    #[cfg(feature = "file")]
    pub(crate) fn begin(frame: &[u8]) -> Option<(StreamId, Version, usize)> {
        let mut frame = FrameReader(frame.strip_prefix(&[FORMAT])?);
        let (stream, first) = (frame.text()?.parse().ok()?, frame.number()?);
        let events = Self::skip_to_events(&mut frame).filter(|&events| events > 0)?;
        Some((stream, Version::new(first.checked_sub(1)?), events))
    }

    /// The stream of the commit in `frame`.
    pub(crate) fn stream_in(frame: &[u8]) -> Result<StreamId, FrameError> {
        let mut frame = FrameReader(frame.get(1..).unwrap_or_default());
        frame.text().and_then(|stream| stream.parse().ok()).ok_or(FrameError::Damaged)
    }

    /// The names of the events in `frame`, which was decoded before.
    pub(crate) fn event_names(frame: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut frame = FrameReader(frame.get(1..).unwrap_or_default());
        let (_stream, _first) = (frame.bytes(), frame.number());
        let events = Self::skip_to_events(&mut frame).unwrap_or(0);
        (0..events).map_while(move |_| {
            let (_id, name) = (frame.bytes()?, frame.bytes()?);
            let (_schema, _payload) = (frame.number()?, frame.bytes()?);
            Some(name)
        })
    }

    /// Where the events in `frame`, which was decoded before, came from. There may be a thousand of them, and each asks, so
    /// they are not looked at.
    pub(crate) fn origin(frame: &'a [u8]) -> Option<Origin<'a>> {
        let mut frame = FrameReader(frame.get(1..)?);
        let (_stream, _first, _time) = (frame.bytes()?, frame.number()?, frame.number()?);
        let node = frame.text()?;
        let command_id = frame.option(|command| {
            let id = command.text()?;
            let (_fingerprint, _reply) = (command.number()?, command.bytes()?);
            Some(id)
        })?;
        let correlation = frame.option(FrameReader::text)?;
        let causation = frame.option(FrameReader::uuid)?;
        let traceparent = frame.option(FrameReader::text)?;
        Some(Origin { command_id, correlation, causation, traceparent, node })
    }

    /// Goes from behind the first version to the first event. Answers how many events there are.
    fn skip_to_events(frame: &mut FrameReader<'_>) -> Option<usize> {
        let (_time, _node) = (frame.number()?, frame.bytes()?);
        let _command = frame.option(|command| {
            let (_id, _fingerprint) = (command.bytes()?, command.number()?);
            command.bytes()
        })?;
        let _correlation = frame.option(FrameReader::bytes)?;
        let _causation = frame.option(FrameReader::bytes)?;
        let _traceparent = frame.option(FrameReader::bytes)?;
        usize::try_from(frame.number()?).ok()
    }

    fn read(frame: &mut FrameReader<'a>) -> Option<Self> {
        Some(Self {
            stream: frame.text()?,
            first_version: Version::new(frame.number()?),
            time: Timestamp::from_micros(frame.signed()?),
            node: frame.text()?,
            command: frame.option(|frame| {
                let (id, fingerprint) = (frame.text()?, frame.number()?);
                Some(CommandRecord { id, fingerprint, reply: frame.bytes()? })
            })?,
            correlation: frame.option(FrameReader::text)?,
            causation: frame.option(FrameReader::uuid)?,
            traceparent: frame.option(FrameReader::text)?,
            events: match frame.number()? {
                1 => [EventFrame::read(frame)?].into(),
                n => (0..n).map(|_| EventFrame::read(frame)).collect::<Option<_>>()?,
            },
        })
    }

    /// The commit's identity: that of its first event.
    pub fn id(&self) -> EventId {
        self.events[0].id
    }

    /// The stream that the commit belongs to.
    ///
    /// # Errors
    /// [`FrameError::Damaged`] when the text is no stream id.
    pub fn stream_id(&self) -> Result<StreamId, FrameError> {
        self.stream.parse().map_err(|_| FrameError::Damaged)
    }

    /// The version of the last event.
    pub fn last_version(&self) -> Version {
        self.first_version + self.events.len() as u64 - 1
    }

    /// The position of the last event, when that of the first one is `position`.
    pub fn last_position(&self, position: Position) -> Position {
        position + self.events.len() as u64 - 1
    }
}

impl<'a> EventFrame<'a> {
    fn read(frame: &mut FrameReader<'a>) -> Option<Self> {
        let (id, name) = (frame.uuid()?, frame.text()?);
        let schema = frame.number()?.try_into().ok()?;
        Some(Self { id, name, schema, payload: frame.bytes()? })
    }
}

/// A commit as a store gives it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The position of the first event; those of the others follow it, one by one.
    pub position: Position,
    /// What the store wants back as [`Append::token`](crate::store::Append::token) to append right after
    /// this commit.
    pub token: u64,
    /// The encoded [`Commit`].
    pub frame: Bytes,
}

impl Record {
    /// The position of the last event. Whoever reads on goes on after it.
    ///
    /// # Errors
    /// As [`Commit::decode`].
    pub fn end(&self) -> Result<Position, FrameError> {
        Ok(self.commit()?.last_position(self.position))
    }

    /// The id of the event at `position`, if that is in this commit.
    pub(crate) fn event_at(&self, position: Position) -> Result<Option<EventId>, FrameError> {
        let commit = self.commit()?;
        let mut events = (0..).zip(&commit.events);
        Ok(events.find(|(i, _)| self.position + *i == position).map(|(_, event)| event.id))
    }

    /// The commit in the frame.
    ///
    /// # Errors
    /// As [`Commit::decode`].
    pub fn commit(&self) -> Result<Commit<'_>, FrameError> {
        Commit::decode(&self.frame)
    }
}

/// Why stored bytes are not a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A later version of catga wrote it.
    #[error("the commit frame has format {0}, and this program reads format {FORMAT}")]
    Format(u8),
    /// The bytes are cut short, too long, or not what was written.
    #[error("the commit frame is damaged")]
    Damaged,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use proptest::prelude::*;

    use super::*;

    fn commit<'a>(payload: &'a [u8], command: Option<CommandRecord<'a>>) -> Commit<'a> {
        Commit {
            stream: "order/a",
            first_version: Version::new(3),
            time: Timestamp::from_micros(1_700_000_000_000_000),
            node: "n1",
            command,
            correlation: Some("c"),
            causation: None,
            traceparent: None,
            events: [EventFrame {
                id: Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
                name: "OrderPaid",
                schema: 1,
                payload,
            }]
            .into(),
        }
    }

    /// These bytes are in people's logs: if this fails, old logs can't be read.
    #[test]
    fn golden_bytes_of_format_1() {
        let command = CommandRecord { id: "k", fingerprint: 300, reply: &[9] };
        let golden = concat!(
            "01",
            "076f726465722f61",                   // "order/a"
            "03",                                 // first version
            "8080f28183898506",                   // time, zig-zag
            "026e31",                             // "n1"
            "01016bac020109",                     // command "k", 300, [9]
            "010163",                             // correlation "c"
            "00",                                 // no causation
            "00",                                 // no traceparent
            "01",                                 // one event
            "100102030405060708090a0b0c0d0e0f10", // id
            "094f7264657250616964",               // "OrderPaid"
            "01",                                 // schema version
            "020708",                             // payload
        );
        let frame = commit(&[7, 8], Some(command)).encode();
        let hex: String = frame.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, golden);
    }

    #[test]
    fn a_frame_cut_anywhere_or_one_byte_longer_is_damaged() {
        let frame = commit(b"payload", None).encode();
        for cut in 0..frame.len() {
            assert_eq!(Commit::decode(&frame[..cut]), Err(FrameError::Damaged), "cut at {cut}");
        }
        let longer = [&frame[..], &[0]].concat();
        assert_eq!(Commit::decode(&longer), Err(FrameError::Damaged));
    }

    #[test]
    fn a_frame_of_a_later_format_is_named() {
        let mut frame = commit(b"", None).encode().to_vec();
        frame[0] = 2;
        assert_eq!(Commit::decode(&frame), Err(FrameError::Format(2)));
    }

    #[test]
    fn a_commit_without_events_or_version_is_damaged() {
        let mut none = commit(b"", None);
        none.events = SmallVec::new();
        assert_eq!(Commit::decode(&none.encode()), Err(FrameError::Damaged));
        let zero = Commit { first_version: Version::ZERO, ..commit(b"", None) };
        assert_eq!(Commit::decode(&zero.encode()), Err(FrameError::Damaged));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(payload: Vec<u8>, reply: Vec<u8>, fingerprint: u64, id: String) {
            // It outlives the commit that is compared with what is read from it.
            let frame;
            let command = CommandRecord { id: &id, fingerprint, reply: &reply };
            let (causation, traceparent) = (Some(Uuid::from_u64_pair(fingerprint, 7)), Some(&*id));
            let commit = Commit { causation, traceparent, ..commit(&payload, Some(command)) };
            frame = commit.encode();
            let Commit { correlation, node, .. } = commit;
            let origin = Origin { command_id: Some(&id), correlation, causation, traceparent, node };
            prop_assert_eq!(Commit::origin(&frame), Some(origin));
            let names: Vec<_> = Commit::event_names(&frame).collect();
            prop_assert_eq!(names, [b"OrderPaid"]);
            prop_assert_eq!(Commit::stream_in(&frame), commit.stream_id());
            prop_assert_eq!(Commit::decode(&frame), Ok(commit));
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
            let _ = Commit::decode(&bytes);
        }
    }
}
