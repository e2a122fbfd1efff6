//! Several nodes in one process, on one store: who works on what, and that nobody else does.

mod lost;
mod relay;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use catga::{
    Consistency, DeliverySettings, StartError,
    cluster::ClusterSettings,
    prelude::*,
    store::{
        Backend, BoxFuture, EventStore, KvEntry, KvStore, MemoryKvStore, MemoryStore, PARTITIONS,
        StoreError, Transport,
    },
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

/// Short, so that the tests are.
const LEASE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "Noted", version = 1)]
struct Noted {
    text: String,
}

#[derive(Debug, Clone, PartialEq, Event)]
enum PageEvent {
    Noted(Noted),
}

#[derive(Debug, Clone, Default)]
struct Page;

impl Aggregate for Page {
    type Event = PageEvent;
    const NAME: &'static str = "page";

    fn apply(&mut self, _: PageEvent) {}
}

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "page.note")]
struct Note {
    #[key]
    page: String,
    text: String,
}

#[command_handler]
fn note(note: Note, page: &mut Root<Page>) -> Result<(), catga::Error> {
    page.record(Noted { text: note.text });
    Ok(())
}

/// A node that saw a version of a page.
type Sight = (&'static str, String, u64);

/// What was done outside the log, by all nodes.
#[derive(Debug, Clone, Default)]
struct World {
    /// In the order of time.
    seen: Arc<Mutex<Vec<Sight>>>,
    /// Events with this text fail.
    broken: Arc<Mutex<Option<String>>>,
}

impl World {
    fn of(&self, page: &str) -> Vec<u64> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(_, of, _)| of == page).map(|(_, _, version)| *version).collect()
    }

    fn nodes(&self) -> HashSet<&'static str> {
        self.seen.lock().unwrap().iter().map(|(node, _, _)| *node).collect()
    }
}

/// What a handler on one node reaches the world through.
#[derive(Debug)]
struct Hands {
    node: &'static str,
    world: World,
    /// Closed while the node is paused.
    pace: Arc<Semaphore>,
}

#[derive(Debug, thiserror::Error)]
#[error("it is broken")]
struct Broken;

#[event_handler(name = "pages")]
async fn see(noted: Recorded<Noted>, hands: &State<Hands>) -> Result<(), Broken> {
    let _pace = hands.pace.acquire().await.unwrap();
    if hands.world.broken.lock().unwrap().as_ref() == Some(&noted.text) {
        return Err(Broken);
    }
    let page = noted.stream.key().to_owned();
    hands.world.seen.lock().unwrap().push((hands.node, page, noted.version.get()));
    Ok(())
}

/// The key-value pairs as a node that can be cut off from them sees them.
#[derive(Debug, Default)]
struct Cord {
    kv: Arc<MemoryKvStore>,
    is_cut: AtomicBool,
    /// The next checkpoint that is written fails, and not as an outage does.
    is_torn: AtomicBool,
    /// No claim and no checkpoint can be written, and beats can.
    is_stuck: AtomicBool,
}

impl Cord {
    fn check(&self) -> Result<(), StoreError> {
        match self.is_cut.load(Ordering::SeqCst) {
            true => Err(StoreError::unavailable("the cord is cut")),
            false => Ok(()),
        }
    }
}

impl KvStore for Cord {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<KvEntry>, StoreError>> {
        Box::pin(async move {
            self.check()?;
            let entry = self.kv.get(key).await;
            // As over a network, others get between a read and a write.
            tokio::task::yield_now().await;
            entry
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: u64,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Option<u64>, StoreError>> {
        Box::pin(async move {
            self.check()?;
            let is_claim = key.starts_with("handler/");
            if is_claim && self.is_stuck.load(Ordering::SeqCst) {
                return Err(StoreError::unavailable("the cord is stuck"));
            }
            let is_checkpoint = is_claim && expected > 0;
            if is_checkpoint && self.is_torn.swap(false, Ordering::SeqCst) {
                return Err(StoreError::corrupt("the cord is torn"));
            }
            self.kv.put(key, value, expected, ttl).await
        })
    }

    fn delete<'a>(
        &'a self,
        key: &'a str,
        expected: u64,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.check()?;
            self.kv.delete(key, expected).await
        })
    }
}

