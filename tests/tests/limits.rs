//! Large things, and how little memory they take.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use catga::{
    Event, Timestamp,
    log::{EventFrame, MAX_EVENTS, StreamId},
    store::FileStore,
    testing,
};
use catga_tests::Server;
use futures_util::{StreamExt, stream};
use order_system::domain::{
    Money,
    events::{OrderCreated, OrderEvent, OrderPaid},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
};
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

/// Makes an order of 447 KiB.
async fn make_large_order(server: &Server) {
    let (product, name) = ("p".repeat(200), "n".repeat(200));
    let item = json!({ "productId": product, "name": name, "quantity": 1, "price": 1 });
    let order = json!({ "customerId": "c", "items": vec![item; 1000] });
    assert_eq!(server.post("/orders", &order).send().await.unwrap().status(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_large_orders_and_of_their_events_are_bounded_in_bytes() {
    let server = Server::start(&[]).await;
    for _ in 0..10 {
        make_large_order(&server).await;
    }
    let (mut path, mut seen) = ("/orders?limit=1000".to_owned(), 0);
    while !path.is_empty() {
        let answer = server.get(&path).send().await.unwrap();
        assert_eq!(answer.headers()["x-total-count"], "10");
        let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let link = link.unwrap_or_default();
        path = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
        let body = answer.bytes().await.unwrap();
        assert!(body.len() < 3 << 20, "{} bytes", body.len());
        seen += serde_json::from_slice::<Vec<Value>>(&body).unwrap().len();
    }
    assert_eq!(seen, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_cut_off() {
    let server = Server::start(&[]).await;
    for _ in 0..3 {
        make_large_order(&server).await;
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.address()).await.unwrap();
    // More answers than the system keeps.
    let requests = "GET /orders HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20);
    stream.write_all(requests.as_bytes()).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let line = "http_refused_total{reason=\"unread_answer\"} 1\n";
    while !server.get("/metrics").send().await.unwrap().text().await.unwrap().contains(line) {
        assert!(Instant::now() < deadline, "it is still there");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(stream.write_all(b"GET / HTTP/1.1\r\n").await.is_err(), "the connection is reset");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_slow_to_arrive_are_bounded_in_all_and_shut_nobody_out() {
    const CLIENTS: usize = 1000;
    let server = Server::start(&[]).await;
    make_large_order(&server).await;
    let before = server.peak_memory();
    let head = format!(
        "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        1 << 20
    );
    // All but the last byte.
    let most = [head.as_bytes(), &vec![b' '; (1 << 20) - 1]].concat();
    let (address, most) = (server.address(), &most);
    let send = |_| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Who has been waited for longest may be cut off meanwhile.
        let _ = stream.write_all(most).await;
        stream
    };
    let clients: Vec<_> = stream::iter(0..CLIENTS).map(send).buffer_unordered(64).collect().await;
    make_large_order(&server).await;
    assert_eq!(server.json("/orders?limit=9").await.as_array().unwrap().len(), 2);
    let more = server.peak_memory() - before;
    assert!(more < 650, "{CLIENTS} bodies of a mebibyte took {more} MiB");
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("http_refused_total{reason=\"memory\"} "), "they were cut off");
    drop(clients);
}
