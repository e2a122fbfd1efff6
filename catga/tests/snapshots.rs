//! Snapshots shorten a cold load, and whatever happens to them changes no answer.

use std::sync::Arc;

use bytes::Bytes;
use catga::{
    prelude::*,
    store::{Backend, KvEntry, KvStore, MemoryKvStore, MemoryStore},
    testing::ScriptedStore,
};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "Stepped", version = 1)]
struct Stepped {
    by: u64,
}

#[derive(Debug, Clone, Event)]
enum WalkEvent {
    Stepped(Stepped),
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Walk {
    distance: u64,
}

impl Aggregate for Walk {
    type Event = WalkEvent;
    const NAME: &'static str = "walk";
    const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::every(100));

    fn apply(&mut self, WalkEvent::Stepped(stepped): WalkEvent) {
        self.distance += stepped.by;
    }
}

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "walk.step")]
struct Step {
    #[key]
    walk: String,
    by: u64,
}

#[command_handler]
fn step(step: Step, walk: &mut Root<Walk>) -> Result<u64, catga::Error> {
    walk.record(Stepped { by: step.by });
    Ok(walk.distance)
}

#[derive(Debug, Clone, Query)]
#[query(name = "walk.distance")]
struct GetDistance {
    #[key]
    walk: String,
}

#[query_handler]
fn distance(_query: GetDistance, walk: &Root<Walk>) -> Result<(u64, u64), catga::Error> {
    Ok((walk.distance, walk.version().get()))
}

const WALK: &str = "w";
const SNAPSHOT: &str = "snapshot/walk/w";

/// A log that counts what is read of it.
fn log() -> ScriptedStore {
    ScriptedStore::new(Arc::new(MemoryStore::new()))
}

struct World {
    log: Arc<ScriptedStore>,
    kv: Arc<MemoryKvStore>,
}

impl World {
    /// A walk of `steps` steps by `by`, the first of them with a command id, whose last snapshot is written.
    async fn with_walk(steps: u64, by: u64) -> Self {
        Self::with_walk_in(log(), steps, by).await
    }

    async fn with_walk_in(log: ScriptedStore, steps: u64, by: u64) -> Self {
        // The first snapshot of a process waits until the program's file is read. Those that come due meanwhile may be
        // left out, and then the last one is not at the end of the walk.
        static FIRST: OnceCell<()> = OnceCell::const_new();
        FIRST.get_or_init(async || drop(Self::walk(self::log(), 101, 1).await)).await;
        Self::walk(log, steps, by).await
    }

    async fn walk(log: ScriptedStore, steps: u64, by: u64) -> Self {
        let world = Self { log: Arc::new(log), kv: Arc::default() };
        let catga = world.start().await;
        let step = || Step { walk: WALK.to_owned(), by };
        catga.send(step()).id("first").await.unwrap();
        for _ in 1..steps {
            catga.send(step()).await.unwrap();
        }
        catga.shutdown().await;
        world
    }

    /// A program that has nothing cached.
    async fn start(&self) -> Catga {
        let builder = Catga::builder().backend(Backend::new(self.log.clone(), self.kv.clone()));
        builder.start().await.unwrap()
    }

    async fn snapshot(&self) -> Option<KvEntry> {
        self.kv.get(SNAPSHOT).await.unwrap()
    }

    async fn replace_snapshot(&self, value: Bytes) {
        let revision = self.snapshot().await.map_or(0, |entry| entry.revision);
        self.kv.put(SNAPSHOT, value, revision, None).await.unwrap().unwrap();
    }

    /// The answer of a cold load, and how many commits it read.
    async fn load(&self) -> ((u64, u64), usize) {
        let catga = self.start().await;
        let before = self.log.read_of_streams();
        let answer = catga.query(GetDistance { walk: WALK.to_owned() }).await.unwrap();
        let read = self.log.read_of_streams() - before;
        catga.shutdown().await;
        (answer, read)
    }
}

/// A cold load reads the first commits, while it waits for the snapshot, and from there on; not the 10,000 events.
const SHORT: usize = 64 + 1 + 100;

