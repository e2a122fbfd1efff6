//! A program ends with its last handle, whether somebody shuts it down or not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use catga::{
    Builder, Error,
    prelude::*,
    store::{Backend, EventStore, FileError, FileStore},
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::{sync::Semaphore, time::sleep};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "Rung", version = 1)]
struct Rung {}

#[derive(Debug, Clone, PartialEq, Event)]
enum BellEvent {
    Rung(Rung),
}

#[derive(Debug, Clone, Default)]
struct Bell(u64);

impl Aggregate for Bell {
    type Event = BellEvent;
    const NAME: &'static str = "bell";

    fn apply(&mut self, _: BellEvent) {
        self.0 += 1;
    }
}

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "bell.ring")]
struct Ring {
    #[key]
    bell: String,
}

#[command_handler]
fn ring(_: Ring, bell: &mut Root<Bell>) -> Result<u64, Error> {
    bell.record(Rung {});
    Ok(bell.0)
}

#[derive(Debug, Default)]
struct Rings(u64);

/// How often any bell was rung.
#[projection]
impl Projection for Rings {
    type Event = BellEvent;
    const NAME: &'static str = "rings";

    fn apply(&mut self, _: &Recorded<BellEvent>) {
        self.0 += 1;
    }
}

#[derive(Debug, Query)]
#[query(name = "bell.rings")]
struct CountRings;

#[query_handler]
fn count(_: CountRings, rings: &ReadModel<Rings>) -> Result<u64, Error> {
    Ok(rings.read().0)
}

/// What the handler is doing, and what it waits for.
#[derive(Debug, Clone)]
struct Ears {
    begun: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
    /// A handle that the handler keeps.
    kept: Arc<std::sync::Mutex<Option<Catga>>>,
    keeps: bool,
}

#[event_handler(name = "ears")]
async fn hear(_: Recorded<Rung>, catga: &Catga, ears: &State<Ears>) -> Result<(), Error> {
    ears.begun.fetch_add(1, SeqCst);
    if ears.keeps {
        *ears.kept.lock().unwrap() = Some(catga.clone());
    }
    let permit = ears.gate.acquire().await;
    if permit.is_ok() {
        // It can send commands, whoever else has a handle.
        assert!(catga.query(CountRings).await? > 0);
        ears.ended.fetch_add(1, SeqCst);
    }
    Ok(())
}

struct World {
    directory: TempDir,
    ears: Ears,
}

impl World {
    fn new(permits: usize) -> Self {
        let gate = Arc::new(Semaphore::new(permits));
        let (begun, ended, kept) = Default::default();
        let directory = tempfile::tempdir().unwrap();
        Self { directory, ears: Ears { begun, ended, gate, kept, keeps: false } }
    }

    fn builder(&self, store: FileStore) -> Builder {
        Catga::builder().backend(Backend::of(store)).state(self.ears.clone())
    }

    async fn start(&self) -> Catga {
        self.builder(FileStore::open(&self.directory).unwrap()).start().await.unwrap()
    }

    /// The store, as soon as it can be opened.
    async fn reopen(&self) -> FileStore {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match FileStore::open(&self.directory) {
                Ok(store) => return store,
                Err(FileError::InUse) => assert!(Instant::now() < deadline, "it stays open"),
                Err(error) => panic!("{error}"),
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    async fn wait_for_begun(&self, begun: usize) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.ears.begun.load(SeqCst) < begun {
            assert!(Instant::now() < deadline, "the handler does not begin");
            sleep(Duration::from_millis(1)).await;
        }
    }
}

fn a_bell() -> Ring {
    Ring { bell: "a".to_owned() }
}

#[tokio::test]
async fn the_last_handle_ends_the_program_and_frees_its_files() {
    let world = World::new(0);
    let catga = world.start().await;
    let other = catga.clone();
    catga.send(a_bell()).await.unwrap();
    world.wait_for_begun(1).await;
    drop(catga);
    assert_eq!(other.send(a_bell()).await.unwrap(), 2, "another handle keeps it running");
    drop(other);
    let store = world.reopen().await;
    assert_eq!(store.head().await.unwrap(), 2, "what was answered is there");
    // The handler that was under way is gone: whatever it waited for, it does not go on.
    world.ears.gate.add_permits(1);
    tokio::task::yield_now().await;
    assert_eq!((world.ears.gate.available_permits(), world.ears.ended.load(SeqCst)), (1, 0));
    // Its event comes again, and then the next one of its stream.
    let catga = world.builder(store).start().await.unwrap();
    world.wait_for_begun(3).await;
    catga.shutdown().await;
    assert_eq!(world.ears.ended.load(SeqCst), 2, "a shutdown finishes what is begun");
    drop(catga);
    world.reopen().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn again_and_again_with_many_streams_and_threads() {
    let world = World::new(1);
    let mut store = world.reopen().await;
    for n in 1..=20_u64 {
        let catga = world.builder(store).start().await.unwrap();
        for bell in 0..10 {
            assert_eq!(catga.send(Ring { bell: bell.to_string() }).await.unwrap(), n);
        }
        drop(catga);
        store = world.reopen().await;
        // Who takes over from a program that ended as in a crash says so in the log, too.
        assert!(store.head().await.unwrap() >= 10 * n);
    }
}

#[tokio::test]
async fn a_handle_that_a_handler_keeps_is_one_like_any_other() {
    let mut world = World::new(1);
    world.ears.keeps = true;
    let catga = world.start().await;
    catga.send(a_bell()).await.unwrap();
    world.wait_for_begun(1).await;
    drop(catga);
    let kept = world.ears.kept.lock().unwrap().take().unwrap();
    assert_eq!(kept.send(a_bell()).await.unwrap(), 2);
    assert!(matches!(FileStore::open(&world.directory), Err(FileError::InUse)));
    world.wait_for_begun(2).await;
    world.ears.kept.lock().unwrap().take();
    drop(kept);
    world.ears.kept.lock().unwrap().take();
    world.reopen().await;
}
