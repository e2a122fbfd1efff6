//! A store that is there later than the service, and one that never is.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use catga_tests::{
    Server,
    backend::Backend,
    binary, eventually,
    nats::{NatsServer, Settings, Version},
    redis::{DURABLE, RedisServer, free_port},
};
use tempfile::TempDir;
use tokio::{net::TcpStream, process::Command, time::timeout};

const WAITS: &str = "it is waited for";

/// Starts order-system with its log in a file.
async fn start(flags: &[String], log: &Path) -> Server {
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    Server::start_logged(&flags, File::create(log).unwrap()).await
}

async fn until_it_waits(log: &Path) -> String {
    eventually(|| async {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if text.contains(WAITS) { Ok(text) } else { Err(text) }
    })
    .await
}

fn a_log() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let log = directory.path().join("log");
    (directory, log)
}

async fn is_waited_for(mut backend: Backend, port: u16) {
    let (_directory, log) = a_log();
    let flags = backend.flags();
    match &mut backend {
        Backend::File(_) | Backend::NatsCluster(_) => unreachable!("one server is asked for"),
        Backend::Redis(server) => server.kill().await,
        Backend::Nats(server) => server.kill().await,
    }
    let back = async {
        let text = until_it_waits(&log).await;
        assert!(text.contains(&port.to_string()), "it says for whom: {text}");
        match &mut backend {
            Backend::File(_) | Backend::NatsCluster(_) => {}
            Backend::Redis(server) => server.restart().await,
            Backend::Nats(server) => server.restart().await,
        }
    };
    let (server, ()) = tokio::join!(start(&flags, &log), back);
    server.create("c").await;
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.matches(WAITS).count(), 1, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_there_later_is_waited_for() {
    for backend in
        [Backend::redis().await, Backend::nats_debian().await, Backend::nats_newest().await]
    {
        let port = backend.port().unwrap();
        is_waited_for(backend, port).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_loads_its_data_is_waited_for() {
    let (_directory, log) = a_log();
    let flags = [&DURABLE[..], &["--enable-debug-command", "yes"]].concat();
    let mut redis = RedisServer::start_with(&flags).await;
    assert_eq!(redis.command("DEBUG POPULATE 2000").await, "+OK");
    redis.command("BGREWRITEAOF").await;
    eventually(|| async {
        let info = redis.command("INFO persistence").await;
        let is_done = info.contains("aof_rewrite_in_progress:0")
            && info.contains("aof_rewrite_scheduled:0")
            && info.contains("aof_last_bgrewrite_status:ok");
        if is_done { Ok(()) } else { Err(info) }
    })
    .await;
    redis.kill().await;
    // A millisecond for each key.
    redis.set(&["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"]);
    let (address, port) = (redis.address(), redis.port);
    let flags = ["--persistence", "redis", "--redis", &address].map(str::to_owned);
    let start = async {
        eventually(|| async {
            TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| error.to_string())
        })
        .await;
        start(&flags, &log).await
    };
    let ((), server) = tokio::join!(redis.restart(), start);
    server.create("c").await;
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains(WAITS) && text.contains("LOADING"), "{text}");
}

/// How order-system ends with `flags`: its code, all that it says, and how long it took.
async fn end(flags: &[&str]) -> (Option<i32>, String, Duration) {
    let begin = Instant::now();
    let output = Command::new(binary()).args(["--port", "0"]).args(flags).output();
    let output = timeout(Duration::from_secs(20), output).await.expect("it ends").unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code(), text, begin.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_comes_is_named_when_the_time_is_over() {
    for store in ["redis", "nats"] {
        let nobody = format!("127.0.0.1:{}", free_port());
        let server = format!("--{store}");
        for place in ["--persistence", "--transport"] {
            let flags = [place, store, &server, &nobody, "--wait-for-store", "1"];
            let (code, text, time) = end(&flags).await;
            assert_eq!(code, Some(1), "{text}");
            assert!((1..6).contains(&time.as_secs()), "{time:?}: {text}");
            assert_eq!(text.matches(WAITS).count(), 1, "{text}");
            let last = text.lines().last().unwrap();
            assert!(last.contains(&nobody) && last.contains(store), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_not_waited_for_and_not_shown() {
    const SECRET: &str = "sEcReT-0815";
    let redis = RedisServer::start_with(&["--requirepass", "another"]).await;
    let lines = "authorization { user: u, password: another }";
    let settings = Settings { lines, ..Settings::default() };
    let nats = NatsServer::start_with(Version::Newest, settings).await;
    let (redis, nats) = (redis.address(), nats.url().replace("nats://", ""));
    for (store, server) in [
        ("redis", format!("redis://:{SECRET}@{redis}")),
        ("redis", redis.clone()),
        ("nats", format!("nats://u:{SECRET}@{nats}")),
        ("nats", nats.clone()),
    ] {
        let (code, text, time) =
            end(&["--persistence", store, &format!("--{store}"), &server]).await;
        assert_eq!(code, Some(1), "{text}");
        assert!(time < Duration::from_secs(8) && !text.contains(WAITS), "{time:?}: {text}");
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_wait_at_once() {
    let (_directory, log) = a_log();
    let nobody = format!("127.0.0.1:{}", free_port());
    let mut child = Command::new(binary())
        .args(["--port", "0", "--persistence", "redis", "--redis", &nobody])
        .stdout(Stdio::null())
        .stderr(File::create(&log).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until_it_waits(&log).await;
    let begin = Instant::now();
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").arg(&pid).status().await.unwrap().success());
    let status = timeout(Duration::from_secs(5), child.wait()).await.expect("it ends").unwrap();
    assert_eq!(status.code(), Some(0), "in order, as the first process of a container must");
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}
