//! Copying a log to another store.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex},
};

use catga::{
    log::{Commit, Position, Record, StreamId},
    migrate::{CopyError, CopyStep, copy},
    prelude::*,
    store::{Append, Backend, EventStore, FileStore, KvStore, MemoryKvStore, MemoryStore},
    testing::{self, Fault, ScriptedStore},
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "Noted", version = 1)]
struct Noted {
    note: u64,
}

#[derive(Debug, Clone, Event)]
enum NoteEvent {
    Noted(Noted),
}

#[derive(Debug, Clone, Default)]
struct Notes(Vec<u64>);

impl Aggregate for Notes {
    type Event = NoteEvent;
    const NAME: &'static str = "notes";

    fn apply(&mut self, NoteEvent::Noted(noted): NoteEvent) {
        self.0.push(noted.note);
    }
}

/// Notes `note` as often as `times` says, in one commit.
#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "notes.note")]
struct Note {
    #[key]
    notes: String,
    note: u64,
    times: usize,
}

#[command_handler]
fn note(note: Note, notes: &mut Root<Notes>) -> Result<usize, catga::Error> {
    for _ in 0..note.times {
        notes.record(Noted { note: note.note });
    }
    Ok(notes.0.len())
}

/// What the handler saw.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<Vec<u64>>>);

#[event_handler(name = "seer")]
async fn see(noted: Recorded<Noted>, seen: &State<Seen>) {
    seen.0.lock().unwrap().push(noted.note);
}

async fn start(store: Arc<dyn EventStore>, kv: Arc<dyn KvStore>) -> (Catga, Seen) {
    let seen = Seen::default();
    let builder = Catga::builder().backend(Backend::new(store, kv)).state(seen.clone());
    (builder.start().await.unwrap(), seen)
}

/// A store with 300 commits of 1 to 3 events in 7 streams, all of them seen by the handler.
async fn filled() -> (Arc<MemoryStore>, Arc<MemoryKvStore>) {
    let (store, kv) = (Arc::new(MemoryStore::new()), Arc::new(MemoryKvStore::new()));
    let (catga, seen) = start(store.clone(), kv.clone()).await;
    let mut events = 0;
    for n in 0..300_u64 {
        let times = usize::try_from(n % 3).unwrap() + 1;
        let note = Note { notes: (n % 7).to_string(), note: n, times };
        catga.send(note).id(format!("command-{n}")).await.unwrap();
        events += times;
    }
    while seen.0.lock().unwrap().len() < events {
        tokio::task::yield_now().await;
    }
    catga.shutdown().await;
    (store, kv)
}

async fn frames(store: &dyn EventStore) -> Vec<bytes::Bytes> {
    let records: Vec<Record> = store.read_log(0.into(), 10_000).await.unwrap();
    records.into_iter().map(|record| record.frame).collect()
}

#[tokio::test]
async fn a_copy_has_everything_and_its_handlers_go_on() {
    let (store, kv) = filled().await;
    let directory = tempfile::tempdir().unwrap();
    let target = Arc::new(FileStore::open(&directory).unwrap());
    let there = Backend::new(target.clone(), target.clone());
    let seen = RefCell::new(Vec::new());
    let copied = copy(&Backend::new(store.clone(), kv), &there, &["seer"], |progress| {
        assert_eq!(progress.end, 600);
        seen.borrow_mut().push((progress.step, progress.position));
    })
    .await
    .unwrap();
    assert_eq!((copied.written, copied.found, copied.checkpoints), (300, 0, 1));
    assert_eq!(frames(&*target).await, frames(&*store).await);
    let seen = seen.into_inner();
    assert!(
        seen.contains(&(CopyStep::Copy, 600.into()))
            && seen.contains(&(CopyStep::Verify, 600.into()))
    );

    let (catga, seen) = start(target.clone(), target.clone()).await;
    // The id of a command that was done before the move.
    let first = Note { notes: "3".to_owned(), note: 3, times: 1 };
    assert!(catga.send(first).id("command-3").outcome().await.unwrap().is_replay);
    catga.send(Note { notes: "3".to_owned(), note: 1_000, times: 1 }).await.unwrap();
    while seen.0.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    catga.shutdown().await;
    assert_eq!(*seen.0.lock().unwrap(), [1_000], "nothing is delivered again");
}

#[tokio::test]
async fn a_copy_that_was_interrupted_goes_on() {
    let (store, kv) = filled().await;
    let inner = Arc::new(MemoryStore::new());
    let target = Arc::new(ScriptedStore::new(inner.clone()));
    let here = Backend::new(store.clone(), kv);
    let there = Backend::new(target.clone(), Arc::new(MemoryKvStore::new()));
    let run = || copy(&here, &there, &["seer"], |_| {});
    for well in [20, 35] {
        target.script(std::iter::repeat_n(None, well).chain([Some(Fault::Refuse)]));
        let error = run().await.unwrap_err();
        assert!(matches!(error, CopyError::Target(_)), "{error}");
    }
    let copied = run().await.unwrap();
    assert_eq!(copied.written + copied.found, 300);
    assert!(copied.found >= 40, "{copied:?}");
    assert_eq!(frames(&*inner).await, frames(&*store).await);
    let again = run().await.unwrap();
    assert_eq!((again.written, again.found), (0, 300), "a finished copy is only compared");
}

#[tokio::test]
async fn a_target_with_something_else_is_refused_and_left_alone() {
    let (store, kv) = filled().await;
    let (other, _) = filled().await;
    let (here, values) = (Backend::new(store.clone(), kv), Arc::new(MemoryKvStore::new()));
    let differs = |target: Arc<MemoryStore>| {
        let (here, there) = (&here, Backend::new(target.clone(), values.clone()));
        async move {
            let before = frames(&*target).await;
            let copied = copy(here, &there, &["seer"], |_| {}).await;
            assert_eq!(frames(&*target).await, before, "nothing is written");
            match copied {
                Err(CopyError::Differs(position)) => position,
                outcome => panic!("{outcome:?}"),
            }
        }
    };
    assert_eq!(differs(other.clone()).await, 1, "another log of the same streams");
    let longer = Arc::new(MemoryStore::new());
    for record in store.read_log(0.into(), 1_000).await.unwrap() {
        testing::append(&*longer, &record.commit().unwrap(), 0).await.unwrap();
    }
    let one_more: Position = 601.into();
    // A commit of a stream that is not there.
    let record = other.read_log(0.into(), 1).await.unwrap().remove(0);
    let foreign = Commit { stream: "notes/more", ..record.commit().unwrap() };
    testing::append(&*longer, &foreign, 0).await.unwrap();
    assert_eq!(differs(longer).await, one_more, "the target has more than the source");
}

#[tokio::test]
async fn damage_in_the_source_stops_the_copy() {
    let (store, kv) = filled().await;
    let damaged = MemoryStore::new();
    for record in store.read_log(0.into(), 10).await.unwrap() {
        testing::append(&damaged, &record.commit().unwrap(), 0).await.unwrap();
    }
    let frame = bytes::Bytes::from_static(b"\x01no commit");
    let stream = StreamId::new("notes", "bad").unwrap();
    damaged
        .append(Append { stream: &stream, version: 0.into(), token: 0, events: 1, frame })
        .await
        .unwrap();
    let here = Backend::new(Arc::new(damaged), kv);
    let error = copy(&here, &Backend::memory(), &[], |_| {}).await.unwrap_err();
    assert!(matches!(error, CopyError::Frame(..)), "{error}");
}
