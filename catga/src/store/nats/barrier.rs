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
    commits: String,
    /// The subject of the barriers.
    subject: String,
    /// Whether there are other servers to connect to.
    has_others: bool,
    /// Since when no barrier was stored, if none is.
    failing: Since,
    /// Since when the stream is gone, if it is.
    gone: Since,
}

impl Barriers {
    pub(super) fn new(prefix: &str, has_others: bool) -> Self {
        let (commits, subject) = (format!("{prefix}.*.*"), barrier_subject(prefix));
        let (failing, gone) = Default::default();
        Self { commits, subject, has_others, failing, gone }
    }

    /// Takes in whether the server knows of the stream. Answers whether that is gone for good.
    pub(super) fn is_gone_for_good(&self, is_there: bool) -> bool {
        if is_there {
            self.gone.end();
        }
        !is_there && self.gone.lasts(GONE_FOR)
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
                self.failing.end();
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
        if !topic.is_connected() {
            self.failing.end();
        } else if self.failing.lasts(STUCK) && self.has_others {
            self.failing.end();
            tracing::warn!("the server of NATS stores nothing: another one is tried");
            topic.reconnect().await;
        }
    }
}

/// Since when something goes on, if it does.
#[derive(Debug, Default)]
struct Since(Mutex<Option<Instant>>);

impl Since {
    /// Takes in that it goes on. Answers whether it has for `long`.
    fn lasts(&self, long: Duration) -> bool {
        locked(&self.0).get_or_insert_with(Instant::now).elapsed() >= long
    }

    fn end(&self) {
        *locked(&self.0) = None;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_so_for_long_is_told_from_what_comes_and_goes() {
        let (since, long) = (Since::default(), Duration::from_secs(9));
        for _ in 0..100 {
            assert!(!since.lasts(long), "many at once are not long");
        }
        advance(long / 2).await;
        assert!(!since.lasts(long));
        since.end();
        advance(long).await;
        assert!(!since.lasts(long), "it begins anew");
        advance(long).await;
        assert!(since.lasts(long));
    }
}
