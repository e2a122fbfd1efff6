//! A store of one's own: here one that counts the bytes that another store is given.
//!
//! Run it with `cargo run -p catga --example custom_store`.
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use catga::{
    conformance::{self, Promise, Stores},
    log::{LogId, Position, Record, StreamId, Version},
    store::{
        Append, AppendError, Appended, BoxFuture, DurabilityReport, EventStore, MemoryKvStore,
        MemoryStore, StoreError,
    },
};

/// Any store, with a count of the bytes that were appended.
#[derive(Debug, Default)]
struct Metered<S> {
    store: S,
    bytes: AtomicUsize,
}

impl<S: EventStore> EventStore for Metered<S> {
    fn log_id(&self) -> LogId {
        self.store.log_id()
    }

    fn check(&self) -> Result<(), StoreError> {
        self.store.check()
    }

    fn append<'a>(&'a self, append: Append<'a>) -> BoxFuture<'a, Result<Appended, AppendError>> {
        Box::pin(async move {
            let bytes = append.frame.len();
            let appended = self.store.append(append).await?;
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            Ok(appended)
        })
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        from: Version,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        self.store.read_stream(stream, from, limit)
    }

    fn read_log(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.store.read_log(after, limit)
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.store.head()
    }

    fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.wait(after)
    }

    fn durability(&self) -> BoxFuture<'_, Result<DurabilityReport, StoreError>> {
        self.store.durability()
    }
}

#[tokio::main]
async fn main() {
    let store = Arc::new(Metered::<MemoryStore>::default());
    let stores = Stores::new(store.clone(), Arc::new(MemoryKvStore::new()));
    // The rules of one promise. A test of a store runs all of them, with `conformance::backend`.
    let rules = conformance::rules().filter(|rule| rule.promise == Promise::Atomic);
    let broken = conformance::check(rules, async || stores.clone()).await;
    assert!(broken.is_empty(), "{broken:?}");
    assert!(store.bytes.load(Ordering::Relaxed) > 0);
}
