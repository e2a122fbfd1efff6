//! order-system on each store that survives it: what was answered stays, over restarts and crashes of either side
//! and whatever happens to the answers.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use catga_tests::{
    Server,
    backend::Backend,
    eventually,
    history::Recorder,
    load::{Stop, http},
    order,
    proxy::Proxy,
};
use futures_util::{StreamExt, stream};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

/// Runs each test on each store.
macro_rules! on_each_store {
    (anywhere: [$($test:ident),* $(,)?], on_a_server: [$($server_test:ident),* $(,)?]) => {
        on_each_store!(@store file $($test),*);
        on_each_store!(@store redis $($test,)* $($server_test),*);
        on_each_store!(@store nats_debian $($test,)* $($server_test),*);
        on_each_store!(@store nats_newest $($test,)* $($server_test),*);
    };
    (@store $store:ident $($test:ident),*) => {
        mod $store {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::$test(super::Backend::$store().await).await;
                }
            )*
        }
    };
}

on_each_store!(
    anywhere: [
        the_life_of_an_order_survives_a_restart,
        p7_checkpoints_survive_a_restart,
        p2_crashes_lose_and_double_nothing,
    ],
    on_a_server: [
        p3_p4_when_every_answer_of_the_store_is_lost_nothing_is_lost_or_doubled,
    ]
);

fn borrowed(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

async fn start(backend: &Backend) -> Server {
    Server::start(&borrowed(&backend.flags())).await
}

/// Sends a command with a key. Answers the status, whether it is a repeat, and the text.
async fn kv(server: &Server, path: &str, key: &str, body: &Value) -> (StatusCode, bool, String) {
    let answer = server.post(path, body).header("idempotency-key", key).send().await.unwrap();
    let is_replay = answer.headers().contains_key("idempotent-replayed");
    (answer.status(), is_replay, answer.text().await.unwrap())
}

async fn the_life_of_an_order_survives_a_restart(backend: Backend) {
    let mut server = start(&backend).await;
    let info = server.json("/").await;
    assert_eq!(info["persistence"].as_str().unwrap(), backend.flags()[1]);
    let (status, _, created) = kv(&server, "/orders", "create-1", &order("c")).await;
    assert_eq!(status, StatusCode::CREATED);
    let created: Value = serde_json::from_str(&created).unwrap();
    let id = created["orderId"].as_str().unwrap();
    let path = format!("/orders/{id}");
    let (pay, card) = (format!("{path}/pay"), json!({ "paymentMethod": "card" }));
    let (status, _, paid) = kv(&server, &pay, "pay-1", &card).await;
    assert_eq!(status, StatusCode::OK);
    for i in 0..30 {
        let id = server.create("many").await;
        if i % 3 == 0 {
            server.step(&id, "cancel").await;
        }
    }
    let looks = ["/orders?limit=1000", "/stats", &path, &format!("{path}/history")];
    let mut before = Vec::new();
    for look in looks {
        before.push(server.json(look).await);
    }
    assert_eq!(server.terminate().await, Some(0));

    let server = start(&backend).await;
    for (look, mut before) in looks.iter().zip(before) {
        let mut after = server.json(look).await;
        if let (Some(before), Some(after)) = (before.as_object_mut(), after.as_object_mut()) {
            before.remove("timestamp");
            after.remove("timestamp");
        }
        assert_eq!(before, after, "{look}");
    }
    // P4: the first answers are given again, and nothing happens again.
    let (status, is_replay, again) = kv(&server, "/orders", "create-1", &order("c")).await;
    assert_eq!((status, is_replay), (StatusCode::CREATED, true));
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), created);
    let again = kv(&server, &pay, "pay-1", &card).await;
    assert_eq!(again, (StatusCode::OK, true, paid));
    let (status, ..) = kv(&server, "/orders", "create-1", &order("d")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);

    for (step, status) in [("ship", "Shipped"), ("deliver", "Delivered")] {
        assert_eq!(server.step(id, step).await.status(), StatusCode::OK);
        assert_eq!(server.json(&path).await["status"], status);
    }
    assert_eq!(server.json(&format!("{path}?version=2")).await["status"], "Paid");
    let history = server.json(&format!("{path}/history")).await;
    let types: Vec<_> = history.as_array().unwrap().iter().map(|e| e["type"].clone()).collect();
    assert_eq!(types, ["OrderCreated", "OrderPaid", "OrderShipped", "OrderDelivered"]);
}

/// The receipts that were sent, by what the service wrote to its log.
fn receipts(log: &Path) -> usize {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().filter(|line| line.contains("receipt sent")).count()
}

async fn start_logged(backend: &Backend, directory: &TempDir, name: &str) -> (Server, PathBuf) {
    let path = directory.path().join(name);
    let file = File::create(&path).unwrap();
    (Server::start_logged(&borrowed(&backend.flags()), file).await, path)
}

async fn handlers_are_done(server: &Server) {
    eventually(|| async {
        let health = server.json("/health").await;
        let handlers = health["checks"]["handlers"].as_object().unwrap();
        if handlers.values().all(|h| h["lag"] == 0) { Ok(()) } else { Err(health.to_string()) }
    })
    .await;
}

