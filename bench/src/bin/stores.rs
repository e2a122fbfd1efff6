//! Appends to each store, over the barest way to have the same server, or the same disk, keep the same bytes as
//! safely: `stores [file] [redis] [nats]`, all when none is named.
//!
//! Each append is one event of 120 bytes to a new stream, and is awaited by its own task before that sends the next.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
    time::{Duration, Instant},
};

use async_nats::{
    HeaderMap,
    header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
    jetstream::{self, stream::Config},
};
use bytes::Bytes;
use catga::{
    Timestamp,
    log::{Commit, EventFrame, EventId, StreamId},
    store::{Append, EventStore, FileStore, NatsOptions, NatsStore, RedisOptions, RedisStore},
};
use catga_bench::{Reach, Rounds, Table, Unit, float, is_wanted, p99, rounds};
use catga_tests::{
    nats::{NatsServer, Version},
    redis::RedisServer,
};
use redis::{
    AsyncConnectionConfig, IntoConnectionInfo, Script, aio::MultiplexedConnection,
    io::tcp::TcpSettings,
};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_millis(400);
const CLIENTS: [usize; 5] = [1, 4, 16, 64, 256];

/// How many clients a rate is asked of. The others are there for the plots.
const ASKED: [usize; 3] = [1, 64, 256];

fn frame(stream: &str) -> Bytes {
    let event = EventFrame { id: EventId::nil(), name: "Benched", schema: 1, payload: &[7; 120] };
    let commit = Commit {
        stream,
        first_version: 1.into(),
        time: Timestamp::from_micros(1_700_000_000_000_000),
        node: "bench",
        command: None,
        correlation: None,
        causation: None,
        traceparent: None,
        events: [event].into(),
    };
    commit.encode()
}

/// What came of a load: how many a second, and what all but one in a hundred took, in nanoseconds.
struct Pace {
    rate: f64,
    p99: f64,
}

impl Pace {
    /// Of so many that were done since `begin`, in `times`.
    fn new(done: usize, begin: Instant, mut times: Vec<Duration>) -> Self {
        let rate = float(done) / begin.elapsed().as_secs_f64();
        times.sort_unstable();
        Self { rate, p99: p99(&times) }
    }
}

/// How fast `call` is done by so many tasks at once, each with another number.
async fn pace<F: Future<Output = ()> + Send + 'static>(
    tasks: usize,
    numbers: &Arc<AtomicUsize>,
    call: impl Fn(usize) -> F + Clone + Send + 'static,
) -> Pace {
    let begin = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        let (call, numbers) = (call.clone(), numbers.clone());
        running.spawn(async move {
            let (mut times, mut now) = (Vec::new(), begin);
            while now - begin < TIME {
                call(numbers.fetch_add(1, Ordering::Relaxed)).await;
                let before = std::mem::replace(&mut now, Instant::now());
                times.push(now - before);
            }
            times
        });
    }
    let times = running.join_all().await.concat();
    Pace::new(times.len(), begin, times)
}

/// The rounds of so many clients.
struct Row {
    clients: usize,
    rates: Rounds,
    p99s: Rounds,
}

impl Row {
    fn new(clients: usize) -> Self {
        Self { clients, rates: Rounds::new(), p99s: Rounds::new() }
    }

    fn push(&mut self, value: &Pace, limit: &Pace) {
        self.rates.push(value.rate, limit.rate);
        self.p99s.push(value.p99, limit.p99);
    }

    fn show(&self, table: &mut Table, name: &str) {
        let reach = if ASKED.contains(&self.clients) { Reach::AtLeast(0.8) } else { Reach::Shown };
        let what = format!("{name}, {} clients", self.clients);
        table.row(&what, Unit::PerSecond, &self.rates, reach);
        table.row(format!("{what}, p99"), Unit::Nanoseconds, &self.p99s, Reach::Shown);
    }
}

