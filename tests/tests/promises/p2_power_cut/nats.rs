//! A nats-server on the disk under test, and catga's store on it.

use std::{path::Path, process::Stdio, sync::Arc};

use catga::store::{BoxFuture, EventStore, NatsOptions, NatsStore};
use catga_tests::{crash::Server, eventually, nats::Version, redis::free_port};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A nats-server with `JetStream`.
pub(crate) struct Nats {
    version: Version,
    settings: &'static str,
    /// Where its configuration is: not on the disk under test.
    run: TempDir,
    child: Option<Child>,
}

impl Nats {
    /// As it is out of the box.
    pub(crate) fn default_of(version: Version) -> Self {
        Self { version, settings: "", run: TempDir::new().unwrap(), child: None }
    }

    /// The newest, set to sync before it acknowledges.
    pub(crate) fn sync_always() -> Self {
        Self { settings: "sync_interval: always", ..Self::default_of(Version::Newest) }
    }
}

impl Server for Nats {
    fn start<'a>(&'a mut self, folder: &'a Path) -> BoxFuture<'a, Arc<dyn EventStore>> {
        Box::pin(async move {
            let (port, monitor_port) = (free_port(), free_port());
            let config = self.run.path().join("nats.conf");
            let text = format!(
                "listen: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitor_port}\"\njetstream {{ store_dir: {folder:?}, {} }}\n",
                self.settings
            );
            std::fs::write(&config, text).unwrap();
            let child = Command::new(self.version.program())
                .arg("-c")
                .arg(&config)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .expect("nats-server is needed: apt-get install nats-server");
            self.child = Some(child);
            let options = NatsOptions {
                monitor: Some(format!("127.0.0.1:{monitor_port}")),
                ..NatsOptions::new(format!("nats://127.0.0.1:{port}"))
            };
            let connect = || async {
                NatsStore::connect(options.clone()).await.map_err(|error| error.to_string())
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
