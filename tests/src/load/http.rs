//! Bounded load on a running order-system: clients that make orders and pay them, each command
//! with an `Idempotency-Key` that it keeps over every retry, and the collection of what is left.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use catga::{CommandId, Timestamp, log::Version};
use futures_util::{StreamExt, future::join_all, stream};
use reqwest::{Client, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use super::{PAUSE, Stop, reads::Reader};
use crate::{
    eventually,
    history::{Outcome, Recorder, Sent, Stored, digest},
    nemesis::witness::{Asked, Witness},
    order,
};

/// The header that says how often the command was sent, from 1.
pub const TRY: &str = "x-try";

/// What to do to a service.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many clients send at once.
    pub clients: usize,
    /// How many orders each of them makes, and pays.
    pub orders: usize,
    /// When no more is begun, and what is in doubt stays so.
    pub time: Duration,
    /// Tells the keys of one load from those of another on the same service.
    pub name: String,
}

/// A command as it was answered, to be sent again later.
#[derive(Debug, Clone)]
pub struct Answered {
    path: String,
    key: String,
    body: Value,
    status: StatusCode,
    text: String,
    headers: [Option<String>; 3],
    is_replay: bool,
    /// How often it was sent before it was answered.
    pub tries: usize,
}

/// Sends commands to the nodes at `urls` as `plan` says, until the plan's end or `stop`; each client in turn to
/// each, and what a node does not answer to the next one. Where there are several, each command is followed by a
/// read at another node. Answers the commands that were answered.
pub async fn send(urls: &[String], plan: &Plan, recorder: &Recorder, stop: &Stop) -> Vec<Answered> {
    send_seen(urls, plan, recorder, stop, &Witness::default()).await
}

/// The same, and `witness` takes down how each request went.
pub async fn send_seen(
    urls: &[String],
    plan: &Plan,
    recorder: &Recorder,
    stop: &Stop,
    witness: &Witness,
) -> Vec<Answered> {
    let answered = Mutex::new(Vec::new());
    let deadline = Instant::now() + plan.time;
    let http = Client::builder().timeout(Duration::from_secs(5)).build().expect("plain settings");
    join_all((0..plan.clients).map(|client| {
        let sender = Sender { urls, http: &http, recorder, witness, stop, client, deadline };
        let answered = &answered;
        async move {
            for n in 0..plan.orders {
                if sender.is_over() {
                    break;
                }
                let key = format!("{}-{client}-{n}", plan.name);
                sender.order(client + n, &key, answered).await;
            }
        }
    }))
    .await;
    answered.into_inner().unwrap_or_else(PoisonError::into_inner)
}

struct Sender<'a> {
    urls: &'a [String],
    http: &'a Client,
    recorder: &'a Recorder,
    witness: &'a Witness,
    stop: &'a Stop,
    client: usize,
    deadline: Instant,
}

