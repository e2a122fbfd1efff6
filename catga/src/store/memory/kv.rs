//! A [`KvStore`] in memory.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    log::StoreError,
    store::{BoxFuture, KvEntry, KvStore},
};

/// A [`KvStore`] in memory, gone with the process.
#[derive(Debug, Default)]
pub struct MemoryKvStore {
    values: Mutex<Values>,
}

#[derive(Debug, Default)]
struct Values {
    /// The last revision given out; shared by all keys, so that a key deleted and made again never
    /// has an old revision.
    revision: u64,
    by_key: HashMap<String, (KvEntry, Option<Instant>)>,
}

impl MemoryKvStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The values, without `key` if its time is over.
    fn values(&self, key: &str) -> MutexGuard<'_, Values> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over =
            matches!(values.by_key.get(key), Some((_, Some(end))) if *end <= Instant::now());
        if is_over {
            values.by_key.remove(key);
        }
        values
    }
}

impl Values {
    fn revision_of(&self, key: &str) -> u64 {
        self.by_key.get(key).map_or(0, |(entry, _)| entry.revision)
    }
}

impl KvStore for MemoryKvStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<KvEntry>, StoreError>> {
        Box::pin(
            async move { Ok(self.values(key).by_key.get(key).map(|(entry, _)| entry.clone())) },
        )
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: u64,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Option<u64>, StoreError>> {
        Box::pin(async move {
            let mut values = self.values(key);
            if values.revision_of(key) != expected {
                return Ok(None);
            }
            values.revision += 1;
            let revision = values.revision;
            let end = ttl.map(|ttl| Instant::now() + ttl);
            values.by_key.insert(key.to_owned(), (KvEntry { value, revision }, end));
            Ok(Some(revision))
        })
    }

    fn delete<'a>(
        &'a self,
        key: &'a str,
        expected: u64,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let mut values = self.values(key);
            let is_there = expected != 0 && values.revision_of(key) == expected;
            if is_there {
                values.by_key.remove(key);
            }
            Ok(is_there)
        })
    }
}
