//! How fast events are handled, on one node and on three, over reading the transport and doing nothing.
//!
//! A log is filled first. In each round all nodes start at its beginning, under a new name for their checkpoints, and
//! the time counts until the last event is handled; the handler counts. Then one node starts that has its read models
//! from a snapshot, and no checkpoint. The nodes share this process and its two
//! cores, and the server has its own process on them.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use catga::{
    cluster::ClusterSettings,
    log::Position,
    prelude::*,
    store::{
        Backend, EventStore, InMemoryTransport, KvStore, MemoryKvStore, NatsOptions, NatsStore,
        PARTITIONS, RedisOptions, RedisStore, Transport,
    },
};
use catga_bench::{Reach, Rounds, Table, Unit, float, processor_seconds, rounds};
use catga_tests::{
    nats::{NatsServer, Version},
    redis::RedisServer,
};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

const STREAMS: usize = 10_000;
const EACH: u64 = 6;

/// How often a handler multiplies that has something to do. In a slow hour that took some 85 µs.
const WORK: u64 = 20_000;

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "Moved", version = 1)]
struct Moved {
    by: u64,
    note: String,
}

#[derive(Debug, Clone, Event)]
enum CartEvent {
    Moved(Moved),
}

#[derive(Debug, Clone, Default)]
struct Cart;

impl Aggregate for Cart {
    type Event = CartEvent;
    const NAME: &'static str = "cart";

    fn apply(&mut self, _: CartEvent) {}
}

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "bench.move")]
struct Move {
    #[key]
    cart: String,
    by: u64,
}

#[command_handler]
fn move_cart(step: Move, cart: &mut Root<Cart>) -> Result<(), catga::Error> {
    cart.record(Moved { by: step.by, note: "a note of some length, as orders have".to_owned() });
    Ok(())
}

/// How often the handler ran, and how often it multiplies when it does.
#[derive(Debug, Clone, Default)]
struct Handled {
    count: Arc<AtomicU64>,
    work: u64,
}

