//! Reading the log in order: its end from memory, little by sequence, much through a consumer.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::jetstream::consumer::pull::Ordered;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{interval, sleep, timeout};

use super::{
    head::Head,
    message::{Stored, last_position, sequence_after},
    options::REQUEST_TIMEOUT,
    topic::{Topic, unavailable},
};
use crate::{Position, Record, StoreError, retry::Backoff};

/// How many bytes of the log's end are kept in memory.
const RECENT_BYTES: usize = 8 << 20;

/// From how many messages on a consumer is made for them, which takes the server some milliseconds.
const MANY: u64 = 256;

/// How many messages are asked for at once.
const PARALLEL: usize = 64;

/// A page ends after so many bytes, even when it could hold more commits.
const PAGE_BYTES: usize = 4 << 20;

/// How many consumers wait for their reader to go on.
const CURSORS: usize = 8;

/// How often the end of the log is looked at, beside what comes by itself.
const LOOK: Duration = Duration::from_secs(1);

/// The log in order.
pub(super) struct Log {
    topic: Topic,
    pub(super) head: Head,
    /// The sequence and the checksum of the last commit that was followed or appended here.
    mark: Mutex<Option<(u64, u32)>>,
    recent: Mutex<Recent>,
    /// Consumers of readers that stopped between two pages.
    cursors: Mutex<Vec<Cursor>>,
}

/// The last commits, without gaps.
#[derive(Default)]
struct Recent {
    /// The sequence of the first record.
    first: u64,
    records: VecDeque<Record>,
    bytes: usize,
}

/// A consumer, and what it brings next.
struct Cursor {
    next: u64,
    messages: Ordered,
}

impl Log {
    pub(super) async fn open(topic: Topic) -> Result<Arc<Self>, StoreError> {
        let head = last_position(topic.end().await?);
        let (mark, recent, cursors) = Default::default();
        Ok(Arc::new(Self { topic, head: Head::new(head), mark, recent, cursors }))
    }

    /// Takes in that the message with `sequence` holds `frame`.
    pub(super) fn saw(&self, sequence: u64, frame: &[u8]) {
        {
            let mut mark = locked(&self.mark);
            if mark.is_none_or(|(last, _)| last < sequence) {
                *mark = Some((sequence, crc32fast::hash(frame)));
            }
        }
        self.head.rise_to(last_position(sequence));
    }

    /// The position of the log's end, asking the server.
    pub(super) async fn end(&self) -> Result<Position, StoreError> {
        self.head.check()?;
        let seen = self.head.position();
        let end = last_position(self.topic.end().await?);
        if end < seen {
            // Whether the end is lost is found out in a moment.
            return Err(StoreError::unavailable("NATS ends before what was seen of the log"));
        }
        self.head.rise_to(end);
        Ok(end)
    }

    /// As [`EventStore::read_log`](crate::EventStore::read_log).
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
                Ok(Stored::try_from(self.topic.get(sequence).await?)?.record())
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
            None => Cursor { next: first, messages: self.topic.follow(first).await? },
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

    /// Follows the log for as long as the store is open, over every outage of the server.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(250));
        loop {
            let Err(error) = self.follow_connected(&mut backoff).await;
            tracing::debug!(%error, "NATS is followed anew");
            // What follows is not next to what is kept.
            *locked(&self.recent) = Recent::default();
            sleep(backoff.next_delay()).await;
        }
    }

    /// After an outage others may have filled the places of commits that were lost.
    async fn check_mark(&self) -> Result<(), StoreError> {
        let Some((sequence, checksum)) = *locked(&self.mark) else { return Ok(()) };
        let is_there = match self.topic.get(sequence).await {
            Ok(message) => crc32fast::hash(&message.payload) == checksum,
            Err(error) if error.is_unavailable() => return Err(error),
            Err(_) => false,
        };
        if !is_there {
            self.head.lose(last_position(sequence - 1));
        }
        Ok(())
    }

    async fn follow_connected(&self, backoff: &mut Backoff) -> Result<Infallible, StoreError> {
        let lost = self.topic.lost();
        tokio::pin!(lost);
        self.check_mark().await?;
        let first = sequence_after(self.head.position());
        let mut cursor = Cursor { next: first, messages: self.topic.follow(first).await? };
        locked(&self.recent).first = first;
        let mut look = interval(LOOK);
        let mut missing = None;
        loop {
            tokio::select! {
                stored = cursor.next() => {
                    let stored = stored?;
                    let (sequence, frame) = (stored.place.sequence, stored.frame.clone());
                    locked(&self.recent).push(stored.record());
                    self.saw(sequence, &frame);
                    *backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(250));
                }
                // The client would make the consumer anew by itself, on whatever is there then.
                error = &mut lost => return Err(error),
                _ = look.tick() => {
                    // What was seen before the server is asked can't be more than it has, if it lost nothing.
                    let seen = self.head.position();
                    let end = self.topic.end().await?;
                    if last_position(end) < seen {
                        self.head.lose(last_position(end));
                    }
                    self.head.rise_to(last_position(end));
                    // The client finds out late that a server which was away has forgotten the consumer.
                    let is_behind = (cursor.next <= end).then_some(cursor.next);
                    if is_behind.is_some() && is_behind == missing {
                        return Err(StoreError::unavailable("the consumer stands still"));
                    }
                    missing = is_behind;
                }
            }
        }
    }
}

impl Cursor {
    /// The next message, which must be the next one of the log: nothing is ever skipped.
    async fn next(&mut self) -> Result<Stored, StoreError> {
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
        Stored::read(sequence, message.headers.as_ref(), message.payload)
    }
}

impl Recent {
    fn push(&mut self, record: Record) {
        self.bytes += record.frame.len();
        self.records.push_back(record);
        while self.bytes > RECENT_BYTES {
            let Some(oldest) = self.records.pop_front() else { return };
            self.bytes -= oldest.frame.len();
            self.first += 1;
        }
    }

    fn read(&self, first: u64, limit: usize) -> Vec<Record> {
        let Some(skip) = first.checked_sub(self.first).and_then(|n| usize::try_from(n).ok()) else {
            return Vec::new();
        };
        self.records.iter().skip(skip).take(limit).cloned().collect()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
