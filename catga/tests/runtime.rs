//! The runtime's promises, on a small program of its own.

use std::{sync::Arc, time::Duration};

use catga::{
    Consistency, Error, ErrorKind,
    log::{EventFrame, EventId},
    prelude::*,
    store::{Backend, MemoryKvStore, MemoryStore},
    testing::{self, Fault, ScriptedStore},
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "Added", version = 1)]
struct Added {
    amount: u64,
}

#[derive(Debug, Clone, PartialEq, Event)]
enum AccountEvent {
    Added(Added),
}

#[derive(Debug, Clone, Default)]
struct Account {
    sum: u64,
}

impl Aggregate for Account {
    type Event = AccountEvent;
    const NAME: &'static str = "account";

    fn apply(&mut self, AccountEvent::Added(added): AccountEvent) {
        self.sum += added.amount;
    }
}

#[derive(Debug, thiserror::Error, PartialEq)]
#[error("the sum would be over the limit")]
struct OverLimit;

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "account.add")]
struct Add {
    #[key]
    account: String,
    amount: u64,
    limit: u64,
}

#[command_handler]
fn add(add: Add, account: &mut Root<Account>) -> Result<u64, OverLimit> {
    account.record(Added { amount: add.amount });
    // The refusal comes after the recording on purpose: what was recorded must not count.
    if account.sum > add.limit { Err(OverLimit) } else { Ok(account.sum) }
}

/// Succeeds when there is at least `amount`; with `records_first`, it finds out too late.
#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "account.need")]
struct Need {
    #[key]
    account: String,
    amount: u64,
    records_first: bool,
}

#[derive(Debug, thiserror::Error, PartialEq)]
#[error("there is not enough")]
struct NotEnough;

#[command_handler]
fn need(need: Need, account: &mut Root<Account>) -> Result<(), NotEnough> {
    if need.records_first {
        account.record(Added { amount: 0 });
    }
    if account.sum < need.amount { Err(NotEnough) } else { Ok(()) }
}

#[derive(Debug, Query)]
#[query(name = "account.get")]
struct Get {
    #[key]
    account: String,
}

#[query_handler]
fn get(_: Get, account: &Root<Account>) -> Result<(u64, u64), Error> {
    Ok((account.sum, account.version().get()))
}

#[derive(Debug, Query)]
#[query(name = "account.keep")]
struct Keep {
    #[key]
    account: String,
}

#[query_handler]
fn keep(_: Keep, account: &Root<Account>) -> Result<Arc<Account>, Error> {
    Ok(account.state())
}

#[derive(Debug, Default)]
struct Sums {
    total: u64,
}

/// The sum over all accounts.
#[projection]
impl Projection for Sums {
    type Event = AccountEvent;
    const NAME: &'static str = "sums";

    fn apply(&mut self, recorded: &Recorded<AccountEvent>) {
        let AccountEvent::Added(added) = &recorded.event;
        self.total += added.amount;
    }
}

#[derive(Debug, Query)]
#[query(name = "account.total")]
struct Total;

#[query_handler]
fn total(_: Total, sums: &ReadModel<Sums>) -> Result<u64, Error> {
    Ok(sums.read().total)
}

struct Fixture {
    store: Arc<ScriptedStore>,
    kv: Arc<MemoryKvStore>,
}

impl Fixture {
    fn new() -> Self {
        let store = Arc::new(ScriptedStore::new(Arc::new(MemoryStore::new())));
        Self { store, kv: Arc::default() }
    }

    fn backend(&self) -> Backend {
        Backend::new(self.store.clone(), self.kv.clone())
    }

    /// A node on the shared store.
    async fn node(&self) -> Catga {
        Catga::builder().backend(self.backend()).start().await.unwrap()
    }
}

fn add_to(account: &str, amount: u64) -> Add {
    Add { account: account.to_owned(), amount, limit: u64::MAX }
}

#[tokio::test]
async fn p1_create_load_update_update() {
    let fixture = Fixture::new();
    for expected in [1, 2, 3] {
        // A new node each time: nothing is cached.
        let node = fixture.node().await;
        assert_eq!(node.send(add_to("a", 1)).await.unwrap(), expected);
        assert_eq!(node.query(Get { account: "a".into() }).await.unwrap(), (expected, expected));
        node.shutdown().await;
    }
}

