//! Going on without an event that can't be read: only when an operator says so, and only where it can't be read.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use catga::{
    DeadLetterFilter, DeliverySettings, ErrorKind,
    log::{EventFrame, EventId, Position, StreamId, Version},
    prelude::*,
    skip::{SkipError, skip, unreadable_events},
    store::{Backend, MemoryKvStore, MemoryStore},
    testing,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use tokio::time::sleep;

/// Whether amounts over a thousand can be read.
static IS_MENDED: AtomicBool = AtomicBool::new(false);

#[derive(Debug, Clone, PartialEq, Serialize, Event)]
#[event(name = "SkipAdded", version = 1)]
struct Added {
    amount: u64,
}

impl<'de> Deserialize<'de> for Added {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let amount = u64::deserialize(deserializer)?;
        match amount > 1000 && !IS_MENDED.load(SeqCst) {
            true => Err(D::Error::custom("too much")),
            false => Ok(Self { amount }),
        }
    }
}

/// Of the log's own types, but unknown to every program.
const UNKNOWN: &str = "SkipForgotten";

#[derive(Debug, Clone, PartialEq, Event)]
enum SumEvent {
    Added(Added),
}

#[derive(Debug, Clone, Default)]
struct Sum(u64);

impl Aggregate for Sum {
    type Event = SumEvent;
    const NAME: &'static str = "skip-sum";

    fn apply(&mut self, SumEvent::Added(added): SumEvent) {
        self.0 += added.amount;
    }
}

#[catga::command]
struct Add {
    #[key]
    sum: String,
    amount: u64,
}

#[command_handler]
fn add(add: Add, sum: &mut Root<Sum>) -> u64 {
    sum.record(Added { amount: add.amount });
    sum.0
}

#[derive(Debug, Default)]
struct Total(u64);

#[projection]
impl Projection for Total {
    type Event = SumEvent;
    const NAME: &'static str = "skip-total";

    fn apply(&mut self, event: &Recorded<SumEvent>) {
        let SumEvent::Added(added) = &event.event;
        self.0 += added.amount;
    }
}

#[catga::query]
struct GetTotal;

#[query_handler]
fn total(_: GetTotal, total: &ReadModel<Total>) -> u64 {
    total.read().0
}

/// What the log tells of one sum: the versions in its history, and the sum right after version `at`.
#[catga::query]
struct LookBack {
    #[key]
    sum: String,
    at: u64,
}

#[query_handler]
async fn look_back(
    query: LookBack,
    history: &History<Sum>,
) -> Result<(Vec<u64>, Option<u64>), catga::Error> {
    let events = history.events(Version::FIRST, 100).await?;
    let then = history.at_version(query.at.into()).await?;
    Ok((events.iter().map(|event| event.version.get()).collect(), then.map(|root| root.0)))
}

#[derive(Debug, Default, Clone)]
struct Handled(Arc<Mutex<Vec<u64>>>);

#[event_handler(name = "skip-handler")]
fn handle(added: Recorded<Added>, handled: &State<Handled>) {
    handled.0.lock().unwrap().push(added.amount);
}

async fn start(backend: &Backend, handled: &Handled) -> Catga {
    let delivery = DeliverySettings {
        attempts: 1,
        first_delay: Duration::from_millis(1),
        ..DeliverySettings::default()
    };
    let builder = Catga::builder().backend(backend.clone()).state(handled.clone());
    builder.delivery(delivery).start().await.unwrap()
}

async fn until(what: &str, mut is_it: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_it().await {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn add_to_a(amount: u64) -> Add {
    Add { sum: "a".to_owned(), amount }
}

/// What a subscription to the whole log gives, up to its first error or to the end of the log.
async fn seen(catga: &Catga) -> Result<Vec<u64>, String> {
    let (mut events, mut amounts) = (catga.subscribe::<SumEvent>(Position::ZERO), Vec::new());
    let head = catga.head().await.unwrap();
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| error.to_string())?;
        let SumEvent::Added(added) = &event.event;
        amounts.push(added.amount);
        if event.position == head {
            break;
        }
    }
    Ok(amounts)
}

