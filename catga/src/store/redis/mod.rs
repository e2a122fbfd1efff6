//! A store on a Redis server, 7.0 or newer.
//!
//! All keys begin with `{prefix}`:
//!
//! | key | type | what |
//! |---|---|---|
//! | `…:s:<stream>` | list | an element for each event of the stream, so that its length is the version |
//! | `…:log` | stream | an entry for each commit, with the id `0-<position of its last event>` |
//! | `…:head` | integer | the position of the last event |
//! | `…:id` | string | tells the log from every other one |
//! | `…:k:<key>` | string | a value of [`KvStore`](crate::store::KvStore), its revision in front |
//! | `…:revision` | integer | the last revision of any value |
//!
//! A commit is stored once, in the log: the only field of its entry is named by how many events it has, and holds the
//! frame. In its stream's list the element of its first event is the entry's position with a minus, and those of its
//! other events are numbers that say how far back that element is. One script checks the version and writes all of
//! it, another one reads a stream.
//!
//! Older programs stored a commit twice, as eight bytes with the position of its first event, and the frame: in
//! the entry's field `c`, and as the element of its first event. Both are read for ever, also in one stream. What is
//! written now is no number and no commit to them, so that they stop with an error.
//!
//! Who appends, reads or polls sends the id along, or asks for it in the same round trip: a server that was emptied while a
//! node was at work has another log, or none, and is noticed at once.
//!
//! Redis answers one command after the other, so who sees a position sees all below it (P5).

mod ahead;
mod follow;
mod keys;
mod kv;
mod link;
mod options;
mod read;
mod server;
mod stored;
mod transport;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use redis::{Cmd, Script, ScriptInvocation, Value};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use self::{
    follow::{Follower, Head},
    keys::Keys,
    link::{CallError, Link},
    stored::{pair, unreadable},
};
pub use self::{options::RedisOptions, transport::RedisTransport};
use super::{
    Append, AppendError, Appended, DurabilityReport, EventStore, StoreError, shared::Shared,
};
use crate::{
    log::{LogId, Position, Record, StreamId, Version},
    store::{BoxFuture, TaskTrouble, Tasks},
};

/// How long opening the store may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// A log and the values beside it on a Redis server.
///
/// It goes on by itself when the server was away. When the server comes back with less of the log than was
/// seen, or is another one, every call answers an error from then on: only a new start can tell what is true.
pub struct RedisStore {
    address: String,
    id: LogId,
    keys: Arc<Keys>,
    link: Arc<Link>,
    head: Arc<Head>,
    /// What the server says is the position of the last event.
    end: Shared<Position>,
    scripts: Scripts,
    /// How many commits the next page of the log is asked for at first: as many as the last one was.
    page: AtomicUsize,
    /// What is under way of the log behind that.
    ahead: ahead::ReadAheadSlot,
    tasks: Tasks,
    /// Keeps `head` up to date. It ends with the store.
    _follower: AbortOnDropHandle<()>,
    /// Sees to it that the server keeps what is appended. It ends with the store.
    _watch: AbortOnDropHandle<()>,
}

/// Keeps an eye on how the server is set.
fn watch(tasks: &Tasks, link: &Arc<Link>) -> AbortOnDropHandle<()> {
    let link = link.clone();
    tasks.spawn("watch over the settings of Redis", move || {
        let link = link.clone();
        async move { link.watch().await }
    })
}

struct Scripts {
    append: Script,
    read: Script,
    put: Script,
    delete: Script,
}

