//! Nodes of order-system on one store, each behind a proxy to its clients and one to the store, so that its address
//! stays when it is started again and it can be cut off.

use std::{
    collections::BTreeSet,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime},
};

use catga::Timestamp;

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::{
    backend::Backend,
    effects::Effects,
    eventually_within,
    nemesis::{
        clock,
        log_pipe::{LogPipe, Reader},
        mail::Mail,
    },
    program,
    proxy::{Mode, Proxy},
    signal,
};

/// How long after its death a node's work is taken over, at most.
pub const LEASE: Duration = Duration::from_secs(2);

/// What the nodes are.
#[derive(Debug, Clone, Copy)]
enum Kind<'a> {
    /// order-system, with its log in a file.
    OrderSystem,
    /// `chaos-node`: with an effect on this server, a clock that can jump, and its log in a pipe.
    Chaos(&'a Mail),
}

/// Where a node's log goes.
#[derive(Debug)]
enum Log {
    File(PathBuf),
    Pipe(LogPipe),
    /// Nowhere: each write finds the disk full. It was another before.
    FullDisk(Box<Log>),
}

/// A node, which may be down.
#[derive(Debug)]
pub struct Node {
    name: String,
    program: &'static str,
    child: Option<Child>,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    log: Log,
    directory: PathBuf,
    /// Between the clients and the node.
    pub clients: Proxy,
    /// Between the node and the store.
    pub store: Proxy,
}

/// Three nodes.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// How long it has to get where it is waited for.
    pub patience: Duration,
    /// How many event handlers there are.
    handlers: usize,
    directory: TempDir,
}

impl Cluster {
    /// Starts `n` nodes of order-system on `backend`, with more `flags`.
    ///
    /// # Panics
    /// When the store is no server, or a node does not start.
    pub async fn start(backend: &Backend, n: usize, flags: &[&str]) -> Self {
        Self::of(Kind::OrderSystem, backend, n, flags).await
    }

    /// Starts `n` nodes of `chaos-node`, whose effects go to `mail`.
    ///
    /// # Panics
    /// As [`start`](Self::start), and when libfaketime is not installed.
    pub async fn start_chaos(backend: &Backend, n: usize, flags: &[&str], mail: &Mail) -> Self {
        let mut cluster = Self::of(Kind::Chaos(mail), backend, n, flags).await;
        (cluster.patience, cluster.handlers) = (Duration::from_secs(120), 3);
        cluster
    }

    async fn of(kind: Kind<'_>, backend: &Backend, n: usize, flags: &[&str]) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let mut nodes = Vec::new();
        for i in 0..n {
            let name = format!("node-{i}");
            // Nobody listens there before the node is started.
            let clients = Proxy::start(SocketAddr::from(([127, 0, 0, 1], 1))).await;
            let port = backend.port_for(i).expect("it is a server");
            let store = Proxy::start(SocketAddr::from(([127, 0, 0, 1], port))).await;
            let mut all = backend.flags_at(store.address().port());
            let lease = LEASE.as_secs().to_string();
            let address = clients.address().to_string();
            let more =
                ["--cluster", "--lease", &lease, "--node-id", &name, "--advertise", &address];
            let logging = ["--log-format", "json", "--drain-timeout", "2", "--port", "0"];
            all.extend([&more[..], &logging[..], flags].concat().into_iter().map(str::to_owned));
            let mut node = Node {
                program: "order-system",
                child: None,
                flags: all,
                environment: Vec::new(),
                log: Log::File(directory.path().join(format!("{name}.log"))),
                directory: directory.path().to_owned(),
                name,
                clients,
                store,
            };
            if let Kind::Chaos(mail) = kind {
                node.make_chaotic(mail).await;
            }
            node.start().await;
            nodes.push(node);
        }
        Self { nodes, patience: Duration::from_secs(10), handlers: 2, directory }
    }

