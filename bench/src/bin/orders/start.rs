//! The program itself, started on nothing and on a long log, over reading the log's bytes.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::jetstream::{
    self,
    consumer::{DeliverPolicy, pull::OrderedConfig},
};
use catga::store::{
    EventStore, FileStore, KvStore, NatsOptions, NatsStore, RedisOptions, RedisStore,
};
use catga_bench::{
    Reach, Rounds, Table, Unit, float, is_full, load, median, resident, rounds, server,
};
use catga_tests::{
    nats::{NatsServer, Version},
    redis::RedisServer,
};
use futures_util::TryStreamExt;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::sleep,
};

use super::{LIFE, Outcome, make, order_system};

/// How many commits the bare readers ask for at once, as the store does.
const PAGE: usize = 512;

pub(super) async fn measure() -> Outcome<()> {
    let orders = if is_full() { 1_000_000 } else { 50_000 };
    let about = format!("order-system on nothing, and on {orders} orders of {LIFE} events");
    let mut table = Table::new("start", &about);
    on_nothing(&mut table).await?;

    let directory = TempDir::new()?;
    let data = directory.path().join("log");
    let open = || FileStore::open(&data).map(Arc::new);
    let store = open()?;
    fill(store.clone(), store, orders).await;
    let flags = ["--persistence", "file", "--data-dir", data.to_str().ok_or("a path")?];
    let of = Starts { flags: &flags, orders };
    let [whole, rest] = of.measure(async || bare_files(&data), async || Ok(open()?)).await?;
    table.row("file, over reading its bytes (≥ 1 M/s)", Unit::PerSecond, &whole, Reach::Shown);
    table.row("the same with a snapshot, over without", Unit::PerSecond, &rest, Reach::Shown);

    let redis = RedisServer::start().await;
    let store = Arc::new(RedisStore::connect(RedisOptions::new(redis.address())).await?);
    fill(store.clone(), store.clone(), orders).await;
    let address = redis.address();
    let of = Starts { flags: &["--persistence", "redis", "--redis", &address], orders };
    let bare = async || bare_redis(&redis, orders).await;
    let [whole, rest] = of.measure(bare, async || Ok(store.clone())).await?;
    table.row("Redis, over a bare scan", Unit::PerSecond, &whole, Reach::AtLeast(0.8));
    table.row("the same with a snapshot, over without", Unit::PerSecond, &rest, Reach::Shown);

    let nats = NatsServer::start(Version::Newest).await;
    let store = Arc::new(NatsStore::connect(NatsOptions::new(nats.url())).await?);
    fill(store.clone(), store.clone(), orders).await;
    let url = nats.url();
    let of = Starts { flags: &["--persistence", "nats", "--nats", &url], orders };
    let bare = async || bare_nats(&nats, orders).await;
    let [whole, rest] = of.measure(bare, async || Ok(store.clone())).await?;
    table.row("NATS, over a bare consumer", Unit::PerSecond, &whole, Reach::AtLeast(0.8));
    table.row("the same with a snapshot, over without", Unit::PerSecond, &rest, Reach::Shown);
    Ok(())
}

/// Starts of order-system on a log.
struct Starts<'a> {
    flags: &'a [&'a str],
    orders: u64,
}

impl Starts<'_> {
    /// Those that read the whole log, over reading it bare; and those from a snapshot, over those.
    async fn measure<K: KvStore>(
        &self,
        bare: impl AsyncFn() -> Outcome<f64>,
        kv: impl AsyncFn() -> Outcome<Arc<K>>,
    ) -> Outcome<[Rounds; 2]> {
        let [mut whole, mut rest] = [Rounds::new(), Rounds::new()];
        for _ in 0..rounds(5) {
            let limit = events(self.orders) / bare().await?;
            forget_snapshot(&*kv().await?).await?;
            let without = ready_rate(self.flags, self.orders).await?;
            whole.push(without, limit);
            rest.push(ready_rate(self.flags, self.orders).await?, without);
        }
        Ok([whole, rest])
    }
}

async fn forget_snapshot(kv: &impl KvStore) -> Outcome<()> {
    const MANIFEST: &str = "read-models/manifest";
    if let Some(entry) = kv.get(MANIFEST).await? {
        kv.delete(MANIFEST, entry.revision).await?;
    }
    Ok(())
}

fn events(orders: u64) -> f64 {
    float(LIFE) * float(usize::try_from(orders).expect("they fit in memory"))
}