/// A log with an event that can't be read, version 2 of `a`, and one of a type that no program has, version 3.
async fn log() -> Backend {
    let (store, kv) = (Arc::new(MemoryStore::new()), Arc::new(MemoryKvStore::new()));
    let backend = Backend::new(store.clone(), kv);
    let stream = StreamId::new("skip-sum", "a").unwrap();
    let frame =
        |n: u128, name, payload| EventFrame { id: EventId::from_u128(n), name, schema: 1, payload };
    // 5000 in postcard.
    let events = [
        [frame(1, "SkipAdded", &[7][..])],
        [frame(2, "SkipAdded", &[0x88, 0x27][..])],
        [frame(3, UNKNOWN, &[][..])],
        [frame(4, "SkipAdded", &[9][..])],
    ];
    for (version, events) in (0_u64..).zip(events) {
        let commit = testing::commit(&stream, version.into(), events);
        testing::append(&*store, &commit, 0).await.unwrap();
    }
    backend
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_go_on_without_an_event_once_an_operator_says_so_unless_they_can_read_it() {
    let (backend, handled) = (log().await, Handled::default());
    // Nobody can do anything with it.
    let stuck = start(&backend, &handled).await;
    let error = stuck.send(add_to_a(1)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Decode(_)), "{error}");
    assert!(stuck.query(GetTotal).await.is_err());
    assert!(seen(&stuck).await.is_err());
    stuck.shutdown().await;

    let found = unreadable_events(&backend, 10).await.unwrap();
    let places: Vec<_> = found.iter().map(|e| (e.position.get(), e.version.get())).collect();
    assert_eq!(places, [(2, 2), (3, 3)]);
    assert_eq!((&*found[1].event_type, found[1].stream.key()), (UNKNOWN, "a"));
    assert!(found[0].cause.to_string().contains("payload"), "{:?}", found[0]);
    assert_eq!(unreadable_events(&backend, 1).await.unwrap(), found[..1]);
    let head = backend.store().head().await.unwrap();
    for (position, refusal) in [
        (0, "there is no event at position 0"),
        (1, "the event at position 1, a `SkipAdded`, can be read by this program"),
        (9, "there is no event at position 9"),
    ] {
        let error = skip(&backend, position.into(), "it is lost", "me").await.unwrap_err();
        assert!(error.to_string().contains(refusal), "{error}");
    }
    assert_eq!(backend.store().head().await.unwrap(), head, "nothing was written");

    for position in [2_u64, 3] {
        let skipped = skip(&backend, position.into(), "it is lost", "me").await.unwrap();
        assert_eq!(skipped.position, position);
        let again = skip(&backend, position.into(), "because", "me").await.unwrap_err();
        let SkipError::Skipped(event) = again else { panic!("{again}") };
        assert_eq!(event.skipped.as_deref(), Some("it is lost"));
    }
    let found = unreadable_events(&backend, 10).await.unwrap();
    assert!(found.iter().all(|event| event.skipped.is_some()), "{found:?}");

    let catga = start(&backend, &handled).await;
    assert_eq!(catga.send(add_to_a(1)).await.unwrap(), 17);
    assert_eq!(catga.query(GetTotal).await.unwrap(), 17);
    let look_back = async |at| {
        let query = LookBack { sum: "a".to_owned(), at };
        catga.query(query).await.unwrap()
    };
    let versions = vec![1, 4, 5];
    for (at, sum) in [(1, Some(7)), (2, Some(7)), (3, Some(7)), (4, Some(16)), (6, None)] {
        assert_eq!(look_back(at).await, (versions.clone(), sum), "after version {at}");
    }
    assert_eq!(seen(&catga).await.unwrap(), [7, 9, 1]);
    let record = catga.store().read_log(1.into(), 1).await.unwrap().remove(0);
    assert!(Recorded::<Added>::read(&record).is_err());
    assert_eq!(catga.read::<Added>(&record).unwrap(), []);
    // What the handler parked before is handed to it again.
    until("it is handled", async || {
        catga.retry_dead_letters(&DeadLetterFilter::default()).await.unwrap();
        let health = catga.health().await;
        health.dead_letters.values().all(|letters| *letters == 0)
            && handled.0.lock().unwrap().ends_with(&[9, 1])
    })
    .await;
    catga.shutdown().await;

    IS_MENDED.store(true, SeqCst);
    let mended = start(&backend, &handled).await;
    assert_eq!(mended.send(add_to_a(1)).await.unwrap(), 5018);
    assert_eq!(mended.query(GetTotal).await.unwrap(), 5018);
    mended.shutdown().await;
}
