//! Following the log: one task of the store's own waits at the server, and everybody else on what it has seen.

use std::{convert::Infallible, sync::Arc, time::Duration};

use redis::{Cmd, Pipeline, RedisResult, Value, aio::MultiplexedConnection};
use tokio::time::sleep;

use super::{
    keys::Keys,
    link::{Link, RECONNECT, RESPONSE_TIMEOUT, explain},
    stored::{array, log_entry},
};
use crate::{
    log::{LogId, Position, Record},
    store::{
        Backoff,
        seen_head::{Seen, SeenHead},
    },
};

/// How long the task waits at the server before it looks whether the log is still the same one.
const BLOCK: Duration = Duration::from_secs(1);

/// What this process has seen of the log, and the checksum of the commit that ends there.
pub(super) type Head = SeenHead<u32>;

impl Head {
    /// Takes in that the log reaches up to `end`, where this commit ends, everything below included.
    pub(super) fn rise_to_commit(&self, end: Position, commit: &Record) {
        self.rise_to(end, || checksum(commit));
    }
}

fn checksum(commit: &Record) -> u32 {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&commit.position.get().to_be_bytes());
    checksum.update(&commit.frame);
    checksum.finalize()
}

/// What is followed.
#[derive(Clone)]
pub(super) struct Follower {
    pub(super) link: Arc<Link>,
    pub(super) keys: Arc<Keys>,
    pub(super) head: Arc<Head>,
    pub(super) id: LogId,
}

/// A time without a connection.
struct FollowerOutage {
    backoff: Backoff,
    /// What was seen when it began.
    seen: Seen<u32>,
}

impl Follower {
    /// Follows the log for as long as the store is open, over every outage of the server.
    pub(super) async fn run(self) {
        let mut outage: Option<FollowerOutage> = None;
        loop {
            let Err(error) = self.follow_connected(&mut outage).await;
            let outage = outage.get_or_insert_with(|| {
                tracing::warn!(reason = explain(&error), %error, "Redis can't be followed");
                let backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
                FollowerOutage { backoff, seen: self.head.now() }
            });
            sleep(outage.backoff.next_delay()).await;
        }
    }

    async fn follow_connected(
        &self,
        outage: &mut Option<FollowerOutage>,
    ) -> RedisResult<Infallible> {
        let Self { link, keys, head, id } = self;
        let mut connection = link.connect(BLOCK + RESPONSE_TIMEOUT).await?;
        if let Some(seen) = outage.as_ref().map(|outage| outage.seen).filter(|seen| seen.head > 0) {
            // Whoever was first after a crash may have filled the lost positions with other events.
            let entries: Value = Cmd::xrange(&keys.log, entry_id(seen.head), entry_id(seen.head))
                .query_async(&mut connection)
                .await?;
            let found = only_commit(entries).map(|(_, commit)| checksum(&commit));
            if found != Some(seen.mark) && is_master(&mut connection).await? {
                head.lose("the last commit that was seen is not there");
            }
        }
        loop {
            // What was seen before the server is asked can't be more than it has, if it lost nothing.
            let floor = head.position();
            let answer = next(keys, floor).query_async(&mut connection).await?;
            let (_, last, found): (Value, Value, Option<String>) = answer;
            if outage.take().is_some() {
                tracing::info!("Redis is followed again");
            }
            let is_other = found.as_deref() != Some(&*id.to_string());
            match only_commit(last) {
                Some((end, commit)) if end >= floor && !is_other => {
                    head.rise_to_commit(end, &commit);
                }
                None if floor == 0 && !is_other => {}
                _ if !is_master(&mut connection).await? => {}
                _ if is_other => head.lose("it has another id"),
                _ => head.lose("it ends before what was seen"),
            }
        }
    }
}

/// Waits for an event above `floor`, and asks for the last commit, which may be a later one, and for the log's id.
fn next(keys: &Keys, floor: Position) -> Pipeline {
    let mut commands = redis::pipe();
    commands.cmd("XREAD").arg("BLOCK").arg(BLOCK.as_millis()).arg("COUNT").arg(1);
    commands.arg("STREAMS").arg(&keys.log).arg(entry_id(floor));
    commands.cmd("XREVRANGE").arg(&keys.log).arg("+").arg("-").arg("COUNT").arg(1);
    commands.cmd("GET").arg(&keys.id);
    commands
}

fn entry_id(position: Position) -> String {
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