/// Appends through the store.
async fn append(store: &Arc<impl EventStore>, tasks: usize, numbers: &Arc<AtomicUsize>) -> Pace {
    let store = store.clone();
    pace(tasks, numbers, move |n| {
        let store = store.clone();
        async move {
            let stream = StreamId::new("bench", &n.to_string()).expect("a plain key");
            let frame = frame(stream.as_str());
            let append = Append { stream: &stream, version: 0.into(), token: 0, events: 1, frame };
            store.append(append).await.expect("the stream is new");
        }
    })
    .await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if is_wanted("file") {
        file().await?;
    }
    if is_wanted("redis") {
        redis().await?;
    }
    if is_wanted("nats") {
        nats().await?;
    }
    Ok(())
}

async fn file() -> Result<(), Box<dyn std::error::Error>> {
    let directory = TempDir::new()?;
    let store = Arc::new(FileStore::open(directory.path().join("log"))?);
    let about = "appends to files, level `power-loss`; the limit appends as many at once, and syncs, in a loop";
    let mut table = Table::new("file", about);
    let numbers = Arc::new(AtomicUsize::new(0));
    for clients in CLIENTS {
        let (mut row, mut preallocated) = (Row::new(clients), Rounds::new());
        let mut without_disk = Rounds::new();
        for _ in 0..rounds(ROUNDS) {
            let value = append(&store, clients, &numbers).await;
            row.push(&value, &bare_file(directory.path(), clients, false));
            preallocated.push(value.rate, bare_file(directory.path(), clients, true).rate);
            without_disk.push(value.rate, hand_over(clients).await.rate);
        }
        row.show(&mut table, "fsync (`power-loss`)");
        let what = format!("{clients} clients, over a file that has its size already");
        table.row(what, Unit::PerSecond, &preallocated, Reach::Shown);
        let what = format!("{clients} clients, over a thread that answers and writes nothing");
        table.row(what, Unit::PerSecond, &without_disk, Reach::Shown);
    }
    let head = store.head().await?;
    assert_eq!(head, numbers.load(Ordering::Relaxed) as u64);
    Ok(())
}

/// The same clients with the same frames, handed to a thread that answers them in groups, as the store's does, and does
/// nothing else: what the tasks and their waking cost by themselves.
async fn hand_over(tasks: usize) -> Pace {
    let numbers = Arc::new(AtomicUsize::new(0));
    let (queue, mut frames) = mpsc::channel::<(Bytes, oneshot::Sender<usize>)>(1024);
    let answering = std::thread::spawn(move || {
        let mut group = Vec::new();
        while frames.blocking_recv_many(&mut group, 512) > 0 {
            for (frame, answer) in group.drain(..) {
                answer.send(frame.len()).expect("a client waits");
            }
        }
    });
    let pace = pace(tasks, &numbers, move |n| {
        let queue = queue.clone();
        async move {
            let stream = StreamId::new("bench", &n.to_string()).expect("a plain key");
            let (answer, answered) = oneshot::channel();
            let frame = (frame(stream.as_str()), answer);
            queue.send(frame).await.expect("the thread runs");
            answered.await.expect("the thread answers");
        }
    })
    .await;
    answering.join().expect("it does not panic");
    pace
}

/// As many commits with each sync as the disk takes them, one group after the other.
fn bare_file(directory: &Path, commits: usize, is_preallocated: bool) -> Pace {
    const SIZE: usize = 16 << 20;
    let bytes = vec![7; commits * (frame("bench/123456").len() + 20)];
    let path = directory.join("bare");
    let file = File::create(&path).expect("a file");
    if is_preallocated {
        file.write_all_at(&vec![0; SIZE], 0).and_then(|()| file.sync_all()).expect("a disk");
    }
    let (begin, mut times, mut offset) = (Instant::now(), Vec::new(), 0);
    while begin.elapsed() < TIME {
        let before = Instant::now();
        if is_preallocated && offset + bytes.len() > SIZE {
            offset = 0;
        }
        file.write_all_at(&bytes, offset as u64).and_then(|()| file.sync_data()).expect("a disk");
        offset += bytes.len();
        times.push(before.elapsed());
    }
    let pace = Pace::new(commits * times.len(), begin, times);
    std::fs::remove_file(path).expect("it is there");
    pace
}

