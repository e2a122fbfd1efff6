//! How far the log is: one task of the store's own waits at the server, and everybody else on it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use redis::{Cmd, Pipeline, RedisResult, Value, aio::MultiplexedConnection};
use tokio::{sync::watch, time::sleep};

use super::{
    keys::Keys,
    link::{Link, RECONNECT, RESPONSE_TIMEOUT, explain},
    stored::{array, log_entry},
};
use crate::{
    log::{Position, Record, StoreError},
    store::Backoff,
};

/// How long the task waits at the server before it looks whether the log is still the same one.
const BLOCK: Duration = Duration::from_secs(1);

/// What this process has seen of the log.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// The highest position that was read, or answered to an append.
    head: Position,
    /// The checksum of the commit that ends there.
    checksum: u32,
    /// Whether the server turned out not to have it any more.
    is_lost: bool,
}

/// The head of the log, as far as it was seen. It only rises.
#[derive(Default)]
pub(super) struct Head {
    seen: watch::Sender<Seen>,
}

impl Head {
    pub(super) fn position(&self) -> Position {
        self.seen.borrow().head
    }

    /// Takes in that the log reaches up to `end`, where this commit ends, everything below included.
    pub(super) fn rise_to(&self, end: Position, commit: &Record) {
        self.seen.send_if_modified(|seen| {
            let is_news = end > seen.head;
            if is_news {
                *seen = Seen { head: end, checksum: checksum(commit), ..*seen };
            }
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

    fn lose(&self) {
        let is_news =
            self.seen.send_if_modified(|seen| !std::mem::replace(&mut seen.is_lost, true));
        if is_news {
            tracing::error!(seen = self.position().get(), "Redis lost the end of the log");
        }
    }
}

fn lost() -> StoreError {
    StoreError::corrupt(
        "Redis lost the end of the log, or is another server now; start again to read it anew",
    )
}

fn checksum(commit: &Record) -> u32 {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&commit.position.get().to_be_bytes());
    checksum.update(&commit.frame);
    checksum.finalize()
}

/// A time without a connection.
struct FollowerOutage {
    backoff: Backoff,
    /// What was seen when it began.
    seen: Seen,
}

/// Follows the log for as long as the store is open, over every outage of the server.
pub(super) async fn follow(link: Arc<Link>, keys: Arc<Keys>, head: Arc<Head>) {
    let mut outage: Option<FollowerOutage> = None;
    loop {
        let Err(error) = follow_connected(&link, &keys, &head, &mut outage).await;
        let outage = outage.get_or_insert_with(|| {
            tracing::warn!(reason = explain(&error), %error, "Redis can't be followed");
            let backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
            FollowerOutage { backoff, seen: *head.seen.borrow() }
        });
        sleep(outage.backoff.next_delay()).await;
    }
}

async fn follow_connected(
    link: &Link,
    keys: &Keys,
    head: &Head,
    outage: &mut Option<FollowerOutage>,
) -> RedisResult<Infallible> {
    let mut connection = link.connect(BLOCK + RESPONSE_TIMEOUT).await?;
    if let Some(seen) = outage.as_ref().map(|outage| outage.seen).filter(|seen| seen.head > 0) {
        // Whoever was first after a crash may have filled the lost positions with other events.
        let entries: Value = Cmd::xrange(&keys.log, id(seen.head), id(seen.head))
            .query_async(&mut connection)
            .await?;
        let found = only_commit(entries).map(|(_, commit)| checksum(&commit));
        if found != Some(seen.checksum) && is_master(&mut connection).await? {
            head.lose();
        }
    }
    loop {
        // What was seen before the server is asked can't be more than it has, if it lost nothing.
        let floor = head.position();
        let (_, last): (Value, Value) = next(keys, floor).query_async(&mut connection).await?;
        if outage.take().is_some() {
            tracing::info!("Redis is followed again");
        }
        match only_commit(last) {
            Some((end, commit)) if end >= floor => head.rise_to(end, &commit),
            None if floor == 0 => {}
            _ => {
                if is_master(&mut connection).await? {
                    head.lose();
                }
            }
        }
    }
}

/// Waits for an event above `floor`, and asks for the last commit, which may be a later one.
fn next(keys: &Keys, floor: Position) -> Pipeline {
    let mut commands = redis::pipe();
    commands.cmd("XREAD").arg("BLOCK").arg(BLOCK.as_millis()).arg("COUNT").arg(1);
    commands.arg("STREAMS").arg(&keys.log).arg(id(floor));
    commands.cmd("XREVRANGE").arg(&keys.log).arg("+").arg("-").arg("COUNT").arg(1);
    commands
}

fn id(position: Position) -> String {
    format!("0-{position}")
}

/// The commit in an answer that has one, and the position of its last event.
fn only_commit(entries: Value) -> Option<(Position, Record)> {
    log_entry(array(entries).ok()?.pop()?).ok()
}

/// Whether the server takes writes: a replica may lag behind what was seen and has lost nothing.
async fn is_master(connection: &mut MultiplexedConnection) -> RedisResult<bool> {
    let info: String = redis::cmd("INFO").arg("replication").query_async(connection).await?;
    Ok(info.contains("role:master"))
}
