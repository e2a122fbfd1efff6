//! Reading the log in order: its end from memory, little by sequence, much through a consumer.

use std::sync::{Arc, Mutex, atomic::AtomicUsize};

use async_nats::jetstream::consumer::pull::Ordered;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::timeout;

use super::{
    message::{CommitMessage, last_position, sequence_after},
    options::REQUEST_TIMEOUT,
    publication::{locked, unavailable},
    recent::RecentMessages,
    topic::{GONE, Topic},
};
use crate::{
    log::{LogId, Position, Record, StoreError},
    store::seen_head::SeenHead,
};

/// Read through a consumer from this many messages on: making one takes the server some milliseconds.
const MANY: u64 = 256;

/// How many messages are requested at once.
const PARALLEL: usize = 64;

/// A page ends after this many bytes, even when it could hold more commits.
const PAGE_BYTES: usize = 4 << 20;

/// How many consumers are kept for readers that may go on.
const CURSORS: usize = 8;

/// The log in order.
pub(super) struct NatsLog {
    pub(super) topic: Topic,
    pub(super) id: LogId,
    pub(super) head: SeenHead,
    pub(super) recent: Mutex<RecentMessages>,
    /// How many commits of this node are not answered yet.
    pub(super) appending: AtomicUsize,
    /// Consumers of readers that stopped between two pages.
    cursors: Mutex<Vec<LogConsumer>>,
}

/// A consumer, and what it brings next.
pub(super) struct LogConsumer {
    next: u64,
    name: String,
    messages: Ordered,
}

impl NatsLog {
    pub(super) async fn open(topic: Topic) -> Result<Arc<Self>, StoreError> {
        let (id, end) = topic.end().await?.ok_or_else(|| StoreError::unavailable(GONE))?;
        let head = SeenHead::new("NATS", last_position(end), ());
        let (recent, appending, cursors) = Default::default();
        Ok(Arc::new(Self { topic, id, head, recent, appending, cursors }))
    }

    /// Takes in what this node appended.
    pub(super) fn appended(&self, record: Record) {
        let known = locked(&self.recent).put_ours(record);
        self.head.rise_to(last_position(known), || ());
    }

    /// The position of the log's end, asking the server.
    pub(super) async fn end(&self) -> Result<Position, StoreError> {
        self.head.check()?;
        let seen = self.head.position();
        let end = self.ask_end().await?;
        if end < seen {
            // Whether the end is lost is found out in a moment.
            return Err(StoreError::unavailable("NATS ends before what was seen of the log"));
        }
        self.head.rise_to(end, || ());
        Ok(end)
    }

    /// The position of the end of what the server has, if that is still the same log.
    pub(super) async fn ask_end(&self) -> Result<Position, StoreError> {
        match self.topic.end().await? {
            Some((id, end)) if id == self.id => return Ok(last_position(end)),
            Some(_) => self.head.lose("the stream was made anew"),
            None => self.head.lose(GONE),
        }
        Err(self.head.lost())
    }

    /// As [`EventStore::read_log`](crate::store::EventStore::read_log).
    pub(super) async fn read(
        &self,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.head.check()?;
        let first = sequence_after(after);
        let recent = locked(&self.recent).read(first, limit);
        if !recent.is_empty() {
            return Ok(recent);
        }
        let end = match self.head.position() {
            head if after < head => head,
            _ => self.end().await?,
        };
        let last = sequence_after(end) - 1;
        if last < first {
            return Ok(Vec::new());
        }
        if last - first >= MANY {
            return self.read_many(first, last, limit).await;
        }
        let last = last.min(first.saturating_add(limit as u64 - 1));
        stream::iter(first..=last)
            .map(|sequence| async move {
                Ok(CommitMessage::try_from(self.topic.get(sequence).await?)?.record())
            })
            .buffered(PARALLEL)
            .try_collect()
            .await
    }

    async fn read_many(
        &self,
        first: u64,
        last: u64,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let waiting = {
            let mut cursors = locked(&self.cursors);
            let at = cursors.iter().position(|cursor| cursor.next == first);
            at.map(|at| cursors.swap_remove(at))
        };
        let mut cursor = match waiting {
            Some(cursor) => cursor,
            None => LogConsumer::new(&self.topic, first).await?,
        };
        let (mut records, mut bytes) = (Vec::new(), 0);
        while records.len() < limit && bytes < PAGE_BYTES && cursor.next <= last {
            let stored = timeout(REQUEST_TIMEOUT, cursor.next()).await;
            let stored = stored
                .map_err(|_| StoreError::unavailable("NATS did not send the log in time"))??;
            bytes += stored.frame.len();
            records.push(stored.record());
        }
        if cursor.next <= last {
            let mut cursors = locked(&self.cursors);
            if cursors.len() == CURSORS {
                cursors.remove(0);
            }
            cursors.push(cursor);
        }
        Ok(records)
    }
}

impl LogConsumer {
    pub(super) async fn new(topic: &Topic, next: u64) -> Result<Self, StoreError> {
        let (name, messages) = topic.follow(next).await?;
        Ok(Self { next, name, messages })
    }

    /// The next message, which must be the next one of the log: nothing is ever skipped.
    pub(super) async fn next(&mut self) -> Result<CommitMessage, StoreError> {
        let message = match self.messages.next().await {
            Some(message) => message.map_err(|error| unavailable("JetStream", error))?,
            None => return Err(StoreError::unavailable("NATS closed the consumer")),
        };
        let sequence = message.info().map(|info| info.stream_sequence).unwrap_or(0);
        if sequence != self.next {
            let next = self.next;
            return Err(StoreError::corrupt(format!("the log has no message {next}")));
        }
        self.next += 1;
        let message = message.message;
        CommitMessage::read(sequence, message.headers.as_ref(), message.payload)
    }

    /// Has the server forget the consumer, which it would do by itself after a while.
    pub(super) async fn close(self, topic: &Topic) {
        drop(self.messages);
        topic.forget(&self.name).await;
    }
}