#[event_handler(name = "count")]
async fn count(event: Recorded<Moved>, handled: &State<Handled>) -> Result<(), catga::Error> {
    black_box((0..handled.work).fold(event.by, |by, n| black_box(by).wrapping_mul(n | 1)));
    handled.count.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// A server's stores: the log, and a place for checkpoints under a name of its own.
enum Server {
    Redis(RedisServer),
    Nats(NatsServer),
}

impl Server {
    async fn stores(&self, prefix: &str) -> (Arc<dyn EventStore>, Arc<dyn KvStore>) {
        match self {
            Self::Redis(server) => {
                let options = RedisOptions {
                    prefix: prefix.to_owned(),
                    ..RedisOptions::new(server.address())
                };
                let store = Arc::new(RedisStore::connect(options).await.expect("it runs"));
                (store.clone(), store)
            }
            Self::Nats(server) => {
                let options =
                    NatsOptions { prefix: prefix.to_owned(), ..NatsOptions::new(server.url()) };
                let store = Arc::new(NatsStore::connect(options).await.expect("it runs"));
                (store.clone(), store)
            }
        }
    }

    /// Forgets how far the handler came, as if it were new.
    async fn forget(&self, checkpoints: &str) {
        let (_, kv) = self.stores(checkpoints).await;
        for partition in 0..PARTITIONS {
            let key = format!("handler/count/{partition}");
            let entry = kv.get(&key).await.expect("it can be read").expect("there is one");
            assert!(kv.delete(&key, entry.revision).await.expect("it can be written"));
        }
    }

    /// Starts `nodes` nodes whose handler begins at the log's beginning. Answers the seconds until everything is handled, and the
    /// processor seconds.
    async fn handle(&self, nodes: usize, work: u64, checkpoints: &str) -> (f64, f64) {
        let handled = Handled { work, ..Handled::default() };
        let mut running = Vec::new();
        let (_, kv) = self.stores(checkpoints).await;
        for node in 0..nodes {
            let (log, _) = self.stores("log").await;
            let settings = ClusterSettings {
                address: String::new(),
                version: "1".to_owned(),
                lease: Duration::from_secs(5),
            };
            let builder = Catga::builder().backend(Backend::new(log, kv.clone()));
            let builder = builder.node(format!("node-{node}")).cluster(settings);
            running.push(builder.state(handled.clone()));
        }
        let (begin, before) = (Instant::now(), processor_seconds());
        let starting = running.into_iter().map(catga::Builder::start);
        let nodes = futures_util::future::try_join_all(starting).await.expect("they start");
        let all = STREAMS as u64 * EACH;
        while handled.count.load(Ordering::Relaxed) < all {
            assert!(begin.elapsed() < Duration::from_secs(120), "{handled:?} of {all}");
            sleep(Duration::from_millis(1)).await;
        }
        let took = (begin.elapsed().as_secs_f64(), processor_seconds() - before);
        for node in nodes {
            node.shutdown().await;
        }
        took
    }
}

/// Fills the log, with checkpoints that nobody needs.
async fn fill(store: Arc<dyn EventStore>) {
    let kv = Arc::new(MemoryKvStore::new());
    let writer = Catga::builder().backend(Backend::new(store, kv)).state(Handled::default());
    let writer = writer.start().await.expect("it starts");
    for by in 1..=EACH {
        stream::iter(0..STREAMS)
            .map(|cart| writer.send(Move { cart: cart.to_string(), by }).into_future())
            .buffer_unordered(256)
            .for_each(|sent| async { sent.expect("the store takes it") })
            .await;
    }
    writer.shutdown().await;
}

/// How many seconds it takes to read everything, and do nothing.
async fn read(transport: &InMemoryTransport) -> f64 {
    let (begin, mut after, mut commits) = (Instant::now(), Position::ZERO, 0);
    loop {
        let page = transport.read(after, 256).await.expect("it can be read");
        let Some(last) = page.last() else { break };
        (after, commits) = (last.position, commits + page.len());
    }
    assert!(commits >= STREAMS * usize::try_from(EACH).expect("few"), "{commits}");
    begin.elapsed().as_secs_f64()
}

#[tokio::main]
async fn main() {
    let about =
        "events handled, over commits read from the transport; one event of 60 bytes a commit";
    let mut table = Table::new("handlers", about);
    let servers = [
        ("redis", Server::Redis(RedisServer::start().await)),
        ("nats", Server::Nats(NatsServer::start(Version::Newest).await)),
    ];
    let all = float(STREAMS) * float(usize::try_from(EACH).expect("few"));
    for (name, server) in servers {
        let (log, _) = server.stores("log").await;
        fill(log).await;
        let mut by_nodes = [(); 3].map(|()| Rounds::new());
        let [mut behind, mut two, mut three, mut three_at_work] = [(); 4].map(|()| Rounds::new());
        for round in 0..rounds(3) {
            // Somebody who has nothing of it in memory.
            let (log, _) = server.stores("log").await;
            let limit = all / read(&InMemoryTransport::new(log)).await;
            let mut per_processor = [0.0; 3];
            for nodes in 1..=3 {
                let (seconds, processor) =
                    server.handle(nodes, 0, &format!("round-{nodes}-{round}")).await;
                by_nodes[nodes - 1].push(all / seconds, limit);
                per_processor[nodes - 1] = all / processor;
            }
            two.push(per_processor[1], per_processor[0]);
            three.push(per_processor[2], per_processor[0]);
            let checkpoints = format!("round-1-{round}");
            server.forget(&checkpoints).await;
            behind.push(all / server.handle(1, 0, &checkpoints).await.0, limit);
            let (_, one) = server.handle(1, WORK, &format!("work-1-{round}")).await;
            let (_, of_three) = server.handle(3, WORK, &format!("work-3-{round}")).await;
            three_at_work.push(all / of_three, all / one);
        }
        for (nodes, rounds) in by_nodes.iter().enumerate() {
            let reach = if nodes == 0 { Reach::AtLeast(0.7) } else { Reach::Shown };
            let what = format!("{name}, {} node(s), over the raw read", nodes + 1);
            table.row(what, Unit::PerSecond, rounds, reach);
        }
        let what =
            format!("{name}, a new handler on 1 node that has a snapshot, over the raw read");
        table.row(what, Unit::PerSecond, &behind, Reach::AtLeast(0.7));
        let what = |nodes: &str| format!("{name}, {nodes}, a processor second, over 1 node's");
        table.row(what("2 nodes"), Unit::PerSecond, &two, Reach::Shown);
        table.row(what("3 nodes"), Unit::PerSecond, &three, Reach::AtLeast(0.9));
        let what = what("3 nodes, a handler that multiplies 20,000 times");
        table.row(what, Unit::PerSecond, &three_at_work, Reach::Shown);
    }
}
