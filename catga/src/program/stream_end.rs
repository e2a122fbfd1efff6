//! The end of a stream that catga itself writes to: what operators skipped, and what handlers gave up on.

use crate::{
    log::{
        Commit, EventFrame, FrameError, Record, StoreError, StreamId, Timestamp, Version,
        new_event_id,
    },
    model::EventType,
    store::{Append, Appended, EventStore, NotAppended, append_once},
};

/// How many commits are read at once.
const PAGE: usize = 512;

/// A stream, and where it ends as far as is known.
#[derive(Debug, Clone)]
pub(crate) struct StreamEnd {
    stream: StreamId,
    version: Version,
    token: u64,
    /// Nothing may be recorded earlier: the last event was then, or a moment before.
    time: Timestamp,
}

impl StreamEnd {
    /// The begin of `stream`, of which nothing has been read.
    pub(crate) fn new(stream: StreamId) -> Self {
        let time = Timestamp::from_micros(i64::MIN);
        Self { stream, version: Version::ZERO, token: 0, time }
    }

    /// The commits that come next; none at the end.
    pub(crate) async fn next_page(
        &self,
        store: &dyn EventStore,
    ) -> Result<Vec<Record>, StoreError> {
        store.read_stream(&self.stream, self.version + 1, PAGE).await
    }

    /// Goes on behind `last`, the last commit of a page.
    pub(crate) fn pass(&mut self, last: &Record) -> Result<(), FrameError> {
        let commit = last.commit()?;
        (self.version, self.token, self.time) = (commit.last_version(), last.token, commit.time);
        Ok(())
    }

    /// Appends encoded events, one at least, as one commit at the end that this knows. It is not done when the stream ends
    /// elsewhere.
    pub(crate) async fn append(
        &mut self,
        store: &dyn EventStore,
        node: &str,
        now: Timestamp,
        events: &[(EventType, Vec<u8>)],
    ) -> Result<Appended, NotAppended> {
        let &mut Self { ref stream, version, token, time } = self;
        let time = time.max(now);
        let frames = events.iter().map(|(ty, payload)| EventFrame {
            id: new_event_id(time),
            name: ty.name,
            schema: ty.version,
            payload,
        });
        let commit = Commit {
            stream: stream.as_str(),
            first_version: version + 1,
            time,
            node,
            command: None,
            correlation: None,
            causation: None,
            traceparent: None,
            events: frames.collect(),
        };
        let id = commit.id();
        let append =
            Append { stream, version, token, events: events.len(), frame: commit.encode() };
        let appended = append_once(store, append, id).await?;
        let version = version + events.len() as u64;
        (self.version, self.token, self.time) = (version, appended.token, time);
        Ok(appended)
    }
}
