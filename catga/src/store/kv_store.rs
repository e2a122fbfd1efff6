//! Values under keys, beside the log: checkpoints, leases, membership and snapshots.

use std::time::Duration;

use bytes::Bytes;

use crate::{log::StoreError, store::BoxFuture};

/// A small store of values under keys with compare-and-set: for checkpoints, and later leases,
/// membership and snapshots. It lives in the same backend as the log.
pub trait KvStore: Send + Sync + 'static {
    /// The value under `key`, or `None`.
    ///
    /// # Errors
    /// [`StoreError`] when the store can't be read.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<KvEntry>, StoreError>>;

    /// Puts `value` under `key` if the key's revision is `expected`, where 0 means that there must
    /// be no value; it is gone after `ttl`. Answers the new revision, or `None` when the revision
    /// was another one and nothing was written.
    ///
    /// # Errors
    /// [`StoreError`] when the store can't be written.
    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: u64,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Option<u64>, StoreError>>;

    /// Deletes `key` if its revision is `expected`. Answers whether it did.
    ///
    /// # Errors
    /// [`StoreError`] when the store can't be written.
    fn delete<'a>(&'a self, key: &'a str, expected: u64)
    -> BoxFuture<'a, Result<bool, StoreError>>;
}

/// A value in a [`KvStore`] store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvEntry {
    /// The value.
    pub value: Bytes,
    /// Rises with every write of the key; never 0.
    pub revision: u64,
}
