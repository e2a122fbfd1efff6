//! A store on NATS JetStream, 2.9 or newer.
//!
//! The log is one stream, named by the prefix, with a subject for each aggregate, `prefix.aggregate.key`. A commit
//! is one message: the payload is the frame, and its headers say its first version, how many events it has, and
//! where the stream's earlier commits are. It is published under the condition that the last message of its
//! subject is the one its writer knows (`Nats-Expected-Last-Subject-Sequence`), which is also the token of an
//! append. The position of a message's last event is 1024 times its sequence. Where several servers keep the stream there
//! are [barriers](barrier) in it, too.
//!
//! When a stream was made tells it from one of the same name that took its place. Who polls is told along, and a commit that
//! is stored before the end that was seen went to another stream.
//!
//! The key-value pairs are a key-value bucket of the same name.

mod barrier;
mod follow;
mod group;
mod kv;
mod log;
mod message;
mod options;
mod places;
mod publication;
mod publisher;
mod recent;
mod server;
mod settings;
mod topic;
mod transport;

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use self::{
    barrier::Barriers,
    group::{Batcher, Counted},
    kv::KvBucket,
    log::NatsLog,
    message::{CommitLocation, CommitMessage, last_position},
    places::{CommitLocations, LocationCache},
    publication::{After, NotPublished, Publication, connection_lost},
    settings::Settings,
    topic::Topic,
};
pub use self::{options::NatsOptions, transport::NatsTransport};
use super::{
    Append, AppendError, Appended, DurabilityReport, EventStore, KvEntry, KvStore, StoreError,
    shared::Shared,
};
use crate::{
    log::{LogId, Position, Record, StreamId, Version},
    store::{BoxFuture, TaskTrouble, Tasks},
};

/// How long opening the store may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// How many messages are asked for at once.
const PARALLEL: usize = 64;

/// A log and the values beside it on a NATS server.
///
/// It goes on by itself when the server was away. When the server comes back with less of the log than was
/// seen, or is another one, every call answers an error from then on: only a new start can tell what is true.
pub struct NatsStore {
    address: String,
    prefix: String,
    topic: Topic,
    /// How the server is set.
    settings: Arc<Settings>,
    /// Publishes commits together, where that is faster.
    group: Option<Batcher>,
    log: Arc<NatsLog>,
    /// What the server says is the log's last position.
    end: Shared<Position>,
    places: LocationCache,
    values: KvBucket,
    tasks: Tasks,
    /// Keeps `log` up to date. It ends with the store.
    _follower: AbortOnDropHandle<()>,
    /// Sees to it that the server keeps what is published. It ends with the store.
    _watch: AbortOnDropHandle<()>,
}

/// Keeps an eye on how the server is set.
fn watch(tasks: &Tasks, settings: &Arc<Settings>) -> AbortOnDropHandle<()> {
    let settings = settings.clone();
    tasks.spawn("watch over the settings of NATS", move || {
        let settings = settings.clone();
        async move { settings.watch().await }
    })
}

/// A stream's key as one token of a subject, in which `.` separates tokens. No key has a `=`.
fn token(key: &str) -> Cow<'_, str> {
    if key.contains('.') { Cow::Owned(key.replace('.', "=2E")) } else { Cow::Borrowed(key) }
}

impl NatsStore {
    /// Opens the log on the server, and makes its streams when they are not there. It takes five seconds at most.
    ///
    /// # Errors
    /// [`StoreError`] when the server can't be reached, is too old for what is asked, or has the streams with
    /// another configuration, which the text tells. It does not show the address: [`NatsOptions::address`] is safe
    /// to.
    pub async fn connect(options: NatsOptions) -> Result<Self, StoreError> {
        timeout(OPEN_TIMEOUT, Self::open(options))
            .await
            .unwrap_or_else(|_| Err(StoreError::unavailable("it did not answer in time")))
    }

