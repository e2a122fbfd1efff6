//! One JetStream stream, as this store uses it: publish after a known message, read a message, follow.

use std::{sync::Arc, time::Duration};

use async_nats::{
    Client,
    connection::State,
    header,
    jetstream::{
        self, Context, ErrorCode,
        consumer::{
            DeliverPolicy,
            pull::{Ordered, OrderedConfig},
        },
        context::{CreateStreamErrorKind, GetStreamErrorKind},
        message::StreamMessage,
        stream::{Config, DirectGetErrorKind, Info, LastRawMessageErrorKind, Stream},
    },
};
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    options::REQUEST_TIMEOUT,
    publication::{After, NotPublished, Publication, Published, connection_lost, unavailable},
    publisher::Publishers,
    server::Keepers,
};
use crate::{
    log::{LogId, StoreError},
    store::Tasks,
};

/// What may go into a message's headers beside what is counted.
const HEADER_ROOM: usize = 512;

/// What is said of a stream that is not there.
pub(super) const GONE: &str = "the stream is gone from NATS";

#[derive(Debug, Clone)]
pub(super) struct Topic {
    client: Client,
    /// Changes whenever a connection is lost.
    lost: watch::Receiver<u64>,
    /// All tasks of what the topic is part of.
    tasks: Tasks,
    publishers: Arc<Publishers>,
    context: Context,
    stream: Stream,
    /// Whether other servers than the leader may answer, with what they have by then.
    is_replicated: bool,
}

