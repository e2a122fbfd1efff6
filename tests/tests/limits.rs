//! Large things, and how little memory they take.

use std::path::Path;

use catga::{
    Event, Timestamp,
    log::{EventFrame, MAX_EVENTS, StreamId},
    store::FileStore,
    testing,
};
use catga_tests::Server;
use order_system::domain::{
    Money,
    events::{OrderCreated, OrderEvent, OrderPaid},
};
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

const EVENTS: usize = 100_000;

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
        let commit = testing::commit(&stream, (first as u64).into(), events);
        testing::append(&store, &commit, 0).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_with_100_000_events_is_read_in_pages() {
    let directory = TempDir::new().unwrap();
    log_of_one_long_order(directory.path()).await;
    let data = directory.path().display().to_string();
    let server = Server::start(&["--persistence", "file", "--data-dir", &data]).await;
    assert_eq!(server.json("/stats").await["totalOrders"], 1, "the read model has all events");
    let before = server.peak_memory();
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
    let more = server.peak_memory() - before;
    assert!(more < 100, "reading it took {more} MiB more");
}