async fn fill<S: EventStore + 'static>(store: Arc<S>, kv: Arc<dyn KvStore>, orders: u64) {
    let catga = order_system(store, kv, 64 << 20).await;
    make(&catga, 0..orders, LIFE).await;
    catga.shutdown().await;
}

/// Starts order-system. Answers it, where it listens, and the seconds until it said that it is ready.
async fn start(flags: &[&str]) -> Outcome<(Child, SocketAddr, f64)> {
    let flags: Vec<_> = ["--port", "0", "--log", "off"].iter().chain(flags).collect();
    let program = std::env::current_exe()?.with_file_name("order-system");
    let begin = Instant::now();
    let (child, address) = server::start(&program, &flags).await?;
    let ready = [load::request("GET", "/health/ready", "")];
    while load::send(address, 1, &ready, |_, _, _| {}).await?.count(200) == 0 {
        assert!(begin.elapsed() < Duration::from_secs(300), "it does not become ready");
        sleep(Duration::from_millis(1)).await;
    }
    Ok((child, address, begin.elapsed().as_secs_f64()))
}

async fn on_nothing(table: &mut Table) -> Outcome<()> {
    let (mut seconds, mut bytes) = (Vec::new(), Vec::new());
    for _ in 0..rounds(10) {
        let (child, _, took) = start(&[]).await?;
        seconds.push(took);
        bytes.push(resident(child.id().ok_or("it runs")?));
    }
    let took = 1000.0 * median(&seconds);
    table.note("in memory, to the first 200 of /health/ready (≤ 20 ms)", format!("{took:.1} ms"));
    let megabytes = median(&bytes) / 1e6;
    table.note("resident then (≤ 15 MB)", format!("{megabytes:.1} MB"));
    Ok(())
}

/// How many events a second order-system takes in until it is ready, and knows all orders. It leaves a snapshot.
async fn ready_rate(flags: &[&str], orders: u64) -> Outcome<f64> {
    let (mut child, address, seconds) = start(flags).await?;
    let stats = std::sync::Mutex::new(Value::Null);
    load::send(address, 1, &[load::request("GET", "/stats", "")], |_, _, body| {
        *stats.lock().expect("no panics") = serde_json::from_slice(body).expect("JSON");
    })
    .await?;
    let stats = stats.into_inner()?;
    assert_eq!(stats["byStatus"]["Delivered"], orders, "{stats}");
    let id = child.id().ok_or("it runs")?.to_string();
    Command::new("kill").args(["-TERM", &id]).status().await?;
    assert!(child.wait().await?.success(), "a clean stop");
    Ok(events(orders) / seconds)
}

/// The seconds that it takes to read all files of a log.
fn bare_files(directory: &Path) -> Outcome<f64> {
    let (begin, mut bytes) = (Instant::now(), 0);
    for file in std::fs::read_dir(directory)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            bytes += std::fs::read(path)?.len();
        }
    }
    assert!(bytes > 0, "there are files");
    Ok(begin.elapsed().as_secs_f64())
}

async fn bare_redis(server: &RedisServer, orders: u64) -> Outcome<f64> {
    let client = redis::Client::open(format!("redis://{}", server.address()))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let (begin, mut after, mut commits) = (Instant::now(), "0".to_owned(), 0.0);
    loop {
        let mut page = redis::cmd("XRANGE");
        page.arg("{catga}:log").arg(format!("({after}")).arg("+").arg("COUNT").arg(PAGE);
        let page: Vec<(String, Vec<bytes::Bytes>)> = page.query_async(&mut connection).await?;
        let Some((last, _)) = page.last() else { break };
        after.clone_from(last);
        commits += float(page.len());
    }
    assert!(commits >= events(orders), "{commits}");
    Ok(begin.elapsed().as_secs_f64())
}

async fn bare_nats(server: &NatsServer, orders: u64) -> Outcome<f64> {
    let context = jetstream::new(async_nats::connect(server.url()).await?);
    let stream = context.get_stream("catga").await?;
    let last = stream.cached_info().state.messages;
    assert!(float(usize::try_from(last)?) >= events(orders), "{last}");
    let begin = Instant::now();
    let all = OrderedConfig { deliver_policy: DeliverPolicy::All, ..OrderedConfig::default() };
    let mut messages = stream.create_consumer(all).await?.messages().await?;
    for _ in 0..last {
        messages.try_next().await?.ok_or("there are more messages")?;
    }
    Ok(begin.elapsed().as_secs_f64())
}