impl Topic {
    /// The stream with `config`, which is made when it is not there. The first of the `clients`, at least one, does all
    /// but publish what may come in any order.
    pub(super) async fn open(
        clients: &[Client],
        lost: &watch::Receiver<u64>,
        tasks: &Tasks,
        config: Config,
    ) -> Result<Self, StoreError> {
        let client = clients[0].clone();
        let mut context = jetstream::new(client.clone());
        context.set_timeout(REQUEST_TIMEOUT);
        let stream = match context.get_stream(&config.name).await {
            Ok(stream) => stream,
            Err(error) if is_missing(&error.kind()) => create(&context, &config).await?,
            Err(error) => {
                return Err(match error.kind() {
                    GetStreamErrorKind::JetStream(answer) if !may_heal(&answer) => {
                        StoreError::unusable(format!("JetStream: {error}"))
                    }
                    _ => unavailable("JetStream", error),
                });
            }
        };
        let stream = with_barriers(&context, stream, &config).await?;
        if let Some(difference) = difference(&config, &stream.cached_info().config) {
            return Err(StoreError::unusable(format!(
                "the stream {} is there with another configuration: {difference}",
                config.name
            )));
        }
        let is_replicated = stream.cached_info().config.num_replicas > 1;
        let publishers = Arc::new(Publishers::new(clients, lost, tasks).await?);
        let (lost, tasks) = (lost.clone(), tasks.clone());
        Ok(Self { client, lost, tasks, publishers, context, stream, is_replicated })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    pub(super) fn config(&self) -> &Config {
        &self.stream.cached_info().config
    }

    /// Who kept the stream when this was opened.
    pub(super) fn keepers(&self) -> Keepers {
        Keepers::of(self.stream.cached_info())
    }

    /// How the stream is set now, and who keeps it.
    pub(super) async fn ask_keepers(&self) -> Result<(Config, Keepers), StoreError> {
        let info = self.info_of_one().await?;
        let keepers = Keepers::of(&info);
        Ok((info.config, keepers))
    }

    /// Whether several servers keep the stream.
    pub(super) fn is_replicated(&self) -> bool {
        self.is_replicated
    }

    /// Whether there are messages in the stream that end by themselves.
    pub(super) fn has_barriers(&self) -> bool {
        self.is_replicated && self.config().allow_message_ttl
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Which stream is there now, and the sequence of its last message, 0 when there is none. `None` when there is no stream.
    pub(super) async fn end(&self) -> Result<Option<(LogId, u64)>, StoreError> {
        Ok(self.info().await?.map(|info| (made_at(&info), info.state.last_sequence)))
    }

    /// The sequences of the first and the last message; the last is the one before the first when there is none.
    pub(super) async fn range(&self) -> Result<(u64, u64), StoreError> {
        let info = self.info_of_one().await?;
        Ok((info.state.first_sequence.max(1), info.state.last_sequence))
    }

    /// As [`info`](Self::info), of a stream that has to be there.
    async fn info_of_one(&self) -> Result<Info, StoreError> {
        self.info().await?.ok_or_else(|| StoreError::unavailable(GONE))
    }

    async fn info(&self) -> Result<Option<Info>, StoreError> {
        match self.ask(self.context.get_stream(&self.config().name)).await? {
            Ok(stream) => Ok(Some(stream.cached_info().clone())),
            Err(error) if is_missing(&error.kind()) => Ok(None),
            Err(error) => Err(unavailable("JetStream", error)),
        }
    }

    /// Deletes the stream and makes it anew, so that its sequences begin at 1 again: who goes on with the old ones is
    /// refused.
    pub(super) async fn make_anew(&self) -> Result<(), StoreError> {
        let config = self.config();
        let deleted = self.ask(self.context.delete_stream(&config.name)).await?;
        deleted.map_err(|error| unavailable("JetStream", error))?;
        let created = self.ask(self.context.create_stream(config)).await?;
        created.map(|_| ()).map_err(|error| unavailable("JetStream", error))
    }

    /// Has the stream take atomic batches. Answers whether it does.
    pub(super) async fn allow_batches(&self) -> bool {
        let config = self.config();
        if config.allow_atomic_publish {
            return true;
        }
        let config = Config { allow_atomic_publish: true, ..config.clone() };
        let updated = self.ask(self.context.update_stream(config)).await;
        updated.is_ok_and(|updated| {
            updated
                .inspect_err(|error| tracing::info!(%error, "NATS takes commits one by one"))
                .is_ok()
        })
    }

    /// Publishes a message. Answers its sequence.
    pub(super) async fn publish(&self, message: Publication) -> Result<u64, NotPublished> {
        self.check().map_err(NotPublished::Refused)?;
        let Publication { subject, headers, payload, after } = self.expecting(message)?;
        let publisher = match after {
            After::OnSubject(_) | After::Any => self.publishers.any(),
            // It may be sent before the one it comes after is answered.
            After::Message(_) => self.publishers.in_order(),
        };
        Ok(publisher.publish(subject, headers, payload).await?.sequence)
    }

    /// Publishes all messages or none, in this order, as one atomic batch, which the server syncs once. Each subject is
    /// there once. Answers the sequence of the first.
    pub(super) async fn publish_all(&self, messages: &[Publication]) -> Result<u64, NotPublished> {
        self.check().map_err(NotPublished::Refused)?;
        let lost = self.lost();
        // Before any is sent: a batch that is begun and not ended is kept open by the server for a while.
        let messages = messages.iter().map(|message| self.expecting(message.clone()));
        let messages = messages.collect::<Result<Vec<_>, _>>()?;
        let publish = async {
            let publisher = self.publishers.in_order();
            let batch = Uuid::new_v4().simple().to_string();
            let (mut answer, count) = (None, messages.len() as u64);
            for (message, number) in messages.into_iter().zip(1..) {
                let Publication { subject, mut headers, payload, .. } = message;
                headers.insert(header::NATS_BATCH_ID, batch.as_str());
                headers.insert(header::NATS_BATCH_SEQUENCE, number.to_string());
                if number < count {
                    publisher.send(subject, headers, payload).await?;
                } else {
                    headers.insert(header::NATS_BATCH_COMMIT, header::NATS_BATCH_COMMIT_FINAL);
                    answer = Some(publisher.publish(subject, headers, payload).await);
                }
            }
            first_of_batch(answer.expect("there are messages"), count)
        };
        tokio::select! {
            biased;
            error = lost => Err(NotPublished::Unknown(error)),
            published = publish => published,
        }
    }

    /// The message with its condition in the headers.
    ///
    /// # Errors
    /// When the server would not take it for its size.
    fn expecting(&self, mut message: Publication) -> Result<Publication, NotPublished> {
        let in_headers: usize =
            message.headers.iter().flat_map(|(_, values)| values).map(|v| v.as_str().len()).sum();
        let (size, limit) =
            (message.payload.len() + in_headers + HEADER_ROOM, self.client.max_payload());
        if size > limit {
            let what = format!(
                "a commit of {} bytes is too large for NATS: with its headers it must fit into the server's max_payload of {limit} bytes",
                message.payload.len()
            );
            return Err(NotPublished::Refused(StoreError::too_large(what)));
        }
        let (name, sequence) = match message.after {
            After::OnSubject(sequence) => (header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, sequence),
            After::Message(sequence) => (header::NATS_EXPECTED_LAST_SEQUENCE, sequence),
            After::Any => return Ok(message),
        };
        message.headers.insert(name, sequence.to_string());
        Ok(message)
    }

    /// The message with `sequence`.
    pub(super) async fn get(&self, sequence: u64) -> Result<StreamMessage, StoreError> {
        let lost = || StoreError::corrupt(format!("the stream lost its message {sequence}"));
        if self.is_replicated {
            let message = self.ask(self.stream.get_raw_message(sequence)).await?;
            return message.map_err(|error| match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => lost(),
                _ => unavailable("JetStream", error),
            });
        }
        let message = self.ask(self.stream.direct_get(sequence)).await?;
        message.map_err(|error| match error.kind() {
            DirectGetErrorKind::NotFound => lost(),
            _ => unavailable("JetStream", error),
        })
    }

    /// The first message from `sequence` on that there is, as the leader knows it.
    pub(super) async fn next(&self, sequence: u64) -> Result<Option<StreamMessage>, StoreError> {
        let next = self.stream.raw_message_builder().sequence(sequence).next_by_subject(">");
        match self.ask(next.send()).await? {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unavailable("JetStream", error)),
        }
    }