    async fn open(options: NatsOptions) -> Result<Self, StoreError> {
        let connector = options.connector().await?;
        let mut clients = vec![connector.connect().await?];
        server::check(&clients[0], &options)?;
        if server::stores_where_it_reads(&clients[0]) {
            clients.push(connector.connect().await?);
        }
        let (lost, tasks) = (&connector.lost, Tasks::default());
        let wanted = server::log_config(&options);
        let topic = Topic::open(&clients, lost, &tasks, wanted.clone()).await?;
        let config = server::values_config(&options);
        let values = Topic::open(&clients[..1], lost, &tasks, config).await?;
        let required = options.require_durability;
        let settings = Settings::open(&clients, topic.clone(), wanted, &options, required).await?;
        let is_grouped = settings.prefers_batches().await && topic.allow_batches().await;
        let group = is_grouped.then(|| Batcher::new(topic.clone()));
        let has_others = options.server.contains(',');
        let barriers = topic.has_barriers().then(|| Barriers::new(&options.prefix, has_others));
        let log = NatsLog::open(topic.clone(), barriers).await?;
        let follower = tasks.spawn("follower of the log on NATS", {
            let log = log.clone();
            move || log.clone().follow()
        });
        let end = Shared::new(&tasks, {
            let log = log.clone();
            move || {
                let log = log.clone();
                Box::pin(async move { log.end().await })
            }
        });
        Ok(Self {
            address: options.address(),
            topic,
            group,
            log,
            end,
            places: LocationCache::new(),
            values: KvBucket::new(values, options.prefix.clone()),
            prefix: options.prefix,
            _watch: watch(&tasks, &settings),
            settings,
            tasks,
            _follower: follower,
        })
    }

    fn subject(&self, stream: &StreamId) -> String {
        // Every append makes one: this takes one allocation, of the right size.
        [&self.prefix, stream.aggregate(), &token(stream.key())].join(".")
    }

    async fn append_now(&self, append: Append<'_>) -> Result<Appended, AppendError> {
        self.check().map_err(AppendError::Refused)?;
        let connects = self.settings.ready().await.map_err(AppendError::Refused)?;
        let Append { stream, version, token, events, frame } = append;
        let known = self.places.get(stream);
        let places = match known.filter(|p| (p.version, p.sequence()) == (version, token)) {
            Some(places) => places,
            // A new stream: if there is one already, the server says so.
            None if version == 0 && token == 0 => CommitLocations::default(),
            None => {
                let places = self.ask_places(stream).await.map_err(AppendError::Refused)?;
                // Another token at the same version is another commit, in a log that was filled anew.
                if (places.version, places.sequence()) != (version, token) {
                    return Err(AppendError::Conflict { actual: places.version });
                }
                places
            }
        };
        let headers = message::headers(version.next(), events, places.to_list());
        let message = Publication {
            subject: self.subject(stream),
            headers,
            payload: frame.clone(),
            after: After::OnSubject(places.sequence()),
        };
        let _counted = Counted::new(&self.log.appending);
        let seen = self.log.head.position();
        let published = match &self.group {
            Some(group) => group.publish(message).await,
            None => self.topic.publish(message).await,
        };
        match published {
            // No stream goes back: this is another one.
            Ok(sequence) if last_position(sequence) <= seen => {
                self.log.head.lose("it stored a commit before the end that was seen");
                Err(AppendError::Unknown(self.log.head.lost()))
            }
            // It may be from a server that keeps less.
            Ok(_) if !self.settings.is_same(connects) => {
                Err(AppendError::Unknown(connection_lost()))
            }
            Ok(sequence) => {
                let place = CommitLocation { sequence, first: version.next() };
                self.places.keep(stream, places.with(place, events as u64));
                let position = last_position(sequence) + 1 - events as u64;
                self.log.appended(Record { position, token: sequence, frame });
                Ok(Appended { position, token: sequence })
            }
            Err(NotPublished::Conflict) => {
                let places = self.ask_places(stream).await.map_err(AppendError::Refused)?;
                Err(AppendError::Conflict { actual: places.version })
            }
            Err(NotPublished::Refused(error)) => Err(AppendError::Refused(error)),
            Err(NotPublished::Unknown(error)) => Err(AppendError::Unknown(error)),
        }
    }

