//! Publishing to JetStream, and what it answers. The client's own way makes a random inbox and two timers for each
//! message, and parses each answer twice: a fifth of what an append took in this process.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client, HeaderMap, Message, PublishError, PublishErrorKind, StatusCode,
    connection::State,
    jetstream::{self, ErrorCode},
};
use bytes::Bytes;
use foldhash::fast::RandomState;
use futures_util::{Stream, StreamExt, future::try_join_all};
use serde::Deserialize;
use tokio::{
    select,
    sync::{oneshot, watch},
    time::{Instant, interval},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    options::REQUEST_TIMEOUT,
    publication::{NotPublished, Published, connection_lost, locked, unavailable},
};
use crate::{log::StoreError, store::Tasks};

/// Errors that say that nothing was stored, as another message is the last one; of a batch, that its messages one by one
/// may be.
const CONFLICTS: [ErrorCode; 4] = [
    ErrorCode::STREAM_WRONG_LAST_SEQUENCE,
    // The server's other way to say it, which the client does not know.
    ErrorCode(10164),
    ErrorCode::ATOMIC_PUBLISH_INCOMPLETE_BATCH,
    ErrorCode::ATOMIC_PUBLISH_TOO_MANY_INFLIGHT,
];

/// Errors that say that nothing was stored, and that trying again may help.
const REFUSALS: [ErrorCode; 3] = [
    ErrorCode::INSUFFICIENT_RESOURCES,
    ErrorCode::STORAGE_RESOURCES_EXCEEDED,
    ErrorCode::JETSTREAM_NOT_ENABLED,
];

/// How often it is looked for messages that have waited too long for their answers.
const LOOK: Duration = Duration::from_millis(250);

/// How many answers are handed out at once.
const TOGETHER: usize = 256;

/// A publisher for each connection: one, or more where the server takes more messages from several.
#[derive(Debug)]
pub(super) struct Publishers {
    all: Vec<Publisher>,
    /// How many messages were published on any of them.
    turns: AtomicUsize,
}

/// Publishes messages over a connection, and has the answers to them come to one inbox.
#[derive(Debug)]
pub(super) struct Publisher {
    client: Client,
    /// Changes whenever a connection is lost.
    lost: watch::Receiver<u64>,
    /// What the subjects of the answers begin with; the number of the message follows.
    inbox: String,
    waiting: Arc<Mutex<PendingAcks>>,
    _answers: AbortOnDropHandle<()>,
}

/// Those who wait for an answer, by the numbers of their messages.
#[derive(Debug, Default)]
struct PendingAcks {
    /// The number of the last message.
    last: u64,
    /// Whether no answer will come any more.
    has_ended: bool,
    senders: HashMap<u64, (Instant, oneshot::Sender<Message>), RandomState>,
}

impl Publishers {
    /// Those over some connections, at least one, and what changes whenever any of these is lost.
    pub(super) async fn new(
        clients: &[Client],
        lost: &watch::Receiver<u64>,
        tasks: &Tasks,
    ) -> Result<Self, StoreError> {
        let all = clients.iter().map(|client| Publisher::new(client.clone(), lost.clone(), tasks));
        Ok(Self { all: try_join_all(all).await?, turns: AtomicUsize::new(0) })
    }

    /// The one for messages that the server must get in the order in which they are sent: always the same.
    pub(super) fn in_order(&self) -> &Publisher {
        &self.all[0]
    }

    /// One for a message that may overtake others, and be overtaken: each in turn.
    pub(super) fn any(&self) -> &Publisher {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        let publisher = &self.all[turn % self.all.len()];
        // One that is not connected would keep the message.
        match publisher.client.connection_state() {
            State::Connected => publisher,
            _ => self.in_order(),
        }
    }
}

impl Publisher {
    async fn new(
        client: Client,
        lost: watch::Receiver<u64>,
        tasks: &Tasks,
    ) -> Result<Self, StoreError> {
        let inbox = format!("{}.", client.new_inbox());
        let answers = client.subscribe(format!("{inbox}*")).await;
        let answers = answers.map_err(|error| unavailable("NATS", error))?;
        let waiting = Arc::<Mutex<PendingAcks>>::default();
        let answers = tasks.spawn_until("receiver of what NATS answers", {
            let (answers, waiting) = (Arc::new(tokio::sync::Mutex::new(answers)), waiting.clone());
            let lost = lost.clone();
            move || {
                let (answers, waiting, lost) = (answers.clone(), waiting.clone(), lost.clone());
                async move { hand_out(&mut *answers.lock().await, waiting, lost).await }
            }
        });
        Ok(Self { client, lost, inbox, waiting, _answers: answers })
    }

