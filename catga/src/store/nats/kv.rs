//! The values beside the log, in a key-value bucket of JetStream.

use std::{fmt::Write as _, time::Duration};

use async_nats::{HeaderMap, jetstream::message::StreamMessage};
use bytes::Bytes;

use super::{
    publication::{After, NotPublished, Publication},
    topic::Topic,
};
use crate::{
    log::{Clock, StoreError},
    store::KvEntry,
};

/// When a value is gone by itself, in microseconds since 1970. Old servers have no time to live for a key.
const ENDS: &str = "Catga-Ends";

/// Says that the value was deleted, as the key-value stores of NATS do.
const OPERATION: &str = "KV-Operation";

/// The values, each the last message of a subject.
pub(super) struct KvBucket {
    topic: Topic,
    bucket: String,
}

impl KvBucket {
    pub(super) async fn get(&self, key: &str) -> Result<Option<KvEntry>, StoreError> {
        Ok(self.last(key).await?.entry)
    }

    pub(super) async fn put(
        &self,
        key: &str,
        value: Bytes,
        expected: u64,
        ttl: Option<Duration>,
    ) -> Result<Option<u64>, StoreError> {
        let mut headers = HeaderMap::new();
        if let Some(ttl) = ttl {
            let ttl = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
            let ends = Clock::system().now().as_micros().saturating_add(ttl);
            headers.insert(ENDS, ends.to_string());
        }
        self.replace(key, value, headers, expected).await
    }

    pub(super) async fn delete(&self, key: &str, expected: u64) -> Result<bool, StoreError> {
        let mut headers = HeaderMap::new();
        headers.insert(OPERATION, "DEL");
        Ok(expected > 0 && self.replace(key, Bytes::new(), headers, expected).await?.is_some())
    }

    pub(super) fn new(topic: Topic, bucket: String) -> Self {
        Self { topic, bucket }
    }

    /// The key's subject. What can't be in a token of one is written as `=` and two hex digits.
    fn subject(&self, key: &str) -> String {
        let mut subject = format!("$KV.{}.", self.bucket);
        for byte in key.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'/' => {
                    subject.push(byte.into());
                }
                _ => write!(subject, "={byte:02X}").expect("a String takes everything"),
            }
        }
        subject
    }

    async fn last(&self, key: &str) -> Result<Last, StoreError> {
        Ok(match self.topic.last(&self.subject(key)).await? {
            Some(message) => Last { sequence: message.sequence, entry: entry(message) },
            None => Last { sequence: 0, entry: None },
        })
    }

    /// Publishes what replaces the value, if the key's revision is `expected`. Answers the new revision.
    async fn replace(
        &self,
        key: &str,
        value: Bytes,
        headers: HeaderMap,
        expected: u64,
    ) -> Result<Option<u64>, StoreError> {
        let last = self.last(key).await?;
        if last.entry.map_or(0, |entry| entry.revision) != expected {
            return Ok(None);
        }
        let message = Publication {
            subject: self.subject(key),
            headers,
            payload: value,
            after: After::OnSubject(last.sequence),
        };
        match self.topic.publish(message).await {
            Ok(revision) => Ok(Some(revision)),
            Err(NotPublished::Conflict) => Ok(None),
            Err(NotPublished::Refused(error) | NotPublished::Unknown(error)) => Err(error),
        }
    }
}

/// The last message of a key, and the value in it that is still there.
struct Last {
    sequence: u64,
    entry: Option<KvEntry>,
}

fn entry(message: StreamMessage) -> Option<KvEntry> {
    let header = |name| message.headers.get(name).map(async_nats::HeaderValue::as_str);
    let is_over = header(ENDS)
        .and_then(|ends| ends.parse::<i64>().ok())
        .is_some_and(|ends| ends <= Clock::system().now().as_micros());
    let is_there = header(OPERATION).is_none() && !is_over;
    is_there.then_some(KvEntry { revision: message.sequence, value: message.payload })
}