    /// Where the stream's last commits are, asking the server.
    async fn ask_places(&self, stream: &StreamId) -> Result<CommitLocations, StoreError> {
        Ok(self.ask_last(stream).await?.map(|(_, places)| places).unwrap_or_default())
    }

    async fn ask_last(
        &self,
        stream: &StreamId,
    ) -> Result<Option<(CommitMessage, CommitLocations)>, StoreError> {
        let Some(message) = self.topic.last(&self.subject(stream)).await? else { return Ok(None) };
        let last = CommitMessage::try_from(message)?;
        let mut places = CommitLocations::of(&last);
        if let Some(known) = self.places.get(stream) {
            places.join(&known);
        }
        self.places.keep(stream, places.clone());
        Ok(Some((last, places)))
    }

    async fn read_stream_now(
        &self,
        stream: &StreamId,
        from: Version,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.log.head.check()?;
        if self.topic.is_replicated() {
            // A leader that does not know that it is none any more would answer with what it has.
            self.end.get().await?;
        }
        let Some((last, mut places)) = self.ask_last(stream).await? else { return Ok(Vec::new()) };
        if let Some(oldest) = places.oldest().filter(|oldest| oldest.first > from) {
            places = self.find_older(stream, places, oldest, from).await?;
        }
        let commits = places.from(from, limit);
        stream::iter(commits.iter().copied())
            .map(|place| {
                let last = (place == last.place).then(|| last.clone());
                self.read_at(place, last)
            })
            .buffered(PARALLEL)
            .try_collect()
            .await
    }

    /// Follows the lists of earlier commits until the one that holds version `from`.
    async fn find_older(
        &self,
        stream: &StreamId,
        mut places: CommitLocations,
        mut oldest: CommitLocation,
        from: Version,
    ) -> Result<CommitLocations, StoreError> {
        while oldest.first > from {
            let stored = CommitMessage::try_from(self.topic.get(oldest.sequence).await?)?;
            places.add_older(stored.earlier)?;
            let Some(older) = places.oldest() else { break };
            oldest = older;
        }
        self.places.keep(stream, places.clone());
        Ok(places)
    }

    async fn read_at(
        &self,
        place: CommitLocation,
        known: Option<CommitMessage>,
    ) -> Result<Record, StoreError> {
        let stored = match known {
            Some(stored) => stored,
            None => CommitMessage::try_from(self.topic.get(place.sequence).await?)?,
        };
        if stored.place != place {
            return Err(StoreError::corrupt("a commit is not where another one says it is"));
        }
        Ok(stored.record())
    }
}

impl EventStore for NatsStore {
    fn log_id(&self) -> LogId {
        self.log.id
    }

    fn check(&self) -> Result<(), StoreError> {
        self.log.head.check()?;
        self.tasks.check()
    }

    fn task_troubles(&self) -> Vec<TaskTrouble> {
        self.tasks.troubles()
    }

    fn append<'a>(&'a self, append: Append<'a>) -> BoxFuture<'a, Result<Appended, AppendError>> {
        Box::pin(self.append_now(append))
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        from: Version,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(self.read_stream_now(stream, from.max(Version::FIRST), limit))
    }

    fn read_log(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(self.log.read(after, limit))
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(self.end.get())
    }

    fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.log.head.wait(after))
    }

    fn durability(&self) -> BoxFuture<'_, Result<DurabilityReport, StoreError>> {
        Box::pin(self.settings.durability())
    }
}

impl KvStore for NatsStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<KvEntry>, StoreError>> {
        Box::pin(self.values.get(key))
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: u64,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Option<u64>, StoreError>> {
        Box::pin(self.values.put(key, value, expected, ttl))
    }

    fn delete<'a>(
        &'a self,
        key: &'a str,
        expected: u64,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.values.delete(key, expected))
    }
}

impl fmt::Debug for NatsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsStore")
            .field("address", &self.address)
            .field("prefix", &self.prefix)
            .field("head", &self.log.head.position())
            .finish_non_exhaustive()
    }
}
