//! Snapshots of the read models shorten a start, and whatever happens to them changes no answer.

mod trouble;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use catga::{
    Consistency, DeliverySettings,
    log::{Position, Version},
    prelude::*,
    store::{
        Backend, BoxFuture, Durability, EventStore, KvEntry, KvStore, MemoryKvStore, MemoryStore,
        StoreError,
    },
    testing::{self, ScriptedStore},
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "Counted", version = 1)]
struct Counted {
    by: u64,
}

#[derive(Debug, Clone, Event)]
enum TallyEvent {
    Counted(Counted),
}

#[derive(Debug, Clone, Default)]
struct Tally;

impl Aggregate for Tally {
    type Event = TallyEvent;
    const NAME: &'static str = "tally";

    fn apply(&mut self, _: TallyEvent) {}
}

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "tally.count")]
struct Count {
    #[key]
    tally: String,
    by: u64,
}

#[command_handler]
fn count(count: Count, tally: &mut Root<Tally>) -> Result<(), catga::Error> {
    tally.record(Counted { by: count.by });
    Ok(())
}

/// So much that it takes several parts.
const LARGE: usize = 1_200_000;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sums {
    by_tally: BTreeMap<String, (u64, Position)>,
    /// How many events a handler takes.
    events: usize,
    ballast: String,
}

/// The sum of each tally.
#[projection]
impl Projection for Sums {
    type Event = Counted;
    const NAME: &'static str = "sums";
    const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::every(1000));

    fn apply(&mut self, counted: &Recorded<Counted>) {
        let (sum, last) = self.by_tally.entry(counted.stream.key().to_owned()).or_default();
        // Not the same when events are missed, repeated or out of order.
        *sum = sum.wrapping_mul(31).wrapping_add(counted.by);
        *last = counted.position;
        self.events += usize::from(counted.by != POISON);
        if counted.by == 0 {
            self.ballast = "x".repeat(LARGE);
        }
    }
}

#[derive(Debug, Clone, Query)]
#[query(name = "tally.sums")]
struct GetSums;

#[query_handler]
fn sums(_: GetSums, sums: &ReadModel<Sums>) -> Result<Sums, catga::Error> {
    Ok(sums.read().clone())
}

/// What the event handler has got, by stream.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<String, Vec<Version>>>>);

/// What no handler takes.
const POISON: u64 = 666_666;

#[derive(Debug, thiserror::Error)]
#[error("it is poison")]
struct Poisoned;

#[event_handler(name = "watch")]
fn watch(counted: Recorded<Counted>, seen: &State<Seen>) -> Result<(), Poisoned> {
    if counted.by == POISON {
        return Err(Poisoned);
    }
    let mut seen = seen.0.lock().unwrap();
    seen.entry(counted.stream.key().to_owned()).or_default().push(counted.version);
    Ok(())
}

const SNAPSHOT: &str = "read-models/";
const MANIFEST: &str = "read-models/manifest";

/// Values that one can count, and that fail on demand.
struct Values {
    values: MemoryKvStore,
    keys: Mutex<BTreeSet<String>>,
    /// How many writes of a snapshot succeed yet.
    writes: AtomicUsize,
    /// Whether those that do not succeed take for ever.
    hangs: AtomicBool,
}

impl Default for Values {
    fn default() -> Self {
        let (values, keys, hangs) = Default::default();
        Self { values, keys, writes: AtomicUsize::new(usize::MAX), hangs }
    }
}

impl Values {
    /// The keys that have a value.
    async fn present(&self) -> Vec<String> {
        let keys = self.keys.lock().unwrap().clone();
        let mut present = Vec::new();
        for key in keys {
            if self.values.get(&key).await.unwrap().is_some() {
                present.push(key);
            }
        }
        present
    }

    async fn parts(&self) -> Vec<String> {
        let mut present = self.present().await;
        present
            .retain(|key| key.starts_with("read-models/0/") || key.starts_with("read-models/1/"));
        present
    }

    async fn replace(&self, key: &str, change: impl Fn(&mut Vec<u8>)) {
        let entry = self.values.get(key).await.unwrap().unwrap();
        let mut value = entry.value.to_vec();
        change(&mut value);
        self.values.put(key, value.into(), entry.revision, None).await.unwrap().unwrap();
    }

    async fn delete(&self, key: &str) {
        let entry = self.values.get(key).await.unwrap().unwrap();
        assert!(self.values.delete(key, entry.revision).await.unwrap());
    }
}

impl KvStore for Values {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<KvEntry>, StoreError>> {
        self.values.get(key)
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: u64,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Option<u64>, StoreError>> {
        Box::pin(async move {
            assert!(value.len() <= 512 << 10, "it is too large for some stores");
            let left = |left: usize| left.checked_sub(1);
            if key.starts_with(SNAPSHOT)
                && self.writes.fetch_update(Relaxed, Relaxed, left).is_err()
            {
                if self.hangs.load(Relaxed) {
                    std::future::pending::<()>().await;
                }
                return Err(StoreError::unavailable("no more writes"));
            }
            self.keys.lock().unwrap().insert(key.to_owned());
            self.values.put(key, value, expected, ttl).await
        })
    }

    fn delete<'a>(
        &'a self,
        key: &'a str,
        expected: u64,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.values.delete(key, expected)
    }
}

#[derive(Clone)]
struct World {
    log: Arc<ScriptedStore>,
    values: Arc<Values>,
    seen: Seen,
}

impl Default for World {
    /// With a log of which one says that it survives a restart.
    fn default() -> Self {
        let log = ScriptedStore::new(Arc::new(MemoryStore::new()));
        let log = Arc::new(log.with_durability(Durability::PowerLoss));
        Self { log, values: Arc::default(), seen: Seen::default() }
    }
}

