//! A subscription sees every event behind its position once and in order, whatever happens to the store.

use std::{sync::Arc, time::Duration};

use catga::{
    Consistency, Error, ErrorKind, Subscription,
    handler::DecodeError,
    log::{Commit, EventFrame, EventId, Position, StreamId},
    prelude::*,
    store::{Backend, EventStore, FileStore, MemoryKvStore, MemoryStore},
    testing::{self, ScriptedStore},
};
use futures_util::{FutureExt, StreamExt, future::join_all};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "Counted", version = 1)]
struct Counted {
    number: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "Noticed", version = 1)]
struct Noticed {
    text: String,
}

/// The sum of all numbers.
#[derive(Debug, Default)]
struct Sum(u64);

/// The sum of all numbers.
#[projection]
impl Projection for Sum {
    type Event = Counted;
    const NAME: &'static str = "sum";

    fn apply(&mut self, counted: &Recorded<Counted>) {
        self.0 += counted.number;
    }
}

/// Asks for the sum, when the tail has read everything.
#[derive(Debug, Query)]
#[query(name = "sum")]
struct GetSum;

#[query_handler]
fn get_sum(_: GetSum, sum: &ReadModel<Sum>) -> Result<u64, std::convert::Infallible> {
    Ok(sum.read().0)
}

/// Appends commits of one to four events: two numbers of three are counted, the third is noticed. `upto` is the number of
/// the last event, and without gaps also its position.
async fn append(store: &dyn EventStore, from: u64, upto: u64, padding: usize) {
    let stream = StreamId::new("counter", "one").unwrap();
    let mut next = from;
    while next <= upto {
        let last = (next + next % 4).min(upto);
        let payloads: Vec<_> = (next..=last)
            .map(|number| match number % 3 {
                0 => ("Noticed", postcard::to_stdvec(&Noticed { text: "x".repeat(padding) })),
                _ => ("Counted", postcard::to_stdvec(&Counted { number })),
            })
            .map(|(name, payload)| (name, payload.unwrap()))
            .collect();
        commit(store, &stream, next - 1, &payloads).await;
        next = last + 1;
    }
}

async fn commit(
    store: &dyn EventStore,
    stream: &StreamId,
    version: u64,
    events: &[(&str, Vec<u8>)],
) {
    let frames = events.iter().map(|(name, payload)| EventFrame {
        id: EventId::now_v7(),
        name,
        schema: 1,
        payload,
    });
    let commit = Commit { events: frames.collect(), ..testing::commit(stream, version.into(), []) };
    testing::append(store, &commit, 0).await.unwrap();
}

fn counted(after: Position, upto: u64) -> impl Iterator<Item = u64> {
    (after.get() + 1..=upto).filter(|number| !number.is_multiple_of(3))
}

async fn start(store: Arc<dyn EventStore>) -> Catga {
    Catga::builder()
        .backend(Backend::new(store, Arc::new(MemoryKvStore::new())))
        .start()
        .await
        .unwrap()
}

/// The next event, which is to come soon.
async fn next(
    subscription: &mut Subscription<Counted>,
) -> Option<Result<Recorded<Counted>, Error>> {
    timeout(Duration::from_secs(60), subscription.next()).await.expect("it comes soon")
}

/// Checks that the next events are those up to `upto`.
async fn expect(subscription: &mut Subscription<Counted>, after: Position, upto: u64) {
    for number in counted(after, upto) {
        let event = next(subscription).await.unwrap().unwrap();
        assert_eq!(
            (event.number, event.position.get(), event.version.get()),
            (number, number, number)
        );
    }
}

/// Checks that nothing more comes for now.
fn expect_nothing(subscription: &mut Subscription<Counted>) {
    let more = subscription.next().now_or_never();
    assert!(more.is_none(), "{more:?}");
}

async fn is_resumed_everywhere(store: Arc<dyn EventStore>) {
    const EVENTS: u64 = 1000;
    append(&*store, 1, EVENTS, 10).await;
    let catga = start(store.clone()).await;
    // Each sees what follows; some of them all of it, and all of them what comes later.
    let subscribers = (0..=EVENTS).map(async |after| {
        let mut subscription = catga.subscribe::<Counted>(after.into());
        let upto = if after % 100 < 2 { EVENTS } else { (after + 30).min(EVENTS) };
        expect(&mut subscription, after.into(), upto).await;
        (subscription, after.max(upto))
    });
    let mut subscribers = join_all(subscribers).await;
    for (subscription, _) in subscribers.iter_mut().filter(|(_, at)| *at == EVENTS) {
        expect_nothing(subscription);
    }
    append(&*store, EVENTS + 1, EVENTS + 9, 10).await;
    join_all(subscribers.iter_mut().map(async |(subscription, at)| {
        if *at == EVENTS {
            expect(subscription, EVENTS.into(), EVENTS + 9).await;
            expect_nothing(subscription);
        }
    }))
    .await;
    catga.shutdown().await;
    for (subscription, _) in subscribers.iter_mut().filter(|(_, at)| *at == EVENTS) {
        assert!(next(subscription).await.is_none(), "a shutdown ends it");
        assert!(next(subscription).await.is_none());
    }
}

#[tokio::test]
async fn it_is_resumed_from_every_position_in_memory() {
    is_resumed_everywhere(Arc::new(MemoryStore::default())).await;
}