async fn redis() -> Result<(), Box<dyn std::error::Error>> {
    let about =
        "appends to Redis; the limit calls the same script over one bare multiplexed connection";
    let mut table = Table::new("redis", about);
    for (sync, level) in [("everysec", "seconds"), ("always", "power-loss")] {
        let flags =
            ["--appendonly", "yes", "--appendfsync", sync, "--maxmemory-policy", "noeviction"];
        let server = RedisServer::start_with(&flags).await;
        let store = Arc::new(RedisStore::connect(RedisOptions::new(server.address())).await?);
        let connection = bare_redis(&server).await?;
        let script =
            Arc::new(Script::new(include_str!("../../../catga/src/store/redis/append.lua")));
        let numbers = Arc::new(AtomicUsize::new(0));
        for clients in CLIENTS {
            let mut row = Row::new(clients);
            for _ in 0..rounds(ROUNDS) {
                let value = append(&store, clients, &numbers).await;
                let (connection, script) = (connection.clone(), script.clone());
                let call = move |n: usize| {
                    let (mut connection, script) = (connection.clone(), script.clone());
                    async move {
                        let stream = format!("bench/{n}");
                        let mut call = script.key(format!("{{bare}}:s:{stream}"));
                        call.key("{bare}:log").key("{bare}:head").arg(0).arg(1);
                        call.arg(&frame(&stream)[..]);
                        let _: (u64, u64) =
                            call.invoke_async(&mut connection).await.expect("an answer");
                    }
                };
                row.push(&value, &pace(clients, &numbers, call).await);
            }
            row.show(&mut table, &format!("appendfsync {sync} (`{level}`)"));
        }
    }
    Ok(())
}

async fn bare_redis(server: &RedisServer) -> redis::RedisResult<MultiplexedConnection> {
    let server = format!("redis://{}", server.address()).into_connection_info()?;
    // As the store does: without it, Nagle's algorithm takes up to half of the rate.
    let server = server.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    redis::Client::open(server)?.get_multiplexed_async_connection_with_config(&config).await
}

async fn nats() -> Result<(), Box<dyn std::error::Error>> {
    let about = "appends to NATS; the limit awaits bare publishes with the same expectation on two connections";
    let mut table = Table::new("nats", about);
    let servers = [
        ("2.9.10 (`process-crash`)", NatsServer::start(Version::Debian).await),
        ("newest (`process-crash`)", NatsServer::start(Version::Newest).await),
        ("newest, sync always (`power-loss`)", NatsServer::start_durable().await),
    ];
    for (name, server) in servers {
        let monitor = Some(server.monitor());
        let options = NatsOptions { monitor, ..NatsOptions::new(server.url()) };
        let store = Arc::new(NatsStore::connect(options).await?);
        let mut connections = Vec::new();
        for _ in 0..2 {
            connections.push(jetstream::new(async_nats::connect(server.url()).await?));
        }
        let config = Config {
            name: "bare".to_owned(),
            subjects: vec!["bare.*.*".to_owned()],
            allow_direct: true,
            ..Config::default()
        };
        connections[0].create_stream(config).await?;
        let connections: Arc<[_]> = connections.into();
        let numbers = Arc::new(AtomicUsize::new(0));
        for clients in CLIENTS {
            let mut row = Row::new(clients);
            for _ in 0..rounds(ROUNDS) {
                let value = append(&store, clients, &numbers).await;
                let connections = connections.clone();
                let call = move |n: usize| {
                    let connections = connections.clone();
                    async move {
                        let mut headers = HeaderMap::new();
                        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
                        let frame = frame(&format!("bench/{n}"));
                        let subject = format!("bare.bench.{n}");
                        let connection = &connections[n % 2];
                        let ack = connection.publish_with_headers(subject, headers, frame).await;
                        ack.expect("it is sent").await.expect("the subject is new");
                    }
                };
                row.push(&value, &pace(clients, &numbers, call).await);
            }
            row.show(&mut table, name);
        }
    }
    Ok(())
}