impl RedisStore {
    /// Opens the log on the server, which may be empty. It takes five seconds at most.
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
        let link = Arc::new(Link::new(options.client()?, "redis", options.require_durability));
        link.open().await?;
        let keys = Arc::new(Keys::new(&options.prefix));
        let id = find_id(&link, &keys).await?;
        let head = Arc::new(Head::new("Redis", Position::ZERO, 0));
        let tasks = Tasks::default();
        let end = Shared::new(&tasks, {
            let (link, keys, head) = (link.clone(), keys.clone(), head.clone());
            move || {
                let (link, keys, head) = (link.clone(), keys.clone(), head.clone());
                Box::pin(async move {
                    let (found, end) = read_head(&link, &keys).await?;
                    check_id(&head, id, found.as_deref())?;
                    Ok(end)
                })
            }
        });
        let follower = tasks.spawn("follower of the log on Redis", {
            let (link, keys, head) = (link.clone(), keys.clone(), head.clone());
            let follower = Follower { link, keys, head, id };
            move || follower.clone().run()
        });
        let watch = watch(&tasks, &link);
        Ok(Self {
            address: options.address(),
            id,
            keys,
            link,
            head,
            end,
            scripts: Scripts {
                append: Script::new(include_str!("append.lua")),
                read: Script::new(include_str!("read.lua")),
                put: Script::new(include_str!("put.lua")),
                delete: Script::new(include_str!("delete.lua")),
            },
            page: AtomicUsize::new(read::FIRST_PAGE),
            ahead: ahead::ReadAheadSlot::default(),
            tasks,
            _follower: follower,
            _watch: watch,
        })
    }

    /// What the server answers to `command`, which only reads.
    async fn ask(&self, command: &Cmd) -> Result<Value, StoreError> {
        self.head.check()?;
        Ok(self.link.call(|mut c| async move { command.query_async(&mut c).await }).await?)
    }

    /// What the script answers. The client loads it again when the server has forgotten it.
    async fn run(&self, script: &ScriptInvocation<'_>) -> Result<Value, StoreError> {
        self.head.check()?;
        Ok(self.link.call(|mut c| async move { script.invoke_async(&mut c).await }).await?)
    }

    async fn append_now(&self, append: Append<'_>) -> Result<Appended, AppendError> {
        self.head.check().map_err(AppendError::Refused)?;
        let mut call = self.scripts.append.prepare_invoke();
        call.key(self.keys.stream(append.stream)).key(&self.keys.log).key(&self.keys.head);
        call.key(&self.keys.id);
        call.arg(append.version.get()).arg(append.events).arg(&append.frame[..]);
        call.arg(self.id.to_string());
        let written = self.link.write(|mut c| async move { call.invoke_async(&mut c).await });
        let answer = written.await.map_err(|error: CallError| {
            let is_refusal = error.is_refusal();
            let error = StoreError::from(error);
            if is_refusal { AppendError::Refused(error) } else { AppendError::Unknown(error) }
        })?;
        let position = match pair(&answer) {
            Some((1, position)) => Position::new(position),
            Some((0, actual)) => return Err(AppendError::Conflict { actual: actual.into() }),
            Some(_) => return Err(AppendError::Refused(self.lose())),
            None => return Err(AppendError::Unknown(unreadable())),
        };
        let end = position + append.events as u64 - 1;
        self.head.rise_to_commit(end, &Record { position, token: 0, frame: append.frame });
        Ok(Appended { position, token: 0 })
    }

    /// Takes in that a script, which runs where writes are taken, found another id.
    fn lose(&self) -> StoreError {
        self.head.lose("it has another id, or none");
        self.head.lost()
    }

    async fn head_now(&self) -> Result<Position, StoreError> {
        self.head.check()?;
        let floor = self.head.position();
        let head = self.end.get().await?;
        if head < floor {
            // Whether the end is lost, or this is a replica that lags, is found out in a moment.
            return Err(StoreError::unavailable("Redis ends before what was seen of the log"));
        }
        Ok(head)
    }
}

impl EventStore for RedisStore {
    fn log_id(&self) -> LogId {
        self.id
    }

    fn check(&self) -> Result<(), StoreError> {
        self.head.check()
    }

    fn task_troubles(&self) -> Vec<TaskTrouble> {
        self.tasks.troubles()
    }

    fn append<'a>(&'a self, append: Append<'a>) -> BoxFuture<'a, Result<Appended, AppendError>> {
        Box::pin(self.append_now(append))
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        from: Version,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(self.read_stream_now(stream, from, limit))
    }

    fn read_short<'a>(
        &'a self,
        stream: &'a StreamId,
        limit: usize,
    ) -> BoxFuture<'a, Result<Option<Vec<Record>>, StoreError>> {
        Box::pin(self.read_short_now(stream, limit))
    }

    fn read_log(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(self.read_log_now(after, limit))
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(self.head_now())
    }

    fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.head.wait(after))
    }

    fn durability(&self) -> BoxFuture<'_, Result<DurabilityReport, StoreError>> {
        Box::pin(async move { Ok(self.link.durability().await?) })
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The log's id and the position of its last event.
async fn read_head(link: &Link, keys: &Keys) -> Result<(Option<String>, Position), CallError> {
    let mut command = redis::cmd("MGET");
    command.arg(&keys.id).arg(&keys.head);
    let (id, head): (_, Option<u64>) =
        link.call(|mut c| async move { command.query_async(&mut c).await }).await?;
    Ok((id, head.unwrap_or(0).into()))
}

/// The log's id. A new log gets one, as does one that an older program made.
async fn find_id(link: &Link, keys: &Keys) -> Result<LogId, StoreError> {
    let (mut found, _) = read_head(link, keys).await.map_err(|error| error.in_full())?;
    if found.is_none() {
        let mut command = redis::cmd("SET");
        command.arg(&keys.id).arg(LogId::random().to_string()).arg("NX");
        let set = link.call(|mut c| async move { command.query_async::<Value>(&mut c).await });
        set.await.map_err(|error| error.in_full())?;
        (found, _) = read_head(link, keys).await.map_err(|error| error.in_full())?;
    }
    found.and_then(|id| id.parse().ok()).ok_or_else(unreadable)
}

/// # Errors
/// When the server has another log than the one with `id`, or none.
fn check_id(head: &Head, id: LogId, found: Option<&str>) -> Result<(), StoreError> {
    match found {
        Some(found) if found.parse() == Ok(id) => Ok(()),
        Some(_) => {
            head.lose("it has another id");
            Err(head.lost())
        }
        // Whether it was emptied, or is a replica that lags, is found out in a moment.
        None => Err(StoreError::unavailable("Redis does not have the log that was seen there")),
    }
}
