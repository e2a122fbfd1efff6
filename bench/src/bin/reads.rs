//! Reads of what is not in memory, over one round trip to the same server: an aggregate that must be loaded, and the
//! head of the log that a fresh read asks for first: `reads [loads] [barrier]`, both when none is named.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::jetstream;
use catga::{
    ReadModel, Snapshots,
    prelude::*,
    store::{Backend, EventStore, KvStore, NatsOptions, NatsStore, RedisOptions, RedisStore},
};
use catga_bench::{Reach, Rounds, Table, Unit, float, is_wanted, median, rounds};
use catga_tests::{
    nats::{NatsServer, Version},
    redis::RedisServer,
};
use futures_util::future::{join_all, try_join_all};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "Turned", version = 1)]
struct Turned {
    note: String,
}

#[derive(Debug, Clone, Event)]
enum MeterEvent {
    Turned(Turned),
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Meter {
    turns: u64,
}

impl Aggregate for Meter {
    type Event = MeterEvent;
    const NAME: &'static str = "meter";
    /// As order-system has them.
    const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::every(50));

    fn apply(&mut self, _: MeterEvent) {
        self.turns += 1;
    }
}

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "meter.turn")]
struct Turn {
    #[key]
    meter: String,
}

#[command_handler]
fn turn(_: Turn, meter: &mut Root<Meter>) -> Result<u64, catga::Error> {
    meter.record(Turned { note: "a note of some length, as orders have".to_owned() });
    Ok(meter.turns)
}

#[derive(Debug, Query)]
#[query(name = "meter.read")]
struct ReadMeter {
    #[key]
    meter: String,
}

#[query_handler]
fn read_meter(_: ReadMeter, meter: &Root<Meter>) -> Result<u64, catga::Error> {
    Ok(meter.turns)
}

#[derive(Debug, Default)]
struct Total(u64);

/// All turns of all meters.
#[projection]
impl Projection for Total {
    type Event = Turned;
    const NAME: &'static str = "total";

    fn apply(&mut self, _: &Recorded<Turned>) {
        self.0 += 1;
    }
}

#[derive(Debug, Query)]
#[query(name = "meter.total")]
struct ReadTotal;

#[query_handler]
fn read_total(_: ReadTotal, total: &ReadModel<Total>) -> Result<u64, catga::Error> {
    Ok(total.read().0)
}

/// A server, and how to ask it something with nothing of catga in the way.
enum Server {
    Redis(RedisServer, redis::aio::MultiplexedConnection),
    Nats(NatsServer, Box<jetstream::stream::Stream>),
}

impl Server {
    async fn redis() -> Self {
        let server = RedisServer::start().await;
        let client = redis::Client::open(format!("redis://{}", server.address()));
        let connection = client.expect("an address").get_multiplexed_async_connection().await;
        Self::Redis(server, connection.expect("it runs"))
    }

    /// With the log that the store has made there.
    async fn nats() -> Self {
        let server = NatsServer::start(Version::Newest).await;
        NatsStore::connect(NatsOptions::new(server.url())).await.expect("it runs");
        let client = async_nats::connect(server.url()).await.expect("it runs");
        let stream = jetstream::new(client).get_stream("catga").await.expect("the log is there");
        Self::Nats(server, Box::new(stream))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Redis(..) => "Redis",
            Self::Nats(..) => "NATS",
        }
    }

    async fn catga(&self, cache_bytes: u64) -> Catga {
        let (store, kv): (Arc<dyn EventStore>, Arc<dyn KvStore>) = match self {
            Self::Redis(server, _) => {
                let store = RedisStore::connect(RedisOptions::new(server.address())).await;
                let store = Arc::new(store.expect("it runs"));
                (store.clone(), store)
            }
            Self::Nats(server, _) => {
                let store = NatsStore::connect(NatsOptions::new(server.url())).await;
                let store = Arc::new(store.expect("it runs"));
                (store.clone(), store)
            }
        };
        let builder = Catga::builder().backend(Backend::new(store, kv)).cache_bytes(cache_bytes);
        builder.start().await.expect("the store can be used")
    }

    /// One round trip: an echo, a message by its sequence.
    async fn round_trip(&self) {
        match self {
            Self::Redis(_, connection) => {
                let pong = redis::cmd("PING").exec_async(&mut connection.clone()).await;
                pong.expect("it runs");
            }
            Self::Nats(_, stream) => drop(stream.direct_get(1).await.expect("there is one")),
        }
    }

    /// What the store asks for the head.
    async fn head(&self) {
        match self {
            Self::Redis(_, connection) => {
                let mut get = redis::cmd("GET");
                let head = get.arg("{catga}:head").exec_async(&mut connection.clone()).await;
                head.expect("it runs");
            }
            Self::Nats(_, stream) => drop(stream.get_info().await.expect("the log is there")),
        }
    }

    /// How many requests the server has had.
    async fn requests(&self) -> f64 {
        match self {
            Self::Redis(_, connection) => {
                let mut info = redis::cmd("INFO");
                info.arg("commandstats");
                let stats: String =
                    info.query_async(&mut connection.clone()).await.expect("it runs");
                // Not the commands that scripts call.
                let calls = ["cmdstat_get:calls=", "cmdstat_evalsha:calls="].into_iter();
                calls.filter(|name| stats.contains(name)).map(|name| field(&stats, name)).sum()
            }
            Self::Nats(server, _) => field(&get(&server.monitor(), "/varz").await, "\"in_msgs\": "),
        }
    }

    /// How many consumers there are; only NATS has them.
    async fn consumers(&self) -> f64 {
        match self {
            Self::Redis(..) => 0.0,
            Self::Nats(server, _) => {
                field(&get(&server.monitor(), "/jsz").await, "\"consumers\": ")
            }
        }
    }
}