    /// Publishes a message, and waits for the answer.
    pub(super) async fn publish(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Published, NotPublished> {
        let (number, mut answer) = locked(&self.waiting).add();
        // Only now: a loss that is not seen here is seen by whoever hands out the answers, and lets us go.
        let losses = *self.lost.borrow();
        let reply = [&*self.inbox, &number.to_string()].concat();
        let sent = self.client.publish_with_reply_and_headers(subject, reply, headers, payload);
        let answer = select! {
            biased;
            // The client may have to keep the message until it is connected again.
            answer = &mut answer => answer,
            sent = sent => {
                sent.map_err(not_sent)?;
                answer.await
            }
        };
        let is_lost = *self.lost.borrow() != losses;
        outcome(answer.ok(), is_lost)
    }

    /// Sends a message that no answer comes to.
    pub(super) async fn send(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<(), NotPublished> {
        self.client.publish_with_headers(subject, headers, payload).await.map_err(not_sent)
    }
}

impl PendingAcks {
    fn add(&mut self) -> (u64, oneshot::Receiver<Message>) {
        let (sender, answer) = oneshot::channel();
        self.last += 1;
        if !self.has_ended {
            self.senders.insert(self.last, (Instant::now(), sender));
        }
        (self.last, answer)
    }

    /// Lets all go who wait for an answer, and whoever comes later.
    fn end(&mut self) {
        self.has_ended = true;
        self.senders.clear();
    }

    /// Hands an answer to whoever waits for it.
    fn answer(&mut self, message: Message) {
        let number = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
        let waiting = number.and_then(|number: u64| self.senders.remove(&number));
        if let Some((_, sender)) = waiting {
            // Who does not wait any more needs no answer.
            let _ = sender.send(message);
        }
    }
}

/// Hands out the answers. Those whose answer can't come any more, or does not in time, are let go without one.
///
/// # Errors
/// When no answer can come any more: the client has ended, which goes on by itself otherwise, whatever becomes of the server.
async fn hand_out(
    answers: impl Stream<Item = Message> + Unpin,
    waiting: Arc<Mutex<PendingAcks>>,
    mut lost: watch::Receiver<u64>,
) -> Result<(), String> {
    let mut answers = answers.ready_chunks(TOGETHER);
    let mut look = interval(LOOK);
    loop {
        select! {
            // There may always be an answer.
            biased;
            changed = lost.changed() => match changed {
                Ok(()) => locked(&waiting).senders.clear(),
                Err(_) => break,
            },
            _ = look.tick() => {
                locked(&waiting).senders.retain(|_, (since, _)| since.elapsed() < REQUEST_TIMEOUT);
            }
            arrived = answers.next() => {
                let Some(arrived) = arrived else { break };
                let mut waiting = locked(&waiting);
                arrived.into_iter().for_each(|message| waiting.answer(message));
            }
        }
    }
    locked(&waiting).end();
    Err("the client of NATS has ended".to_owned())
}

/// What became of a message with this answer, or none.
fn outcome(answer: Option<Message>, is_lost: bool) -> Result<Published, NotPublished> {
    // An answer from before the connection was lost may be about a log that the server lost since.
    if is_lost {
        return Err(NotPublished::Unknown(connection_lost()));
    }
    let silent = || StoreError::unavailable("no answer came from JetStream");
    read(&answer.ok_or_else(|| NotPublished::Unknown(silent()))?)
}

/// What JetStream answers to a message, as JSON.
#[derive(Deserialize)]
struct PubAck {
    seq: Option<u64>,
    count: Option<u64>,
    error: Option<jetstream::Error>,
}

fn read(answer: &Message) -> Result<Published, NotPublished> {
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        // Nobody listens on the subject.
        let what = "no stream of JetStream takes the message";
        return Err(NotPublished::Refused(StoreError::unavailable(what)));
    }
    let in_doubt = |error| NotPublished::Unknown(unavailable("JetStream", error));
    let answer: PubAck = serde_json::from_slice(&answer.payload).map_err(in_doubt)?;
    match (answer.error, answer.seq) {
        (Some(error), _) => Err(not_stored(error)),
        (None, Some(sequence)) => Ok(Published { sequence, batch: answer.count }),
        (None, None) => {
            let what = "JetStream does not say where a message is stored";
            Err(NotPublished::Unknown(StoreError::unavailable(what)))
        }
    }
}

fn not_stored(error: jetstream::Error) -> NotPublished {
    match error.error_code() {
        code if CONFLICTS.contains(&code) => NotPublished::Conflict,
        code if REFUSALS.contains(&code) => NotPublished::Refused(unavailable("JetStream", error)),
        _ => NotPublished::Unknown(unavailable("JetStream", error)),
    }
}

fn not_sent(error: PublishError) -> NotPublished {
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => {
            NotPublished::Refused(StoreError::too_large("the commit is too large for NATS"))
        }
        _ => NotPublished::Unknown(unavailable("NATS", error)),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{future::join_all, stream};
    use tokio::{
        io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
        net::{TcpListener, TcpStream},
        sync::mpsc,
        time::timeout,
    };

    use super::*;
    use crate::store::NatsOptions;

    fn answer(number: &str, payload: &'static str, status: Option<StatusCode>) -> Message {
        Message {
            subject: format!("_INBOX.xyz.{number}").into(),
            reply: None,
            payload: payload.into(),
            headers: None,
            status,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn p1_what_jetstream_answers_says_whether_the_message_is_stored() {
        let read = |payload| read(&answer("1", payload, None));
        let stored = read(r#"{"stream":"catga", "seq":7}"#).unwrap();
        assert_eq!(stored, Published { sequence: 7, batch: None });
        let stored = read(r#"{"stream":"catga","seq":9,"batch":"b","count":3}"#).unwrap();
        assert_eq!(stored, Published { sequence: 9, batch: Some(3) });
        for conflict in [10071, 10164] {
            let error = format!(
                r#"{{"error":{{"code":400,"err_code":{conflict},"description":"wrong last sequence: 4"}},"stream":"catga","seq":0}}"#
            );
            let answer = read(Box::leak(error.into_boxed_str()));
            assert!(matches!(answer, Err(NotPublished::Conflict)), "{conflict}: {answer:?}");
        }
        let full = read(r#"{"error":{"code":503,"err_code":10077},"seq":0}"#);
        assert!(matches!(full, Err(NotPublished::Unknown(_))), "{full:?}");
        let full = read(r#"{"error":{"code":503,"err_code":10047},"seq":0}"#);
        assert!(matches!(full, Err(NotPublished::Refused(_))), "{full:?}");
        for nonsense in ["", "{}", "+OK", r#"{"seq":"7"}"#] {
            let answer = read(nonsense);
            assert!(matches!(answer, Err(NotPublished::Unknown(_))), "{nonsense}: {answer:?}");
        }
    }

    #[test]
    fn p3_no_answer_and_one_from_before_a_loss_leave_a_message_in_doubt() {
        let stored = || Some(answer("1", r#"{"seq":7}"#, None));
        assert!(outcome(stored(), false).is_ok());
        assert!(matches!(outcome(stored(), true), Err(NotPublished::Unknown(_))));
        assert!(matches!(outcome(None, false), Err(NotPublished::Unknown(_))));
    }

    #[test]
    fn a_subject_that_no_stream_takes_is_a_refusal() {
        let answer = read(&answer("1", "", Some(StatusCode::NO_RESPONDERS)));
        assert!(matches!(answer, Err(NotPublished::Refused(_))), "{answer:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_goes_to_who_waits_for_it_and_nobody_waits_in_vain() {
        let (losses, lost) = watch::channel(0);
        let waiting = Arc::<Mutex<PendingAcks>>::default();
        let (server, mut answers) = mpsc::unbounded_channel();
        let answers = stream::poll_fn(move |cx| answers.poll_recv(cx));
        tokio::spawn(hand_out(answers, waiting.clone(), lost));
        let (_, first) = locked(&waiting).add();
        let (number, second) = locked(&waiting).add();
        for number in [&number.to_string(), "77", "nonsense"] {
            server.send(answer(number, "answer", None)).unwrap();
        }
        assert_eq!(second.await.unwrap().payload, "answer");
        let begin = Instant::now();
        assert!(first.await.is_err(), "it was let go");
        assert!((REQUEST_TIMEOUT..=REQUEST_TIMEOUT + LOOK).contains(&begin.elapsed()));
        let (_, third) = locked(&waiting).add();
        let begin = Instant::now();
        losses.send_modify(|losses| *losses += 1);
        assert!(third.await.is_err(), "the answer can't come any more");
        assert_eq!((begin.elapsed(), locked(&waiting).senders.len()), (Duration::ZERO, 0));
    }

    /// A server that answers no message. It says on which connection each comes.
    async fn serve(
        stream: TcpStream,
        connection: usize,
        messages: mpsc::UnboundedSender<usize>,
    ) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        stream.write_all(b"INFO {\"max_payload\":1000,\"headers\":true}\r\n").await?;
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 0 {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["PING"] => stream.write_all(b"PONG\r\n").await?,
                ["PUB" | "HPUB", .., size] => {
                    let size: usize = size.parse().unwrap();
                    stream.read_exact(&mut vec![0; size + b"\r\n".len()]).await?;
                    messages.send(connection).unwrap();
                }
                _ => {}
            }
            line.clear();
        }
        Ok(())
    }

    #[tokio::test]
    async fn p11_a_client_that_ends_is_said_and_nobody_waits_for_its_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = NatsOptions::new(listener.local_addr().unwrap().to_string());
        let (sender, _messages) = mpsc::unbounded_channel();
        let connector = options.connector().await.unwrap();
        let accept = async {
            let (stream, _) = listener.accept().await.unwrap();
            (AbortOnDropHandle::new(tokio::spawn(serve(stream, 0, sender))),)
        };
        let (client, _connection) = tokio::join!(connector.connect(), accept);
        let (clients, tasks) = ([client.unwrap()], Tasks::default());
        let publishers = Publishers::new(&clients, &connector.lost, &tasks).await.unwrap();
        let publish = || {
            let published =
                publishers.any().publish("log".to_owned(), HeaderMap::new(), Bytes::new());
            timeout(REQUEST_TIMEOUT / 2, published)
        };
        assert!(tasks.check().is_ok());
        let (outcome, drained) = tokio::join!(publish(), clients[0].drain());
        drained.unwrap();
        for outcome in [outcome, publish().await] {
            let outcome = outcome.expect("nobody waits for an answer that can't come");
            assert!(matches!(outcome, Err(NotPublished::Unknown(_))), "{outcome:?}");
        }
        let ended = async {
            while tasks.check().is_ok() {
                tokio::task::yield_now().await;
            }
        };
        timeout(REQUEST_TIMEOUT, ended).await.expect("it is noticed");
        let troubles = tasks.troubles();
        assert!(troubles[0].is_lasting && troubles[0].reason.contains("ended"), "{troubles:?}");
    }

    #[tokio::test]
    async fn p3_the_loss_of_either_connection_leaves_in_doubt_what_was_published_on_both() {
        for lost in 0..2 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let options = NatsOptions::new(listener.local_addr().unwrap().to_string());
            let (sender, mut messages) = mpsc::unbounded_channel();
            let accept = async {
                let mut connections = Vec::new();
                for connection in 0..2 {
                    let (stream, _) = listener.accept().await.unwrap();
                    let served = serve(stream, connection, sender.clone());
                    connections.push(AbortOnDropHandle::new(tokio::spawn(served)));
                }
                connections
            };
            let connector = options.connector().await.unwrap();
            let connect =
                async { [connector.connect().await.unwrap(), connector.connect().await.unwrap()] };
            let (clients, mut connections) = tokio::join!(connect, accept);
            let publishers =
                Publishers::new(&clients, &connector.lost, &Tasks::default()).await.unwrap();
            let any = join_all((0..4).map(|_| {
                publishers.any().publish("log".to_owned(), HeaderMap::new(), Bytes::new())
            }));
            let cut = async {
                let mut used = Vec::new();
                while used.len() < 4 {
                    used.push(messages.recv().await.unwrap());
                }
                used.sort_unstable();
                assert_eq!(used, [0, 0, 1, 1]);
                drop(connections.remove(lost));
            };
            let outcomes = timeout(REQUEST_TIMEOUT / 2, async { tokio::join!(any, cut).0 }).await;
            for outcome in outcomes.expect("nobody waits for an answer that can't come") {
                assert!(matches!(outcome, Err(NotPublished::Unknown(_))), "{lost}: {outcome:?}");
            }
        }
    }
}
