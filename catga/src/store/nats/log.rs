//! Reading the log in order: its end from memory, little by sequence, much through a consumer.

use std::{
    ops::Range,
    sync::{Arc, Mutex, atomic::AtomicUsize},
};

use async_nats::jetstream::consumer::pull::Ordered;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::{sync::watch, time::timeout};

use super::{
    barrier::Barriers,
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

/// As [`MANY`], where there are barriers: messages are asked for one after the other there.
const MANY_ONE_BY_ONE: u64 = 32;

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
    /// The last commit that was seen.
    pub(super) head: SeenHead,
    /// Where several servers keep the log.
    pub(super) barriers: Option<Barriers>,
    /// Up to which sequence the stream was followed, barriers included.
    pub(super) known: watch::Sender<u64>,
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

/// What a consumer brings, and the sequences that it left out before that.
struct Brought {
    message: Message,
    gap: Option<Range<u64>>,
}

/// A message of the log.
pub(super) enum Message {
    Commit(CommitMessage),
    /// With its sequence.
    Barrier(u64),
}

impl NatsLog {
    /// The log in the stream.
    pub(super) async fn open(
        topic: Topic,
        barriers: Option<Barriers>,
    ) -> Result<Arc<Self>, StoreError> {
        let (id, mut end) = topic.end().await?.ok_or_else(|| StoreError::unavailable(GONE))?;
        if let Some(barriers) = &barriers {
            end = barriers.last_commit(&topic).await?;
        }
        let head = SeenHead::new("NATS", last_position(end), ());
        let known = watch::Sender::new(end);
        let (recent, appending, cursors) = Default::default();
        Ok(Arc::new(Self { topic, id, head, barriers, known, recent, appending, cursors }))
    }

    /// Takes in what this node appended.
    pub(super) fn appended(&self, record: Record) {
        self.take_in(|recent| recent.put_ours(record));
    }

    /// Takes in what is put to the recent messages.
    pub(super) fn take_in(&self, put: impl FnOnce(&mut RecentMessages) -> u64) {
        let mut recent = locked(&self.recent);
        let head = put(&mut recent);
        // Who waits for a barrier sees the commits before it: so both rise before anybody else puts something.
        self.head.rise_to(last_position(head), || ());
        if self.barriers.is_some() {
            let known = recent.known();
            self.known.send_if_modified(|before| {
                let is_news = known > *before;
                *before = known.max(*before);
                is_news
            });
        }
    }

    /// The position of the log's end, asking the server.
    pub(super) async fn end(&self) -> Result<Position, StoreError> {
        self.head.check()?;
        if let Some(barriers) = &self.barriers {
            return self.certain_end(barriers).await;
        }
        let seen = self.head.position();
        let end = last_position(self.ask_end().await?);
        if end < seen {
            // Whether the end is lost is found out in a moment.
            return Err(StoreError::unavailable("NATS ends before what was seen of the log"));
        }
        self.head.rise_to(end, || ());
        Ok(end)
    }

    /// The sequence of the end of what the server has, if that is still the same log.
    pub(super) async fn ask_end(&self) -> Result<u64, StoreError> {
        let found = self.topic.end().await?;
        let is_gone = match &self.barriers {
            Some(barriers) => barriers.is_gone_for_good(found.is_some()),
            None => found.is_none(),
        };
        match found {
            Some((id, end)) if id == self.id => return Ok(end),
            Some(_) => self.head.lose("the stream was made anew"),
            None if !is_gone => return Err(StoreError::unavailable(GONE)),
            None => self.head.lose(GONE),
        }
        Err(self.head.lost())
    }

    /// The position of the log's last commit, when everything that was acknowledged before the call is known here.
    ///
    /// # Errors
    /// When most of the servers can't be reached, or the log is not followed up to its end in time.
    async fn certain_end(&self, barriers: &Barriers) -> Result<Position, StoreError> {
        let sequence = self.pass_barrier(barriers).await?;
        let mut known = self.known.subscribe();
        let followed = timeout(REQUEST_TIMEOUT, known.wait_for(|known| *known >= sequence)).await;
        followed
            .map_err(|_| {
                StoreError::unavailable("the end of the log on NATS was not read in time")
            })?
            .expect("the sender is borrowed");
        self.head.check()?;
        Ok(self.head.position())
    }

    /// Stores a barrier. Answers its sequence, above that of everything that was stored before.
    ///
    /// # Errors
    /// As [`Barriers::store`]; and when the barrier is where the log had been already: its end is lost.
    pub(super) async fn pass_barrier(&self, barriers: &Barriers) -> Result<u64, StoreError> {
        let seen = self.seen();
        let sequence = barriers.store(&self.topic).await?;
        if sequence <= seen {
            self.head.lose("it stored a message before the end that was seen");
            return Err(self.head.lost());
        }
        self.take_in(|recent| recent.put_barrier(sequence));
        Ok(sequence)
    }

    /// The highest sequence that was seen.
    pub(super) fn seen(&self) -> u64 {
        (sequence_after(self.head.position()) - 1).max(*self.known.borrow())
    }

    /// Asks whether everything that was `seen` is still there, after the stream was said to end before it. A server that is
    /// behind the others may say so for a moment.
    pub(super) async fn check_end(&self, seen: u64) -> Result<(), StoreError> {
        match &self.barriers {
            // There is nobody else who could know better.
            None => self.head.lose("it ends before what was seen"),
            Some(barriers) => {
                let sequence = self.pass_barrier(barriers).await?;
                tracing::debug!(seen, sequence, "a server of NATS is behind the others");
            }
        }
        self.head.check()
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
        let end = match (self.head.position(), &self.barriers) {
            (head, _) if after < head => head,
            (_, None) => self.end().await?,
            (_, Some(_)) => return self.read_one_by_one(first, None, limit).await,
        };
        let last = sequence_after(end) - 1;
        if last < first {
            return Ok(Vec::new());
        }
        let many = if self.barriers.is_some() { MANY_ONE_BY_ONE } else { MANY };
        if (last - first).min(limit as u64) >= many {
            return self.read_many(first, last, limit).await;
        }
        if self.barriers.is_some() {
            return self.read_one_by_one(first, Some(last), limit).await;
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

    /// Reads little of a stream whose barriers are gone in time, up to its end or the commit that is `last`.
    async fn read_one_by_one(
        &self,
        mut next: u64,
        last: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        while records.len() < limit && last.is_none_or(|last| next <= last) {
            let Some(message) = self.topic.next(next).await? else {
                let Some(_) = last else { break };
                return Err(StoreError::unavailable("a server of NATS is behind the others"));
            };
            check_not_behind(message.sequence, last)?;
            next = message.sequence + 1;
            if !message.payload.is_empty() {
                records.push(CommitMessage::try_from(message)?.record());
            }
        }
        Ok(records)
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
        let (mut records, mut gaps, mut bytes) = (Vec::new(), Vec::new(), 0);
        while records.len() < limit && bytes < PAGE_BYTES && cursor.next <= last {
            let brought = timeout(REQUEST_TIMEOUT, cursor.next(&self.topic)).await;
            let brought = brought
                .map_err(|_| StoreError::unavailable("NATS did not send the log in time"))??;
            check_not_behind(cursor.next - 1, Some(last))?;
            gaps.extend(brought.gap);
            if let Message::Commit(stored) = brought.message {
                bytes += stored.frame.len();
                records.push(stored.record());
            }
        }
        let checks = stream::iter(gaps).map(|gap| check_gap(&self.topic, gap));
        checks.buffered(PARALLEL).try_collect::<()>().await?;
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

    /// The next message, once it is certain that it is the next one of the log: nothing is ever skipped.
    pub(super) async fn next_checked(&mut self, topic: &Topic) -> Result<Message, StoreError> {
        let Brought { message, gap } = self.next(topic).await?;
        if let Some(gap) = gap {
            check_gap(topic, gap).await?;
        }
        Ok(message)
    }

    /// The next message. Whoever takes it [checks the gap](check_gap) before it.
    async fn next(&mut self, topic: &Topic) -> Result<Brought, StoreError> {
        let message = match self.messages.next().await {
            Some(message) => message.map_err(|error| unavailable("JetStream", error))?,
            None => return Err(StoreError::unavailable("NATS closed the consumer")),
        };
        let sequence = message.info().map(|info| info.stream_sequence).unwrap_or(0);
        if sequence < self.next {
            let what = format!("a consumer brought message {sequence} once more");
            return Err(StoreError::unavailable(what));
        }
        let gap = (self.next < sequence).then_some(self.next..sequence);
        self.next = sequence + 1;
        let message = message.message;
        // The frame of a commit is never empty.
        let message = if topic.has_barriers() && message.payload.is_empty() {
            Message::Barrier(sequence)
        } else {
            let headers = message.headers.as_ref();
            Message::Commit(CommitMessage::read(sequence, headers, message.payload)?)
        };
        Ok(Brought { message, gap })
    }

    /// Has the server forget the consumer, which it would do by itself after a while.
    pub(super) async fn close(self, topic: &Topic) {
        drop(self.messages);
        topic.forget(&self.name).await;
    }
}

/// Asks whether there is no commit in a gap that a consumer left. Where several servers keep the log there were barriers, which
/// each server lets end for itself; but the consumer may be on a server that is behind the others, and leave out what is there.
async fn check_gap(topic: &Topic, gap: Range<u64>) -> Result<(), StoreError> {
    let mut next = gap.start;
    while topic.is_replicated() && next < gap.end {
        match topic.next(next).await? {
            Some(message) if message.sequence >= gap.end => break,
            Some(message) if message.payload.is_empty() => next = message.sequence + 1,
            Some(_) => {
                let what = format!("a consumer left out message {next}");
                return Err(StoreError::unavailable(what));
            }
            None => return Err(StoreError::unavailable("a server of NATS is behind the others")),
        }
    }
    if topic.has_barriers() {
        return Ok(());
    }
    Err(StoreError::corrupt(format!("the log has no message {next}")))
}

/// # Errors
/// When the commit that is `last` was to be read, and there is only one behind it.
fn check_not_behind(sequence: u64, last: Option<u64>) -> Result<(), StoreError> {
    match last {
        Some(last) if sequence > last => {
            Err(StoreError::corrupt(format!("the log has no message {last}")))
        }
        _ => Ok(()),
    }
}
