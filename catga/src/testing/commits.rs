//! Commits made by hand: for tests of what was stored long ago, or by somebody else.

use crate::{
    log::{Commit, EventFrame, StreamId, Timestamp, Version},
    store::{Append, AppendError, Appended, EventStore},
};

/// A commit of `events` right after version `version` of `stream`, with nothing else that a commit can have.
///
/// ```
/// use catga::{testing, log::{EventFrame, EventId, StreamId}, store::{EventStore, MemoryStore}};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let (store, stream) = (MemoryStore::new(), StreamId::new("order", "a").unwrap());
/// let old = EventFrame { id: EventId::nil(), name: "OrderPaid", schema: 1, payload: b"" };
/// testing::append(&store, &testing::commit(&stream, 0.into(), [old]), 0).await.unwrap();
/// assert_eq!(store.head().await.unwrap(), 1);
/// # }
/// ```
pub fn commit<'a>(
    stream: &'a StreamId,
    version: Version,
    events: impl IntoIterator<Item = EventFrame<'a>>,
) -> Commit<'a> {
    Commit {
        stream: stream.as_str(),
        first_version: version + 1,
        time: Timestamp::from_micros(1),
        node: "test",
        command: None,
        correlation: None,
        causation: None,
        traceparent: None,
        events: events.into_iter().collect(),
    }
}

/// Appends `commit` to `store`, where it says itself that it belongs. For `token` see [`Append::token`]; most stores
/// do without.
///
/// # Errors
/// As [`EventStore::append`].
///
/// # Panics
/// When the commit's stream is no stream id.
pub async fn append(
    store: &dyn EventStore,
    commit: &Commit<'_>,
    token: u64,
) -> Result<Appended, AppendError> {
    let stream = commit.stream_id().expect("the commit names a stream");
    let (version, events) = (commit.first_version - 1, commit.events.len());
    store.append(Append { stream: &stream, version, token, events, frame: commit.encode() }).await
}
