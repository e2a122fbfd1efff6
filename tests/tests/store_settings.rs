//! A server whose settings change under the service: what is acknowledged is kept, or not acknowledged.

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use catga_tests::{
    Server,
    backend::Backend,
    eventually,
    nats::{NatsServer, Settings, Version},
    order,
    redis::RedisServer,
};
use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;

/// Sends an order. Answers the code of what was wrong; `None` when it was taken.
async fn send_order(server: &Server) -> Option<String> {
    let answer = server.post("/orders", &order("c")).send().await.unwrap();
    match answer.status() {
        StatusCode::CREATED => None,
        _ => Some(answer.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned()),
    }
}

/// A client that sends one order after the other for `time`.
async fn send_orders(server: &Server, time: Duration) -> Vec<Option<String>> {
    let (begin, mut codes) = (Instant::now(), Vec::new());
    while begin.elapsed() < time {
        codes.push(send_order(server).await);
    }
    codes
}

/// Sends orders while the store comes back, and until `time` is over: none may be taken, and in the end it is said why.
async fn takes_nothing(server: &Server, restart: impl Future<Output = ()>, time: Duration) {
    // They are there when the first new connection is made.
    let clients = join_all((0..16).map(|_| send_orders(server, time)));
    let (codes, ()) = tokio::join!(clients, restart);
    let codes = codes.concat();
    let taken = codes.iter().filter(|code| code.is_none()).count();
    assert_eq!(taken, 0, "orders that a power cut would take, of {}", codes.len());
    assert_eq!(codes.last().unwrap().as_deref(), Some("durability_lost"));
}

async fn is_ready(server: &Server) -> bool {
    server.get("/health/ready").send().await.unwrap().status() == StatusCode::OK
}

async fn until_ready_is(server: &Server, wanted: bool) {
    eventually(|| async {
        if is_ready(server).await == wanted { Ok(()) } else { Err(format!("not {wanted}")) }
    })
    .await;
}

/// What the metric says.
async fn metric(server: &Server, name: &str) -> String {
    let text = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or("none").trim().to_owned()
}

fn lines(log: &Path, part: &str) -> usize {
    std::fs::read_to_string(log).unwrap().lines().filter(|line| line.contains(part)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_redis_that_comes_back_weaker_is_given_no_command_until_it_is_set_right() {
    let mut redis = RedisServer::start().await;
    let directory = TempDir::new().unwrap();
    let log = directory.path().join("log");
    let address = redis.address();
    let flags = ["--persistence", "redis", "--redis", &address];
    let flags = [&flags[..], &["--require-durability", "power-loss"]].concat();
    let server = Server::start_logged(&flags, File::create(&log).unwrap()).await;
    let id = server.create("c").await;
    until_ready_is(&server, true).await;
    redis.set(&["--appendfsync", "everysec"]);
    redis.kill().await;
    takes_nothing(&server, redis.restart(), Duration::from_secs(2)).await;

    assert_eq!(server.json(&format!("/orders/{id}")).await["status"], "Pending");
    assert_eq!(server.json("/stats").await["totalOrders"], 1, "reads go on");
    assert!(!is_ready(&server).await);
    let health: Value = server.get("/health").send().await.unwrap().json().await.unwrap();
    let store = &health["checks"]["store"];
    let reason = store["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("power-loss is required"), "{health}");
    assert_eq!(store["durability"], "seconds");
    let gauge = r#"catga_durability_lost{store="redis"}"#;
    assert_eq!(metric(&server, gauge).await, "1");

    assert_eq!(redis.command("CONFIG SET appendfsync always").await, "+OK");
    until_ready_is(&server, true).await;
    assert_eq!(send_order(&server).await, None);
    assert_eq!(metric(&server, gauge).await, "0");
    assert_eq!(lines(&log, "nothing is written there until"), 1);
    assert_eq!(lines(&log, "it is written to again"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_redis_that_is_told_to_evict_is_given_no_command_meanwhile() {
    let redis = RedisServer::start().await;
    let server = Server::start(&["--persistence", "redis", "--redis", &redis.address()]).await;
    server.create("c").await;
    assert_eq!(redis.command("CONFIG SET maxmemory-policy allkeys-lru").await, "+OK");
    // Nobody asks for the health: the store itself looks.
    eventually(|| async {
        match send_order(&server).await.as_deref() {
            Some("durability_lost") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(!is_ready(&server).await);
    assert_eq!(redis.command("CONFIG SET maxmemory-policy noeviction").await, "+OK");
    until_ready_is(&server, true).await;
    assert_eq!(send_order(&server).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_nothing_is_published_where_it_could_be_evicted() {
    let redis = RedisServer::start().await;
    let store = Backend::file().await;
    let address = redis.address();
    let flags =
        [store.flags(), ["--transport", "redis", "--redis", &address].map(str::to_owned).into()];
    let flags = flags.concat();
    let server = Server::start(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await;
    server.create("c").await;
    assert_eq!(redis.command("CONFIG SET maxmemory-policy allkeys-lru").await, "+OK");
    until_ready_is(&server, false).await;
    let health: Value = server.get("/health").send().await.unwrap().json().await.unwrap();
    let transport = &health["checks"]["transport"];
    assert!(transport["reason"].as_str().unwrap_or_default().contains("noeviction"), "{health}");
    assert_eq!(redis.command("CONFIG SET maxmemory-policy noeviction").await, "+OK");
    until_ready_is(&server, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_nats_that_comes_back_weaker_is_given_no_command_until_it_is_set_right() {
    let mut nats = NatsServer::start_durable().await;
    let (url, monitor) = (nats.url(), nats.monitor());
    let flags = ["--persistence", "nats", "--nats", &url, "--nats-monitor", &monitor];
    let flags = [&flags[..], &["--require-durability", "power-loss"]].concat();
    let server = Server::start(&flags).await;
    let id = server.create("c").await;
    nats.set(Settings { jetstream: "sync_interval: 1m", ..Settings::default() });
    nats.kill().await;
    takes_nothing(&server, nats.restart(), Duration::from_secs(3)).await;
    assert_eq!(server.json(&format!("/orders/{id}")).await["status"], "Pending");
    assert!(!is_ready(&server).await);
    assert_eq!(metric(&server, r#"catga_durability_lost{store="nats"}"#).await, "1");

    nats.set(Settings { jetstream: "sync_interval: always", ..Settings::default() });
    nats.kill().await;
    nats.restart().await;
    until_ready_is(&server, true).await;
    assert_eq!(send_order(&server).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_stream_that_is_told_to_delete_is_given_no_command_meanwhile() {
    for version in Version::ALL {
        let nats = NatsServer::start(version).await;
        let server = Server::start(&["--persistence", "nats", "--nats", &nats.url()]).await;
        server.create("c").await;
        let client = async_nats::connect(nats.url()).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let mut config = context.get_stream("catga").await.unwrap().cached_info().config.clone();
        config.max_age = Duration::from_secs(3600);
        context.update_stream(&config).await.unwrap();
        eventually(|| async {
            match send_order(&server).await.as_deref() {
                Some("durability_lost") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        let health: Value = server.get("/health").send().await.unwrap().json().await.unwrap();
        let reason = health["checks"]["store"]["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("max_age"), "{health}");
        config.max_age = Duration::ZERO;
        context.update_stream(&config).await.unwrap();
        until_ready_is(&server, true).await;
        assert_eq!(send_order(&server).await, None);
    }
}
