//! A Redis server of one test's own: on a free port, in its own directory, gone with the test.

use std::{
    net::TcpListener,
    process::Stdio,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use crate::{eventually, signal};

/// What makes a server keep everything over a power cut.
pub const DURABLE: [&str; 6] =
    ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"];

/// A `redis-server` as a child process. It is killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    directory: TempDir,
    flags: Vec<String>,
    /// The port it listens on, also after a restart.
    pub port: u16,
}

impl RedisServer {
    /// Starts an empty server that keeps everything.
    pub async fn start() -> Self {
        Self::start_with(&DURABLE).await
    }

    /// Starts an empty server with `flags`, and waits until it answers.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with(flags: &[&str]) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let port = free_port();
        let flags: Vec<_> = flags.iter().map(|&flag| flag.to_owned()).collect();
        let child = spawn(&directory, port, &flags);
        let mut server = Self { child, directory, flags, port };
        server.wait_until_ready().await;
        server
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
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
        self.child = spawn(&self.directory, self.port, &self.flags);
        self.wait_until_ready().await;
    }

    /// Adds to the flags of the next start.
    pub fn set(&mut self, flags: &[&str]) {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
    }

    /// Makes it stand still, as a machine does that swaps: connections stay open, and nothing answers.
    pub async fn pause(&self) {
        signal(&self.child, "-STOP").await;
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub async fn resume(&self) {
        signal(&self.child, "-CONT").await;
    }

    /// What it answers to one command, as it stands on the wire. Words can't hold spaces.
    pub async fn command(&self, command: &str) -> String {
        self.try_command(command).await.expect("the server answers")
    }

    async fn try_command(&self, command: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.address()).await?;
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).await?;
        let mut answer = String::new();
        timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await??;
        Ok(answer.strip_suffix("+OK\r\n").unwrap_or(&answer).trim().to_owned())
    }

    async fn wait_until_ready(&mut self) {
        let this = &*self;
        eventually(|| async move {
            match this.try_command("PING").await {
                Ok(answer) if answer == "+PONG" || answer.starts_with("-NOAUTH") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
}

fn spawn(directory: &TempDir, port: u16, flags: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"])
        .arg(directory.path())
        .args(["--save", "", "--loglevel", "warning"])
        .args(flags)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server can be started: `apt-get install redis-server`")
}

/// A port that nobody listens on, and that nobody gets who asks for any: a server that is started again finds it free, and no
/// client that waits for it connects to itself.
///
/// # Panics
/// When all of them are taken.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Linux gives out those from 32768 on (`net.ipv4.ip_local_port_range`).
    let (first, count) = (10_000, 22_000);
    // Other tests that run now begin elsewhere.
    let begin = std::process::id() * 97;
    (0..count)
        .map(|_| {
            let nth = begin.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed).into()) % count;
            first + u16::try_from(nth).expect("it is below the count")
        })
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("there is a free port")
}
