//! order-system on Redis: what is answered stays, over restarts of either side.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use catga_tests::{
    Server, binary, eventually, order,
    redis::{DURABLE, RedisServer, free_port},
};
use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reqwest::{StatusCode, header::RETRY_AFTER};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

const ON_REDIS: [&str; 3] = ["--persistence", "redis", "--redis"];

async fn run(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary()).args(args).stdin(Stdio::null()).output();
    let output = timeout(Duration::from_secs(10), output).await.expect("it ends").unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

async fn start(redis: &str) -> Server {
    Server::start(&[&ON_REDIS[..], &[redis]].concat()).await
}

/// The receipts that were sent, by what the service wrote to its log.
fn receipts(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap();
    let sent = text.lines().filter(|line| line.contains("receipt sent"));
    sent.map(|line| line.rsplit("receipt=").next().unwrap().trim().to_owned()).collect()
}

fn log_in(directory: &TempDir, name: &str) -> (PathBuf, File) {
    let path = directory.path().join(name);
    let file = File::create(&path).unwrap();
    (path, file)
}

async fn handlers_are_done(server: &Server) {
    eventually(|| async {
        let health = server.json("/health").await;
        let handlers = health["checks"]["handlers"].as_object().unwrap();
        if handlers.values().all(|h| h["lag"] == 0) { Ok(()) } else { Err(health.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_server_that_was_emptied_nothing_is_acknowledged_before_a_new_start() {
    let redis = RedisServer::start().await;
    let address = redis.address();
    let mut server = start(&address).await;
    let former = server.post("/orders", &order("c")).send().await.unwrap();
    let position = former.headers()["x-catga-position"].clone();
    assert_eq!(redis.command("FLUSHALL").await, "+OK");
    for _ in 0..20 {
        let answer = server.post("/orders", &order("c")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.text().await.unwrap().contains("started again"));
    }
    for path in ["/health/live", "/health/ready", "/health", "/orders"] {
        let answer = server.get(path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    let health = server.get("/health/live").send().await.unwrap().json::<Value>().await.unwrap();
    let reason = health["checks"]["store"]["reason"].as_str().unwrap();
    assert!(reason.contains("another log"), "{reason}");
    assert_eq!(server.end().await, Some(75), "so that it is started again");

    let server = start(&address).await;
    let id = server.create("c").await;
    let orders = server.json("/orders").await;
    assert_eq!((orders.as_array().unwrap().len(), &orders[0]["id"]), (1, &Value::from(id)));
    assert_eq!(server.json("/health/live").await["status"], "healthy");
    handlers_are_done(&server).await;
    // What clients know of the former log means nothing here.
    let read = server.get("/orders").header("x-catga-position", position).send().await.unwrap();
    assert_eq!(read.status(), StatusCode::CONFLICT);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_what_was_answered_survives_the_kill_of_redis_and_the_service_goes_on() {
    let mut redis = RedisServer::start().await;
    let address = redis.address();
    let directory = TempDir::new().unwrap();
    let (log, file) = log_in(&directory, "log");
    let server = Server::start_logged(&[&ON_REDIS[..], &[&address]].concat(), file).await;
    let server = &server;
    // Clients that send each order until it is answered, as clients with a key may.
    let client = |client: usize| async move {
        for i in 0..40 {
            let key = format!("{client}-{i}");
            eventually(|| async {
                let request = server.post("/orders", &order("c")).header("idempotency-key", &key);
                let answer = request.send().await.map_err(|e| e.to_string())?;
                match answer.status() {
                    StatusCode::CREATED => Ok(()),
                    StatusCode::SERVICE_UNAVAILABLE => {
                        assert!(answer.headers().contains_key(RETRY_AFTER));
                        Err("unavailable".to_owned())
                    }
                    status => panic!("{status}: {}", answer.text().await.unwrap()),
                }
            })
            .await;
        }
    };
    let outage = async {
        eventually(|| async {
            let stats = server.json("/stats").await;
            if stats["totalOrders"].as_u64() > Some(20) { Ok(()) } else { Err(stats.to_string()) }
        })
        .await;
        redis.kill().await;
        for path in ["/orders", "/stats", "/health"] {
            let answer = server.get(path).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        }
        let answer = server.post("/orders", &order("c")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[RETRY_AFTER], "1");
        assert!(!answer.text().await.unwrap().contains(&address), "the address is not told");
        assert_eq!(server.get("/health/live").send().await.unwrap().status(), StatusCode::OK);
        redis.restart().await;
        let back = Instant::now();
        eventually(|| async {
            match server.get("/health/ready").send().await.unwrap().status() {
                StatusCode::OK => Ok(()),
                status => Err(status.to_string()),
            }
        })
        .await;
        assert!(back.elapsed() < Duration::from_secs(1), "it took {:?}", back.elapsed());
    };
    tokio::join!(join_all((0..4).map(client)), outage);

    let orders = server.json("/orders?limit=1000").await;
    let orders = orders.as_array().unwrap();
    assert_eq!(orders.len(), 160, "P4: each order is there once");
    for order in orders {
        let path = format!("/orders/{}/history", order["id"].as_str().unwrap());
        assert_eq!(server.json(&path).await.as_array().unwrap().len(), 1);
    }
    let id = orders[0]["id"].as_str().unwrap();
    assert_eq!(server.step(id, "pay").await.status(), StatusCode::OK);
    handlers_are_done(server).await;
    assert_eq!(receipts(&log).len(), 1, "P7: event handlers go on");
    let mut feed = server.get("/events").send().await.unwrap().bytes_stream();
    let mut text = String::new();
    while text.matches("\nevent: OrderCreated").count() < 160 || !text.contains("OrderPaid") {
        let chunk = timeout(Duration::from_secs(5), feed.next()).await.expect("the feed goes on");
        text.push_str(str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_is_503_and_reads_go_on() {
    let redis = RedisServer::start().await;
    let server = start(&redis.address()).await;
    let id = server.create("c").await;
    assert_eq!(redis.command("CONFIG SET maxmemory 1mb").await, "+OK");
    for _ in 0..3 {
        let answer = server.step(&id, "pay").await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[RETRY_AFTER], "1");
    }
    assert_eq!(server.json(&format!("/orders/{id}")).await["status"], "Pending");
    assert_eq!(server.json("/stats").await["totalOrders"], 1);
    assert_eq!(redis.command("CONFIG SET maxmemory 0").await, "+OK");
    assert_eq!(server.step(&id, "pay").await.status(), StatusCode::OK);
    assert_eq!(server.json(&format!("/orders/{id}/history")).await.as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_how_durable_the_server_is() {
    let always = &DURABLE[..];
    for (flags, level) in [
        (always, "power-loss"),
        (&["--appendonly", "yes", "--appendfsync", "no"], "process-crash"),
        (&["--appendonly", "yes", "--appendfsync", "everysec"], "seconds"),
        (&["--appendonly", "no"], "memory"),
        (&["--appendonly", "no", "--save", "3600 1"], "memory"),
    ] {
        let redis = RedisServer::start_with(flags).await;
        let address = redis.address();
        let check = [&["check"], &ON_REDIS[..], &[&address]].concat();
        let (code, text) = run(&check).await;
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains(&format!("survives: {level}\n")), "{flags:?}: {text}");
        let (code, text) =
            run(&[&check[..], &["--require-durability", "power-loss"]].concat()).await;
        if level == "power-loss" {
            assert_eq!(code, Some(0), "{text}");
        } else {
            assert_eq!(code, Some(1), "{text}");
            assert!(text.contains("set append"), "it says what to do: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_can_not_be_used_is_named_with_the_reason() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let evicting = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]).await;
    let paused = RedisServer::start().await;
    paused.pause().await;
    let at_once = ["--wait-for-store", "0"];
    for (server, flags, reason) in [
        (nobody.as_str(), &at_once[..], "refused"),
        // What does not heal by itself is not waited for.
        (&evicting.address(), &[], "noeviction"),
        (&paused.address(), &at_once, "did not answer in time"),
        ("redis://nobody.invalid", &at_once, "lookup"),
        ("unix:/nowhere/redis.sock", &at_once, "No such file"),
    ] {
        let begin = Instant::now();
        let (code, text) = run(&[&ON_REDIS[..], &[server, "--port", "0"], flags].concat()).await;
        assert!(begin.elapsed() < Duration::from_secs(6), "{server}: {:?}", begin.elapsed());
        assert_eq!(code, Some(1), "{server}: {text}");
        for part in ["--redis", reason, server.trim_start_matches("redis://")] {
            assert!(text.contains(part), "{server}: no {part} in {text}");
        }
    }
    for (flag, value, reason) in [
        ("--redis-prefix", "a b", "--redis-prefix"),
        ("--redis-prefix", "{x}", "--redis-prefix"),
        ("--transport", "pigeon", "inmemory, redis, nats"),
    ] {
        let (code, text) = run(&[flag, value]).await;
        assert_eq!(code, Some(2), "{flag} {value}");
        assert!(text.contains(reason), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_is_never_shown() {
    const SECRET: &str = "sEcReT-0815";
    let mut redis =
        RedisServer::start_with(&[&DURABLE[..], &["--requirepass", SECRET]].concat()).await;
    let address = redis.address();
    let right = format!("redis://:{SECRET}@{address}");
    for (server, code) in [
        (right.clone(), Some(0)),
        (format!("redis://:{SECRET}x@{address}"), Some(1)),
        (format!("redis://{SECRET}:x@{address}"), Some(1)),
        (format!("{address},password={SECRET}"), Some(1)),
        (format!("redis://:{SECRET}@{address}/{SECRET}"), Some(1)),
        (format!("redis://:{SECRET}@{address}/7000"), Some(1)),
        (format!("redis://:{SECRET}@"), Some(1)),
        (format!("http://:{SECRET}@{address}"), Some(1)),
        (format!("rediss://:{SECRET}@{address}"), Some(1)),
    ] {
        let (exit, text) = run(&["check", "--persistence", "redis", "--redis", &server]).await;
        assert_eq!(exit, code, "{server}: {text}");
        assert!(!text.contains(SECRET), "{server}: {text}");
    }
    let help = Command::new(binary()).arg("--help").env("CATGA_REDIS", &right).output();
    assert!(!String::from_utf8(help.await.unwrap().stdout).unwrap().contains(SECRET));

    let directory = TempDir::new().unwrap();
    let (log, file) = log_in(&directory, "log");
    let flags = [&ON_REDIS[..], &[&right, "--log", "trace"]].concat();
    let server = Server::start_logged(&flags, file).await;
    let mut shown = String::new();
    for turn in ["up", "down"] {
        for path in ["/", "/health", "/health/ready", "/cluster", "/metrics", "/stats", "/orders"] {
            shown += &server.get(path).send().await.unwrap().text().await.unwrap();
        }
        if turn == "up" {
            server.create("c").await;
            redis.kill().await;
        }
    }
    drop(server);
    shown += &std::fs::read_to_string(log).unwrap();
    assert!(!shown.contains(SECRET));
}

/// A certificate of `authority` for `name`, and its key, as files.
fn certificate(directory: &TempDir, authority: &Issuer<'_, KeyPair>, name: &str) -> [String; 2] {
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = parameters.signed_by(&key, authority).unwrap();
    [("crt", certificate.pem()), ("key", key.serialize_pem())].map(|(extension, pem)| {
        let path = directory.path().join(format!("{name}.{extension}"));
        std::fs::write(&path, pem).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

/// An authority, and the file that it is trusted by.
fn authority(directory: &TempDir, name: &str) -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let path = directory.path().join(name);
    std::fs::write(&path, parameters.self_signed(&key).unwrap().pem()).unwrap();
    (Issuer::new(parameters, key), path.to_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_checked() {
    let directory = TempDir::new().unwrap();
    let (ours, ca) = authority(&directory, "ca.pem");
    let (_, other_ca) = authority(&directory, "other.pem");
    for name in ["127.0.0.1", "redis.example"] {
        let [certificate, key] = certificate(&directory, &ours, name);
        let port = free_port().to_string();
        let tls = ["--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key];
        let clients = ["--tls-ca-cert-file", &ca, "--tls-auth-clients", "no"];
        let redis = RedisServer::start_with(&[&tls[..], &clients].concat()).await;
        let server = format!("rediss://127.0.0.1:{port}");
        let check = |flags: Vec<String>| async move {
            let flags: Vec<_> = flags.iter().map(String::as_str).collect();
            run(&[&["check"], &ON_REDIS[..], &flags].concat()).await
        };
        let with_ca = |ca: &str| vec![server.clone(), "--redis-ca".to_owned(), ca.to_owned()];
        let (code, text) = check(with_ca(&ca)).await;
        if name == "127.0.0.1" {
            assert_eq!(code, Some(0), "{text}");
        } else {
            assert_eq!(code, Some(1), "a certificate for {name}: {text}");
            assert!(text.contains("certificate"), "{text}");
        }
        for flags in [with_ca(&other_ca), vec![server.clone()]] {
            let (code, text) = check(flags).await;
            assert_eq!(code, Some(1), "{text}");
            assert!(text.contains("certificate"), "{text}");
        }
        let plain = vec![redis.address(), "--redis-ca".to_owned(), ca.clone()];
        for flags in [with_ca("/nowhere"), with_ca("/dev/null"), plain] {
            let (code, text) = check(flags).await;
            assert_eq!(code, Some(1), "{text}");
        }
    }
}

/// 600 orders while the store stands still: 512 wait for it, and the others are told at once.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_turned_away_at_once() {
    let redis = RedisServer::start().await;
    let server = start(&redis.address()).await;
    let http = reqwest::Client::new();
    redis.pause().await;
    let mut posts: FuturesUnordered<_> = (0..600)
        .map(|n| {
            let post = http.post(format!("{}/orders", server.url)).json(&order(&format!("c{n}")));
            async move { post.send().await.unwrap() }
        })
        .collect();
    for _ in 0..600 - 512 {
        let answer = timeout(Duration::from_secs(4), posts.next()).await;
        let answer = answer.expect("it is turned away at once").unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()["retry-after"], "1");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], "overloaded", "{problem}");
    }
    for path in ["/health/live", "/metrics"] {
        let answer = http.get(format!("{}{path}", server.url)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
    redis.resume().await;
    while let Some(answer) = posts.next().await {
        assert_eq!(answer.status(), StatusCode::CREATED);
    }
    assert_eq!(
        server.json("/stats").await["totalOrders"],
        512,
        "nothing was done about the others"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_command_in_doubt_says_whether_it_can_be_sent_again() {
    let redis = RedisServer::start().await;
    let server = start(&redis.address()).await;
    let post = || server.post("/orders", &order("c"));
    assert_eq!(post().send().await.unwrap().status(), StatusCode::CREATED);
    // What is written waits until it is taken back, and is then done.
    redis.command("CLIENT PAUSE 60000 WRITE").await;
    let (without, with) = tokio::join!(post().send(), post().header("idempotency-key", "k").send());
    let (without, with) = (without.unwrap(), with.unwrap());
    assert_eq!(without.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!(!without.headers().contains_key(RETRY_AFTER), "clients would send it again");
    assert_eq!(without.json::<Value>().await.unwrap()["code"], "in_doubt");
    assert_eq!(with.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(with.headers()[RETRY_AFTER], "1");
    redis.command("CLIENT UNPAUSE").await;
    eventually(|| async {
        let answer = post().header("idempotency-key", "k").send().await.unwrap();
        if answer.status() == StatusCode::CREATED {
            Ok(())
        } else {
            Err(answer.status().to_string())
        }
    })
    .await;
    let total = server.json("/stats").await["totalOrders"].as_u64().unwrap();
    assert!(
        (2..=3).contains(&total),
        "{total} orders: the first, the one with a key, and perhaps the one in doubt"
    );
}