impl Sender<'_> {
    fn is_over(&self) -> bool {
        self.stop.is_now() || Instant::now() >= self.deadline
    }

    /// Makes an order of the customer `name`, under the key `name`, and pays it, each beginning with the node whose
    /// turn it is.
    async fn order(&self, turn: usize, name: &str, answered: &Mutex<Vec<Answered>>) {
        let create_id = format!("/orders {name}");
        let id = CommandId::new(create_id.as_str()).expect("a short id").derive_key();
        let pay_key = format!("{name}-pay");
        let commands = [
            ("/orders".to_owned(), name.to_owned(), create_id, order(name)),
            (
                format!("/orders/{id}/pay"),
                pay_key.clone(),
                pay_key.clone(),
                json!({ "paymentMethod": pay_key }),
            ),
        ];
        for (step, (path, key, command_id, body)) in commands.into_iter().enumerate() {
            let version = step as u64 + 1;
            if self.is_over() {
                return;
            }
            let called = self.recorder.now();
            let sent = sent(&id.to_string(), &command_id, subject(version, &body));
            let answer = tokio::select! {
                biased;
                answer = timeout_at(self.deadline, self.command(turn + step, path, key, body)) => answer.ok(),
                () = self.stop.wait() => None,
            };
            let outcome = answer.as_ref().map_or(Outcome::Unknown, Answered::outcome);
            self.recorder.attempt(
                self.client,
                called,
                sent,
                Some(Version::new(version - 1)),
                outcome,
            );
            let Some(answer) = answer else { return };
            if matches!(outcome, Outcome::Ok { .. }) {
                self.witness.acked(&id.to_string(), version);
            }
            answered.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
            if outcome == Outcome::Failed {
                return;
            }
            if self.urls.len() > 1 {
                let node = (turn + step + 1) % self.urls.len();
                let (url, recorder, witness) = (&self.urls[node], self.recorder, self.witness);
                let reader = Reader { http: self.http, node, url, recorder, witness };
                reader.read(self.client, turn + step, &id.to_string(), name).await;
            }
        }
    }

    /// Sends a command until it is answered: a lost connection and a 503 say nothing about it.
    async fn command(&self, turn: usize, path: String, key: String, body: Value) -> Answered {
        let mut command = Answered {
            path,
            key,
            body,
            status: StatusCode::SERVICE_UNAVAILABLE,
            text: String::new(),
            headers: [const { None }; 3],
            is_replay: false,
            tries: 0,
        };
        loop {
            let node = (turn + command.tries) % self.urls.len();
            command.tries += 1;
            let begun = Instant::now();
            let answer = command.send(self.http, &self.urls[node]).await;
            self.witness.tried(node, Asked::Command, begun, problem(&answer));
            match answer {
                Ok(answer) if answer.status != StatusCode::SERVICE_UNAVAILABLE => return answer,
                _ => sleep(PAUSE).await,
            }
        }
    }
}

