//! What reaches event handlers, and what happens to what they can't handle.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use catga::{
    Clock, Consistency, DeadLetterFilter, DeliverySettings, Error, StartError, Timestamp,
    log::{Position, Record, StreamId},
    prelude::*,
    store::{
        Backend, BoxFuture, EventStore, FileStore, InMemoryTransport, MemoryKvStore, MemoryStore,
        StoreError, Transport,
    },
    testing::ScriptedStore,
};
use serde::{Deserialize, Serialize};
use tokio::{sync::Semaphore, time::sleep};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "Added", version = 1)]
struct Added {
    amount: u64,
}

#[derive(Debug, Clone, PartialEq, Event)]
enum AccountEvent {
    Added(Added),
}

/// What happens to it matters here, and nothing it could know.
#[derive(Debug, Clone, Default)]
struct Account;

impl Aggregate for Account {
    type Event = AccountEvent;
    const NAME: &'static str = "account";

    fn apply(&mut self, _: AccountEvent) {}
}

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "account.add")]
struct Add {
    #[key]
    account: String,
    amount: u64,
}

#[command_handler]
fn add(add: Add, account: &mut Root<Account>) -> Result<(), Error> {
    account.record(Added { amount: add.amount });
    Ok(())
}

#[derive(Debug, Clone)]
struct Ledger {
    seen: Arc<Mutex<HashMap<String, Vec<u64>>>>,
    broken: Arc<Mutex<Option<u64>>>,
    /// Events of this amount wait until there is a permit.
    held: Option<u64>,
    gate: Arc<Semaphore>,
}

#[derive(Debug, thiserror::Error)]
#[error("the ledger is closed")]
struct Closed;

#[event_handler(name = "ledger")]
async fn keep(added: Recorded<Added>, ledger: &State<Ledger>) -> Result<(), Closed> {
    tokio::task::yield_now().await;
    if ledger.held == Some(added.amount) {
        ledger.gate.acquire().await.unwrap().forget();
    }
    if *ledger.broken.lock().unwrap() == Some(added.amount) {
        return Err(Closed);
    }
    let mut seen = ledger.seen.lock().unwrap();
    seen.entry(added.stream.key().to_owned()).or_default().push(added.version.get());
    Ok(())
}

impl Ledger {
    fn of(&self, account: &str) -> Vec<u64> {
        self.seen.lock().unwrap().get(account).cloned().unwrap_or_default()
    }

    fn break_at(&self, amount: impl Into<Option<u64>>) {
        *self.broken.lock().unwrap() = amount.into();
    }
}

struct Fixture {
    store: Arc<MemoryStore>,
    kv: Arc<MemoryKvStore>,
    ledger: Ledger,
    drain: Duration,
}

impl Fixture {
    fn new() -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let ledger = Ledger { seen: Arc::default(), broken: Arc::default(), held: None, gate };
        let drain = Duration::from_secs(10);
        Self { store: Arc::default(), kv: Arc::default(), ledger, drain }
    }

    /// A node on the shared store, to be started.
    fn builder(&self) -> catga::Builder {
        let delivery = DeliverySettings {
            attempts: 3,
            first_delay: Duration::from_millis(1),
            longest_delay: Duration::from_millis(2),
            drain: self.drain,
            ..DeliverySettings::default()
        };
        let builder = Catga::builder().backend(Backend::new(self.store.clone(), self.kv.clone()));
        builder.state(self.ledger.clone()).delivery(delivery)
    }

    async fn node(&self) -> Catga {
        self.builder().start().await.unwrap()
    }
}

