//! The certain end of a log that several servers keep (Raft, §6.4).
//!
//! A leader that was cut off from the other servers does not know it for a while, and answers questions with what it has. But
//! it can't store anything, as that takes most of the servers. So who has to know the log's end stores a message that says
//! nothing, a *barrier*: all that was acknowledged before is before it in the stream. A barrier ends by itself
//! ([`STAYS`]) and leaves a gap in the sequences; commits never do.

use std::{sync::Mutex, time::Duration};

use async_nats::{HeaderMap, header};
use bytes::Bytes;
use tokio::time::Instant;

use super::{
    options::REQUEST_TIMEOUT,
    publication::{After, NotPublished, Publication, locked},
    server::barrier_subject,
    topic::Topic,
};
use crate::log::StoreError;

/// How long a barrier stays in the stream. Who follows the log sees it go by; nobody needs it later.
const STAYS: Duration = Duration::from_secs(60);

/// Another server is tried when no barrier was stored for so long: an election takes less.
const STUCK: Duration = REQUEST_TIMEOUT.saturating_mul(3);

/// How long a stream has to be gone before it is taken for deleted: servers that begin may not know of it yet.
const GONE_FOR: Duration = Duration::from_secs(30);

/// What is in a stream that has barriers.
#[derive(Debug)]
pub(super) struct Barriers {
    /// The subjects of the commits.
    pub(super) commits: String,
    /// The subject of the barriers.
    pub(super) subject: String,
    /// Whether there are other servers to connect to.
    pub(super) has_others: bool,
    /// Since when no barrier was stored, if none is.
    failing: Mutex<Option<Instant>>,
    /// Since when the stream is gone, if it is.
    gone: Mutex<Option<Instant>>,
}

impl Barriers {
    pub(super) fn new(prefix: &str, has_others: bool) -> Self {
        let (commits, subject) = (format!("{prefix}.*.*"), barrier_subject(prefix));
        let (failing, gone) = Default::default();
        Self { commits, subject, has_others, failing, gone }
    }

    /// Takes in whether the server knows of the stream. Answers whether that is gone for good.
    pub(super) fn is_gone_for_good(&self, is_there: bool) -> bool {
        is_for_long(&self.gone, !is_there, GONE_FOR)
    }

    /// The sequence of the last commit, 0 when there is none, as the leader knows it.
    pub(super) async fn last_commit(&self, topic: &Topic) -> Result<u64, StoreError> {
        Ok(topic.last(&self.commits).await?.map_or(0, |last| last.sequence))
    }

    /// Stores a barrier in the stream of `topic`. Answers its sequence.
    ///
    /// # Errors
    /// When most of the servers can't be reached.
    pub(super) async fn store(&self, topic: &Topic) -> Result<u64, StoreError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_MESSAGE_TTL, STAYS.as_secs().to_string());
        let barrier = Publication {
            subject: self.subject.clone(),
            headers,
            payload: Bytes::new(),
            after: After::Any,
        };
        match topic.publish(barrier).await {
            Ok(sequence) => {
                is_for_long(&self.failing, false, STUCK);
                Ok(sequence)
            }
            Err(error) => {
                self.leave_server(topic).await;
                Err(match error {
                    NotPublished::Refused(error) | NotPublished::Unknown(error) => error,
                    NotPublished::Conflict => StoreError::unavailable("NATS takes no barrier"),
                })
            }
        }
    }

    /// Connects to another server when this one seems to be cut off from the others: its connection is as good as ever.
    async fn leave_server(&self, topic: &Topic) {
        let is_connected = topic.is_connected();
        if is_for_long(&self.failing, is_connected, STUCK) && self.has_others {
            is_for_long(&self.failing, false, STUCK);
            tracing::warn!("the server of NATS stores nothing: another one is tried");
            topic.reconnect().await;
        }
    }
}

/// Takes in whether something is so now. Answers whether it has been for `long`.
fn is_for_long(since: &Mutex<Option<Instant>>, is_so: bool, long: Duration) -> bool {
    let mut since = locked(since);
    if !is_so {
        *since = None;
        return false;
    }
    since.get_or_insert_with(Instant::now).elapsed() >= long
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_so_for_long_is_told_from_what_comes_and_goes() {
        let (since, long) = (Mutex::new(None), Duration::from_secs(9));
        for _ in 0..100 {
            assert!(!is_for_long(&since, true, long), "many at once are not long");
        }
        advance(long / 2).await;
        assert!(!is_for_long(&since, true, long));
        assert!(!is_for_long(&since, false, long));
        advance(long).await;
        assert!(!is_for_long(&since, true, long), "it begins anew");
        advance(long).await;
        assert!(is_for_long(&since, true, long));
    }
}