    /// The last message of `subject`.
    pub(super) async fn last(&self, subject: &str) -> Result<Option<StreamMessage>, StoreError> {
        if self.is_replicated {
            return match self.ask(self.stream.get_last_raw_message_by_subject(subject)).await? {
                Ok(message) => Ok(Some(message)),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(unavailable("JetStream", error)),
            };
        }
        match self.ask(self.stream.direct_get_last_for_subject(subject)).await? {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(unavailable("JetStream", error)),
        }
    }

    /// All messages from `sequence` on, as they come, and the name of the consumer that brings them.
    pub(super) async fn follow(&self, sequence: u64) -> Result<(String, Ordered), StoreError> {
        let config = OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: sequence },
            max_expires: Duration::from_secs(30),
            ..OrderedConfig::default()
        };
        let consumer = self.ask(self.stream.create_consumer(config)).await?;
        let consumer = consumer.map_err(|error| unavailable("JetStream", error))?;
        let name = consumer.cached_info().name.clone();
        let messages =
            consumer.messages().await.map_err(|error| unavailable("JetStream", error))?;
        Ok((name, messages))
    }

    /// Deletes a consumer. One that can't be deleted now is forgotten by the server half a minute later.
    pub(super) async fn forget(&self, consumer: &str) {
        let deleted = self.ask(self.stream.delete_consumer(consumer)).await;
        tracing::debug!(is_deleted = matches!(deleted, Ok(Ok(_))), "a consumer is not needed");
    }

    /// The answer to `request`.
    ///
    /// # Errors
    /// When the server is away, or goes away meanwhile: the client would wait for an answer that can't come.
    async fn ask<T>(&self, request: impl Future<Output = T>) -> Result<T, StoreError> {
        self.check()?;
        let lost = self.lost();
        tokio::select! {
            answer = request => Ok(answer),
            error = lost => Err(error),
        }
    }

    /// Gives the connection up, and makes one to any of the servers.
    pub(super) async fn reconnect(&self) {
        // When the client has ended, others notice.
        let _ = self.client.force_reconnect().await;
    }

    /// Returns when a connection that is there now is lost.
    pub(super) fn lost(&self) -> impl Future<Output = StoreError> + Send + 'static {
        let mut lost = self.lost.clone();
        lost.mark_unchanged();
        async move {
            // The sender lives as long as the client.
            let _ = lost.changed().await;
            connection_lost()
        }
    }

    /// # Errors
    /// When the server is away. Without this, the client would keep requests until it is back.
    fn check(&self) -> Result<(), StoreError> {
        match self.is_connected() {
            true => Ok(()),
            false => Err(StoreError::unavailable("NATS is not connected")),
        }
    }
}

