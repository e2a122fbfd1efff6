//! What a handler recorded, as the frame of one commit.

use smallvec::SmallVec;

use crate::{
    log::{
        CommandRecord, Commit, EventFrame, EventId, StoreError, StreamId, Version, new_event_id,
        readable::append_readable,
    },
    model::{DecodeError, Error, EventType, Recording},
    program::{CommandOutput, Context},
};

/// The largest answer that is stored with its command, in bytes. It is the same for every store, and leaves room for the events
/// within the smallest limit, which is NATS' default of 1 MiB.
const MAX_REPLY: usize = 768 << 10;

/// What the command named `command` recorded as a frame, and the commit's id.
pub(crate) fn encode<O: CommandOutput>(
    cx: &Context<'_>,
    command: &'static str,
    stream: &StreamId,
    version: Version,
    recording: Recording,
    output: &O,
) -> Result<(bytes::Bytes, EventId), Error> {
    let metadata = cx.metadata;
    let recorded = recording.events().map_err(|error| recorded_by(command, stream, error))?;
    let reply = match &metadata.command_id {
        Some(_) => encode_reply(command, output)?,
        None => Vec::new(),
    };
    let time = cx.clock().now();
    let event = |(ty, payload): (EventType, _)| EventFrame {
        id: new_event_id(time),
        name: ty.name,
        schema: ty.version,
        payload,
    };
    let events: SmallVec<[EventFrame<'_>; 1]> = recorded.map(event).collect();
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

/// Encodes the answer. One that could not be read back is refused before anything is written.
fn encode_reply<O: CommandOutput>(command: &str, output: &O) -> Result<Vec<u8>, Error> {
    let mut reply = Vec::new();
    append_readable::<O>(output, &mut reply).map_err(|reason| {
        Error::misuse(format!(
            "the answer of `{command}` can't be stored, so that it could be given again: {reason}"
        ))
    })?;
    if reply.len() > MAX_REPLY {
        return Err(StoreError::too_large(format!(
            "the answer of `{command}` has {} bytes, and one that is stored with its command's id at most {MAX_REPLY}",
            reply.len()
        ))
        .into());
    }
    Ok(reply)
}

/// Adds to the error where the event that can't be stored came from.
fn recorded_by(command: &str, stream: &StreamId, error: DecodeError) -> DecodeError {
    match error {
        DecodeError::Encode(ty, reason) => {
            let reason = format!("{reason}; `{command}` recorded it on `{stream}`");
            DecodeError::Encode(ty, reason)
        }
        error => error,
    }
}
