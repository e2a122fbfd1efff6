//! A transport on a Redis server.
//!
//! All keys begin with `{prefix}`:
//!
//! | key | type | what |
//! |---|---|---|
//! | `…:topic:<partition>` | stream | an entry for each commit, with the id `0-<position of its last event>` |
//! | `…:topic` | integer | the position of the last event |
//!
//! An entry's only field, `c`, is eight bytes with the position of the commit's first event (big-endian), and the
//! [frame](crate::log::Commit). One script checks the end and adds a page of commits to all partitions, so who sees a
//! position sees all below it (P5).

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use redis::{RedisResult, Script, Value};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    OPEN_TIMEOUT, RedisOptions,
    link::{Link, RECONNECT, RESPONSE_TIMEOUT},
    stored::{array, log_entry, unreadable},
    watch,
};
use crate::{
    log::{Position, Record, StoreError},
    store::{
        Backoff, BoxFuture, Durability, PARTITIONS, TaskTrouble, Tasks, Transport, partition_of,
    },
};

/// How many commits of each partition are asked for at once. A commit can have a megabyte.
const PAGE: usize = 16;

/// How long the follower waits at the server.
const BLOCK: Duration = Duration::from_secs(1);

/// A topic on a Redis server.
///
/// It goes on by itself when the server was away. When the server lost the topic's end, the relay brings it
/// again.
pub struct RedisTransport {
    address: String,
    keys: Arc<TopicKeys>,
    link: Arc<Link>,
    publish: Script,
    /// The topic's last position, as far as it was seen.
    end: watch::Receiver<Position>,
    tasks: Tasks,
    /// Keeps `end` up to date. It ends with the transport.
    _follower: AbortOnDropHandle<()>,
    /// Sees to it that the server does not evict what is published. It ends with the transport.
    _watch: AbortOnDropHandle<()>,
}

struct TopicKeys {
    end: String,
    partitions: Vec<String>,
}

impl RedisTransport {
    /// Opens the topic on the server, which may be empty. It takes five seconds at most.
    ///
    /// # Errors
    /// [`StoreError`] when the server can't be reached, is too old, or could delete events by itself. The text
    /// does not show the address: [`RedisOptions::address`] is safe to.
    pub async fn connect(options: RedisOptions) -> Result<Self, StoreError> {
        timeout(OPEN_TIMEOUT, Self::open(&options))
            .await
            .unwrap_or_else(|_| Err(StoreError::unavailable("it did not answer in time")))
    }

    async fn open(options: &RedisOptions) -> Result<Self, StoreError> {
        options.check_prefix()?;
        // What a topic loses is brought again from the log: it must not be evicted, and need not be as durable.
        let link = Arc::new(Link::new(options.client()?, "redis topic", Durability::Memory.into()));
        link.open().await?;
        let end = format!("{{{}}}:topic", options.prefix);
        let partitions = (0..PARTITIONS).map(|partition| format!("{end}:{partition}")).collect();
        let keys = Arc::new(TopicKeys { end, partitions });
        let (sender, end) = watch::channel(Position::ZERO);
        let (link_of, keys_of, sender) = (link.clone(), keys.clone(), Arc::new(sender));
        let tasks = Tasks::default();
        let follower = tasks.spawn("follower of the topic on Redis", move || {
            follow(link_of.clone(), keys_of.clone(), sender.clone())
        });
        let watch = watch(&tasks, &link);
        Ok(Self {
            address: options.address(),
            keys,
            link,
            publish: Script::new(include_str!("publish.lua")),
            end,
            tasks,
            _follower: follower,
            _watch: watch,
        })
    }

    /// Deletes all that is in the topic: for a log that begins anew, because it is in memory.
    ///
    /// # Errors
    /// [`StoreError`] when the server can't be reached.
    pub async fn clear(&self) -> Result<(), StoreError> {
        let mut command = redis::cmd("DEL");
        command.arg(&self.keys.end).arg(&self.keys.partitions);
        let _: Value =
            self.link.call(|mut c| async move { command.query_async(&mut c).await }).await?;
        Ok(())
    }