/// Makes a stream, or answers the one that another node makes at the same time.
async fn create(context: &Context, config: &Config) -> Result<Stream, StoreError> {
    let error = match context.create_stream(config).await {
        Ok(stream) => return Ok(stream),
        Err(error) => error,
    };
    if let Ok(stream) = context.get_stream(&config.name).await {
        return Ok(stream);
    }
    let text = format!("the stream {} can't be made: {error}", config.name);
    Err(match error.kind() {
        CreateStreamErrorKind::JetStream(error) if !may_heal(&error) => StoreError::unusable(text),
        _ => StoreError::unavailable(text),
    })
}

/// The stream as it has to be for barriers to be in it, if that is wanted. Who has one from before they were, or from a single
/// server, is given it so.
async fn with_barriers(
    context: &Context,
    stream: Stream,
    wanted: &Config,
) -> Result<Stream, StoreError> {
    let found = &stream.cached_info().config;
    let is_ready = found.allow_message_ttl && found.subjects == wanted.subjects;
    if !wanted.allow_message_ttl || is_ready {
        return Ok(stream);
    }
    let subjects = wanted.subjects.clone();
    let config = Config { allow_message_ttl: true, subjects, ..found.clone() };
    if difference(wanted, &config).is_some() {
        // It is refused as it is.
        return Ok(stream);
    }
    context.update_stream(config).await.map_err(|error| match error.kind() {
        CreateStreamErrorKind::JetStream(answer) if !may_heal(&answer) => {
            StoreError::unusable(format!("the stream {} can't take barriers: {error}", wanted.name))
        }
        _ => unavailable("JetStream", error),
    })?;
    context.get_stream(&wanted.name).await.map_err(|error| unavailable("JetStream", error))
}

/// Whether JetStream may yet come to answer otherwise, with nothing changed by anybody: it starts, or has no leader, or
/// not all of its servers, or another node makes the stream just now.
fn may_heal(error: &jetstream::Error) -> bool {
    let healing = [ErrorCode::CLUSTER_NO_PEERS, ErrorCode::STREAM_NAME_EXIST];
    error.code() == 503 || healing.contains(&error.error_code())
}

/// The id of a stream: the nanosecond in which it was made. Servers older than 2.10 keep nothing else with a stream; two
/// streams of one name are never made in the same nanosecond.
fn made_at(info: &Info) -> LogId {
    let nanoseconds = info.created.unix_timestamp_nanos();
    LogId::new(u64::try_from(nanoseconds).unwrap_or_default())
}

fn is_missing(error: &GetStreamErrorKind) -> bool {
    matches!(error, GetStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// The sequence of the first message of a batch, from what is said of its `messages`-th and last.
fn first_of_batch(
    last: Result<Published, NotPublished>,
    messages: u64,
) -> Result<u64, NotPublished> {
    match last {
        Ok(Published { sequence, batch: Some(size) }) if size == messages => {
            Ok(sequence + 1 - size)
        }
        Ok(_) => {
            let what = "JetStream took a batch for something else";
            Err(NotPublished::Unknown(StoreError::unavailable(what)))
        }
        Err(NotPublished::Conflict) => Err(NotPublished::Conflict),
        // For one message a refusal says that it is not stored. It is not known what that leaves of a batch.
        Err(NotPublished::Refused(error) | NotPublished::Unknown(error)) => {
            Err(NotPublished::Unknown(error))
        }
    }
}

/// The first settings that matter in which a stream differs from what it should be.
pub(super) fn difference(wanted: &Config, found: &Config) -> Option<String> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, wanted: String, found: String| {
        if wanted != found {
            differences.push(format!("{what} is {found} and must be {wanted}"));
        }
    };
    macro_rules! compare {
        ($($field:ident),*) => {
            $(compare(stringify!($field), format!("{:?}", wanted.$field), format!("{:?}", found.$field));)*
        };
    }
    compare!(subjects, retention, storage, discard, max_age, num_replicas);
    compare!(deny_delete, deny_purge, allow_direct, sealed, no_ack, mirror, sources);
    compare("max_messages", limit(wanted.max_messages), limit(found.max_messages));
    compare("max_bytes", limit(wanted.max_bytes), limit(found.max_bytes));
    let per_subject = |config: &Config| limit(config.max_messages_per_subject);
    compare("max_messages_per_subject", per_subject(wanted), per_subject(found));
    (!differences.is_empty()).then(|| differences.join(", "))
}

/// The server writes "no limit" as -1, whatever it was told.
fn limit(limit: i64) -> String {
    if limit <= 0 { "unlimited".to_owned() } else { limit.to_string() }
}