/// What keeps a node from doing what it was asked, if so. A refusal by a rule is none.
fn problem(answer: &reqwest::Result<Answered>) -> Option<String> {
    match answer {
        Ok(answer) if answer.status.is_server_error() => {
            let body = serde_json::from_str::<Value>(&answer.text).unwrap_or_default();
            Some(format!("{} {}", answer.status.as_u16(), body["code"].as_str().unwrap_or("")))
        }
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

/// The answer's headers that every repeat of a command must give again.
const HEADERS: [&str; 3] = ["location", "etag", "x-catga-position"];

impl Answered {
    async fn send(&self, http: &Client, url: &str) -> reqwest::Result<Self> {
        let request = http.post(format!("{url}{}", self.path)).json(&self.body);
        // For a proxy that cuts the answers to some tries and not to others.
        let request = request.header(TRY, self.tries);
        let response = request.header("idempotency-key", &self.key).send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await?;
        let is_replay = headers.contains_key("idempotent-replayed");
        let headers = HEADERS.map(|name| text_of(&headers, name));
        Ok(Self { status, text, headers, is_replay, ..self.clone() })
    }

    /// Sends the command again, and asserts that it is answered as it was (P4).
    ///
    /// # Panics
    /// When it is not, or the service can't be reached.
    pub async fn assert_same_again(&self, http: &Client, url: &str) {
        let again = Self { tries: self.tries + 1, ..self.clone() };
        let again = again.send(http, url).await.expect("the service can be reached");
        let seen = |a: &Self| (a.status, a.text.clone(), a.headers.clone());
        assert_eq!(seen(&again), seen(self), "{} under {}", self.path, self.key);
        assert!(again.is_replay, "P4: {} under {} had a second effect", self.path, self.key);
    }

    /// Whether the service said that it had done the command before.
    pub fn is_replay(&self) -> bool {
        self.is_replay
    }

    fn outcome(&self) -> Outcome {
        if !self.status.is_success() {
            return Outcome::Failed;
        }
        let number = |header: &Option<String>| {
            // A position has its log behind it.
            let text = header.as_deref().unwrap_or_default().trim_matches('"').split('@').next();
            text.and_then(|text| text.parse::<u64>().ok())
                .expect("a command's answer says where its events are")
        };
        // Every command of this service makes one event.
        Outcome::Ok {
            first_version: number(&self.headers[1]).into(),
            position: number(&self.headers[2]).into(),
        }
    }
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().expect("visible text").to_owned())
}

/// What a command was about, as its event shows it again: an order's customer, a payment's method.
fn subject(version: u64, body: &Value) -> &Value {
    if version == 1 { &body["customerId"] } else { &body["paymentMethod"] }
}

fn sent(order: &str, command_id: &str, subject: &Value) -> Sent {
    let (stream, id) = (order.to_owned(), command_id.to_owned());
    Sent { stream, id, events: 1, digest: digest(subject.to_string().as_bytes()) }
}

/// All events of all orders, as the service at `url` lists them, for the checker. An event that no
/// command with a key made has its own id.
///
/// # Panics
/// When the lists disagree with each other or with the statistics (I14), time goes back within an order's history, or they
/// can't be read.
pub async fn final_log(http: &Client, url: &str) -> Vec<Stored> {
    // What a client gave up may still be written between the one answer and the other.
    let orders = eventually(|| async {
        let orders = orders(http, url).await;
        let stats = page(http, &format!("{url}/stats")).await.0;
        let paid = orders.iter().filter(|order| order["status"] == "Paid").count();
        let listed = orders.len();
        match stats["totalOrders"] == listed && stats["byStatus"]["Paid"] == paid {
            true => Ok(orders),
            false => Err(format!("{listed} orders are listed, {paid} of them paid, but {stats}")),
        }
    })
    .await;
    let history = async |order: &Value| {
        let id = order["id"].as_str().expect("an order has an id");
        let events = all(http, format!("{url}/orders/{id}/history"), url).await;
        assert_eq!(order["version"], events.len(), "the list and the history of {id} differ");
        let times = events.iter().map(|event| event["timestamp"].as_str().expect("a time"));
        let times = times.map(|time| time.parse::<Timestamp>().expect("a time"));
        assert!(times.is_sorted(), "time goes back in {id}: {events:?}");
        events.iter().map(|event| stored(id, event)).collect::<Vec<_>>()
    };
    let histories = stream::iter(&orders).map(history).buffer_unordered(8);
    let mut log = histories.concat().await;
    log.sort_by_key(|stored| stored.position);
    log
}

/// All orders as the service at `url` lists them.
pub async fn orders(http: &Client, url: &str) -> Vec<Value> {
    all(http, format!("{url}/orders?limit=1000"), url).await
}

fn stored(order: &str, event: &Value) -> Stored {
    let number = |name: &str| event[name].as_u64().expect("an event has its place");
    let metadata = &event["metadata"];
    let id = metadata["commandId"].as_str().or(metadata["eventId"].as_str());
    let first_version = number("version");
    let sent = sent(order, id.expect("an event has an id"), subject(first_version, &event["data"]));
    Stored { sent, first_version: first_version.into(), position: number("position").into() }
}

/// All pages from `first` on.
async fn all(http: &Client, first: String, url: &str) -> Vec<Value> {
    let (mut all, mut next) = (Vec::new(), Some(first));
    while let Some(at) = next {
        let (mut body, link) = page(http, &at).await;
        all.append(body.as_array_mut().expect("a list"));
        next = link.map(|path| format!("{url}{path}"));
    }
    all
}

/// The JSON at `at`, and the path of the next page. A service on its way back has ten seconds.
async fn page(http: &Client, at: &str) -> (Value, Option<String>) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = http.get(at).send().await;
        if let Ok(answer) = answer
            && answer.status() == StatusCode::OK
        {
            let link = text_of(answer.headers(), "link");
            let path = link.and_then(|l| Some(l.strip_prefix('<')?.split_once('>')?.0.to_owned()));
            if let Ok(body) = answer.json().await {
                return (body, path);
            }
        }
        assert!(Instant::now() < deadline, "{at} can't be read");
        sleep(PAUSE).await;
    }
}

/// Sends every command again to `url`, and asserts the first answer.
///
/// # Panics
/// When another one is given.
pub async fn all_again(answered: &[Answered], url: &str) {
    let client = Client::new();
    stream::iter(answered)
        .for_each_concurrent(8, |command| command.assert_same_again(&client, url))
        .await;
}
