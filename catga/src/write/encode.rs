//! What a handler recorded, as the frame of one commit.

use std::{cell::Cell, ops::Range};

use serde::Serialize;

use smallvec::SmallVec;

use crate::{
    log::{CommandRecord, Commit, EventFrame, EventId, StreamId, Version, new_event_id},
    model::{Error, Event, EventType},
    program::Context,
};

/// A buffer that has grown larger than this is not kept for the next commit.
const LARGE: usize = 64 << 10;

thread_local! {
    /// Where payloads are encoded, one behind the other.
    static PAYLOADS: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The recorded events as a frame, and the commit's id.
pub(crate) fn encode<E: Event, O: Serialize>(
    cx: &Context<'_>,
    stream: &StreamId,
    version: Version,
    recorded: &[E],
    output: &O,
) -> Result<(bytes::Bytes, EventId), Error> {
    let metadata = cx.metadata;
    let reply = match &metadata.command_id {
        Some(_) => postcard::to_stdvec(output).map_err(|e| {
            Error::misuse(format!("the answer of a command with an id can't be stored: {e}"))
        })?,
        None => Vec::new(),
    };
    let time = cx.program.clock.now();
    let mut payloads = PAYLOADS.take();
    payloads.clear();
    let mut encoded = SmallVec::<[_; 1]>::new();
    for event in recorded {
        let begin = payloads.len();
        let ty = event.encode(&mut payloads)?;
        encoded.push((ty, begin..payloads.len()));
    }
    let event = |(ty, payload): &(EventType, Range<usize>)| EventFrame {
        id: new_event_id(time),
        name: ty.name,
        schema: ty.version,
        payload: &payloads[payload.clone()],
    };
    let events: SmallVec<[EventFrame<'_>; 1]> = encoded.iter().map(event).collect();
    let id = events[0].id;
    let command = metadata.command_id.as_ref().map(|id| CommandRecord {
        id: id.as_str(),
        fingerprint: cx.fingerprint,
        reply: &reply,
    });
    let commit = Commit {
        stream: stream.as_str(),
        first_version: version + 1,
        time,
        node: &cx.program.node,
        command,
        correlation: metadata.correlation.as_deref(),
        causation: metadata.causation,
        traceparent: metadata.traceparent.as_deref(),
        events,
    };
    let frame = commit.encode();
    // It borrows the payloads.
    drop(commit);
    if payloads.capacity() <= LARGE {
        PAYLOADS.set(payloads);
    }
    Ok((frame, id))
}
