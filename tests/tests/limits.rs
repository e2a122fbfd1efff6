//! Large things, and how little memory they take.

use std::{path::Path, time::Duration};

use catga::{
    Event, Timestamp,
    log::{EventFrame, MAX_EVENTS, StreamId},
    store::FileStore,
    testing,
};
use catga_tests::{Server, order};
use futures_util::{StreamExt, stream};
use order_system::domain::{
    events::{OrderCreated, OrderEvent, OrderPaid},
    money::Money,
};
use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

const EVENTS: usize = 100_000;

/// How long a refusal may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn event(n: usize) -> OrderEvent {
    let time = Timestamp::from_micros(1_700_000_000_000_000 + i64::try_from(n).unwrap());
    if n == 0 {
        OrderCreated {
            customer_id: "c".into(),
            items: vec![],
            total: Money::default(),
            created_at: time,
        }
        .into()
    } else {
        OrderPaid { payment_method: format!("method {n}"), paid_at: time }.into()
    }
}

/// A log of one order with more events than any order gets, written straight to the store.
async fn log_of_one_long_order(directory: &Path) {
    let store = FileStore::open(directory).unwrap();
    let stream = StreamId::new("order", "long").unwrap();
    for first in (0..EVENTS).step_by(MAX_EVENTS) {
        let encode = |n| {
            let mut payload = Vec::new();
            let ty = event(n).encode(&mut payload).unwrap();
            (ty, payload)
        };
        let encoded: Vec<_> = (first..first + MAX_EVENTS).map(encode).collect();
        let events = encoded.iter().map(|(ty, payload)| EventFrame {
            id: Uuid::new_v4(),
            name: ty.name,
            schema: ty.version,
            payload,
        });
        let commit = testing::commit(&stream, first as u64, events);
        testing::append(&store, &commit, 0).await.unwrap();
    }
}

/// The most memory that the server had so far, in MiB.
fn peak(server: &Server) -> u64 {
    let pid = server.child.id().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_with_100_000_events_is_read_in_pages() {
    let directory = TempDir::new().unwrap();
    log_of_one_long_order(directory.path()).await;
    let data = directory.path().display().to_string();
    let server = Server::start(&["--persistence", "file", "--data-dir", &data]).await;
    assert_eq!(server.json("/stats").await["totalOrders"], 1, "the read model has all events");
    let before = peak(&server);
    assert_eq!(server.json("/orders/long").await["version"], EVENTS);
    assert_eq!(server.json("/orders/long?version=50000").await["version"], 50_000);
    // Pages from all over the history; all of them would take a debug build a minute.
    for first in (1..EVENTS).step_by(EVENTS / 20) {
        let path = format!("/orders/long/history?from={first}&limit=1000");
        let answer = server.get(&path).send().await.unwrap();
        let link = answer.headers()["link"].to_str().unwrap().to_owned();
        assert!(link.contains(&format!("from={}&", first + 1000)), "{link}");
        let page = answer.json::<Vec<Value>>().await.unwrap();
        assert_eq!(page.len(), 1000);
        for (version, event) in (first..).zip(&page) {
            assert_eq!(event["version"], version);
        }
    }
    let more = peak(&server) - before;
    assert!(more < 100, "reading it took {more} MiB more");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_a_mebibyte_are_refused_and_not_kept() {
    let server = Server::start(&[]).await;
    let id = server.create("c").await;
    let before = peak(&server);
    let body = "x".repeat((1 << 20) + 1);
    let send = |i: usize| {
        let path =
            if i.is_multiple_of(2) { "/orders".to_owned() } else { format!("/orders/{id}/pay") };
        let (url, body) = (format!("{}{path}", server.url), body.clone());
        async move {
            // On a connection of its own: who waits for one of a pool whose connections all end is not always woken.
            let request = reqwest::Client::new().post(url).timeout(PATIENCE);
            let request = request.header("content-type", "application/json");
            // The server may close the connection before all of it was sent.
            match request.body(body).send().await {
                Ok(answer) => {
                    let status = answer.status();
                    let text = answer.text().await.unwrap_or_default();
                    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{text}");
                }
                Err(error) => {
                    assert!(!error.is_timeout(), "no answer, and the connection is not closed");
                    assert!(error.is_request() || error.is_body(), "{error:?}");
                }
            }
        }
    };
    stream::iter(0..400).for_each_concurrent(32, send).await;
    let more = peak(&server) - before;
    assert!(more < 50, "400 MiB of bodies took {more} MiB");
    let made = reqwest::Client::new().post(format!("{}/orders", server.url)).json(&order("c"));
    assert_eq!(made.send().await.unwrap().status(), StatusCode::CREATED);
}

#[tokio::test]
async fn the_metrics_do_not_grow_with_what_strangers_send() {
    let server = Server::start(&[]).await;
    let http = reqwest::Client::new();
    for n in 0..5 {
        let method = reqwest::Method::from_bytes(format!("MADE-UP-{n}").as_bytes()).unwrap();
        let path = format!("{}/nowhere-{n}", server.url);
        assert_eq!(http.request(method, path).send().await.unwrap().status(), 404);
    }
    let metrics = http.get(format!("{}/metrics", server.url)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let count = |line: &&str| line.starts_with("http_request_seconds_count");
    let lines: Vec<_> = metrics.lines().filter(count).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["method=\"other\"", "route=\"none\"", "status=\"404\"", " 5"] {
        assert!(lines[0].contains(part), "no {part} in {}", lines[0]);
    }
}
