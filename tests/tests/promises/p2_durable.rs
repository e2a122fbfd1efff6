//! P2 durable: what order-system answered stays, over restarts and crashes of either side, on each store.

use std::time::Duration;

use catga_tests::{
    Server,
    backend::Backend,
    history::Recorder,
    load::{Stop, http},
    on_each_store, order,
    proxy::Proxy,
};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

on_each_store!(anywhere: [
    the_life_of_an_order_survives_a_restart,
    p2_crashes_lose_and_double_nothing,
]);

/// Sends a command with a key. Answers the status, whether it is a repeat, and the text.
async fn kv(server: &Server, path: &str, key: &str, body: &Value) -> (StatusCode, bool, String) {
    let answer = server.post(path, body).header("idempotency-key", key).send().await.unwrap();
    let is_replay = answer.headers().contains_key("idempotent-replayed");
    (answer.status(), is_replay, answer.text().await.unwrap())
}

async fn the_life_of_an_order_survives_a_restart(backend: Backend) {
    let mut server = Server::start_on(&backend).await;
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

    let server = Server::start_on(&backend).await;
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

/// How often either side is killed; `just crashes` does it more often.
fn rounds() -> usize {
    std::env::var("CATGA_ROUNDS")
        .map_or(6, |rounds| rounds.parse().expect("CATGA_ROUNDS is a number"))
}

/// The service and its store are killed in turn, while clients send each command until it is answered.
async fn p2_crashes_lose_and_double_nothing(mut backend: Backend) {
    let rounds = rounds();
    let mut server = Server::start_on(&backend).await;
    let proxy = Proxy::start(server.address()).await;
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
                server = Server::start_on(&backend).await;
                proxy.set_target(server.address());
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
    http::all_again(&answered, &server.url).await;
    assert_eq!(http::final_log(&Client::new(), &server.url).await, log, "P4: repeats add nothing");
}
