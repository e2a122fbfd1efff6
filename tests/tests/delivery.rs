//! Event handlers seen from outside: retries, dead letters, and other orders that go on (P7, P8).

use catga_tests::{Server, eventually};
use serde_json::{Value, json};

async fn letters(server: &Server, n: usize) -> Vec<Value> {
    eventually(|| async {
        let letters = server.json("/dead-letters").await;
        let list = letters.as_array().unwrap().clone();
        if list.len() == n { Ok(list) } else { Err(letters.to_string()) }
    })
    .await
}

async fn pay(server: &Server, method: &str) -> String {
    let id = server.create("c").await;
    let body = json!({ "paymentMethod": method });
    let answer = server.post(&format!("/orders/{id}/pay"), &body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_fails_is_parked_and_holds_nobody_else_up() {
    let server = Server::start(&["--fail-receipts-for", "stale-card"]).await;
    assert_eq!(server.json("/dead-letters").await, json!([]));
    let bad = pay(&server, "stale-card").await;
    for _ in 0..20 {
        pay(&server, "card").await;
    }
    let letter = letters(&server, 1).await.remove(0);
    assert_eq!(letter["handler"], "receipts");
    assert_eq!(
        (&letter["orderId"], &letter["type"], &letter["attempts"]),
        (&json!(bad), &json!("OrderPaid"), &json!(5))
    );
    assert!(letter["lastError"].as_str().unwrap().contains("refused"));
    eventually(|| async {
        let health = server.json("/health").await;
        let lag = health["checks"]["handlers"]["receipts"]["lag"].clone();
        if lag == 0 { Ok(()) } else { Err(health.to_string()) }
    })
    .await;

    // Nothing has changed for the mail server, so a retry ends up parked again, with more attempts.
    let id = letter["id"].as_str().unwrap();
    let retried =
        server.post(&format!("/dead-letters/{id}/retry"), &Value::Null).send().await.unwrap();
    assert_eq!(retried.status(), 202);
    eventually(|| async {
        let letter = server.json("/dead-letters").await[0].clone();
        if letter["attempts"] == 10 && letter["status"] == "Parked" {
            Ok(())
        } else {
            Err(letter.to_string())
        }
    })
    .await;

    let dropped = server.delete(&format!("/dead-letters/{id}")).send().await.unwrap();
    assert_eq!(dropped.status(), 204);
    letters(&server, 0).await;
}
