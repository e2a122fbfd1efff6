//! What runs in the background of a program does not end unnoticed: it goes on, or health and its queries say what stopped it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use catga::{
    Consistency, DeliverySettings, ErrorKind,
    log::{EventFrame, EventId, Position, StreamId},
    prelude::*,
    store::{
        Backend, BoxFuture, EventStore, KvEntry, KvStore, MemoryKvStore, MemoryStore, StoreError,
    },
    testing::{self, ScriptedStore},
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "Put", version = 2, upcast(1 = PutV1))]
struct Put {
    amount: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct PutV1 {
    text: String,
}

impl From<PutV1> for Put {
    fn from(old: PutV1) -> Self {
        Self { amount: old.text.parse().expect("old amounts are numbers") }
    }
}

#[derive(Debug, Clone, PartialEq, Event)]
enum CounterEvent {
    Put(Put),
}

#[derive(Debug, Clone, Default)]
struct Counter;

impl Aggregate for Counter {
    type Event = CounterEvent;
    const NAME: &'static str = "counter";

    fn apply(&mut self, _: CounterEvent) {}
}

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "counter.put")]
struct PutInto {
    #[key]
    counter: String,
    amount: u64,
}

#[command_handler]
fn put_into(put: PutInto, counter: &mut Root<Counter>) {
    counter.record(Put { amount: put.amount });
}

#[derive(Debug, Default)]
struct Shares(u64);

/// It divides by zero.
#[projection]
impl Projection for Shares {
    type Event = CounterEvent;
    const NAME: &'static str = "shares";

    fn apply(&mut self, event: &Recorded<CounterEvent>) {
        let CounterEvent::Put(put) = &event.event;
        self.0 += 100 / put.amount;
    }
}

#[derive(Debug, Default)]
struct Puts(u64);

/// It does not even look.
#[projection]
impl Projection for Puts {
    type Event = Put;
    const NAME: &'static str = "puts";

    fn apply(&mut self, _: &Recorded<Put>) {
        self.0 += 1;
    }
}

#[derive(Debug, Query)]
#[query(name = "counter.shares")]
struct SumShares;

#[query_handler]
fn shares(_: SumShares, shares: &ReadModel<Shares>) -> u64 {
    shares.read().0
}

#[derive(Debug, Query)]
#[query(name = "counter.puts")]
struct CountPuts;

#[query_handler]
fn puts(_: CountPuts, puts: &ReadModel<Puts>) -> u64 {
    puts.read().0
}

/// The streams of which the handler got an event.
#[derive(Debug, Default, Clone)]
struct Seen(Arc<Mutex<BTreeSet<String>>>);

#[event_handler(name = "mail")]
fn mail(put: Recorded<CounterEvent>, seen: &State<Seen>) {
    seen.0.lock().unwrap().insert(put.stream.key().to_owned());
}

/// Values beside the log. So many of the writes of a handler's checkpoints panic.
#[derive(Debug, Default)]
struct Panicking(MemoryKvStore, AtomicUsize);

impl KvStore for Panicking {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<KvEntry>, StoreError>> {
        self.0.get(key)
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: u64,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Option<u64>, StoreError>> {
        Box::pin(async move {
            // What claims the work has no owner before it.
            let is_checkpoint = key.starts_with("handler/") && expected > 0;
            let one_less = |left: usize| left.checked_sub(1);
            let is_due = is_checkpoint && self.1.fetch_update(SeqCst, SeqCst, one_less).is_ok();
            assert!(!is_due, "a bug in the store");
            self.0.put(key, value, expected, ttl).await
        })
    }

    fn delete<'a>(
        &'a self,
        key: &'a str,
        revision: u64,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.0.delete(key, revision)
    }
}

/// What the program counts.
fn count_of(line: &str) -> u64 {
    static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();
    let metrics = METRICS.get_or_init(|| PrometheusBuilder::new().install_recorder().unwrap());
    let text = metrics.render();
    let found = text.lines().find_map(|found| found.strip_prefix(line));
    found.map_or(0, |count| count.trim().parse().unwrap())
}

async fn start(store: Arc<dyn EventStore>, kv: Arc<dyn KvStore>, seen: &Seen) -> Catga {
    let delivery = DeliverySettings {
        attempts: 2,
        first_delay: Duration::from_millis(1),
        ..DeliverySettings::default()
    };
    let builder = Catga::builder().backend(Backend::new(store, kv)).state(seen.clone());
    builder.delivery(delivery).start().await.unwrap()
}

