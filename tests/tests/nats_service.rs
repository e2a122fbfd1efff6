//! order-system on a NATS server that wants to know who asks.

use std::{fs::File, net::SocketAddr};

use catga_tests::{
    Server, binary, eventually,
    nats::{NatsServer, Settings, Version},
    order,
    proxy::{Mode, Proxy},
};
use tempfile::TempDir;
use tokio::process::Command;

/// Runs the program to its end. Answers the exit code, and all that it wrote.
async fn run(flags: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary()).args(flags).output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_says_who_asks_and_its_secrets_are_never_shown() {
    const SECRET: &str = "sEcReT-0815";
    for version in Version::ALL {
        // What a URL can't hold as it is comes percent-encoded.
        let lines = format!("authorization {{ user: \"a@b\", password: \"{SECRET}@:/%\" }}");
        let mut nats =
            NatsServer::start_with(version, Settings { lines: &lines, ..Settings::default() })
                .await;
        let address = format!("127.0.0.1:{}", nats.port);
        let login = format!("a%40b:{SECRET}%40%3A%2F%25");
        let right = format!("nats://{login}@{address}");
        for (server, code) in [
            (right.clone(), Some(0)),
            (format!("{right},{right}"), Some(0)),
            (format!("{right},nats://{address}"), Some(0)),
            (format!("nats://{address}"), Some(1)),
            (format!("nats://a%40b:{SECRET}@{address}"), Some(1)),
            (format!("nats://{SECRET}@{address}"), Some(1)),
            (format!("{right},nats://other:{SECRET}@{address}"), Some(1)),
            (format!("nats://a%40b:{SECRET}%FF@{address}"), Some(1)),
            (format!("nats://a:{SECRET}@"), Some(1)),
        ] {
            let flags = ["check", "--log", "trace", "--persistence", "nats", "--nats", &server];
            let (exit, text) = run(&flags).await;
            assert_eq!(exit, code, "{server}: {text}");
            assert!(!text.contains(SECRET), "{server}: {text}");
        }
        let help = Command::new(binary()).arg("--help").env("CATGA_NATS", &right).output();
        assert!(!String::from_utf8(help.await.unwrap().stdout).unwrap().contains(SECRET));

        let directory = TempDir::new().unwrap();
        let log = directory.path().join("log");
        let flags = ["--persistence", "nats", "--nats", &right, "--log", "trace"];
        let server = Server::start_logged(&flags, File::create(&log).unwrap()).await;
        server.create("c").await;
        let mut shown = String::new();
        for is_up in [true, false] {
            for path in ["/", "/health", "/cluster", "/metrics", "/stats", "/orders"] {
                shown += &server.get(path).send().await.unwrap().text().await.unwrap();
            }
            if is_up {
                nats.kill().await;
            }
        }
        // It logs in again by itself.
        nats.restart().await;
        eventually(|| async {
            let answer = server.get("/health/ready").send().await.unwrap();
            if answer.status().is_success() { Ok(()) } else { Err(answer.text().await.unwrap()) }
        })
        .await;
        drop(server);
        shown += &std::fs::read_to_string(log).unwrap();
        assert!(shown.contains("async_nats"), "void: the client logged nothing");
        assert!(!shown.contains(SECRET), "{version:?}");
    }
}

/// The values beside the log stay, with checkpoints and snapshots of the log that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_made_anew_is_noticed_and_handled_from_its_beginning() {
    for version in Version::ALL {
        let nats = NatsServer::start(version).await;
        let url = nats.url();
        let flags = ["--persistence", "nats", "--nats", &url];
        let server = Server::start(&flags).await;
        for _ in 0..5 {
            server.create("c").await;
        }
        all_are_handled(&server).await;
        let jetstream = async_nats::jetstream::new(async_nats::connect(&url).await.unwrap());
        let config = jetstream.get_stream("catga").await.unwrap().cached_info().config.clone();
        jetstream.delete_stream("catga").await.unwrap();
        jetstream.create_stream(config).await.unwrap();
        // The first one that is stored before the end that was seen shows it, or the next look.
        eventually(|| async {
            server.post("/orders", &order("c")).send().await.unwrap();
            let answer = server.get("/health/live").send().await.unwrap();
            if answer.status() == 503 { Ok(()) } else { Err(answer.text().await.unwrap()) }
        })
        .await;
        assert_eq!(server.get("/health").send().await.unwrap().status(), 503);
        drop(server);

        let server = Server::start(&flags).await;
        server.create("d").await;
        all_are_handled(&server).await;
        let orders = server.json("/orders").await;
        assert_eq!(orders[0]["customerId"], "d", "{version:?}");
    }
}

async fn all_are_handled(server: &Server) {
    eventually(|| async {
        let health = server.get("/health").send().await.unwrap();
        let (status, health) = (health.status(), health.json::<serde_json::Value>().await.unwrap());
        let mut handlers = health["checks"]["handlers"].as_object().unwrap().values();
        if status == 200 && handlers.all(|handler| handler["lag"] == 0) {
            return Ok(());
        }
        Err(health.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_address_is_taken() {
    let settings = Settings { lines: "authorization { token: \"T%k\" }", ..Settings::default() };
    let nats = NatsServer::start_with(Version::Newest, settings).await;
    let address = format!("nats://T%25k@127.0.0.1:{}", nats.port);
    let (exit, text) = run(&["check", "--persistence", "nats", "--nats", &address]).await;
    assert_eq!(exit, Some(0), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitoring_that_is_away_makes_nobody_sick() {
    let nats = NatsServer::start_durable().await;
    let monitor = Proxy::start(SocketAddr::from(([127, 0, 0, 1], nats.monitor_port))).await;
    let (url, address) = (nats.url(), monitor.address().to_string());
    let flags = ["--persistence", "nats", "--nats", &url, "--nats-monitor", &address];
    let server = Server::start(&flags).await;
    let health = server.json("/health").await;
    assert_eq!(health["checks"]["store"]["durability"], "power-loss");
    monitor.set(Mode::Refuse);
    let health = server.json("/health").await;
    assert_eq!(health["checks"]["store"]["status"], "healthy");
    assert_eq!(health["checks"]["store"].get("durability"), None, "nobody knows now");
    server.create("c").await;
}
