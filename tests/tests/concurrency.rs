//! Many clients at once: one effect a key (P4), one winner (P1), and reads that see the writes (P6).

use catga_tests::{Server, order};
use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_counts_for_its_target_and_a_refusal_leaves_no_trace() {
    let server = Server::start(&[]).await;
    let id = server.create("c").await;
    let send = |id: String, step: &'static str, body: Value| {
        server.post(&format!("/orders/{id}/{step}"), &body).header("idempotency-key", "k").send()
    };
    let ship = || send(id.clone(), "ship", json!({ "trackingNumber": "T" }));
    let pay = |method: &str| send(id.clone(), "pay", json!({ "paymentMethod": method }));
    assert_eq!(ship().await.unwrap().status(), StatusCode::CONFLICT);
    assert_eq!(pay("card").await.unwrap().status(), StatusCode::OK);
    assert_eq!(pay("card").await.unwrap().headers()["idempotent-replayed"], "true");
    assert_eq!(pay("cash").await.unwrap().status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(ship().await.unwrap().status(), StatusCode::UNPROCESSABLE_ENTITY);
    let other = server.create("c").await;
    let answer = send(other, "pay", json!({ "paymentMethod": "cash" })).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "on another order it is another key");
    // The key that made an order, used on that order, is another key too.
    let made =
        server.post("/orders", &order("c")).header("idempotency-key", "k2").send().await.unwrap();
    let location = made.headers()["location"].to_str().unwrap().to_owned();
    let body = json!({ "paymentMethod": "card" });
    let paid = server
        .post(&format!("{location}/pay"), &body)
        .header("idempotency-key", "k2")
        .send()
        .await
        .unwrap();
    assert_eq!(paid.status(), StatusCode::OK);
    for bad in ["", "ä", "a b", &"x".repeat(256)] {
        let answer = server
            .post("/orders", &order("c"))
            .header("idempotency-key", bad.as_bytes())
            .send()
            .await;
        assert_eq!(answer.unwrap().status(), StatusCode::BAD_REQUEST, "{bad:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_racing_payments_have_one_winner() {
    let server = Server::start(&[]).await;
    let id = server.create("c").await;
    let statuses =
        join_all((0..60).map(|_| async { server.step(&id, "pay").await.status() })).await;
    assert_eq!(statuses.iter().filter(|status| **status == StatusCode::OK).count(), 1);
    assert_eq!(statuses.iter().filter(|status| **status == StatusCode::CONFLICT).count(), 59);
    let history = server.json(&format!("/orders/{id}/history")).await;
    let paid = history.as_array().unwrap().iter().filter(|event| event["type"] == "OrderPaid");
    assert_eq!(paid.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_right_after_a_create_holds_the_order() {
    let server = Server::start(&[]).await;
    let (writers, orders) = (8, 1250);
    let write = |writer: usize| {
        let server = &server;
        async move {
            let customer = format!("c{writer}");
            for n in 1..=orders {
                let id = server.create(&customer).await;
                let answer = server
                    .get(&format!("/orders?customerId={customer}&limit=1"))
                    .send()
                    .await
                    .unwrap();
                assert_eq!(answer.headers()["x-total-count"], n.to_string());
                let page: Value = answer.json().await.unwrap();
                assert_eq!(page[0]["id"], id);
            }
        }
    };
    join_all((0..writers).map(write)).await;
    assert_eq!(server.json("/stats").await["totalOrders"], writers * orders);
}
