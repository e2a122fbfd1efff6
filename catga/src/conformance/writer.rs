//! Commits as the rules append and read them.

use std::sync::Arc;

use super::rule::{Broken, Verdict, ensure, ensure_eq};
use crate::{
    log::{Commit, EventFrame, EventId, Position, Record, StreamId, Version},
    store::{AppendError, Appended, EventStore},
    testing,
};

/// A stream of the rules' own.
pub(super) fn stream(key: &str) -> StreamId {
    StreamId::new("conformance", key).expect("a plain key")
}

/// A commit of `events` events, each with an id of its own, right after `version`.
pub(super) fn commit(stream: &StreamId, version: Version, events: usize) -> Commit<'_> {
    let payload = b"payload";
    let event = |_| EventFrame { id: EventId::new_v4(), name: "Tested", schema: 1, payload };
    testing::commit(stream, version, (0..events).map(event))
}

/// Appends to one stream, whose end it knows.
#[derive(Clone)]
pub(super) struct Writer {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) stream: StreamId,
    pub(super) version: Version,
    pub(super) token: u64,
}

impl Writer {
    /// A writer of a stream that does not exist.
    pub(super) fn new(store: &Arc<dyn EventStore>, key: &str) -> Self {
        Self { store: store.clone(), stream: stream(key), version: 0.into(), token: 0 }
    }

    /// Appends a commit at the end of the stream, which must go well.
    pub(super) async fn append(&mut self, events: usize) -> Result<Appended, Broken> {
        let appended = self.try_append(self.version, events).await?;
        self.version += events as u64;
        self.token = appended.token;
        Ok(appended)
    }

    /// Appends a commit as if the stream were at `version`.
    pub(super) async fn try_append(
        &self,
        version: Version,
        events: usize,
    ) -> Result<Appended, AppendError> {
        testing::append(&*self.store, &commit(&self.stream, version, events), self.token).await
    }

    /// All commits of the stream.
    pub(super) async fn whole_stream(&self) -> Result<Vec<Record>, Broken> {
        Ok(self.store.read_stream(&self.stream, 1.into(), 10_000).await?)
    }
}

/// All of the log after `after`, read in pages of `page` commits.
pub(super) async fn whole_log(
    store: &dyn EventStore,
    mut after: Position,
    page: usize,
) -> Result<Vec<Record>, Broken> {
    let mut all = Vec::new();
    loop {
        let records = store.read_log(after, page).await?;
        let Some(last) = records.last() else { return Ok(all) };
        ensure!(records.len() <= page, "a page of {page} holds {}", records.len());
        let end = last.end()?;
        ensure!(end > after, "a page after {after} ends at {end}");
        after = end;
        all.extend(records);
    }
}

/// The positions of the first events of `records`.
pub(super) fn positions(records: &[Record]) -> Vec<Position> {
    records.iter().map(|record| record.position).collect()
}

/// Checks that both are the same commits at the same positions. Tokens are a store's own, and a topic has none.
pub(super) fn ensure_same(found: &[Record], wanted: &[Record], what: &str) -> Verdict {
    ensure_eq!(positions(found), positions(wanted), "the positions of {what}");
    let is_same = found.iter().zip(wanted).all(|(found, wanted)| found.frame == wanted.frame);
    ensure!(is_same, "{what} holds another commit at one of the positions");
    Ok(())
}