    async fn read_now(&self, after: Position, limit: usize) -> Result<Vec<Record>, StoreError> {
        let page = limit.min(PAGE);
        let command = self.keys.read(after, page, None);
        let answer: Value =
            self.link.call(|mut c| async move { command.query_async(&mut c).await }).await?;
        if answer == Value::Nil {
            return Ok(Vec::new());
        }
        let mut commits = Vec::new();
        // Of a partition that has more than was asked for, what follows is not known.
        let mut known_to = Position::MAX;
        for partition in array(answer)? {
            let entries = array(partition)?.into_iter().nth(1).ok_or_else(unreadable)?;
            let entries = array(entries)?.into_iter().map(log_entry);
            let entries = entries.collect::<Result<Vec<_>, _>>()?;
            if let Some((end, _)) = entries.last().filter(|_| entries.len() == page) {
                known_to = known_to.min(*end);
            }
            commits.extend(entries);
        }
        commits.retain(|(end, _)| *end <= known_to);
        commits.sort_unstable_by_key(|(end, _)| *end);
        commits.truncate(limit);
        Ok(commits.into_iter().map(|(_, record)| record).collect())
    }

    async fn end_now(&self) -> Result<Position, StoreError> {
        let command = redis::Cmd::get(&self.keys.end);
        // Nothing is brought behind an end that the server may evict.
        let end: Option<u64> =
            self.link.write(|mut c| async move { command.query_async(&mut c).await }).await?;
        Ok(end.unwrap_or(0).into())
    }

    async fn publish_now(&self, after: Position, records: &[Record]) -> Result<bool, StoreError> {
        let mut call = self.publish.prepare_invoke();
        call.key(&self.keys.end).key(&self.keys.partitions).arg(after.get());
        for record in records {
            let commit = record.commit().map_err(StoreError::corrupt)?;
            let last = commit.last_position(record.position);
            let entry = [&record.position.get().to_be_bytes()[..], &record.frame[..]].concat();
            call.arg(partition_of(commit.stream)).arg(last.get()).arg(entry);
        }
        let answer: i64 =
            self.link.write(|mut c| async move { call.invoke_async(&mut c).await }).await?;
        Ok(answer == 1)
    }
}

impl TopicKeys {
    /// Reads what follows `after` in all partitions, at most `page` commits of each.
    fn read(&self, after: Position, page: usize, block: Option<Duration>) -> redis::Cmd {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(page);
        if let Some(block) = block {
            command.arg("BLOCK").arg(block.as_millis());
        }
        command.arg("STREAMS").arg(&self.partitions);
        command.arg(vec![format!("0-{after}"); self.partitions.len()]);
        command
    }
}

/// Follows the end of the topic for as long as the transport is open, over every outage of the server.
async fn follow(link: Arc<Link>, keys: Arc<TopicKeys>, end: Arc<watch::Sender<Position>>) {
    let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
    loop {
        let Err(error) = follow_connected(&link, &keys, &end, &mut backoff).await;
        tracing::debug!(%error, "the topic on Redis is followed anew");
        sleep(backoff.next_delay()).await;
    }
}

async fn follow_connected(
    link: &Link,
    keys: &TopicKeys,
    end: &watch::Sender<Position>,
    backoff: &mut Backoff,
) -> RedisResult<Infallible> {
    let mut connection = link.connect(BLOCK + RESPONSE_TIMEOUT).await?;
    loop {
        let now: Option<u64> = redis::Cmd::get(&keys.end).query_async(&mut connection).await?;
        let now = now.unwrap_or(0).into();
        end.send_if_modified(|end| std::mem::replace(end, now) != now);
        *backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
        let _: Value = keys.read(now, 1, Some(BLOCK)).query_async(&mut connection).await?;
    }
}

impl Transport for RedisTransport {
    fn task_troubles(&self) -> Vec<TaskTrouble> {
        self.tasks.troubles()
    }

    fn read(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(self.read_now(after, limit))
    }

    fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut end = self.end.clone();
        Box::pin(async move {
            let there = end.wait_for(|end| *end > after).await;
            there.map(|_| ()).map_err(|_| StoreError::unavailable("the transport is closed"))
        })
    }

    fn end(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(self.end_now())
    }

    fn publish<'a>(
        &'a self,
        after: Position,
        records: &'a [Record],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.publish_now(after, records))
    }
}

impl fmt::Debug for RedisTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTransport").field("address", &self.address).finish_non_exhaustive()
    }
}