async fn p7_checkpoints_survive_a_restart(backend: Backend) {
    let directory = TempDir::new().unwrap();
    let (mut server, first_log) = start_logged(&backend, &directory, "first").await;
    for _ in 0..20 {
        let id = server.create("c").await;
        server.step(&id, "pay").await;
    }
    handlers_are_done(&server).await;
    assert_eq!(receipts(&first_log), 20);
    assert_eq!(server.terminate().await, Some(0));

    let (server, second_log) = start_logged(&backend, &directory, "second").await;
    let id = server.create("c").await;
    server.step(&id, "pay").await;
    handlers_are_done(&server).await;
    assert_eq!(receipts(&second_log), 1, "what was handled before is not handled again");
}

fn address(server: &Server) -> SocketAddr {
    server.url.strip_prefix("http://").unwrap().parse().unwrap()
}

/// How often either side is killed; `just crashes` does it more often.
fn rounds() -> usize {
    std::env::var("CATGA_ROUNDS")
        .map_or(6, |rounds| rounds.parse().expect("CATGA_ROUNDS is a number"))
}

/// The service and its store are killed in turn, while clients send each command until it is answered.
async fn p2_crashes_lose_and_double_nothing(mut backend: Backend) {
    let rounds = rounds();
    let mut server = start(&backend).await;
    let proxy = Proxy::start(address(&server)).await;
    let url = format!("http://{}", proxy.address());
    let (recorder, stop) = (Recorder::new(), Stop::default());
    let time = Duration::from_secs(20 + 2 * rounds as u64);
    let plan = http::Plan { clients: 8, orders: 5_000, time, name: "k".to_owned() };
    let crashes = async {
        let mut acknowledged = 0;
        for round in 0..rounds {
            // A crash without load says nothing.
            let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
            while recorder.acked() < acknowledged + 100 {
                assert!(tokio::time::Instant::now() < deadline, "void: no load in round {round}");
                sleep(Duration::from_millis(5)).await;
            }
            if round % 2 == 1 && backend.port().is_some() {
                backend.crash().await;
            } else {
                server.child.kill().await.unwrap();
                server = start(&backend).await;
                proxy.set_target(address(&server));
            }
            acknowledged = recorder.acked();
        }
        stop.now();
    };
    let (answered, ()) =
        tokio::join!(http::send(std::slice::from_ref(&url), &plan, &recorder, &stop), crashes);
    let log = http::final_log(&Client::new(), &server.url).await;
    let verdict = recorder.history().check(&log);
    println!("{}: {rounds} crashes: {verdict}", backend.flags()[1]);
    verdict.expect_clean(100 * rounds);
    all_again(&answered, &server.url).await;
    assert_eq!(http::final_log(&Client::new(), &server.url).await, log, "P4: repeats add nothing");
}

/// Sends every command again, and asserts the first answer.
async fn all_again(answered: &[http::Answered], url: &str) {
    let client = Client::new();
    stream::iter(answered)
        .for_each_concurrent(8, |command| command.assert_same_again(&client, url))
        .await;
}

/// Between the service and its store, each append is cut off when it was sent and before its answer is there; only
/// what is sent a second time gets through.
async fn p3_p4_when_every_answer_of_the_store_is_lost_nothing_is_lost_or_doubled(backend: Backend) {
    let port = backend.port().expect("it is a server");
    let proxy = Arc::new(Proxy::start(SocketAddr::from(([127, 0, 0, 1], port))).await);
    let flags = backend.flags_at(proxy.address().port());
    let server = Server::start(&borrowed(&flags)).await;
    let (recorder, stop) = (Recorder::new(), Stop::default());
    let time = Duration::from_secs(120);
    let plan = http::Plan { clients: 1, orders: 500, time, name: "k".to_owned() };
    let is_done = Stop::default();
    let cutting = async {
        let mut cuts = 0;
        proxy.cut_replies(backend.append_pattern(), 0, 1);
        while !is_done.is_now() {
            if proxy.cuts() == 1 {
                cuts += 1;
                proxy.cut_replies(backend.append_pattern(), 1, 1);
            }
            sleep(Duration::from_millis(1)).await;
        }
        proxy.cut_replies("", 0, 0);
        cuts
    };
    let load = async {
        let answered = http::send(std::slice::from_ref(&server.url), &plan, &recorder, &stop).await;
        is_done.now();
        answered
    };
    let (answered, cuts) = tokio::join!(load, cutting);
    assert_eq!(answered.len(), 1000);
    assert!(cuts >= 900, "void: only {cuts} answers were lost");
    assert!(answered.iter().all(|command| command.tries == 1), "the service finds out by itself");
    let log = http::final_log(&Client::new(), &server.url).await;
    let verdict = recorder.history().check(&log);
    println!("{}: {cuts} answers cut: {verdict}", backend.flags()[1]);
    verdict.expect_clean(1000);
    all_again(&answered, &server.url).await;
}