    /// Where the clients find the nodes.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Node::url).collect()
    }

    /// Waits until all nodes are members and together work on all that there is, each on a fair share, and asserts
    /// that nobody does twice.
    pub async fn settled(&self) {
        let expected: BTreeSet<_> = self.nodes.iter().map(|node| node.name.clone()).collect();
        let http = reqwest::Client::new();
        for url in self.urls() {
            eventually_within(self.patience, async || {
                let cluster = json(&http, &format!("{url}/cluster")).await?;
                let nodes = cluster["nodes"].as_array().ok_or("no nodes")?;
                let names = nodes.iter().map(|n| n["node"].as_str().unwrap_or_default().to_owned());
                // Each event handler on eight partitions, and the relay where there is one.
                let works = self.handlers * 8;
                let leases: Vec<_> = nodes.iter().map(handler_leases).collect();
                let all: Vec<_> = leases.iter().flatten().collect();
                let is_whole =
                    all.len() == works && all.iter().collect::<BTreeSet<_>>().len() == works;
                let fair = works / self.nodes.len();
                let is_fair = nodes
                    .iter()
                    .all(|node| node["leases"].as_array().is_some_and(|all| all.len() >= fair));
                let is_settled = names.collect::<BTreeSet<_>>() == expected && is_whole && is_fair;
                if is_settled { Ok(()) } else { Err(cluster.to_string()) }
            })
            .await;
        }
    }

    /// Waits until every event is handled.
    pub async fn all_handled(&self) {
        let (http, url) = (reqwest::Client::new(), self.nodes[0].url());
        eventually_within(self.patience, async || {
            let cluster = json(&http, &format!("{url}/cluster")).await?;
            let handlers = cluster["handlers"].as_array().ok_or("no handlers")?;
            let is_done = !handlers.is_empty() && handlers.iter().all(|h| h["lag"] == 0);
            if is_done { Ok(()) } else { Err(cluster.to_string()) }
        })
        .await;
    }

    /// What the event handlers wrote to the nodes' logs, in the order of time.
    pub fn effects(&self) -> Effects {
        Effects::read(self.directory.path())
    }
}

/// What a failed test leaves behind can be looked at.
impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &self.nodes {
            node.child.iter().filter_map(Child::id).for_each(clock::clean_up);
        }
        if std::thread::panicking() {
            self.directory.disable_cleanup(true);
            eprintln!("the nodes' logs are in {}", self.directory.path().display());
        }
    }
}

impl Log {
    fn stdio(&self) -> Stdio {
        let append = |path: &Path| File::options().create(true).append(true).open(path);
        match self {
            Self::File(path) => append(path).expect("the log can be written").into(),
            Self::Pipe(pipe) => pipe.stdio(),
            Self::FullDisk(_) => append(Path::new("/dev/full")).expect("Linux has it").into(),
        }
    }
}

/// What a node that `/cluster` tells of works on, but for the relay.
fn handler_leases(node: &Value) -> Vec<String> {
    let leases = node["leases"].as_array().map_or(&[][..], Vec::as_slice);
    leases.iter().filter(|lease| *lease != "relay").map(Value::to_string).collect()
}

async fn json(http: &reqwest::Client, url: &str) -> Result<Value, String> {
    let answer = http.get(url).send().await.map_err(|error| error.to_string())?;
    answer.json().await.map_err(|error| error.to_string())
}