impl World {
    async fn start(&self) -> Catga {
        let once = DeliverySettings { attempts: 1, ..DeliverySettings::default() };
        let builder = Catga::builder().backend(Backend::new(self.log.clone(), self.values.clone()));
        let builder = builder.delivery(once);
        builder.state(self.seen.clone()).start().await.unwrap()
    }

    /// A program runs while `events` events are made, and stops.
    async fn run(&self, events: u64) {
        let catga = self.start().await;
        count_up(&catga, events).await;
        self.settle(&catga).await;
        catga.shutdown().await;
    }

    /// Waits until the read models and the event handler have all there is.
    async fn settle(&self, catga: &Catga) {
        self.wait_for_seen(catga.query(GetSums).await.unwrap().events).await;
    }

    async fn wait_for_seen(&self, events: usize) {
        let seen = || self.seen.0.lock().unwrap().values().map(Vec::len).sum::<usize>();
        let deadline = Instant::now() + Duration::from_secs(30);
        while seen() < events {
            assert!(Instant::now() < deadline, "{} of {events} events came", seen());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// What a program shows that has just started, and how many commits the start read.
    async fn restart(&self) -> (Sums, usize) {
        let before = self.log.read_of_log();
        let catga = self.start().await;
        let sums = catga.query(GetSums).await.unwrap();
        let read = self.log.read_of_log() - before;
        catga.shutdown().await;
        (sums, read)
    }

    /// What a program shows that reads the whole log.
    async fn replayed(&self) -> Sums {
        let (values, seen) = Default::default();
        Self { log: self.log.clone(), values, seen }.restart().await.0
    }

    /// That a start uses the snapshot, and shows what a replay does.
    async fn check_restart(&self) {
        let (sums, read) = self.restart().await;
        assert_eq!(sums, self.replayed().await);
        assert!(read <= FEW, "{read} commits were read");
    }
}

/// What a start reads of the log that is in the snapshot.
const FEW: usize = 150;

async fn count_up(catga: &Catga, events: u64) {
    for n in 0..events {
        let by = n * 7 % 1009 + 1;
        catga.send(Count { tally: format!("t{}", n % 13), by }).await.unwrap();
    }
}

async fn grow(catga: &Catga) {
    catga.send(Count { tally: "t0".to_owned(), by: 0 }).await.unwrap();
}

#[tokio::test]
async fn a_start_reads_only_what_came_after_the_snapshot() {
    let world = World::default();
    world.run(5000).await;
    world.check_restart().await;
}

#[tokio::test]
async fn a_program_that_is_killed_has_left_snapshots() {
    let world = World::default();
    let catga = world.start().await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while world.values.get(MANIFEST).await.unwrap().is_none() {
        assert!(Instant::now() < deadline, "none is written");
        count_up(&catga, 300).await;
    }
    // The event handlers are done, so that only the read models read. The rest never stops.
    world.settle(&catga).await;
    catga.hand_over().await;
    std::mem::forget(catga);
    let (sums, read) = world.restart().await;
    assert_eq!(sums, world.replayed().await);
    let head = world.log.head().await.unwrap();
    assert!((read as u64) < head.get(), "{read} of {head} commits were read");
}

#[tokio::test]
async fn restarts_at_any_time_change_nothing() {
    let world = World::default();
    let mut random = 42_u64;
    for _ in 0..12 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        world.run(random >> 54).await;
        assert_eq!(world.restart().await.0, world.replayed().await);
    }
    let seen = world.seen.0.lock().unwrap().clone();
    for (tally, versions) in seen {
        assert!(versions.is_sorted_by(|a, b| a.next() == *b), "{tally}: {versions:?}");
    }
}

#[tokio::test]
async fn p7_a_handler_that_is_behind_the_snapshot_gets_every_event() {
    let world = World::default();
    world.run(3000).await;
    for key in world.values.present().await {
        if !key.starts_with(SNAPSHOT) {
            world.values.delete(&key).await;
        }
    }
    world.seen.0.lock().unwrap().clear();
    let catga = world.start().await;
    // Also while the tail has nothing to offer.
    world.wait_for_seen(3000).await;
    count_up(&catga, 100).await;
    world.wait_for_seen(3100).await;
    catga.shutdown().await;
    for (tally, versions) in world.seen.0.lock().unwrap().iter() {
        assert!(versions.iter().copied().eq(1..=versions.len() as u64), "{tally}: {versions:?}");
    }
}

#[tokio::test]
async fn p8_dead_letters_are_in_the_snapshot() {
    let world = World::default();
    let catga = world.start().await;
    catga.send(Count { tally: "bad".to_owned(), by: POISON }).await.unwrap();
    let parked = async {
        loop {
            let letters = catga.dead_letters(Consistency::Latest).await.unwrap();
            if !letters.is_empty() {
                return letters;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let letters = timeout(Duration::from_secs(30), parked).await.expect("it is parked");
    count_up(&catga, 3000).await;
    world.settle(&catga).await;
    catga.shutdown().await;
    world.check_restart().await;
    let catga = world.start().await;
    assert_eq!(catga.dead_letters(Consistency::Latest).await.unwrap(), letters);
    catga.shutdown().await;
}

#[tokio::test]
async fn a_log_that_is_gone_with_the_process_has_none() {
    let (values, seen) = (Arc::new(Values::default()), Seen::default());
    let builder =
        Catga::builder().backend(Backend::new(Arc::new(MemoryStore::new()), values.clone()));
    let catga = builder.state(seen).start().await.unwrap();
    count_up(&catga, 3000).await;
    catga.query(GetSums).await.unwrap();
    catga.shutdown().await;
    assert!(values.present().await.iter().all(|key| !key.starts_with(SNAPSHOT)));
}