fn add_to(account: &str, amount: u64) -> Add {
    Add { account: account.to_owned(), amount }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so().await {
        assert!(Instant::now() < deadline, "it did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_every_event_reaches_the_handler_in_order_across_restarts() {
    let fixture = Fixture::new();
    for _ in 0..3 {
        let node = fixture.node().await;
        for i in 0..300 {
            node.send(add_to(&format!("a{}", i % 10), 1)).await.unwrap();
        }
        node.shutdown().await;
    }
    let node = fixture.node().await;
    for account in (0..10).map(|i| format!("a{i}")) {
        until("90 events", async || fixture.ledger.of(&account).last() == Some(&90)).await;
        // At least once: what came after the last checkpoint may come again, from there on.
        let mut last = 0;
        for version in fixture.ledger.of(&account) {
            assert!(version <= last + 1, "{version} came after {last}: one was skipped");
            last = version;
        }
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_poisoned_stream_parks_alone_and_drains_in_order() {
    let fixture = Fixture::new();
    let node = fixture.node().await;
    fixture.ledger.break_at(13);
    for amount in [1, 13, 2, 3] {
        node.send(add_to("bad", amount)).await.unwrap();
    }
    for _ in 0..100 {
        node.send(add_to("good", 1)).await.unwrap();
    }
    until("the others go on", async || fixture.ledger.of("good").len() == 100).await;
    until("it is parked", async || {
        node.dead_letters(Consistency::Latest).await.unwrap().len() == 1
    })
    .await;
    let letter = node.dead_letters(Consistency::Latest).await.unwrap().remove(0);
    assert_eq!((letter.stream.key(), letter.version, letter.attempts), ("bad", 2.into(), 3));
    assert_eq!(letter.error, "the ledger is closed");
    assert_eq!(fixture.ledger.of("bad"), [1]);
    node.shutdown().await;

    // It is still parked after a restart, and what comes later waits behind it.
    let node = fixture.node().await;
    node.send(add_to("bad", 4)).await.unwrap();
    node.send(add_to("good", 1)).await.unwrap();
    until("the others go on", async || fixture.ledger.of("good").len() == 101).await;
    assert_eq!(fixture.ledger.of("bad"), [1]);

    // A retry that fails parks again, with all attempts counted.
    assert_eq!(node.retry_dead_letter("ledger.nothing").await.unwrap(), None);
    node.retry_dead_letter(&letter.id).await.unwrap().unwrap();
    until("six attempts", async || {
        let letters = node.dead_letters(Consistency::Latest).await.unwrap();
        letters[0].attempts == 6 && !letters[0].is_in_progress()
    })
    .await;

    fixture.ledger.break_at(None);
    node.retry_dead_letter(&letter.id).await.unwrap().unwrap();
    until("it is drained", async || {
        node.dead_letters(Consistency::Latest).await.unwrap().is_empty()
    })
    .await;
    assert_eq!(fixture.ledger.of("bad"), [1, 2, 3, 4, 5]);
    node.send(add_to("bad", 5)).await.unwrap();
    until("it goes on", async || fixture.ledger.of("bad").len() == 6).await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_dead_letters_are_counted_and_retried_together() {
    let fixture = Fixture::new();
    let node = fixture.node().await;
    fixture.ledger.break_at(13);
    for i in 0..40 {
        node.send(add_to(&format!("bad{i}"), 13)).await.unwrap();
        node.send(add_to(&format!("bad{i}"), 1)).await.unwrap();
    }
    until("they are parked", async || {
        // Others must succeed: else it is the handler that is not well.
        node.send(add_to("good", 1)).await.unwrap();
        node.health().await.dead_letters.get("ledger") == Some(&40)
    })
    .await;
    let of = |handler: &str, error: &str| DeadLetterFilter {
        handler: Some(handler.to_owned()),
        event_type: Some("Added".to_owned()),
        error: Some(error.to_owned()),
    };
    let closed = of("ledger", "closed");
    let page = node.dead_letter_page(&closed, None, 7, Consistency::Latest).await.unwrap();
    assert_eq!((page.dead_letters.len(), page.total), (7, 40));
    for none in [of("other", "closed"), of("ledger", "open")] {
        assert_eq!(node.retry_dead_letters(&none).await.unwrap(), 0);
    }
    fixture.ledger.break_at(None);
    assert_eq!(node.retry_dead_letters(&closed).await.unwrap(), 40);
    until("all are drained", async || node.health().await.dead_letters["ledger"] == 0).await;
    assert!((0..40).all(|i| fixture.ledger.of(&format!("bad{i}")) == [1, 2]));
    node.shutdown().await;
}

/// A node whose handler has seen all of 50 streams, but nothing of one that began before them.
async fn held_up(fixture: &mut Fixture) -> Catga {
    fixture.ledger.held = Some(7);
    let node = fixture.node().await;
    for amount in [7, 1, 7, 1] {
        node.send(add_to("held", amount)).await.unwrap();
    }
    for i in 0..100 {
        node.send(add_to(&format!("a{}", i % 50), 1)).await.unwrap();
    }
    node.send(add_to("held", 7)).await.unwrap();
    until("the others went by", async || {
        (0..50).all(|i| fixture.ledger.of(&format!("a{i}")) == [1, 2])
    })
    .await;
    node
}

#[tokio::test]
async fn p7_a_clean_stop_repeats_nothing() {
    let mut fixture = Fixture::new();
    let node = held_up(&mut fixture).await;
    // The first poll begins the shutdown; only then does the held stream go on.
    tokio::join!(node.shutdown(), async { fixture.ledger.gate.add_permits(9) });
    assert_eq!(fixture.ledger.of("held"), [1, 2, 3, 4], "what lies above what was begun is left");
    let node = fixture.node().await;
    until("the rest is handled", async || fixture.ledger.of("held") == [1, 2, 3, 4, 5]).await;
    node.send(add_to("end", 1)).await.unwrap();
    until("the end is reached", async || fixture.ledger.of("end") == [1]).await;
    node.shutdown().await;
    for i in 0..50 {
        assert_eq!(fixture.ledger.of(&format!("a{i}")), [1, 2]);
    }
    assert_eq!(fixture.ledger.of("held"), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn p7_a_handler_that_hangs_or_fails_does_not_hold_up_a_stop() {
    let mut fixture = Fixture::new();
    fixture.drain = Duration::from_millis(100);
    let start = Instant::now();
    held_up(&mut fixture).await.shutdown().await;
    assert_eq!(fixture.ledger.of("held"), [0; 0]);
    fixture.ledger.break_at(7);
    fixture.ledger.gate.add_permits(99);
    let node = fixture.node().await;
    until("it fails", async || fixture.ledger.gate.available_permits() < 99).await;
    node.shutdown().await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    fixture.ledger.break_at(None);
    let node = fixture.node().await;
    for letter in node.dead_letters(Consistency::Latest).await.unwrap() {
        node.retry_dead_letter(&letter.id).await.unwrap();
    }
    until("nothing is lost", async || fixture.ledger.of("held") == [1, 2, 3, 4, 5]).await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_dropped_event_is_left_out_and_the_rest_follows() {
    let fixture = Fixture::new();
    let node = fixture.node().await;
    fixture.ledger.break_at(13);
    for amount in [13, 1, 2] {
        node.send(add_to("bad", amount)).await.unwrap();
    }
    until("it is parked", async || {
        node.dead_letters(Consistency::Latest).await.unwrap().len() == 1
    })
    .await;
    let id = node.dead_letters(Consistency::Latest).await.unwrap().remove(0).id;
    node.drop_dead_letter(&id, Some("a test".to_owned())).await.unwrap().unwrap();
    until("the rest follows", async || fixture.ledger.of("bad") == [2, 3]).await;
    until("nothing is parked", async || {
        node.dead_letters(Consistency::Latest).await.unwrap().is_empty()
    })
    .await;
    node.send(add_to("bad", 3)).await.unwrap();
    until("what comes later is handled", async || fixture.ledger.of("bad") == [2, 3, 4]).await;
    node.shutdown().await;
}
#[tokio::test]
async fn a_missing_resource_is_a_start_error_that_names_handler_and_type() {
    let error = Catga::builder().start().await.unwrap_err();
    let StartError::Incomplete(problems) = &error else { panic!("{error:?}") };
    assert_eq!(problems.len(), 1);
    for part in ["keep", "Ledger", "delivery.rs", ".state("] {
        assert!(problems[0].contains(part), "{part}: {error}");
    }
}

/// After a start the read models may say that somebody wants a retry which was long done.
#[tokio::test]
async fn p8_a_start_neither_waits_for_the_read_models_nor_believes_old_ones() {
    let mut fixture = Fixture::new();
    fixture.ledger.held = Some(13);
    fixture.ledger.break_at(13);
    fixture.ledger.gate.add_permits(3);
    let node = fixture.node().await;
    node.send(add_to("bad", 13)).await.unwrap();
    let letters = async |is_so: fn(&catga::DeadLetter) -> bool| {
        node.dead_letters(Consistency::Latest).await.unwrap().first().is_some_and(is_so)
    };
    until("it is parked", async || letters(|_| true).await).await;
    let id = node.dead_letters(Consistency::Latest).await.unwrap().remove(0).id;
    node.retry_dead_letter(&id).await.unwrap().unwrap();
    // While it is tried again something else comes, of the same partition.
    let good = (0..).map(|i| format!("good{i}")).find(|key| {
        let partition =
            |key: &str| catga::store::partition(&StreamId::new("account", key).unwrap());
        partition(key) == partition("bad")
    });
    let good = good.unwrap();
    node.send(add_to(&good, 1)).await.unwrap();
    let before = fixture.store.head().await.unwrap();
    fixture.ledger.gate.add_permits(3);
    until("it is parked again", async || letters(|l| l.attempts == 6 && !l.is_in_progress()).await)
        .await;
    node.shutdown().await;

    // A start that sees the log up to before it was parked again, and has no checkpoint.
    fixture.ledger.seen.lock().unwrap().clear();
    fixture.ledger.break_at(None);
    fixture.ledger.gate.add_permits(100);
    let store = Arc::new(ScriptedStore::new(fixture.store.clone()));
    store.show_up_to(before);
    let builder =
        fixture.builder().backend(Backend::new(store.clone(), Arc::new(MemoryKvStore::new())));
    let node = builder.start().await.unwrap();
    until("others are handled", async || fixture.ledger.of(&good) == [1]).await;
    assert_eq!(fixture.ledger.of("bad"), [0; 0], "nobody wants it tried now");
    store.show_up_to(Position::MAX);
    node.retry_dead_letter(&id).await.unwrap().unwrap();
    until("it is tried when somebody wants it", async || fixture.ledger.of("bad") == [1]).await;
    node.shutdown().await;
}

/// A transport that takes its time, and counts the reads that began and those that came to their end.
struct Slow {
    inner: InMemoryTransport,
    reads: Arc<[AtomicUsize; 2]>,
}

impl Transport for Slow {
    fn read(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            self.reads[0].fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_millis(20)).await;
            let records = self.inner.read(after, limit.min(20)).await;
            self.reads[1].fetch_add(1, Ordering::SeqCst);
            records
        })
    }

    fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.wait(after)
    }

    fn end(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.inner.end()
    }

    fn publish<'a>(
        &'a self,
        after: Position,
        records: &'a [Record],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.inner.publish(after, records)
    }
}

/// On NATS each read that was given up left a consumer behind, until the server had no room for more.
#[tokio::test]
async fn a_read_is_not_given_up_for_whatever_else_there_is_to_do() {
    let fixture = Fixture::new();
    let writer = fixture.node().await;
    for i in 0..200 {
        writer.send(add_to(&format!("a{}", i % 50), 1)).await.unwrap();
    }
    writer.shutdown().await;
    fixture.ledger.seen.lock().unwrap().clear();
    let reads = Arc::<[AtomicUsize; 2]>::default();
    let inner = InMemoryTransport::new(fixture.store.clone());
    let slow = Arc::new(Slow { inner, reads: reads.clone() });
    let builder = fixture
        .builder()
        .backend(Backend::new(fixture.store.clone(), Arc::new(MemoryKvStore::new())))
        .transport(slow);
    let node = builder.start().await.unwrap();
    until("everything is handled", async || {
        fixture.ledger.seen.lock().unwrap().values().map(Vec::len).sum::<usize>() == 200
    })
    .await;
    let [begun, ended] = [0, 1].map(|n| reads[n].load(Ordering::SeqCst));
    assert!(ended >= 10 && begun <= ended + 1, "{begun} reads began, and {ended} ended");
    node.shutdown().await;
}

/// As on a server where the log was deleted, and the values beside it were not.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_took_the_place_of_another_is_handled_from_its_beginning() {
    let mut fixture = Fixture::new();
    let node = fixture.node().await;
    for _ in 0..5 {
        node.send(add_to("a", 1)).await.unwrap();
    }
    until("all are handled", async || fixture.ledger.of("a").len() == 5).await;
    node.shutdown().await;

    fixture.store = Arc::default();
    let node = fixture.node().await;
    node.send(add_to("a", 1)).await.unwrap();
    until("it is handled", async || fixture.ledger.of("a") == [1, 2, 3, 4, 5, 1]).await;
    node.shutdown().await;
    // From now on the checkpoint is of this log.
    let node = fixture.node().await;
    node.send(add_to("a", 1)).await.unwrap();
    until("it goes on", async || fixture.ledger.of("a") == [1, 2, 3, 4, 5, 1, 2]).await;
    node.shutdown().await;
}

/// As after a restore of a log from a copy that is older than the checkpoints beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_goes_on_where_a_repair_puts_it_after_a_loss() {
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ledger = Fixture::new().ledger;
    let backend = || Backend::of(FileStore::open(folder.path()).unwrap());
    let node = async |minutes: i64| {
        let clock = Clock::manual(Timestamp::from_micros(minutes * 60_000_000));
        let builder = Catga::builder().backend(backend()).state(ledger.clone()).clock(clock);
        builder.start().await.unwrap()
    };
    let add = async |minutes, versions: &[u64]| {
        let node = node(minutes).await;
        for _ in versions {
            node.send(add_to("a", 1)).await.unwrap();
        }
        until("they are handled", async || ledger.of("a").ends_with(versions)).await;
        node.shutdown().await;
    };
    let log_files = |of: &std::path::Path| {
        let files = std::fs::read_dir(of).unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.is_file()).collect::<Vec<_>>()
    };
    add(10, &[1, 2, 3]).await;
    for file in log_files(folder.path()) {
        std::fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    add(20, &[4, 5]).await;
    log_files(folder.path()).iter().for_each(|file| std::fs::remove_file(file).unwrap());
    for file in log_files(copy.path()) {
        std::fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    // What comes after the loss takes the positions again, and is handled by nobody.
    let lossy = node(30).await;
    for _ in 0..3 {
        lossy.send(add_to("a", 1)).await.unwrap();
    }
    until("it stops", async || {
        let health = lossy.health().await;
        let mut trouble = health.handlers.iter().filter_map(|handler| handler.trouble.as_ref());
        trouble.any(|reason| reason.contains("lost its end"))
    })
    .await;
    lossy.shutdown().await;
    drop(lossy);

    let stores = backend();
    let lost = catga::repair::lost_checkpoints(&stores, &["ledger", "nobody"]).await.unwrap();
    // Each partition passes over the events of the others.
    assert!(!lost.is_empty());
    for lost in &lost {
        assert_eq!((&*lost.handler, lost.last_good), ("ledger", 3.into()));
        // 4 and 5 are lost; a partition that is not theirs may not have passed over the last one yet.
        assert!(lost.position >= 4, "{lost:?}");
        assert!(catga::repair::put_back(&stores, lost).await.unwrap());
        assert!(!catga::repair::put_back(&stores, lost).await.unwrap(), "it was changed since");
    }
    assert_eq!(catga::repair::lost_checkpoints(&stores, &["ledger"]).await.unwrap(), []);
    drop(stores);
    let healed = node(40).await;
    until("it goes on", async || ledger.of("a") == [1, 2, 3, 4, 5, 4, 5, 6]).await;
    healed.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transport_that_holds_another_log_is_not_handled() {
    let (former, fixture) = (Fixture::new(), Fixture::new());
    let node = former.node().await;
    node.send(add_to("a", 1)).await.unwrap();
    node.shutdown().await;
    let topic = Arc::new(InMemoryTransport::new(former.store.clone()));
    let node = fixture.builder().transport(topic).start().await.unwrap();
    node.send(add_to("a", 1)).await.unwrap();
    until("it says so", async || {
        let health = node.health().await;
        let mut trouble = health.handlers.iter().filter_map(|handler| handler.trouble.as_ref());
        trouble.any(|reason| reason.contains("holds another log"))
    })
    .await;
    assert_eq!(fixture.ledger.of("a"), [0; 0]);
    node.shutdown().await;
}
