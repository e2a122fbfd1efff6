//! Values in memory that are right, or wrong in one way.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use catga::store::{BoxFuture, KvEntry, KvStore, StoreError};
use tokio::{task::yield_now, time::Instant};

/// What the values do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    ChecksThenPuts,
    CutsLargeValues,
    DeletesAtAnyRevision,
    ForgetsSnapshots,
    IgnoresTimesToLive,
    KeepsTheFirstTimeToLive,
    LosesValuesAtAStart,
    PutsOverAnyRevision,
    ReusesRevisions,
    TakesCaseForNothing,
}

#[derive(Debug, Default)]
struct Inner {
    revision: u64,
    by_key: HashMap<String, (KvEntry, Option<Instant>)>,
}

/// What all handles share.
#[derive(Debug, Default)]
pub(crate) struct Values(Mutex<Inner>);

/// A handle on the values.
pub(crate) struct PlantedValues {
    values: Arc<Values>,
    wrong: Option<Wrong>,
}

impl PlantedValues {
    /// A handle on `values`, which is the first one when `is_start`.
    pub(crate) fn open(values: &Arc<Values>, wrong: Option<Wrong>, is_start: bool) -> Self {
        if is_start && wrong == Some(Wrong::LosesValuesAtAStart) {
            values.0.lock().unwrap().by_key.clear();
        }
        Self { values: values.clone(), wrong }
    }

    fn is(&self, wrong: Wrong) -> bool {
        self.wrong == Some(wrong)
    }

    fn key(&self, key: &str) -> String {
        match self.is(Wrong::TakesCaseForNothing) {
            true => key.to_ascii_lowercase(),
            false => key.to_owned(),
        }
    }

    /// What is under `key`, and until when.
    fn found(&self, key: &str) -> Option<(KvEntry, Option<Instant>)> {
        let mut inner = self.values.0.lock().unwrap();
        let is_over =
            |(_, end): &(KvEntry, Option<Instant>)| end.is_some_and(|e| e <= Instant::now());
        if !self.is(Wrong::IgnoresTimesToLive) && inner.by_key.get(key).is_some_and(is_over) {
            inner.by_key.remove(key);
        }
        inner.by_key.get(key).cloned()
    }
}

impl KvStore for PlantedValues {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<KvEntry>, StoreError>> {
        Box::pin(async move { Ok(self.found(&self.key(key)).map(|(entry, _)| entry)) })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: u64,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Option<u64>, StoreError>> {
        Box::pin(async move {
            let is_forgotten = self.is(Wrong::ForgetsSnapshots) && key.starts_with("snapshot/");
            let key = self.key(key);
            let found = self.found(&key);
            let revision = found.as_ref().map_or(0, |(entry, _)| entry.revision);
            if revision != expected && !self.is(Wrong::PutsOverAnyRevision) {
                return Ok(None);
            }
            if self.is(Wrong::ChecksThenPuts) {
                yield_now().await;
            }
            let mut inner = self.values.0.lock().unwrap();
            inner.revision += 1;
            let next = match self.is(Wrong::ReusesRevisions) {
                true => revision + 1,
                false => inner.revision,
            };
            let mut end = ttl.map(|ttl| Instant::now() + ttl);
            if self.is(Wrong::KeepsTheFirstTimeToLive) {
                end = found.and_then(|(_, end)| end).or(end);
            }
            let value = match self.is(Wrong::CutsLargeValues) && value.len() > 64 << 10 {
                true => value.slice(..64 << 10),
                false => value,
            };
            if !is_forgotten {
                inner.by_key.insert(key, (KvEntry { value, revision: next }, end));
            }
            Ok(Some(next))
        })
    }

    fn delete<'a>(
        &'a self,
        key: &'a str,
        expected: u64,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let key = self.key(key);
            let Some((entry, _)) = self.found(&key) else { return Ok(false) };
            if entry.revision != expected && !self.is(Wrong::DeletesAtAnyRevision) {
                return Ok(false);
            }
            Ok(self.values.0.lock().unwrap().by_key.remove(&key).is_some())
        })
    }
}
