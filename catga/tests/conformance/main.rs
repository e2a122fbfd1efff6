//! P10 the same everywhere, for the backends that need no server; and the suite tried on stores that are wrong.

mod planted;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use catga::{
    conformance::{self, Fixture, Stores},
    store::{
        BoxFuture, Durability, EventStore, FileError, FileStore, InMemoryTransport, KvStore,
        MemoryKvStore, MemoryStore,
    },
};
use tempfile::TempDir;

fn in_memory() -> Stores {
    Stores::new(Arc::new(MemoryStore::new()), Arc::new(MemoryKvStore::new()))
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_memory_keeps_every_promise() {
    conformance::backend(async || in_memory()).await;
}

/// A log in files. A directory has one user, so all who have it open share the store.
struct Directory {
    path: TempDir,
    open: Mutex<Weak<FileStore>>,
}

impl Directory {
    fn new() -> Self {
        Self { path: tempfile::tempdir().unwrap(), open: Mutex::default() }
    }
}

impl Fixture for Directory {
    fn open(&self) -> BoxFuture<'_, Stores> {
        Box::pin(async {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let store = open.upgrade().unwrap_or_else(|| {
                let store = Arc::new(FileStore::open(&self.path).unwrap());
                *open = Arc::downgrade(&store);
                store
            });
            Stores::new(store.clone(), store)
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_files_keep_every_promise() {
    conformance::backend(async || Directory::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_backend_is_tried_by_itself() {
    let Stores { store, kv, .. } = in_memory();
    conformance::event_store(store).await;
    conformance::kv_store(kv).await;
    let store = in_memory().store;
    conformance::transport(store.clone(), Arc::new(InMemoryTransport::new(store))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_files_is_whole_after_every_rule() {
    let directory = tempfile::tempdir().unwrap();
    conformance::event_store(Arc::new(FileStore::open(&directory).unwrap())).await;
    let verified = FileStore::verify(&directory).unwrap();
    assert!(verified.is_closed && verified.commits > 800 && verified.torn_bytes == 0);
    let again = FileStore::open(&directory).unwrap();
    assert_eq!(again.head().await.unwrap(), verified.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_in_files_are_there_after_every_rule() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::open(&directory).unwrap());
    conformance::kv_store(store.clone()).await;
    let revision = store.put("kept", "1".into(), 0, None).await.unwrap().unwrap();
    drop(store);
    let again = FileStore::open(&directory).unwrap();
    let entry = again.get("kept").await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.revision), (&b"1"[..], revision));
    assert_eq!(again.get("swap").await.unwrap().unwrap().value, "2");
    assert!(again.delete("kept", revision).await.unwrap());
    drop(again);
    let again = FileStore::open(&directory).unwrap();
    let next = again.put("kept", "2".into(), 0, None).await.unwrap().unwrap();
    assert!(next > revision, "a revision never comes back, not after a restart either");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_has_one_user() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(FileStore::verify(&directory), Err(FileError::NoLog)));
    let store = FileStore::open(&directory).unwrap();
    assert!(matches!(FileStore::open(&directory), Err(FileError::InUse)));
    assert!(matches!(FileStore::verify(&directory), Err(FileError::InUse)));
    drop(store);
    FileStore::open(&directory).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_in_memory_promises_less() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let report = FileStore::open(&directory).unwrap().durability().await.unwrap();
    assert_eq!(report.level, Durability::ProcessCrash);
    assert!(
        report.settings.contains(&("file system", "tmpfs".to_owned())) && report.advice.is_some()
    );
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let report = FileStore::open(&directory).unwrap().durability().await.unwrap();
    assert_eq!(
        (report.level, report.advice),
        (Durability::PowerLoss, None),
        "{:?}",
        report.settings
    );
}