#[derive(Default)]
struct Cluster {
    store: Arc<MemoryStore>,
    kv: Arc<MemoryKvStore>,
    world: World,
}

struct Node {
    catga: Catga,
    cord: Arc<Cord>,
    pace: Arc<Semaphore>,
}

impl Cluster {
    async fn try_start(&self, node: &'static str) -> Result<Node, StartError> {
        self.try_start_with(node, LEASE).await
    }

    async fn try_start_with(
        &self,
        node: &'static str,
        lease: Duration,
    ) -> Result<Node, StartError> {
        let (address, version) = (format!("{node}:5000"), "1".to_owned());
        self.start_as(node, Some(ClusterSettings { address, version, lease })).await
    }

    /// A program that is in no cluster, though others are on the same store.
    async fn start_alone(&self, node: &'static str) -> Node {
        self.start_as(node, None).await.unwrap()
    }

    async fn start_as(
        &self,
        node: &'static str,
        cluster: Option<ClusterSettings>,
    ) -> Result<Node, StartError> {
        self.start_on(node, cluster, None).await
    }

    /// A node of the cluster whose handlers read a topic of their own.
    async fn start_with_topic(&self, node: &'static str, topic: Arc<dyn Transport>) -> Node {
        let (address, version) = (format!("{node}:5000"), "1".to_owned());
        let settings = ClusterSettings { address, version, lease: LEASE };
        self.start_on(node, Some(settings), Some(topic)).await.unwrap()
    }

    async fn start_on(
        &self,
        node: &'static str,
        cluster: Option<ClusterSettings>,
        topic: Option<Arc<dyn Transport>>,
    ) -> Result<Node, StartError> {
        let cord = Arc::new(Cord { kv: self.kv.clone(), ..Cord::default() });
        let pace = Arc::new(Semaphore::new(64));
        let builder = Catga::builder()
            .backend(Backend::new(self.store.clone(), cord.clone()))
            .node(node)
            .state(Hands { node, world: self.world.clone(), pace: pace.clone() })
            .delivery(DeliverySettings {
                attempts: 2,
                first_delay: Duration::from_millis(1),
                longest_delay: Duration::from_millis(2),
                ..DeliverySettings::default()
            });
        let builder = match cluster {
            Some(settings) => builder.cluster(settings),
            None => builder,
        };
        let builder = match topic {
            Some(topic) => builder.transport(topic),
            None => builder,
        };
        let catga = builder.start().await?;
        Ok(Node { catga, cord, pace })
    }

    async fn start(&self, node: &'static str) -> Node {
        self.try_start(node).await.unwrap()
    }

    /// Notes something on each of 32 pages, which are in all partitions.
    async fn note(&self, node: &Node) {
        for page in pages() {
            note_on(node, &page, "x").await;
        }
    }

    /// Waits until every page was seen up to version `last`, and asserts that none was skipped.
    async fn all_seen(&self, last: u64) {
        for page in pages() {
            until(&format!("{page} is seen to {last}"), async || {
                self.world.of(&page).last() == Some(&last)
            })
            .await;
            let mut before = 0;
            for version in self.world.of(&page) {
                assert!(version <= before + 1, "P7: {version} of {page} came after {before}");
                before = version;
            }
        }
    }
}

impl Node {
    /// As a process that is killed, or that loses the store for good.
    fn cut_off(&self) {
        self.cord.is_cut.store(true, Ordering::SeqCst);
    }

    async fn has(&self, shares: usize) {
        until(&format!("{shares} shares"), async || self.catga.leases().len() == shares).await;
    }
}

fn pages() -> impl Iterator<Item = String> {
    (0..32).map(|i| format!("p{i}"))
}

async fn note_on(node: &Node, page: &str, text: &str) {
    node.catga.send(Note { page: page.to_owned(), text: text.to_owned() }).await.unwrap();
}

