//! A redis-server on the disk under test, and catga's store on it.

use std::{path::Path, process::Stdio, sync::Arc};

use catga::store::{BoxFuture, EventStore, RedisOptions, RedisStore};
use catga_tests::{crash::Server, eventually};
use tempfile::TempDir;
use tokio::process::{Child, Command};

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
            let options = RedisOptions::new(format!("unix:{}", socket.display()));
            // It answers with LOADING while it reads its file.
            let connect = || async {
                RedisStore::connect(options.clone()).await.map_err(|error| error.to_string())
            };
            Arc::new(eventually(connect).await) as Arc<dyn EventStore>
        })
    }

    fn crash<'a>(&'a mut self, cut: &'a (dyn Fn() + Sync)) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.child.take().expect("it runs").kill().await.unwrap();
            cut();
        })
    }
}
