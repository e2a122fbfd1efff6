//! A redis-server, and the least store on it that can be loaded and checked.
//!
//! It stands in for catga's own store for Redis, and is not one: its reads fetch whole lists.

use std::{path::Path, process::Stdio, sync::Arc};

use bytes::Bytes;
use catga::{
    Append, AppendError, Appended, BoxFuture, Durability, DurabilityReport, EventStore, Position,
    Record, StoreError, StreamId, Version,
};
use catga_tests::{crash::Server, eventually};
use redis::{AsyncCommands, Client, RedisResult, Script, aio::MultiplexedConnection};
use tempfile::TempDir;
use tokio::process::{Child, Command};

const APPEND: &str = "
local version = tonumber(redis.call('GET', KEYS[1]) or '0')
if version ~= tonumber(ARGV[1]) then return {0, version} end
local position = redis.call('INCRBY', KEYS[3], ARGV[2]) - ARGV[2] + 1
local entry = struct.pack('>L', position) .. ARGV[3]
redis.call('SET', KEYS[1], version + ARGV[2])
redis.call('RPUSH', KEYS[2], entry)
redis.call('RPUSH', KEYS[4], entry)
return {1, position}
";

/// A redis-server with an append-only file.
pub(crate) struct Redis {
    fsync: &'static str,
    /// Where its socket is: not on the disk under test.
    run: TempDir,
    child: Option<Child>,
}

impl Redis {
    pub(crate) fn new(fsync: &'static str) -> Self {
        Self { fsync, run: TempDir::new().unwrap(), child: None }
    }
}

impl Server for Redis {
    fn start<'a>(&'a mut self, folder: &'a Path) -> BoxFuture<'a, Arc<dyn EventStore>> {
        Box::pin(async move {
            let socket = self.run.path().join("redis.sock");
            let child = Command::new("redis-server")
                .args(["--port", "0", "--appendonly", "yes", "--save", ""])
                .args(["--appendfsync", self.fsync])
                .arg("--dir")
                .arg(folder)
                .arg("--unixsocket")
                .arg(&socket)
                .stdout(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .expect("redis-server is needed: apt-get install redis-server");
            self.child = Some(child);
            let client = Client::open(format!("unix://{}", socket.display())).unwrap();
            let connection = eventually(|| async {
                let mut connection =
                    client.get_multiplexed_async_connection().await.map_err(|e| e.to_string())?;
                // It answers with LOADING while it reads its file.
                let _: Option<u64> = connection.get("head").await.map_err(|e| e.to_string())?;
                Ok(connection)
            })
            .await;
            Arc::new(RedisLog { connection, append: Script::new(APPEND) }) as Arc<dyn EventStore>
        })
    }

    fn crash<'a>(&'a mut self, cut: &'a (dyn Fn() + Sync)) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.child.take().expect("it runs").kill().await.unwrap();
            cut();
        })
    }
}

struct RedisLog {
    connection: MultiplexedConnection,
    append: Script,
}

fn unavailable(error: redis::RedisError) -> StoreError {
    StoreError::unavailable(error)
}

impl RedisLog {
    async fn list(&self, key: &str) -> Result<Vec<Record>, StoreError> {
        let entries: RedisResult<Vec<Vec<u8>>> = self.connection.clone().lrange(key, 0, -1).await;
        let record = |entry: Vec<u8>| {
            let (position, _) = entry.split_first_chunk().expect("eight bytes and a frame");
            let position = u64::from_be_bytes(*position);
            Record { position, token: 0, frame: Bytes::from(entry).slice(8..) }
        };
        Ok(entries.map_err(unavailable)?.into_iter().map(record).collect())
    }
}

impl EventStore for RedisLog {
    fn append<'a>(&'a self, append: Append<'a>) -> BoxFuture<'a, Result<Appended, AppendError>> {
        Box::pin(async move {
            let mut call = self.append.prepare_invoke();
            call.key(format!("v:{}", append.stream)).key(format!("s:{}", append.stream));
            call.key("head").key("log");
            call.arg(append.version).arg(append.events).arg(append.frame.as_ref());
            match call.invoke_async(&mut self.connection.clone()).await {
                Ok((1, position)) => Ok(Appended { position, token: 0 }),
                Ok((_, actual)) => Err(AppendError::Conflict { actual }),
                Err(error) => Err(AppendError::Unknown(unavailable(error))),
            }
        })
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        from: Version,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            let mut records = self.list(&format!("s:{stream}")).await?;
            records.retain(|record| record.commit().unwrap().last_version() >= from);
            records.truncate(limit);
            Ok(records)
        })
    }

    fn read_log(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            let mut records = self.list("log").await?;
            let end = |r: &Record| r.position + r.commit().unwrap().events.len() as u64 - 1;
            records.retain(|record| end(record) > after);
            records.truncate(limit);
            Ok(records)
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async move {
            let head: Option<u64> =
                self.connection.clone().get("head").await.map_err(unavailable)?;
            Ok(head.unwrap_or_default())
        })
    }

    fn wait(&self, _: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    fn durability(&self) -> BoxFuture<'_, Result<DurabilityReport, StoreError>> {
        Box::pin(async { Ok(Durability::Memory.into()) })
    }
}
