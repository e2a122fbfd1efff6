//! How far the log is: one task of the store's own waits at the server, and everybody else on it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use redis::{RedisResult, Value, aio::MultiplexedConnection};
use tokio::{sync::watch, time::sleep};

use super::{
    keys::Keys,
    link::{Link, RECONNECT, RESPONSE_TIMEOUT, explain},
};
use crate::{Position, StoreError, retry::Backoff};

/// How long the task waits at the server before it looks whether the log is still the same one.
const BLOCK: Duration = Duration::from_secs(1);

/// What this process has seen of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// The highest position that was read, or answered to an append.
    head: Position,
    /// Whether the server turned out to end before that.
    is_lost: bool,
}

/// The head of the log, as far as it was seen. It only rises.
pub(super) struct Head {
    seen: watch::Sender<Seen>,
}

impl Head {
    pub(super) fn new(head: Position) -> Self {
        Self { seen: watch::Sender::new(Seen { head, is_lost: false }) }
    }

    pub(super) fn position(&self) -> Position {
        self.seen.borrow().head
    }

    /// Takes in that the log reaches up to `position`, everything below included.
    pub(super) fn rise_to(&self, position: Position) {
        self.seen.send_if_modified(|seen| {
            let is_news = position > seen.head;
            seen.head = seen.head.max(position);
            is_news
        });
    }

    /// # Errors
    /// When the server lost the end of the log. It stays so: what this process holds in caches and read
    /// models is from a log that is gone, and only a new start reads it all again.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.seen.borrow().is_lost { Err(lost()) } else { Ok(()) }
    }

    /// Returns once there is an event above `after`.
    pub(super) async fn wait(&self, after: Position) -> Result<(), StoreError> {
        let mut seen = self.seen.subscribe();
        let reached = seen.wait_for(|seen| seen.head > after || seen.is_lost).await;
        if reached.expect("the sender is borrowed").is_lost { Err(lost()) } else { Ok(()) }
    }
}

fn lost() -> StoreError {
    StoreError::corrupt(
        "Redis lost the end of the log, or is another server now; start again to read it anew",
    )
}

/// Follows the log for as long as the store is open, over every outage of the server.
pub(super) async fn follow(link: Arc<Link>, keys: Arc<Keys>, head: Arc<Head>) {
    let mut outage: Option<Backoff> = None;
    loop {
        let Err(error) = follow_connected(&link, &keys, &head, &mut outage).await;
        let backoff = outage.get_or_insert_with(|| {
            tracing::warn!(reason = explain(&error), %error, "Redis can't be followed");
            Backoff::new(RECONNECT.0, RECONNECT.1)
        });
        sleep(backoff.next_delay()).await;
    }
}

async fn follow_connected(
    link: &Link,
    keys: &Keys,
    head: &Head,
    outage: &mut Option<Backoff>,
) -> RedisResult<Infallible> {
    let mut connection = link.connect(BLOCK + RESPONSE_TIMEOUT).await?;
    loop {
        // What was seen before the server is asked can't be more than it has, if it lost nothing.
        let floor = head.position();
        let (_, end): (Value, Option<Position>) = redis::pipe()
            .cmd("XREAD")
            .arg("BLOCK")
            .arg(BLOCK.as_millis())
            .arg("COUNT")
            .arg(1)
            .arg("STREAMS")
            .arg(&keys.log)
            .arg(format!("0-{floor}"))
            .cmd("GET")
            .arg(&keys.head)
            .query_async(&mut connection)
            .await?;
        if outage.take().is_some() {
            tracing::info!("Redis is followed again");
        }
        let end = end.unwrap_or(0);
        if end >= floor {
            head.rise_to(end);
        } else if is_master(&mut connection).await? && !head.seen.borrow().is_lost {
            tracing::error!(seen = floor, end, "Redis lost the end of the log");
            head.seen.send_modify(|seen| seen.is_lost = true);
        }
    }
}

/// Whether the server takes writes: a replica may lag behind what was seen and has lost nothing.
async fn is_master(connection: &mut MultiplexedConnection) -> RedisResult<bool> {
    let role: Vec<Value> = redis::cmd("ROLE").query_async(connection).await?;
    Ok(role.first() == Some(&Value::BulkString(b"master".to_vec())))
}