#[tokio::test]
async fn a_cold_load_of_a_long_stream_reads_little() {
    let world = World::with_walk(10_000, 2).await;
    let (answer, read) = world.load().await;
    assert_eq!(answer, (20_000, 10_000));
    assert!(read <= SHORT, "{read} commits were read");
}

#[tokio::test]
async fn of_a_stream_that_is_known_to_be_long_the_begin_is_not_read() {
    // The first snapshots of a process wait until it has read its own program's file, and are too late for the next ones.
    World::with_walk(200, 1).await;
    let world = World::with_walk_in(log().with_known_lengths(), 10_000, 2).await;
    assert_eq!(world.load().await, ((20_000, 10_000), 1), "what the snapshot ends with");
    let revision = world.snapshot().await.unwrap().revision;
    world.kv.delete(SNAPSHOT, revision).await.unwrap();
    assert_eq!(world.load().await, ((20_000, 10_000), 10_000), "without a snapshot all of it");
    let world = World::with_walk_in(log().with_known_lengths(), 64, 1).await;
    assert_eq!(world.load().await, ((64, 64), 64), "a short one");
}

#[tokio::test]
async fn a_load_that_reads_much_leaves_a_snapshot_for_the_next() {
    let world = World::with_walk(190, 1).await;
    let (_, read) = world.load().await;
    assert!(read > 64, "the last snapshot was some way back: {read}");
    let (answer, read) = world.load().await;
    assert_eq!(answer, (190, 190));
    assert!(read <= 64 + 1, "{read} commits were read");
}

#[tokio::test]
async fn a_lost_damaged_or_foreign_snapshot_costs_a_replay_and_changes_nothing() {
    let other = World::with_walk(1_000, 7).await;
    let foreign = other.snapshot().await.unwrap().value;
    let world = World::with_walk(1_000, 2).await;
    let good = world.snapshot().await.unwrap().value;
    let mut bad: Vec<Bytes> = vec![Bytes::new(), foreign, good.slice(..good.len() - 1)];
    // The format, and the build that wrote it.
    for at in 0..4 {
        let mut changed = good.to_vec();
        changed[at] ^= 1;
        bad.push(changed.into());
    }
    for value in bad {
        world.replace_snapshot(value.clone()).await;
        let (answer, read) = world.load().await;
        assert_eq!(answer, (2_000, 1_000), "with the snapshot {value:?}");
        assert!(read >= 1_000, "it can't have been used");
        // The replay left a good one.
        let (answer, read) = world.load().await;
        assert_eq!(answer, (2_000, 1_000));
        assert!(read <= SHORT, "{read} commits were read after the repair");
    }
    let revision = world.snapshot().await.unwrap().revision;
    world.kv.delete(SNAPSHOT, revision).await.unwrap();
    assert_eq!(world.load().await.0, (2_000, 1_000));
    assert!(world.snapshot().await.is_some(), "a replay leaves a snapshot");
}

#[tokio::test]
async fn p4_the_ids_of_commands_are_in_the_snapshot() {
    let world = World::with_walk(1_000, 2).await;
    let catga = world.start().await;
    let step = Step { walk: WALK.to_owned(), by: 2 };
    let done = catga.send(step).id("first").outcome().await.unwrap();
    assert!(done.is_replay);
    assert_eq!((done.output, done.version), (2, 1.into()));
    assert_eq!(world.load().await.0, (2_000, 1_000));
}

#[tokio::test]
async fn a_command_goes_on_from_a_snapshot() {
    let world = World::with_walk(777, 1).await;
    let catga = world.start().await;
    for sum in 778..=900 {
        assert_eq!(catga.send(Step { walk: WALK.to_owned(), by: 1 }).await.unwrap(), sum);
    }
    catga.shutdown().await;
    assert_eq!(world.load().await.0, (900, 900));
}

#[tokio::test]
async fn a_short_stream_has_no_snapshot() {
    let world = World::with_walk(64, 1).await;
    assert_eq!(world.snapshot().await, None);
    assert_eq!(world.load().await, ((64, 64), 64));
    assert_eq!(world.snapshot().await, None);
}