#[tokio::test]
async fn it_is_resumed_from_every_position_in_files() {
    let directory = tempfile::tempdir().unwrap();
    is_resumed_everywhere(Arc::new(FileStore::open(directory.path().join("log")).unwrap())).await;
}

#[tokio::test]
async fn many_subscribers_share_what_the_tail_reads() {
    let store = Arc::new(ScriptedStore::new(Arc::new(MemoryStore::default())));
    let catga = start(store.clone()).await;
    let mut subscriptions: Vec<_> =
        (0..200).map(|_| catga.subscribe::<Counted>(0.into())).collect();
    let mut end = 0;
    for round in 1..=20 {
        append(&*store, end + 1, end + 5, 10).await;
        let each = subscriptions.iter_mut().map(|each| expect(each, end.into(), end + 5));
        join_all(each).await;
        end += 5;
        assert!(store.read_of_log() <= 5 * round, "{} commits", store.read_of_log());
    }
    catga.shutdown().await;
}

#[tokio::test]
async fn who_is_slow_misses_nothing() {
    let store = Arc::new(MemoryStore::default());
    let catga = start(store.clone()).await;
    let mut slow = catga.subscribe::<Counted>(0.into());
    let mut end = 0;
    // More pages than are shared; some of them are too large to be.
    for round in 1..=60 {
        let padding = if round % 10 == 0 { 300 << 10 } else { 10 };
        append(&*store, end + 1, end + 4, padding).await;
        end += 4;
        // The tail takes each as a page of its own.
        catga.query(GetSum).await.unwrap();
        if round == 20 {
            expect(&mut slow, 0.into(), 10).await;
        }
    }
    expect(&mut slow, 10.into(), end).await;
    expect_nothing(&mut slow);
    catga.shutdown().await;
}

#[tokio::test]
async fn behind_a_position_that_the_log_does_not_have_it_ends_at_once() {
    let store = Arc::new(MemoryStore::new());
    append(&*store, 1, 7, 0).await;
    let catga = start(store).await;
    for after in [8, 5000] {
        let mut subscription = catga.subscribe::<Counted>(after.into());
        let ended = timeout(Duration::from_secs(5), subscription.next()).await.unwrap();
        let error = ended.unwrap().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::PositionUnknown), "{error:?}");
        let read = catga.query(GetSum).consistency(Consistency::AtLeast(after.into())).await;
        let error = read.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::PositionUnknown), "{error:?}");
    }
    let last = Consistency::AtLeast(7.into());
    assert_eq!(catga.query(GetSum).consistency(last).await.unwrap(), 1 + 2 + 4 + 5 + 7);
    catga.shutdown().await;
}

#[tokio::test]
async fn a_store_that_fails_for_a_while_is_tried_again() {
    let store = Arc::new(ScriptedStore::new(Arc::new(MemoryStore::default())));
    append(&*store, 1, 10, 10).await;
    let catga = start(store.clone()).await;
    catga.query(GetSum).await.unwrap();
    // The tail waits for more, so it is the subscription that reads.
    let mut subscription = catga.subscribe::<Counted>(0.into());
    store.fail_reads_of_log(3);
    expect(&mut subscription, 0.into(), 10).await;
    assert_eq!(store.failing_reads_of_log(), 0);
    store.fail_reads_of_log(3);
    append(&*store, 11, 20, 10).await;
    expect(&mut subscription, 10.into(), 20).await;
    expect_nothing(&mut subscription);
    catga.shutdown().await;
}

#[tokio::test]
async fn an_event_of_an_unknown_type_ends_it_with_its_name() {
    let store = Arc::new(MemoryStore::default());
    append(&*store, 1, 3, 10).await;
    let catga = start(store.clone()).await;
    let mut waiting = catga.subscribe::<Counted>(0.into());
    expect(&mut waiting, 0.into(), 3).await;
    let known = ("Counted", postcard::to_stdvec(&Counted { number: 1 }).unwrap());
    let stream = StreamId::new("counter", "other").unwrap();
    commit(&*store, &stream, 0, &[known.clone(), ("Strange", vec![]), known]).await;
    let later = catga.subscribe::<Counted>(3.into());
    for mut subscription in [waiting, later] {
        let before = next(&mut subscription).await.unwrap().unwrap();
        assert_eq!(before.position, 4);
        let error = next(&mut subscription).await.unwrap().unwrap_err();
        let ErrorKind::Decode(DecodeError::UnknownType { name, position, .. }) = error.kind()
        else {
            panic!("{error}");
        };
        assert_eq!((name.as_str(), position.get()), ("Strange", 5));
        assert!(next(&mut subscription).await.is_none());
    }
    // Behind it all is well.
    let mut behind = catga.subscribe::<Counted>(5.into());
    assert_eq!(next(&mut behind).await.unwrap().unwrap().position, 6);
    catga.shutdown().await;
}

#[tokio::test]
async fn it_is_a_stream() {
    let store = Arc::new(MemoryStore::default());
    append(&*store, 1, 30, 10).await;
    let catga = start(store).await;
    let numbers = catga.subscribe::<Counted>(20.into()).map(|event| event.unwrap().number).take(3);
    assert_eq!(numbers.collect::<Vec<_>>().await, [22, 23, 25]);
    catga.shutdown().await;
}
