//! Nodes of order-system on one store, each behind a proxy to its clients and one to the store, so that its address
//! stays when it is started again and it can be cut off; and what their event handlers did, from their logs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::{
    backend::Backend,
    binary, eventually,
    history::Stored,
    proxy::{Mode, Proxy},
};

/// How long after its death a node's work is taken over, at most.
pub const LEASE: Duration = Duration::from_secs(2);

/// A node, which may be down.
#[derive(Debug)]
pub struct Node {
    name: String,
    child: Option<Child>,
    flags: Vec<String>,
    log: PathBuf,
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
    directory: TempDir,
}

impl Cluster {
    /// Starts `n` nodes on `backend`, with more `flags`.
    ///
    /// # Panics
    /// When the store is no server, or a node does not start.
    pub async fn start(backend: &Backend, n: usize, flags: &[&str]) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let target = SocketAddr::from(([127, 0, 0, 1], backend.port().expect("it is a server")));
        let mut nodes = Vec::new();
        for i in 0..n {
            let name = format!("node-{i}");
            // Nobody listens there before the node is started.
            let clients = Proxy::start(SocketAddr::from(([127, 0, 0, 1], 1))).await;
            let store = Proxy::start(target).await;
            let mut all = backend.flags_at(store.address().port());
            let lease = LEASE.as_secs().to_string();
            let address = clients.address().to_string();
            let more =
                ["--cluster", "--lease", &lease, "--node-id", &name, "--advertise", &address];
            let logging = ["--log-format", "json", "--drain-timeout", "2", "--port", "0"];
            all.extend([&more[..], &logging[..], flags].concat().into_iter().map(str::to_owned));
            let log = directory.path().join(format!("{name}.log"));
            let mut node = Node { name, child: None, flags: all, log, clients, store };
            node.start().await;
            nodes.push(node);
        }
        Self { nodes, directory }
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
            eventually(async || {
                let cluster = json(&http, &format!("{url}/cluster")).await?;
                let nodes = cluster["nodes"].as_array().ok_or("no nodes")?;
                let names = nodes.iter().map(|n| n["node"].as_str().unwrap_or_default().to_owned());
                // Two event handlers on eight partitions, and the relay where there is one.
                let leases: Vec<_> = nodes.iter().map(handler_leases).collect();
                let all: Vec<_> = leases.iter().flatten().collect();
                let is_whole = all.len() == 16 && all.iter().collect::<BTreeSet<_>>().len() == 16;
                let fair = 16 / self.nodes.len();
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
        eventually(async || {
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
        let log = std::fs::File::options().create(true).append(true).open(&self.log);
        let mut child = Command::new(binary())
            .args(&self.flags)
            .stdout(Stdio::piped())
            .stderr(log.expect("the log can be written"))
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
        child.kill().await.expect("it can be killed");
    }

    /// Ends it as an operator does.
    ///
    /// # Panics
    /// When it is down, or takes longer than 15 seconds.
    pub async fn terminate(&mut self) {
        self.signal("-TERM").await;
        let mut child = self.child.take().expect("it runs");
        let exit = timeout(Duration::from_secs(15), child.wait()).await;
        assert!(exit.expect("it stops in time").expect("it can be waited for").success());
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

    async fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().and_then(Child::id).expect("it runs").to_string();
        let status = Command::new("kill").args([signal, &pid]).status().await;
        assert!(status.expect("`kill` can be run").success());
    }
}

/// What the event handler `order-log` did: order and version, in the order of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects(Vec<(String, u64)>);

impl Effects {
    fn read(directory: &Path) -> Self {
        let mut lines = BTreeMap::new();
        for file in std::fs::read_dir(directory).expect("the directory can be read") {
            let path = file.expect("a file").path();
            let text = std::fs::read_to_string(&path).expect("the log can be read");
            for (at, line) in text.lines().enumerate() {
                // A killed node may have left half a line.
                let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
                let fields = &line["fields"];
                if fields["message"] == "an order changed" {
                    let order = fields["order"].as_str().expect("an order").to_owned();
                    let version = fields["version"].as_u64().expect("a version");
                    let time = line["timestamp"].as_str().expect("a time").to_owned();
                    lines.insert((time, path.clone(), at), (order, version));
                }
            }
        }
        Self(lines.into_values().collect())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// What breaks P7: an event of `log` without an effect, an effect without its event, and one that came before that
    /// of the event before it.
    pub fn violations(&self, log: &[Stored]) -> Vec<String> {
        let mut violations = Vec::new();
        let mut done: BTreeMap<&str, u64> = BTreeMap::new();
        for (order, version) in &self.0 {
            let last = done.entry(order).or_default();
            if *version > *last + 1 {
                violations.push(format!("{order}: version {version} came right after {last}"));
            }
            *last = (*last).max(*version);
        }
        let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
        for stored in log {
            let end = ends.entry(&stored.sent.stream).or_default();
            *end = (*end).max(stored.first_version.get() + stored.sent.events - 1);
        }
        for (order, end) in &ends {
            let last = done.get(order).copied().unwrap_or(0);
            if last != *end {
                violations.push(format!("{order}: handled up to {last} of {end}"));
            }
        }
        let unknown = done.keys().filter(|order| !ends.contains_key(*order));
        violations.extend(unknown.map(|order| format!("{order}: handled, and not in the log")));
        violations
    }

    /// How many effects were made again.
    pub fn repeats(&self) -> usize {
        self.0.len() - self.0.iter().collect::<BTreeSet<_>>().len()
    }

    /// The same effects, changed by `change`: to see what the check finds.
    #[must_use]
    pub fn changed(&self, change: impl FnOnce(&mut Vec<(String, u64)>)) -> Self {
        let mut effects = self.clone();
        change(&mut effects.0);
        effects
    }
}