/// Notes what is handled on a page in each partition: a handler that fails at everything is paused, and parks nothing.
async fn note_well(node: &Node) {
    for page in 0..32 {
        note_on(node, &format!("well-{page}"), "x").await;
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < Duration::from_secs(20), "it did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Each writes the roster, so that of those who read it at once one is first. The clock is not a real one: it goes on
/// when everybody waits.
#[tokio::test(start_paused = true)]
async fn nodes_that_start_at_once_do_not_keep_each_other_waiting() {
    let (cluster, begun) = (Cluster::default(), tokio::time::Instant::now());
    let names = ["a", "b", "c", "d", "e"];
    let starting = names.map(|name| cluster.try_start_with(name, Duration::from_secs(100)));
    let nodes = futures_util::future::try_join_all(starting).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    for node in nodes {
        node.catga.shutdown().await;
    }
}

/// The clock is not a real one here either.
#[tokio::test(start_paused = true)]
async fn p7_a_program_in_no_cluster_leaves_its_shares_to_another_one_while_that_is_at_work() {
    let cluster = Cluster::default();
    let a = cluster.start_alone("a").await;
    a.has(8).await;
    let b = cluster.start_alone("b").await;
    b.has(8).await;
    // Half an hour, with something to do now and then.
    for version in 1..=30 {
        cluster.note(&a).await;
        cluster.all_seen(version).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    // Where nothing happens for a partition it still comes to the end of the log.
    for _ in 0..60 {
        note_on(&a, "other", "x").await;
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let taken = cluster.store.head().await.unwrap() - 30 * 32 - 60;
    assert_eq!(taken, 8, "b took each share once, and a none back");
    assert!(a.catga.leases().is_empty() && b.catga.leases().len() == 8);

    b.cut_off();
    cluster.note(&a).await;
    a.has(8).await;
    cluster.all_seen(31).await;
    b.cord.is_cut.store(false, Ordering::SeqCst);
    cluster.note(&b).await;
    cluster.all_seen(32).await;
    a.catga.shutdown().await;
    b.has(8).await;
    cluster.note(&b).await;
    cluster.all_seen(33).await;
    let taken = cluster.store.head().await.unwrap() - 33 * 32 - 60;
    assert_eq!(taken, 16, "a took each share once more");
    b.catga.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_what_stops_for_good_on_a_node_goes_on_at_another() {
    let cluster = Cluster::default();
    let (a, b) = (cluster.start("a").await, cluster.start("b").await);
    a.has(4).await;
    b.has(4).await;
    a.cord.is_torn.store(true, Ordering::SeqCst);
    cluster.note(&b).await;
    a.has(3).await;
    b.has(5).await;
    let health = a.catga.health().await;
    let trouble: Vec<_> = health.handlers.iter().filter_map(|h| h.trouble.as_ref()).collect();
    assert!(matches!(*trouble, [reason] if reason.contains("the cord is torn")), "{trouble:?}");
    cluster.note(&a).await;
    cluster.all_seen(2).await;
    // The next run of that node takes its part again.
    a.catga.shutdown().await;
    let a = cluster.start("a").await;
    a.has(4).await;
    cluster.note(&a).await;
    cluster.all_seen(3).await;
    a.catga.shutdown().await;
    b.catga.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_what_a_node_could_not_hand_over_is_handed_over_later() {
    let cluster = Cluster::default();
    let a = cluster.start("a").await;
    a.has(8).await;
    cluster.note(&a).await;
    cluster.all_seen(1).await;
    a.cord.is_stuck.store(true, Ordering::SeqCst);
    let b = cluster.start("b").await;
    // It does no more than its part, and the store says that it has all.
    until("it stops the others", async || a.catga.leases().len() <= 4).await;
    a.cord.is_stuck.store(false, Ordering::SeqCst);
    a.has(4).await;
    b.has(4).await;
    cluster.note(&b).await;
    cluster.all_seen(2).await;
    a.catga.shutdown().await;
    b.catga.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_work_that_no_node_does_is_in_health() {
    let cluster = Cluster::default();
    let (a, b) = (cluster.start("a").await, cluster.start("b").await);
    a.has(4).await;
    b.has(4).await;
    assert_eq!(a.catga.health().await.standstill, [""; 0]);
    // Its beats say that it is alive, and it can claim nothing.
    b.cord.is_stuck.store(true, Ordering::SeqCst);
    a.catga.shutdown().await;
    until("health says it", async || {
        let standstill = b.catga.health().await.standstill;
        standstill.len() == 4
            && standstill.iter().all(|s| s.contains("is worked on by no node for"))
    })
    .await;
    b.cord.is_stuck.store(false, Ordering::SeqCst);
    b.has(8).await;
    until("health is well", async || b.catga.health().await.standstill.is_empty()).await;
    b.catga.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_partitions_are_spread_over_the_nodes_and_come_back_at_once() {
    let cluster = Cluster::default();
    let a = cluster.start("a").await;
    a.has(8).await;
    let (b, c) = (cluster.start("b").await, cluster.start("c").await);
    until("fair shares", async || {
        let shares = [&a, &b, &c].map(|node| node.catga.leases());
        let all: HashSet<_> = shares.iter().flatten().collect();
        all.len() == usize::from(PARTITIONS) && shares.iter().all(|s| (2..=3).contains(&s.len()))
    })
    .await;
    cluster.note(&a).await;
    cluster.all_seen(1).await;
    assert_eq!(cluster.world.nodes(), HashSet::from(["a", "b", "c"]));

    let members = b.catga.members().unwrap();
    let names: Vec<_> = members.iter().map(|m| (m.node.as_str(), m.address.as_str())).collect();
    assert_eq!(names, [("a", "a:5000"), ("b", "b:5000"), ("c", "c:5000")]);

    let left = Instant::now();
    c.catga.shutdown().await;
    b.catga.shutdown().await;
    a.has(8).await;
    assert!(left.elapsed() < LEASE * 4 / 5, "a node that leaves hands over: {:?}", left.elapsed());
    cluster.note(&a).await;
    cluster.all_seen(2).await;
    let seen = cluster.world.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 64, "nothing is repeated when shares are handed over");
    a.catga.shutdown().await;
    assert_eq!(cluster.store.head().await.unwrap(), 64, "and nothing is written but the events");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_acted_on_wherever_its_handler_runs() {
    let cluster = Cluster::default();
    let (a, b) = (cluster.start("a").await, cluster.start("b").await);
    a.has(4).await;
    *cluster.world.broken.lock().unwrap() = Some("bad".to_owned());
    for page in pages() {
        note_on(&a, &page, "bad").await;
    }
    until("all are parked", async || {
        note_well(&a).await;
        b.catga.dead_letters(Consistency::Latest).await.unwrap().len() == 32
    })
    .await;
    // The partitions move, and the letters with them.
    a.catga.shutdown().await;
    b.has(8).await;
    cluster.note(&b).await;
    *cluster.world.broken.lock().unwrap() = None;
    for letter in b.catga.dead_letters(Consistency::Latest).await.unwrap() {
        b.catga.retry_dead_letter(&letter.id).await.unwrap().unwrap();
    }
    cluster.all_seen(2).await;
    b.catga.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_nodes_have_one_name() {
    let cluster = Cluster::default();
    let a = cluster.start("a").await;
    match cluster.try_start("a").await.map(|_| ()) {
        Err(StartError::NameTaken { node, address }) => {
            assert_eq!((node.as_str(), address.as_str()), ("a", "a:5000"));
        }
        other => panic!("a second `a` started: {other:?}"),
    }
    // A name is free once its node has left, or was silent for the lease time.
    a.cut_off();
    let again = cluster.start("a").await;
    again.has(8).await;
    again.catga.shutdown().await;
    let begin = Instant::now();
    cluster.start("a").await.catga.shutdown().await;
    assert!(begin.elapsed() < LEASE / 2, "who left is not waited for: {:?}", begin.elapsed());
    a.catga.shutdown().await;
}
