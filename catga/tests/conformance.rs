//! The in-memory backend keeps the promises.

use std::sync::Arc;

use catga::{InMemoryTransport, MemoryKeyed, MemoryStore, conformance};

#[tokio::test(flavor = "multi_thread")]
async fn memory_store() {
    conformance::event_store(Arc::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keyed() {
    conformance::keyed(Arc::new(MemoryKeyed::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory_transport() {
    let store = Arc::new(MemoryStore::new());
    conformance::transport(store.clone(), Arc::new(InMemoryTransport::new(store))).await;
}
