//! A transport on NATS JetStream.
//!
//! The topic is one stream, `{prefix}-topic`, with a message for each commit, on the subject
//! `{prefix}-topic.{partition}.{aggregate}.{key}`. The payload is the [frame](crate::log::Commit); the header
//! `Catga-Position` is the position of its first event, `Catga-First-Version` the version of it, and `Catga-Events` how
//! many events there are. A message is published under the condition that the stream's last message is the one the
//! relay knows (`Nats-Expected-Last-Sequence`).

use std::{collections::BTreeMap, fmt, sync::Arc};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::{sync::Mutex, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{
    NatsOptions, OPEN_TIMEOUT, PARALLEL,
    log::NatsLog,
    message::{self, CommitMessage, last_position},
    publication::{After, NotPublished, Publication, connection_lost},
    server,
    settings::Settings,
    token,
    topic::Topic,
    watch,
};
use crate::{
    log::{Position, Record, StoreError},
    store::{BoxFuture, Durability, TaskTrouble, Tasks, Transport, partition_of},
};

/// How many places are remembered.
const PLACES: usize = 1024;

/// A topic on a NATS server.
///
/// It goes on by itself when the server was away. When the server lost the topic's end, the relay brings it
/// again.
pub struct NatsTransport {
    address: String,
    prefix: String,
    topic: Topic,
    /// How the server is set.
    settings: Arc<Settings>,
    open: Mutex<Open>,
    /// Sees to it that the server keeps what is published. It ends with the transport.
    _watch: AbortOnDropHandle<()>,
}

/// The topic's stream, and what is known of it. Its log counts in sequences; the positions are those of another log.
struct Open {
    log: Arc<NatsLog>,
    /// Sequences of messages by the position of their last event.
    places: BTreeMap<Position, u64>,
    /// Keeps `log` up to date.
    _follower: AbortOnDropHandle<()>,
}

impl Open {
    async fn new(topic: Topic) -> Result<Self, StoreError> {
        let log = NatsLog::open(topic.clone(), None).await?;
        let follower = topic.tasks().spawn("follower of the topic on NATS", {
            let log = log.clone();
            move || log.clone().follow()
        });
        Ok(Self { log, places: BTreeMap::new(), _follower: follower })
    }

    fn remember(&mut self, record: &Record) -> Result<(), StoreError> {
        self.places.insert(end_of(record)?, record.token);
        if self.places.len() > PLACES {
            self.places.pop_first();
        }
        Ok(())
    }
}

fn end_of(record: &Record) -> Result<Position, StoreError> {
    record.end().map_err(StoreError::corrupt)
}

impl NatsTransport {
    /// Opens the topic on the server, and makes its stream when it is not there. It takes five seconds at most.
    ///
    /// # Errors
    /// [`StoreError`] when the server can't be reached, is too old for what is asked, or has the stream with
    /// another configuration, which the text tells. It does not show the address: [`NatsOptions::address`] is safe
    /// to.
    pub async fn connect(options: NatsOptions) -> Result<Self, StoreError> {
        timeout(OPEN_TIMEOUT, Self::open(options))
            .await
            .unwrap_or_else(|_| Err(StoreError::unavailable("it did not answer in time")))
    }

    async fn open(options: NatsOptions) -> Result<Self, StoreError> {
        let connector = options.connector().await?;
        let client = connector.connect().await?;
        server::check(&client, &options)?;
        let (clients, wanted) = ([client], server::topic_config(&options));
        let tasks = Tasks::default();
        let topic = Topic::open(&clients, &connector.lost, &tasks, wanted.clone()).await?;
        // What a topic loses is brought again from the log: it must not be deleted, and need not be as durable.
        let required = Durability::Memory.into();
        let settings = Settings::open(&clients, topic.clone(), wanted, &options, required).await?;
        let open = Mutex::new(Open::new(topic.clone()).await?);
        let prefix = format!("{}-topic", options.prefix);
        let _watch = watch(&tasks, &settings);
        Ok(Self { address: options.address(), prefix, topic, settings, open, _watch })
    }

    /// Deletes all that is in the topic: for a log that begins anew, because it is in memory.
    ///
    /// # Errors
    /// [`StoreError`] when the server can't be reached.
    pub async fn clear(&self) -> Result<(), StoreError> {
        self.topic.make_anew().await?;
        *self.open.lock().await = Open::new(self.topic.clone()).await?;
        Ok(())
    }

    /// The topic as it is now. What was known of one that has lost its end is forgotten.
    async fn log(&self) -> Result<Arc<NatsLog>, StoreError> {
        let mut open = self.open.lock().await;
        if open.log.head.check().is_err() {
            *open = Open::new(self.topic.clone()).await?;
        }
        Ok(open.log.clone())
    }

    async fn record(&self, sequence: u64) -> Result<Record, StoreError> {
        Ok(CommitMessage::try_from(self.topic.get(sequence).await?)?.record())
    }

    /// The sequence of the last message that ends at `position` or before it; that before the first one, if none does.
    async fn sequence_at(&self, position: Position) -> Result<u64, StoreError> {
        if let Some(&sequence) = self.open.lock().await.places.get(&position) {
            return Ok(sequence);
        }
        let (first, last) = self.topic.range().await?;
        let (mut low, mut high) = (first - 1, last);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if end_of(&self.record(middle).await?)? <= position {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(low)
    }

    async fn read_now(&self, after: Position, limit: usize) -> Result<Vec<Record>, StoreError> {
        let log = self.log().await?;
        let sequence = self.sequence_at(after).await?;
        let records = log.read(last_position(sequence), limit).await?;
        if let Some(last) = records.last() {
            self.open.lock().await.remember(last)?;
        }
        Ok(records)
    }

    async fn wait_now(&self, after: Position) -> Result<(), StoreError> {
        let log = self.log().await?;
        let sequence = self.sequence_at(after).await?;
        // Who reads finds out what is there, if the end was lost.
        let _ = log.head.wait(last_position(sequence)).await;
        Ok(())
    }

    /// The topic's last position, and the sequence of its message.
    async fn last(&self) -> Result<(Position, u64), StoreError> {
        let (first, last) = self.topic.range().await?;
        if last < first {
            return Ok((Position::ZERO, last));
        }
        Ok((end_of(&self.record(last).await?)?, last))
    }

    async fn publish_now(&self, after: Position, records: &[Record]) -> Result<bool, StoreError> {
        let connects = self.settings.ready().await?;
        let known = self.open.lock().await.places.get(&after).copied();
        let last = match known {
            Some(sequence) => sequence,
            None => match self.last().await? {
                (end, sequence) if end == after => sequence,
                _ => return Ok(false),
            },
        };
        let publish = |(sequence, record): (u64, &Record)| {
            let record = record.clone();
            async move { self.publish_one(sequence, record).await }
        };
        // The server takes them one after the other: each names the one before it.
        let published = stream::iter((last..).zip(records)).map(publish).buffered(PARALLEL);
        match published.try_collect::<Vec<u64>>().await {
            Ok(_) if !self.settings.is_same(connects) => {
                self.open.lock().await.places.clear();
                Err(connection_lost())
            }
            Ok(sequences) => {
                let mut open = self.open.lock().await;
                for (&token, record) in sequences.iter().zip(records) {
                    open.remember(&Record { token, ..record.clone() })?;
                }
                Ok(true)
            }
            Err(NotPublished::Conflict) => {
                self.open.lock().await.places.clear();
                Ok(false)
            }
            Err(NotPublished::Refused(error) | NotPublished::Unknown(error)) => {
                self.open.lock().await.places.clear();
                Err(error)
            }
        }
    }

    async fn publish_one(&self, after: u64, record: Record) -> Result<u64, NotPublished> {
        let corrupt = |error| NotPublished::Refused(StoreError::corrupt(error));
        let commit = record.commit().map_err(corrupt)?;
        let stream = commit.stream_id().map_err(corrupt)?;
        let (partition, prefix) = (partition_of(commit.stream), &self.prefix);
        let subject =
            format!("{prefix}.{partition}.{}.{}", stream.aggregate(), token(stream.key()));
        let mut headers = message::headers(commit.first_version, commit.events.len(), &[]);
        message::set_position(&mut headers, record.position);
        let payload = record.frame.clone();
        self.topic
            .publish(Publication { subject, headers, payload, after: After::Message(after) })
            .await
    }
}

impl Transport for NatsTransport {
    fn check(&self) -> Result<(), StoreError> {
        self.topic.tasks().check()
    }

    fn task_troubles(&self) -> Vec<TaskTrouble> {
        self.topic.tasks().troubles()
    }

    fn read(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(self.read_now(after, limit))
    }

    fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.wait_now(after))
    }

    fn end(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async move {
            // Nothing is brought behind an end that the server may delete.
            self.settings.ready().await?;
            Ok(self.last().await?.0)
        })
    }

    fn publish<'a>(
        &'a self,
        after: Position,
        records: &'a [Record],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.publish_now(after, records))
    }
}

impl fmt::Debug for NatsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsTransport").field("address", &self.address).finish_non_exhaustive()
    }
}
