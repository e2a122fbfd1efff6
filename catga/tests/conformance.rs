//! The backends that need no server keep the promises.

use std::sync::Arc;

use catga::{
    conformance,
    store::{
        Durability, EventStore, FileError, FileStore, InMemoryTransport, KvStore, MemoryKvStore,
        MemoryStore,
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn memory_store() {
    conformance::event_store(Arc::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_kv() {
    conformance::kv_store(Arc::new(MemoryKvStore::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory_transport() {
    let store = Arc::new(MemoryStore::new());
    conformance::transport(store.clone(), Arc::new(InMemoryTransport::new(store))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_store() {
    let directory = tempfile::tempdir().unwrap();
    conformance::event_store(Arc::new(FileStore::open(&directory).unwrap())).await;
    let verified = FileStore::verify(&directory).unwrap();
    assert!(verified.is_closed && verified.commits > 800 && verified.torn_bytes == 0);
    let again = FileStore::open(&directory).unwrap();
    assert_eq!(again.head().await.unwrap(), verified.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn file_kv() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::open(&directory).unwrap());
    conformance::kv_store(store.clone()).await;
    let revision = store.put("kept", "1".into(), 0, None).await.unwrap().unwrap();
    drop(store);
    let again = FileStore::open(&directory).unwrap();
    let entry = again.get("kept").await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.revision), (&b"1"[..], revision));
    assert_eq!(again.get("k").await.unwrap().unwrap().value, "3");
    assert!(again.delete("kept", revision).await.unwrap());
    drop(again);
    let again = FileStore::open(&directory).unwrap();
    let next = again.put("kept", "2".into(), 0, None).await.unwrap().unwrap();
    assert!(next > revision, "a revision never comes back, not after a restart either");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory_transport_over_files() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::open(&directory).unwrap());
    conformance::transport(store.clone(), Arc::new(InMemoryTransport::new(store))).await;
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
