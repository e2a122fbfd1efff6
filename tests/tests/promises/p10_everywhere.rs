//! P10 the same everywhere: every promise on every backend, by the suite that any backend is tried with; and order-system
//! with every transport on every store, alone and as a cluster, through the life cycle of `just quick-test`.
//!
//! Memory and files need no server: `catga/tests/conformance`.

use catga::conformance;
use catga_tests::{
    Server,
    conformance::OnServer,
    eventually,
    nats::{NatsServer, Version},
    nats_cluster::NatsCluster,
    redis::RedisServer,
};
use tempfile::TempDir;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn p10_redis_keeps_every_promise() {
    let server = RedisServer::start().await;
    conformance::backend(async || OnServer::redis(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_debians_nats_keeps_every_promise() {
    let server = NatsServer::start(Version::Debian).await;
    conformance::backend(async || OnServer::nats(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_the_newest_nats_keeps_every_promise() {
    let server = NatsServer::start(Version::Newest).await;
    conformance::backend(async || OnServer::nats(&server)).await;
}

/// Commits that are made at once share a sync there.
#[tokio::test(flavor = "multi_thread")]
async fn p10_nats_that_syncs_keeps_every_promise() {
    let server = NatsServer::start_durable().await;
    conformance::backend(async || OnServer::nats(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_three_servers_of_nats_keep_every_promise() {
    let cluster = NatsCluster::start().await;
    conformance::backend(async || OnServer::nats_cluster(&cluster)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_topic_on_another_server_keeps_every_promise() {
    let (redis, nats) = tokio::join!(RedisServer::start(), NatsServer::start(Version::Newest));
    conformance::backend(async || OnServer::nats(&nats).with_topic(OnServer::redis(&redis))).await;
    conformance::backend(async || OnServer::redis(&redis).with_topic(OnServer::nats(&nats))).await;
}

const TRANSPORTS: [&str; 3] = ["inmemory", "redis", "nats"];

/// The servers that all pairings share; each pairing has a prefix of its own.
struct Servers {
    redis: RedisServer,
    nats: NatsServer,
    directory: TempDir,
}

impl Servers {
    async fn start() -> Self {
        let (redis, nats) = tokio::join!(RedisServer::start(), NatsServer::start(Version::Newest));
        Self { redis, nats, directory: TempDir::new().unwrap() }
    }

    fn flags(&self, transport: &str, persistence: &str, mode: &str) -> Vec<String> {
        let name = format!("{mode}-{transport}-{persistence}");
        let directory = self.directory.path().join(&name).display().to_string();
        let (redis, nats) = (self.redis.address(), self.nats.url());
        let mut flags = vec!["--transport", transport, "--persistence", persistence];
        flags.extend(["--drain-timeout", "1"]);
        let uses = |server| transport == server || persistence == server;
        if persistence == "file" {
            flags.extend(["--data-dir", &directory]);
        }
        if uses("redis") {
            flags.extend(["--redis", &redis, "--redis-prefix", &name]);
        }
        if uses("nats") {
            flags.extend(["--nats", &nats, "--nats-prefix", &name]);
        }
        flags.into_iter().map(str::to_owned).collect()
    }

    /// How many commits the topic on Redis has.
    async fn topic_on_redis(&self, name: &str) -> usize {
        let mut commits = 0;
        for partition in 0..8 {
            let answer = self.redis.command(&format!("XLEN {{{name}}}:topic:{partition}")).await;
            commits += answer.trim_start_matches(':').parse::<usize>().unwrap();
        }
        commits
    }
}

/// The steps of `scripts/quick-test.sh`, with the writes on one node and the reads on another.
async fn quick_test(write: &Server, read: &Server) -> Result<(), String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/quick-test.sh");
    let output = Command::new(script).args([&write.url, &read.url]).output().await.unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until every event is handled, as `server` sees the whole cluster.
async fn all_handled(server: &Server) {
    eventually(async || {
        let cluster = server.json("/cluster").await;
        let lags: Vec<_> =
            cluster["handlers"].as_array().unwrap().iter().map(|h| h["lag"].clone()).collect();
        if lags == [0, 0] { Ok(()) } else { Err(cluster.to_string()) }
    })
    .await;
}

async fn run(servers: &Servers, transport: &str, persistence: &str, nodes: usize) -> String {
    let mode = if nodes == 1 { "alone" } else { "cluster" };
    let mut flags = servers.flags(transport, persistence, mode);
    if nodes > 1 {
        flags.extend(["--cluster".to_owned(), "--lease".to_owned(), "2".to_owned()]);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut running = Vec::new();
    for _ in 0..nodes {
        running.push(Server::start(&flags).await);
    }
    for server in &running {
        eventually(async || {
            let ready = server.get("/health/ready").send().await.unwrap();
            if ready.status() == 200 { Ok(()) } else { Err(ready.text().await.unwrap()) }
        })
        .await;
    }
    let outcome = quick_test(&running[0], &running[1 % nodes]).await;
    if let Err(steps) = &outcome {
        panic!("{mode}: transport {transport}, persistence {persistence}:\n{steps}");
    }
    all_handled(&running[nodes - 1]).await;
    let health = running[0].json("/health").await;
    let has_topic = transport != "inmemory" && transport != persistence;
    assert_eq!(health["checks"].get("transport").is_some(), has_topic, "{health}");
    if transport == "redis" {
        // Two orders make six commits. On the log's own server they are stored once.
        let topic = servers.topic_on_redis(&format!("{mode}-{transport}-{persistence}")).await;
        assert_eq!(topic, if has_topic { 6 } else { 0 });
    }
    let info = running[0].json("/").await;
    assert_eq!(info["mode"], if nodes == 1 { "Standalone" } else { "Cluster" });
    format!("✓ {mode:<8} transport {transport:<8} persistence {persistence}")
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_every_transport_works_with_every_store() {
    let servers = Servers::start().await;
    let mut lines = Vec::new();
    for transport in TRANSPORTS {
        for persistence in ["inmemory", "file", "redis", "nats"] {
            lines.push(run(&servers, transport, persistence, 1).await);
            println!("{}", lines[lines.len() - 1]);
        }
    }
    for transport in TRANSPORTS {
        for persistence in ["redis", "nats"] {
            lines.push(run(&servers, transport, persistence, 3).await);
            println!("{}", lines[lines.len() - 1]);
        }
    }
    assert_eq!(lines.len(), 18);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_goes_on_after_a_restart_and_begins_anew_with_a_log_in_memory() {
    let servers = Servers::start().await;
    for (persistence, commits) in [("file", [1, 2]), ("inmemory", [1, 1])] {
        let flags = servers.flags("redis", persistence, "again");
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        for commits in commits {
            let mut server = Server::start(&flags).await;
            server.create("c").await;
            all_handled(&server).await;
            let name = format!("again-redis-{persistence}");
            assert_eq!(servers.topic_on_redis(&name).await, commits, "{persistence}");
            assert_eq!(server.terminate().await, Some(0));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_another_log_is_not_added_to() {
    let servers = Servers::start().await;
    let flags = servers.flags("redis", "file", "other");
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut server = Server::start(&flags).await;
    server.create("c").await;
    all_handled(&server).await;
    server.terminate().await;
    let directory = servers.directory.path().join("another").display().to_string();
    let at = flags.iter().position(|flag| *flag == "--data-dir").unwrap();
    flags[at + 1] = &directory;
    let server = Server::start(&flags).await;
    server.create("c").await;
    eventually(async || {
        let answer = server.get("/health").send().await.unwrap();
        let status = answer.status();
        let health: serde_json::Value = answer.json().await.unwrap();
        let transport = &health["checks"]["transport"]["status"];
        if status == 503 && transport == "unhealthy" { Ok(()) } else { Err(health.to_string()) }
    })
    .await;
    assert_eq!(servers.topic_on_redis("other-redis-file").await, 1);
    // Commands and reads go on.
    server.create("c").await;
    assert_eq!(server.json("/stats").await["totalOrders"], 2);
}
