//! Values under keys, beside the log.

use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use super::{
    RedisStore,
    stored::{split_number, unreadable},
};
use crate::{
    log::StoreError,
    store::{BoxFuture, KvEntry, KvStore},
};

impl KvStore for RedisStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<KvEntry>, StoreError>> {
        Box::pin(async move {
            let key = self.keys.value(key);
            match self.ask(redis::cmd("GET").arg(key)).await? {
                Value::Nil => Ok(None),
                value => {
                    let (revision, value) = split_number(value)?;
                    Ok(Some(KvEntry { value, revision }))
                }
            }
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: u64,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Option<u64>, StoreError>> {
        Box::pin(async move {
            // A value that lives for less than a millisecond is still a value; 0 is for ever.
            let milliseconds = ttl.map_or(0, |ttl| ttl.as_millis().max(1));
            let mut call = self.scripts.put.prepare_invoke();
            call.key(self.keys.value(key)).key(&self.keys.revision).key(&self.keys.id);
            call.arg(expected).arg(&value[..]).arg(milliseconds.to_string());
            call.arg(self.id.to_string());
            match self.run(&call).await? {
                Value::Int(0) => Ok(None),
                Value::Int(-1) => Err(self.lose()),
                Value::Int(revision) => Ok(Some(revision.try_into().map_err(|_| unreadable())?)),
                _ => Err(unreadable()),
            }
        })
    }

    fn delete<'a>(
        &'a self,
        key: &'a str,
        expected: u64,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let mut call = self.scripts.delete.prepare_invoke();
            call.key(self.keys.value(key)).arg(expected);
            Ok(self.run(&call).await? == Value::Int(1))
        })
    }
}
