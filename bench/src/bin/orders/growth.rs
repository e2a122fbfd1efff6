//! What an order, a page and the statistics cost with few orders and with many.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use catga::{
    Catga, Error,
    store::{
        EventStore, FileStore, KvStore, MemoryKvStore, MemoryStore, NatsOptions, NatsStore,
        RedisOptions, RedisStore,
    },
};
use catga_axum::Limit;
use catga_bench::{Reach, Rounds, Table, Unit, float, is_full, rounds};
use catga_tests::{
    nats::{NatsServer, Version},
    redis::RedisServer,
};
use futures_util::{StreamExt, stream};
use order_system::domain::queries::{GetOrder, GetStats, ListOrders};
use tempfile::TempDir;

use super::{Outcome, create, id, make, order_system};

/// Enough for the orders that are asked for again and again, and for few others.
const CACHE_BYTES: u64 = 128 << 10;

const FEW: u64 = 10_000;

/// How many orders a round adds: not so many that few become many.
const APPENDED: u64 = 500;

/// A store with orders, and what runs on it.
struct Shop {
    catga: Catga,
    orders: u64,
    /// How many clients append at once.
    clients: usize,
    /// How often a round asks for the same.
    times: u64,
}

/// Where nothing is further away than the disk, and where a server is asked each time.
const TIMES: u64 = 5000;
const TIMES_SERVER: u64 = 500;

pub(super) async fn measure() -> Outcome<()> {
    let many = if is_full() { 10_000_000 } else { 1_000_000 };
    // A server, its clients and their read models have the memory of one machine.
    let many_on_server = many / 10;
    let about = format!(
        "nanoseconds each, in process; the value with {many} orders, {many_on_server} on Redis and NATS, \
         the limit with {FEW}"
    );
    let mut table = Table::new("growth", &about);
    let in_memory = async |orders| {
        let kv = Arc::new(MemoryKvStore::new());
        Shop::open(Arc::new(MemoryStore::default()), kv, orders, 1, TIMES).await
    };
    compare(&mut table, "memory", [in_memory(FEW).await, in_memory(many).await]).await?;

    let (few, large) = (TempDir::new()?, TempDir::new()?);
    let on_disk = async |directory: &TempDir, orders| {
        let store = Arc::new(FileStore::open(directory.path().join("log"))?);
        Outcome::Ok(Shop::open(store.clone(), store, orders, 256, TIMES).await)
    };
    let shops = [on_disk(&few, FEW).await?, on_disk(&large, many).await?];
    compare(&mut table, "file", shops).await?;

    let servers = [RedisServer::start().await, RedisServer::start().await];
    let on_redis = async |server: &RedisServer, orders| {
        let store = Arc::new(RedisStore::connect(RedisOptions::new(server.address())).await?);
        Outcome::Ok(Shop::open(store.clone(), store, orders, 64, TIMES_SERVER).await)
    };
    let [few, large] = &servers;
    let shops = [on_redis(few, FEW).await?, on_redis(large, many_on_server).await?];
    compare(&mut table, "Redis", shops).await?;

    let servers =
        [NatsServer::start(Version::Newest).await, NatsServer::start(Version::Newest).await];
    let on_nats = async |server: &NatsServer, orders| {
        let store = Arc::new(NatsStore::connect(NatsOptions::new(server.url())).await?);
        Outcome::Ok(Shop::open(store.clone(), store, orders, 64, TIMES_SERVER).await)
    };
    let [few, large] = &servers;
    let shops = [on_nats(few, FEW).await?, on_nats(large, many_on_server).await?];
    compare(&mut table, "NATS", shops).await
}

impl Shop {
    async fn open<S: EventStore + 'static>(
        store: Arc<S>,
        kv: Arc<dyn KvStore>,
        orders: u64,
        clients: usize,
        times: u64,
    ) -> Self {
        let catga = order_system(store, kv, CACHE_BYTES).await;
        make(&catga, 0..orders, 1).await;
        let stats = catga.query(GetStats).await.expect("it can be read");
        assert_eq!(stats.total_orders, orders);
        Self { catga, orders, clients, times }
    }

    async fn append(&mut self) -> Result<f64, Error> {
        let new = self.orders..self.orders + APPENDED;
        self.orders = new.end;
        let catga = &self.catga;
        let begin = Instant::now();
        stream::iter(new)
            .map(async |order| catga.send(create(order)).await)
            .buffer_unordered(self.clients)
            .for_each(async |made| drop(made.expect("the order is new")))
            .await;
        let each = nanoseconds(begin.elapsed(), APPENDED);
        // The read models catch up before anything else is measured.
        catga.query(GetStats).await?;
        Ok(each)
    }

    /// Loads of orders that are `step` apart.
    async fn load(&self, count: u64, step: u64) -> Result<f64, Error> {
        let begin = Instant::now();
        for n in 0..count {
            let order = n * step % self.orders;
            let query = GetOrder { order_id: id(order), version: None, at: None };
            assert_eq!(self.catga.query(query).await?.version, 1);
        }
        Ok(nanoseconds(begin.elapsed(), count))
    }

    async fn page(&self) -> Result<f64, Error> {
        let (begin, times) = (Instant::now(), self.times / 25);
        for _ in 0..times {
            let query =
                ListOrders { status: None, customer_id: None, cursor: None, limit: Limit(100) };
            let page = self.catga.query(query).await?;
            assert_eq!((page.items.len(), page.total), (100, Some(self.orders)));
        }
        Ok(nanoseconds(begin.elapsed(), times))
    }

    async fn stats(&self) -> Result<f64, Error> {
        let begin = Instant::now();
        for _ in 0..self.times {
            self.catga.query(GetStats).await?;
        }
        Ok(nanoseconds(begin.elapsed(), self.times))
    }
}

async fn compare(table: &mut Table, store: &str, [mut few, mut many]: [Shop; 2]) -> Outcome<()> {
    let mut rows = [(); 5].map(|()| Rounds::new());
    for _ in 0..rounds(7) {
        rows[0].push(many.append().await?, few.append().await?);
        // The same ten orders, and ones that are too far apart to be in the cache.
        let times = 4 * few.times;
        let cached = async |shop: &Shop| shop.load(times, shop.orders / 10).await;
        rows[1].push(cached(&many).await?, cached(&few).await?);
        let loaded = async |shop: &Shop| shop.load(shop.times, 7919).await;
        rows[2].push(loaded(&many).await?, loaded(&few).await?);
        rows[3].push(many.page().await?, few.page().await?);
        rows[4].push(many.stats().await?, few.stats().await?);
    }
    let clients = few.clients;
    let names = [
        format!("a new order, {clients} at once"),
        "load an order from the cache".to_owned(),
        "load an order from the log".to_owned(),
        "the first page of 100".to_owned(),
        "statistics".to_owned(),
    ];
    for (name, rounds) in names.iter().zip(&rows) {
        table.row(format!("{store}, {name}"), Unit::Nanoseconds, rounds, Reach::AtMost(1.2));
    }
    few.catga.shutdown().await;
    many.catga.shutdown().await;
    Ok(())
}

fn nanoseconds(time: Duration, count: u64) -> f64 {
    1e9 * time.as_secs_f64() / float(usize::try_from(count).expect("few"))
}