#[tokio::test]
async fn p1_two_nodes_with_old_caches_lose_nothing() {
    let fixture = Fixture::new();
    let nodes = [fixture.node().await, fixture.node().await];
    let mut tasks = Vec::new();
    for i in 0..200 {
        let node = nodes[i % 2].clone();
        tasks.push(tokio::spawn(async move { node.send(add_to("a", 1)).await.unwrap() }));
    }
    let mut sums = Vec::new();
    for task in tasks {
        sums.push(task.await.unwrap());
    }
    sums.sort_unstable();
    assert_eq!(sums, (1..=200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_state_that_is_kept_is_no_copy_and_stays_as_it_is() {
    let node = Fixture::new().node().await;
    let keep = async || node.query(Keep { account: "a".into() }).await.unwrap();
    node.send(add_to("a", 5)).await.unwrap();
    let kept = keep().await;
    assert!(Arc::ptr_eq(&kept, &keep().await), "it was copied");
    node.send(add_to("a", 10)).await.unwrap();
    assert_eq!((kept.sum, keep().await.sum), (5, 15));
}

#[tokio::test]
async fn a_refusal_never_rests_on_an_old_cache() {
    let fixture = Fixture::new();
    let (one, two) = (fixture.node().await, fixture.node().await);
    one.send(add_to("a", 5)).await.unwrap();
    assert_eq!(two.query(Get { account: "a".into() }).await.unwrap(), (5, 1));
    // Node two believes in 5; meanwhile it is 15. A limit of 12 admits 5 + 5, not 15 + 5.
    one.send(add_to("a", 10)).await.unwrap();
    let error = two.send(Add { account: "a".into(), amount: 5, limit: 12 }).await.unwrap_err();
    assert_eq!(error.handler(), Some(&OverLimit));
    assert_eq!(two.query(Get { account: "a".into() }).await.unwrap(), (15, 2));
    assert_eq!(one.send(add_to("a", 1)).await.unwrap(), 16, "what was refused left no trace");
}

#[tokio::test]
async fn a_refusal_is_checked_against_the_store_before_it_is_given() {
    for records_first in [false, true] {
        let fixture = Fixture::new();
        let (one, two) = (fixture.node().await, fixture.node().await);
        one.send(add_to("a", 5)).await.unwrap();
        assert_eq!(two.query(Get { account: "a".into() }).await.unwrap(), (5, 1));
        let need = |amount| Need { account: "a".into(), amount, records_first };
        assert_eq!(two.send(need(10)).await.unwrap_err().handler(), Some(&NotEnough));
        one.send(add_to("a", 10)).await.unwrap();
        // Node two may still believe in 5, and must not refuse because of it.
        two.send(need(10)).await.unwrap();
    }
}

#[tokio::test]
async fn an_expected_version_guards_the_command() {
    let fixture = Fixture::new();
    let node = fixture.node().await;
    node.send(add_to("a", 1)).expect_new().await.unwrap();
    for wrong in [0, 2, 7] {
        let error = node.send(add_to("a", 1)).expect_version(wrong).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::VersionMismatch { actual } if *actual == 1),
            "{error:?}"
        );
    }
    let exists = node.send(add_to("a", 1)).expect_new().await.unwrap_err();
    assert!(
        matches!(exists.kind(), ErrorKind::VersionMismatch { actual } if *actual == 1),
        "{exists:?}"
    );
    let missing = node.send(add_to("b", 1)).expect_version(1).await.unwrap_err();
    assert!(
        matches!(missing.kind(), ErrorKind::VersionMismatch { actual } if *actual == 0),
        "{missing:?}"
    );
    node.send(add_to("a", 1)).expect_version(1).await.unwrap();
    node.send(add_to("c", 1)).expect_version(0).await.unwrap();
}

#[tokio::test]
async fn what_travels_with_a_command_is_in_its_commit() {
    let fixture = Fixture::new();
    let node = fixture.node().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    node.send(add_to("a", 1)).id("k").correlation("request 7").traceparent(trace).await.unwrap();
    let read = async |after| {
        let record = node.store().read_log(after, 1).await.unwrap().remove(0);
        Recorded::<Added>::read(&record).unwrap().remove(0)
    };
    let first = read(0.into()).await;
    let origin = first.origin();
    assert_eq!((origin.command_id, origin.causation), (Some("k"), None));
    assert_eq!((origin.correlation, origin.traceparent), (Some("request 7"), Some(trace)));
    node.send(add_to("b", 1)).caused_by(&first).await.unwrap();
    let second = read(1.into()).await;
    let origin = second.origin();
    assert_eq!((origin.command_id, origin.causation), (None, Some(first.id)));
    assert_eq!((origin.correlation, origin.traceparent), (Some("request 7"), Some(trace)));
}

#[tokio::test]
async fn a_command_with_an_id_that_is_none_is_not_sent() {
    let fixture = Fixture::new();
    let node = fixture.node().await;
    for id in [String::new(), "k".repeat(513)] {
        let error = node.send(add_to("a", 1)).id(id).await.unwrap_err();
        let ErrorKind::Invalid(fields) = error.kind() else { panic!("{error:?}") };
        assert_eq!(fields[0].field, "id");
    }
    assert_eq!(node.head().await.unwrap(), 0);
    node.send(add_to("a", 1)).id("k".repeat(512)).await.unwrap();
}

#[tokio::test]
async fn p3_an_append_in_doubt_is_found_or_done_once() {
    let fixture = Fixture::new();
    let node = fixture.node().await;
    let mut sum = 0;
    for faults in [
        vec![Some(Fault::LoseAnswer)],
        vec![Some(Fault::LoseRequest)],
        vec![Some(Fault::LoseRequest), Some(Fault::LoseAnswer)],
        vec![Some(Fault::LoseAnswer), Some(Fault::LoseAnswer)],
        vec![Some(Fault::LoseRequest), Some(Fault::Refuse), None],
    ] {
        fixture.store.script(faults.clone());
        sum += 1;
        assert_eq!(node.send(add_to("a", 1)).await.unwrap(), sum, "{faults:?}");
    }
    assert_eq!(node.query(Get { account: "a".into() }).await.unwrap(), (sum, sum));
    fixture.store.script([Some(Fault::Refuse)]);
    let refused = node.send(add_to("a", 1)).await.unwrap_err();
    assert!(refused.is_retryable(), "{refused:?}");
    assert_eq!(node.query(Total).await.unwrap(), sum, "a refused append wrote nothing");
}

#[tokio::test]
async fn p4_a_command_id_has_one_effect_and_one_answer() {
    let fixture = Fixture::new();
    let node = fixture.node().await;
    let first = node.send(add_to("a", 3)).id("k").outcome().await.unwrap();
    assert!(!first.is_replay);
    node.send(add_to("a", 4)).await.unwrap();
    // Again here, on another node, and on one that starts later.
    for node in [node.clone(), fixture.node().await] {
        let again = node.send(add_to("a", 3)).id("k").outcome().await.unwrap();
        assert!(again.is_replay);
        assert_eq!(
            (again.output, again.version, again.position),
            (first.output, first.version, first.position)
        );
        let other = node.send(add_to("a", 9)).id("k").await.unwrap_err();
        assert!(matches!(other.kind(), ErrorKind::CommandIdReused), "{other:?}");
    }
    let elsewhere = node.send(add_to("b", 3)).id("k").outcome().await.unwrap();
    assert!(!elsewhere.is_replay, "an id counts for its aggregate");
    assert_eq!(node.query(Total).await.unwrap(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_query_sees_what_was_answered_before_on_another_node() {
    let fixture = Fixture::new();
    let nodes = [fixture.node().await, fixture.node().await];
    for i in 0..500 {
        nodes[i % 2].send(add_to(&format!("a{}", i % 7), 1)).await.unwrap();
        assert_eq!(nodes[(i + 1) % 2].query(Total).await.unwrap(), i as u64 + 1);
    }
    let eventual = nodes[0].query(Total).consistency(Consistency::Eventual).await.unwrap();
    assert!(eventual <= 500);
}

#[tokio::test]
async fn p6_a_read_at_a_position_sees_it_in_an_aggregate_that_was_cached_before() {
    let fixture = Fixture::new();
    let (one, two) = (fixture.node().await, fixture.node().await);
    one.send(add_to("a", 1)).await.unwrap();
    assert_eq!(two.query(Get { account: "a".into() }).await.unwrap(), (1, 1));
    let done = one.send(add_to("a", 1)).outcome().await.unwrap();
    let at_least = Consistency::AtLeast(done.position);
    let seen = two.query(Get { account: "a".into() }).consistency(at_least).await.unwrap();
    assert_eq!(seen, (2, 2));
    let total = two.query(Total).consistency(at_least).await.unwrap();
    assert_eq!(total, 2);
}

/// Appends an event of a type that no program knows.
async fn append_strange(fixture: &Fixture) {
    let stream = catga::log::StreamId::new("other", "x").unwrap();
    let event = EventFrame { id: EventId::nil(), name: "Strange", schema: 4, payload: b"" };
    testing::append(&*fixture.store, &testing::commit(&stream, 0.into(), [event]), 0)
        .await
        .unwrap();
}

async fn assert_stopped(node: &Catga) {
    let error = node.query(Total).await.unwrap_err();
    assert!(
        error.to_string().contains("`Strange`") && error.to_string().contains("version 4"),
        "{error}"
    );
    assert!(node.health().await.read_models.is_err());
}

#[tokio::test]
async fn p9_an_event_of_an_unknown_type_stops_the_readers_and_is_named() {
    let fixture = Fixture::new();
    let node = fixture.node().await;
    append_strange(&fixture).await;
    assert_stopped(&node).await;
}

#[tokio::test]
async fn p9_so_it_does_on_a_page_that_is_read_ahead_and_what_is_before_it_is_seen() {
    let fixture = Fixture::new();
    let node = fixture.node().await;
    for _ in 0..1_300 {
        node.send(add_to("a", 1)).await.unwrap();
    }
    node.shutdown().await;
    append_strange(&fixture).await;
    let node = fixture.node().await;
    assert_stopped(&node).await;
    // Two whole pages of 512 are before the one that can't be read.
    assert_eq!(node.query(Total).consistency(Consistency::Eventual).await.unwrap(), 1_024);
}

#[tokio::test]
async fn a_stuck_command_ends_with_a_timeout_and_holds_up_no_reader() {
    let fixture = Fixture::new();
    let node = Catga::builder()
        .backend(fixture.backend())
        .timeout(Duration::from_millis(300))
        .start()
        .await
        .unwrap();
    node.send(add_to("a", 1)).await.unwrap();
    fixture.store.script([Some(Fault::LoseRequest); 1000]);
    let stuck = {
        let node = node.clone();
        tokio::spawn(async move { node.send(add_to("a", 1)).await })
    };
    assert_eq!(node.query(Get { account: "a".into() }).await.unwrap(), (1, 1));
    let error = stuck.await.unwrap().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout) && error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn a_hundred_thousand_events_replay_and_page() {
    let fixture = Fixture::new();
    let node = fixture.node().await;
    let stream = catga::log::StreamId::new("account", "long").unwrap();
    for version in (0..100_000).step_by(1000) {
        let event =
            |_| EventFrame { id: EventId::now_v7(), name: "Added", schema: 1, payload: &[1] };
        let commit = testing::commit(&stream, version.into(), (0..1000).map(event));
        testing::append(&*fixture.store, &commit, 0).await.unwrap();
    }
    assert_eq!(node.query(Get { account: "long".into() }).await.unwrap(), (100_000, 100_000));
    assert_eq!(node.send(add_to("long", 1)).await.unwrap(), 100_001);
}

/// Counts what is in bags, by name.
#[catga::command(name = "account.add-bags")]
struct AddBags {
    #[key]
    account: String,
    bags: std::collections::HashMap<String, u64>,
}

#[command_handler]
fn add_bags(command: AddBags, account: &mut Root<Account>) -> u64 {
    let sum = command.bags.values().sum();
    account.record(Added { amount: sum });
    sum
}

#[tokio::test]
async fn p4_a_command_with_a_map_is_known_again() {
    let node = Fixture::new().node().await;
    for round in 0..20 {
        // Made anew, it has another order.
        let bags = (0..50).map(|n| (n.to_string(), n)).collect();
        let sent = node.send(AddBags { account: "a".into(), bags }).id("once").outcome().await;
        let outcome = sent.unwrap();
        assert_eq!((outcome.output, outcome.is_replay), (49 * 25, round > 0));
    }
    let bags = [("0".to_owned(), 1)].into();
    let other = node.send(AddBags { account: "a".into(), bags }).id("once").await.unwrap_err();
    assert!(matches!(other.kind(), ErrorKind::CommandIdReused), "{other:?}");
}
