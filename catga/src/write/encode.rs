//! What a handler recorded, as the frame of one commit.

use serde::Serialize;

use smallvec::SmallVec;

use crate::{
    log::{CommandRecord, Commit, EventFrame, EventId, StreamId, Version, new_event_id},
    model::{Error, EventType, Recording},
    program::Context,
};

/// The recorded events as a frame, and the commit's id.
pub(crate) fn encode<O: Serialize>(
    cx: &Context<'_>,
    stream: &StreamId,
    version: Version,
    recording: Recording,
    output: &O,
) -> Result<(bytes::Bytes, EventId), Error> {
    let metadata = cx.metadata;
    let reply = match &metadata.command_id {
        Some(_) => postcard::to_stdvec(output).map_err(|e| {
            Error::misuse(format!("the answer of a command with an id can't be stored: {e}"))
        })?,
        None => Vec::new(),
    };
    let time = cx.clock().now();
    let event = |(ty, payload): (EventType, _)| EventFrame {
        id: new_event_id(time),
        name: ty.name,
        schema: ty.version,
        payload,
    };
    let events: SmallVec<[EventFrame<'_>; 1]> = recording.events()?.map(event).collect();
    let id = events[0].id;
    let command = metadata.command_id.as_ref().map(|id| CommandRecord {
        id: id.as_str(),
        fingerprint: cx.fingerprint,
        reply: &reply,
    });
    let commit = Commit {
        stream: stream.as_str(),
        first_version: version.next(),
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
    recording.recycle();
    Ok((frame, id))
}