async fn put(catga: &Catga, counter: &str, amount: u64) {
    catga.send(PutInto { counter: counter.to_owned(), amount }).await.unwrap();
}

async fn eventually(what: &str, mut is_it: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_it().await {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn p11_a_projection_that_panics_refuses_its_queries_and_the_others_go_on() {
    assert_eq!(count_of(r#"catga_projections_stopped_total{projection="shares"}"#), 0);
    let (store, kv) = (Arc::new(MemoryStore::new()), Arc::new(MemoryKvStore::new()));
    // A restart does not help, and says the same.
    for run in 1..=2 {
        let catga = start(store.clone(), kv.clone(), &Seen::default()).await;
        put(&catga, "a", 50).await;
        put(&catga, "a", 0).await;
        put(&catga, "a", 1).await;
        assert_eq!(catga.query(CountPuts).await.unwrap(), 3 * run);
        let asked = Instant::now();
        for consistency in [Consistency::Latest, Consistency::Eventual] {
            let error = catga.query(SumShares).consistency(consistency).await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::ReadModel(_)));
            let (text, at) = (error.to_string(), "`shares` at `Put`, position 2,");
            assert!(text.contains(at) && text.contains("divide by zero"), "{text}");
        }
        assert!(asked.elapsed() < Duration::from_secs(1), "nobody waits for it");
        let reason = catga.health().await.read_models.unwrap_err();
        assert!(reason.contains("`shares`"), "{reason}");
        assert!(catga.health().await.is_following, "requests still belong here");
        assert_eq!(count_of(r#"catga_projections_stopped_total{projection="shares"}"#), run);
        assert!(catga.idle().await.is_err());
        catga.shutdown().await;
    }
}

#[tokio::test]
async fn p6_a_tail_that_panics_says_so_and_nobody_waits_for_it() {
    assert_eq!(count_of(r#"catga_tasks_stopped_total{task="tail"}"#), 0);
    let log = Arc::new(ScriptedStore::new(Arc::new(MemoryStore::new())));
    let (kv, seen) = (Arc::new(MemoryKvStore::new()), Seen::default());
    let catga = start(log.clone(), kv, &seen).await;
    put(&catga, "a", 1).await;
    assert_eq!(catga.query(CountPuts).await.unwrap(), 1);
    assert!(catga.health().await.is_following);
    log.panic_at_more(true);
    let health = async || catga.health().await;
    eventually("health says it", async || {
        put(&catga, "a", 1).await;
        !health().await.is_following
    })
    .await;
    let reason = health().await.read_models.unwrap_err();
    assert!(reason.contains("panicked: a bug in the log"), "{reason}");
    let error = catga.query(CountPuts).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ReadModel(_)), "{error}");
    // Commands and event handlers need no tail.
    log.panic_at_more(false);
    put(&catga, "b", 1).await;
    eventually("it is handled", async || seen.0.lock().unwrap().contains("b")).await;
    assert_eq!(count_of(r#"catga_tasks_stopped_total{task="tail"}"#), 1);
    assert_eq!(count_of(r#"catga_task_panics_total{task="tail"}"#), 1);
    catga.shutdown().await;
}

/// The clock is not a real one: it goes on when everybody waits.
#[tokio::test(start_paused = true)]
async fn p6_what_stands_still_while_the_log_goes_on_is_in_health_whatever_the_reason() {
    assert_eq!(count_of("catga_standstill"), 0);
    let log = Arc::new(ScriptedStore::new(Arc::new(MemoryStore::new())));
    let catga = start(log.clone(), Arc::new(MemoryKvStore::new()), &Seen::default()).await;
    put(&catga, "a", 1).await;
    catga.idle().await.unwrap();
    log.show_up_to(Position::FIRST);
    sleep(Duration::from_secs(300)).await;
    assert_eq!(catga.health().await.standstill, [""; 0], "there was nothing to do");
    // The first wakes the tail from a wait that began before.
    put(&catga, "a", 1).await;
    sleep(Duration::from_secs(1)).await;
    put(&catga, "a", 1).await;
    sleep(Duration::from_secs(20)).await;
    assert_eq!(catga.health().await.standstill, [""; 0], "not yet");
    sleep(Duration::from_secs(20)).await;
    // Nobody asked meanwhile, and what the tail feeds stands still with it.
    let standstill = catga.health().await.standstill;
    for name in ["the read models", "mail/"] {
        assert!(standstill.iter().any(|reason| reason.starts_with(name)), "{standstill:?}");
    }
    eventually("it is counted", async || {
        let still = catga.health().await.standstill.len() as u64;
        still >= 2 && count_of("catga_standstill") == still
    })
    .await;
    assert!(catga.health().await.is_following, "requests still belong here");
    log.show_up_to(Position::MAX);
    eventually("it goes on", async || catga.health().await.standstill.is_empty()).await;
    catga.shutdown().await;
}

/// The clock is not a real one: it goes on when everybody waits.
#[tokio::test(start_paused = true)]
async fn what_falls_further_and_further_behind_is_in_health() {
    let log = Arc::new(ScriptedStore::new(Arc::new(MemoryStore::new())));
    let catga = start(log.clone(), Arc::new(MemoryKvStore::new()), &Seen::default()).await;
    for second in 1..=60 {
        // Two are committed for each that can be read.
        put(&catga, "a", 1).await;
        put(&catga, "a", 1).await;
        log.show_up_to(second.into());
        sleep(Duration::from_secs(1)).await;
        if second == 15 {
            assert_eq!(catga.health().await.falling_behind, [""; 0], "not yet");
        }
    }
    let health = catga.health().await;
    assert_eq!(health.standstill, [""; 0], "they move");
    for name in ["the read models", "mail/"] {
        let mut behind = health.falling_behind.iter();
        assert!(behind.any(|reason| reason.starts_with(name)), "{:?}", health.falling_behind);
    }
    log.show_up_to(Position::MAX);
    eventually("they keep up", async || {
        sleep(Duration::from_secs(1)).await;
        catga.health().await.falling_behind.is_empty()
    })
    .await;
    catga.shutdown().await;
}

#[tokio::test]
async fn p8_an_event_whose_upcaster_panics_is_parked_and_other_streams_go_on() {
    let store = Arc::new(MemoryStore::new());
    let stream = StreamId::new("counter", "old").unwrap();
    // In postcard: the length of a text, and the text.
    let old =
        EventFrame { id: EventId::from_u128(1), name: "Put", schema: 1, payload: b"\x0612 EUR" };
    let commit = testing::commit(&stream, 0.into(), [old]);
    testing::append(&*store, &commit, 0).await.unwrap();
    let seen = Seen::default();
    let catga = start(store, Arc::new(MemoryKvStore::new()), &seen).await;
    for counter in 0..24 {
        put(&catga, &format!("new{counter}"), 1).await;
    }
    eventually("all other streams are handled", async || seen.0.lock().unwrap().len() == 24).await;
    let letters = async || catga.dead_letters(Consistency::Latest).await.unwrap();
    eventually("the event is parked", async || letters().await.len() == 1).await;
    let letter = letters().await.remove(0);
    assert_eq!((&letter.stream, letter.position), (&stream, Position::FIRST));
    let error = &letter.error;
    assert!(error.contains("decoding panicked: old amounts are numbers"), "{error}");
    catga.shutdown().await;
}

#[tokio::test]
async fn p11_a_runner_that_panics_is_seen_in_health_and_goes_on() {
    let kv = Arc::new(Panicking::default());
    let seen = Seen::default();
    let catga = start(Arc::new(MemoryStore::new()), kv.clone(), &seen).await;
    put(&catga, "before", 1).await;
    eventually("it is handled", async || seen.0.lock().unwrap().len() == 1).await;
    kv.1.store(1, SeqCst);
    put(&catga, "at", 1).await;
    let trouble = async || {
        let handlers = catga.health().await.handlers;
        handlers.into_iter().find_map(|handler| handler.trouble)
    };
    eventually("health says it", async || {
        trouble().await.is_some_and(|reason| reason.contains("a bug in the store"))
    })
    .await;
    let panics =
        (0..8).map(|n| count_of(&format!(r#"catga_task_panics_total{{task="mail/{n}"}}"#)));
    assert_eq!(panics.sum::<u64>(), 1);
    for counter in 0..24 {
        put(&catga, &format!("after{counter}"), 1).await;
    }
    eventually("every partition goes on", async || seen.0.lock().unwrap().len() == 26).await;
    catga.shutdown().await;
}