/// The number after `name` in `text`.
fn field(text: &str, name: &str) -> f64 {
    let rest = text.split_once(name).expect("it is there").1;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().expect("a number")
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it runs");
    let request = format!("GET {path} HTTP/1.0\r\nHost: monitor\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    answer
}

/// Nanoseconds of `call`, the median over some.
async fn each(call: impl AsyncFn()) -> f64 {
    let mut times = Vec::new();
    for _ in 0..200 {
        let begin = Instant::now();
        call().await;
        times.push(1e9 * begin.elapsed().as_secs_f64());
    }
    median(&times)
}

async fn loads() {
    let about = "an aggregate that a new node loads, over one round trip, medians of one at a time";
    let mut table = Table::new("loads", about);
    for server in [Server::redis().await, Server::nats().await] {
        let name = server.name();
        let writer = server.catga(64 << 20).await;
        // The last snapshot of the long one is nearly as old as it can be.
        for commits in [4_u64, 10_045] {
            let meter = format!("of-{commits}");
            for turns in 1..=commits {
                let turned = writer.send(Turn { meter: meter.clone() }).await;
                assert_eq!(turned.expect("the store takes it"), turns);
            }
            let (mut both, mut requests) = (Rounds::new(), Vec::new());
            for _ in 0..rounds(15) {
                let (time, asked) = load(&server, &meter, commits).await;
                both.push(time, each(async || server.round_trip().await).await);
                requests.push(asked);
            }
            let what = format!("{name}, {commits} commits");
            table.row(what, Unit::Nanoseconds, &both, Reach::AtMost(2.0));
            let requests = median(&requests);
            table.note(format!("{name}, {commits} commits, requests"), format!("{requests:.0}"));
        }
        writer.shutdown().await;
    }
}

/// The nanoseconds of a load by a node that has just started, and how many requests it made.
async fn load(server: &Server, meter: &str, commits: u64) -> (f64, f64) {
    let catga = server.catga(64 << 20).await;
    // The build of the program is reckoned once in its life, and the read models are there.
    catga.query(ReadTotal).await.expect("it can be read");
    let before = (server.requests().await, server.consumers().await);
    let begin = Instant::now();
    let turns = catga.query(ReadMeter { meter: meter.to_owned() }).await;
    let time = 1e9 * begin.elapsed().as_secs_f64();
    assert_eq!(turns.expect("it can be read"), commits);
    let after = (server.requests().await, server.consumers().await);
    assert!(after.1 <= before.1, "a consumer was made");
    catga.shutdown().await;
    (time, after.0 - before.0)
}

async fn barrier() {
    let about = "reads that see all that was answered before them, over bare requests for the head";
    let mut table = Table::new("barrier", about);
    for server in [Server::redis().await, Server::nats().await] {
        let name = server.name();
        let catga = server.catga(64 << 20).await;
        catga.send(Turn { meter: "one".to_owned() }).await.expect("the store takes it");
        for waiting in [1_usize, 64, 256] {
            let read = async || {
                let reads =
                    try_join_all((0..waiting).map(|_| catga.query(ReadTotal).into_future()));
                let totals = reads.await.expect("it can be read");
                assert!(totals.iter().all(|total| *total == 1));
            };
            let mut both = Rounds::new();
            for _ in 0..rounds(5) {
                let value = rate(waiting, &read).await;
                let bare = async || {
                    join_all((0..waiting).map(|_| server.head())).await;
                };
                both.push(value, rate(waiting, bare).await);
            }
            let what = format!("{name}, {waiting} at once");
            table.row(what, Unit::PerSecond, &both, Reach::Shown);
            let before = server.requests().await;
            for _ in 0..500 {
                read().await;
            }
            let requests = (server.requests().await - before) / 500.0;
            let what = format!("{name}, requests for {waiting} reads at once (1)");
            table.note(what, format!("{requests:.2}"));
        }
        catga.shutdown().await;
    }
}

/// How many a second, when `call` does so many at once.
async fn rate(at_once: usize, call: impl AsyncFn()) -> f64 {
    let (begin, mut done) = (Instant::now(), 0);
    while begin.elapsed() < Duration::from_millis(300) {
        call().await;
        done += at_once;
    }
    float(done) / begin.elapsed().as_secs_f64()
}

#[tokio::main]
async fn main() {
    if is_wanted("loads") {
        loads().await;
    }
    if is_wanted("barrier") {
        barrier().await;
    }
}
