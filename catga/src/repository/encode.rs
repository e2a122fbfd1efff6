//! What a handler recorded, as the frame of one commit.

use std::{cell::Cell, ops::Range};

use serde::Serialize;

use crate::{
    CommandRecord, Commit, Context, Error, Event, EventFrame, EventId, EventType, Few, StreamId,
    Version, context::new_event_id,
};

/// A buffer that has grown larger than this is not kept for the next commit.
const LARGE: usize = 64 << 10;

thread_local! {
    /// Where payloads are encoded, one behind the other.
    static PAYLOADS: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The recorded events as a frame, and the commit's id.
pub(super) fn encode<E: Event, O: Serialize>(
    cx: &Context<'_>,
    stream: &StreamId,
    version: Version,
    recorded: &[E],
    output: &O,
) -> Result<(bytes::Bytes, EventId), Error> {
    let time = cx.runtime.clock.now();
    let mut payloads = PAYLOADS.take();
    payloads.clear();
    let mut encoded = Few::new();
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
    let events: Few<_> = encoded.iter().map(event).collect();
    let id = events[0].id;
    let metadata = cx.metadata;
    let reply = match &metadata.command_id {
        Some(_) => postcard::to_stdvec(output).map_err(|e| {
            Error::misuse(format!("the answer of a command with an id can't be stored: {e}"))
        })?,
        None => Vec::new(),
    };
    let command = metadata.command_id.as_ref().map(|id| CommandRecord {
        id: id.as_str(),
        fingerprint: cx.fingerprint,
        reply: &reply,
    });
    let commit = Commit {
        stream: stream.as_str(),
        first_version: version + 1,
        time,
        node: &cx.runtime.node,
        command,
        correlation: metadata.correlation.as_deref(),
        causation: metadata.causation,
        traceparent: metadata.traceparent.as_deref(),
        events,
    };
    let frame = commit.encode();
    if payloads.capacity() <= LARGE {
        PAYLOADS.set(payloads);
    }
    Ok((frame, id))
}