impl Node {
    /// Makes it a `chaos-node` with a directory of its own.
    async fn make_chaotic(&mut self, mail: &Mail) {
        let Log::File(log) = &self.log else { unreachable!("it has a file") };
        let directory = self.directory.join(&self.name);
        std::fs::create_dir(&directory).expect("a directory is made");
        let pipe = LogPipe::new(directory.join("log"), log).await;
        let settings = [
            ("CHAOS_DIRECTORY", directory.display().to_string()),
            ("CHAOS_MAIL", mail.address.to_string()),
            ("CHAOS_NODE", self.name.clone()),
        ];
        self.environment = clock::environment(&directory.join("clock"));
        self.environment.extend(settings.map(|(name, value)| (name.to_owned(), value)));
        (self.program, self.directory, self.log) = ("chaos-node", directory, Log::Pipe(pipe));
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the clients find it.
    pub fn url(&self) -> String {
        format!("http://{}", self.clients.address())
    }

    /// Starts it, and tries again while it can't: its store may be down, or its name not yet free.
    ///
    /// # Panics
    /// When it does not start in thirty seconds.
    pub async fn start(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some((child, address)) = self.try_start().await {
                self.clients.set_target(address);
                self.child = Some(child);
                return;
            }
            assert!(Instant::now() < deadline, "{} does not start", self.name);
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn try_start(&self) -> Option<(Child, SocketAddr)> {
        let mut child = Command::new(program(self.program))
            .args(&self.flags)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(self.log.stdio())
            .kill_on_drop(true)
            .spawn()
            .expect("the program can be started");
        let mut lines = BufReader::new(child.stdout.take()?).lines();
        let line = timeout(Duration::from_secs(15), lines.next_line()).await.ok()?.ok()??;
        let address = line.strip_prefix("listening on http://")?.parse().ok()?;
        Some((child, address))
    }

    /// Ends it as a crash does.
    ///
    /// # Panics
    /// When it is down, or can't be killed.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let process = child.id().expect("it runs");
        child.kill().await.expect("it can be killed");
        clock::clean_up(process);
    }

    /// Ends it as an operator does.
    ///
    /// # Panics
    /// When it is down, or takes longer than 15 seconds.
    pub async fn terminate(&mut self) {
        self.signal("-TERM").await;
        assert_eq!(self.end().await, Some(0));
    }

    /// The exit code with which it ends by itself.
    ///
    /// # Panics
    /// When it is down, or takes longer than 15 seconds.
    pub async fn end(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it runs");
        let exit = timeout(Duration::from_secs(15), child.wait()).await;
        exit.expect("it stops in time").expect("it can be waited for").code()
    }

    /// Makes it stand still.
    pub async fn pause(&self) {
        self.signal("-STOP").await;
    }

    /// Lets it go on.
    pub async fn resume(&self) {
        self.signal("-CONT").await;
    }

    /// Gives another value to a flag, for the next start.
    ///
    /// # Panics
    /// When no flag has `from`.
    pub fn replace_flag(&mut self, from: &str, to: &str) {
        let flag = self.flags.iter_mut().find(|flag| *flag == from);
        to.clone_into(flag.expect("a flag has this value"));
    }

    /// Lets nothing pass between it and the store, or everything again.
    pub fn cut_off(&self, is_cut: bool) {
        self.store.set(if is_cut { Mode::BlackHole } else { Mode::Pass });
    }

    /// Makes its log lines meet this.
    pub fn log_meets(&self, reader: Reader) {
        if let Log::Pipe(pipe) = &self.log {
            pipe.set(reader);
        }
    }

    /// From its next start on its log lines find the disk full, or no longer.
    pub fn fill_log_disk(&mut self, is_full: bool) {
        let log = std::mem::replace(&mut self.log, Log::File(PathBuf::new()));
        self.log = match log {
            Log::FullDisk(before) if !is_full => *before,
            log if is_full => Log::FullDisk(Box::new(log)),
            log => log,
        };
    }

    /// Has its clock differ from the others' by so many seconds.
    pub fn set_clock(&self, seconds: i64) {
        clock::set(&self.directory.join("clock"), seconds);
    }

    /// By how many seconds its clock differs, as it says itself.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn clock_offset(&self, http: &reqwest::Client) -> Result<i64, String> {
        let info = json(http, &self.url()).await?;
        let time = info["timestamp"].as_str().ok_or("no time")?;
        let time: Timestamp = time.parse().map_err(|_| format!("{time} is no time"))?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later");
        let now = i64::try_from(now.as_micros()).expect("it is not that late");
        Ok((time.as_micros() - now) / 1_000_000)
    }

    /// Has its projection `fused` panic at the next event, or its effects left out while `lie` is there.
    ///
    /// # Panics
    /// When the file can't be made.
    pub fn tell(&self, what: &str) {
        File::create(self.directory.join(what)).expect("a file is made");
    }

    async fn signal(&self, name: &str) {
        signal(self.child.as_ref().expect("it runs"), name).await;
    }
}
