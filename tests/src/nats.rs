//! A NATS server of one test's own: on a free port, in its own directory, gone with the test.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
};

use crate::{eventually_within, redis::free_port, signal};

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The one on the path: Debian 12 has 2.9.10.
    Debian,
    /// The one that `scripts/nats-server.sh` installs.
    Newest,
}

impl Version {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Debian, Self::Newest];

    /// The program.
    ///
    /// # Panics
    /// When the newest is not installed.
    pub fn program(self) -> PathBuf {
        if self == Self::Debian {
            return "nats-server".into();
        }
        if let Some(program) = std::env::var_os("NATS_SERVER_NEWEST") {
            return program.into();
        }
        let mut program = std::env::current_exe().expect("a test knows where it is");
        // target/debug/deps/test
        program.pop();
        program.pop();
        program.pop();
        program.push("tools/nats/bin/nats-server");
        assert!(program.exists(), "{} is missing: run scripts/nats-server.sh", program.display());
        program
    }
}

/// How a server is set up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings<'a> {
    /// Lines of its configuration.
    pub lines: &'a str,
    /// Lines of the block `jetstream`.
    pub jetstream: &'a str,
}

/// A `nats-server` with JetStream as a child process. It is killed when dropped.
#[derive(Debug)]
pub struct NatsServer {
    child: Child,
    version: Version,
    directory: TempDir,
    /// The port it listens on, also after a restart.
    pub port: u16,
    /// The port of its monitoring.
    pub monitor_port: u16,
}

impl NatsServer {
    /// Starts an empty server with default settings.
    pub async fn start(version: Version) -> Self {
        Self::start_with(version, Settings::default()).await
    }

    /// Starts an empty server that syncs before it answers.
    pub async fn start_durable() -> Self {
        let settings = Settings { jetstream: "sync_interval: always", ..Settings::default() };
        Self::start_with(Version::Newest, settings).await
    }

    /// Starts an empty server, and waits until it answers.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with(version: Version, settings: Settings<'_>) -> Self {
        let mut server = Self::spawn_with(version, settings);
        server.wait_until_ready().await;
        server
    }

    /// Starts an empty server, and does not wait for it.
    pub(crate) fn spawn_with(version: Version, settings: Settings<'_>) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let (port, monitor_port) = (free_port(), free_port());
        configure(directory.path(), [port, monitor_port], settings);
        let child = spawn(version, directory.path());
        Self { child, version, directory, port, monitor_port }
    }

    /// `nats://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// `127.0.0.1:PORT` of its monitoring.
    pub fn monitor(&self) -> String {
        format!("127.0.0.1:{}", self.monitor_port)
    }

    /// What its monitoring says at `path`, as JSON.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn monitored(&self, path: &str) -> String {
        let answer = http_get(&self.monitor(), path).await.expect("the monitoring answers");
        answer.split_once("\r\n\r\n").expect("a head and a body").1.to_owned()
    }

    /// Ends it as a crash does.
    ///
    /// # Panics
    /// When it can't be killed.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("the server can be killed");
    }

    /// Starts it again, on the same port and with the same files.
    pub async fn restart(&mut self) {
        self.respawn();
        self.wait_until_ready().await;
    }

    /// As [`restart`](Self::restart), without waiting for it.
    pub(crate) fn respawn(&mut self) {
        self.child = spawn(self.version, self.directory.path());
    }

    /// Makes it stand still.
    pub async fn pause(&self) {
        signal(&self.child, "-STOP").await;
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub async fn resume(&self) {
        signal(&self.child, "-CONT").await;
    }

    /// How it is set up from its next start on.
    pub fn set(&self, settings: Settings<'_>) {
        configure(self.directory.path(), [self.port, self.monitor_port], settings);
    }

    /// Deletes everything it stored, while it does not run.
    ///
    /// # Panics
    /// When that can't be deleted.
    pub fn forget(&self) {
        std::fs::remove_dir_all(self.directory.path().join("jetstream"))
            .expect("its files can be deleted");
    }

    pub(crate) async fn wait_until_ready(&mut self) {
        let monitor = self.monitor();
        // One of several waits for an election.
        eventually_within(Duration::from_secs(30), || async {
            // JetStream is ready when the monitoring says that the server is healthy.
            let answer = http_get(&monitor, "/healthz").await.map_err(|e| e.to_string())?;
            if !answer.contains("\"ok\"") {
                return Err(answer);
            }
            // It may say so before it listens to clients.
            TcpStream::connect(("127.0.0.1", self.port)).await.map_err(|error| error.to_string())
        })
        .await;
    }
}

fn configure(directory: &Path, [port, monitor_port]: [u16; 2], settings: Settings<'_>) {
    let mut config = String::new();
    writeln!(config, "listen: 127.0.0.1:{port}\nhttp: 127.0.0.1:{monitor_port}")
        .and_then(|()| writeln!(config, "{}", settings.lines))
        .and_then(|()| {
            let store = directory.display();
            write!(config, "jetstream {{ store_dir: \"{store}\"\n{} }}", settings.jetstream)
        })
        .expect("a String takes everything");
    std::fs::write(directory.join("nats.conf"), config).expect("a file is written");
}

async fn http_get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn spawn(version: Version, directory: &Path) -> Child {
    Command::new(version.program())
        .arg("-c")
        .arg(directory.join("nats.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("nats-server can be started: `apt-get install nats-server`")
}
