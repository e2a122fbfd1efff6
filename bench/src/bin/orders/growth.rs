//! What an order, a page and the statistics cost with few orders and with many.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use catga::{Catga, Error, EventStore, FileStore, Keyed, MemoryKeyed, MemoryStore};
use catga_bench::{Reach, Rounds, Table, Unit, float, is_full, rounds};
use futures_util::{StreamExt, stream};
use order_system::domain::queries::{GetOrder, GetStats, ListOrders, Moment};
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
}

pub(super) async fn measure() -> Outcome<()> {
    let many = if is_full() { 10_000_000 } else { 1_000_000 };
    let about =
        format!("nanoseconds each, in process; the value with {many} orders, the limit with {FEW}");
    let mut table = Table::new("growth", &about);
    let in_memory = async |orders| {
        let keyed = Arc::new(MemoryKeyed::new());
        Shop::open(Arc::new(MemoryStore::default()), keyed, orders, 1).await
    };
    compare(&mut table, "memory", [in_memory(FEW).await, in_memory(many).await]).await?;
    let (few, large) = (TempDir::new()?, TempDir::new()?);
    let on_disk = async |directory: &TempDir, orders| {
        let store = Arc::new(FileStore::open(directory.path().join("log"))?);
        Ok::<_, Box<dyn std::error::Error>>(Shop::open(store.clone(), store, orders, 256).await)
    };
    compare(&mut table, "file", [on_disk(&few, FEW).await?, on_disk(&large, many).await?]).await
}

impl Shop {
    async fn open<S: EventStore + 'static>(
        store: Arc<S>,
        keyed: Arc<dyn Keyed>,
        orders: u64,
        clients: usize,
    ) -> Self {
        let catga = order_system(store, keyed, CACHE_BYTES).await;
        make(&catga, 0..orders, 1).await;
        let stats = catga.query(GetStats).await.expect("it can be read");
        assert_eq!(stats.by_status.iter().sum::<u64>(), orders);
        Self { catga, orders, clients }
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
            let query = GetOrder { order_id: id(order), moment: Moment::Now };
            assert_eq!(self.catga.query(query).await?.version, 1);
        }
        Ok(nanoseconds(begin.elapsed(), count))
    }

    async fn page(&self) -> Result<f64, Error> {
        let begin = Instant::now();
        for _ in 0..200 {
            let query = ListOrders { status: None, customer_id: None, before: None, limit: 100 };
            let page = self.catga.query(query).await?;
            assert_eq!((page.orders.len(), page.total), (100, self.orders));
        }
        Ok(nanoseconds(begin.elapsed(), 200))
    }

    async fn stats(&self) -> Result<f64, Error> {
        let begin = Instant::now();
        for _ in 0..5000 {
            self.catga.query(GetStats).await?;
        }
        Ok(nanoseconds(begin.elapsed(), 5000))
    }
}

async fn compare(table: &mut Table, store: &str, [mut few, mut many]: [Shop; 2]) -> Outcome<()> {
    let mut rows = [(); 5].map(|()| Rounds::new());
    for _ in 0..rounds(7) {
        rows[0].push(many.append().await?, few.append().await?);
        // The same ten orders, and ones that are too far apart to be in the cache.
        rows[1].push(
            many.load(20_000, many.orders / 10).await?,
            few.load(20_000, few.orders / 10).await?,
        );
        rows[2].push(many.load(5000, 7919).await?, few.load(5000, 7919).await?);
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
