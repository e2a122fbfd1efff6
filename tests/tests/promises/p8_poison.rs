//! P8 poison is contained: retries, dead letters, and other orders that go on, on one node and on three.

use catga_tests::{Server, backend::Backend, cluster::Cluster, eventually, order};
use futures_util::future::join_all;
use reqwest::{Client, StatusCode};
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
async fn p8_a_receipt_that_fails_is_parked_and_holds_nobody_else_up() {
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

#[tokio::test(flavor = "multi_thread")]
async fn p8_dead_letters_are_seen_listed_in_pages_and_retried_together() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let flags = ["--log", "warn", "--fail-receipts-for", "stale-card"];
    let mut server = Server::start_logged(&flags, log.reopen().unwrap()).await;
    let gauge = async |server: &Server| {
        let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
        assert!(metrics.contains("# TYPE catga_dead_letters gauge"), "{metrics}");
        let name = r#"catga_dead_letters{handler="receipts"} "#;
        metrics.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
    };
    assert_eq!(gauge(&server).await.as_deref(), Some("0"));
    for _ in 0..5 {
        pay(&server, "stale-card").await;
    }
    eventually(|| async {
        // Others must succeed: else it is the mail server that is away.
        pay(&server, "card").await;
        let letters = server.json("/dead-letters").await;
        if letters.as_array().unwrap().len() == 5 { Ok(()) } else { Err(letters.to_string()) }
    })
    .await;
    let health = server.json("/health").await;
    let check = &health["checks"]["deadLetters"];
    assert_eq!((&health["status"], &check["status"]), (&json!("degraded"), &json!("degraded")));
    assert_eq!(check["waiting"], json!({ "receipts": 5 }));
    assert_eq!(server.json("/health/ready").await["status"], "healthy");
    assert_eq!(gauge(&server).await.as_deref(), Some("5"));

    let mut path = "/dead-letters?limit=2&handler=receipts&error=refused".to_owned();
    let mut seen = Vec::new();
    loop {
        let answer = server.get(&path).send().await.unwrap();
        assert_eq!(answer.headers()["x-total-count"], "5");
        let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let page: Vec<Value> = answer.json().await.unwrap();
        seen.extend(page.iter().map(|letter| letter["position"].as_u64().unwrap()));
        let Some(link) = link else { break };
        assert_eq!(page.len(), 2);
        path = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
    }
    assert!(seen.len() == 5 && seen.is_sorted(), "{seen:?}");
    let answer = server.get("/dead-letters?cursor=nonsense").send().await.unwrap();
    assert_eq!(answer.status(), 400);

    let retry = async |path: &str| {
        let answer = server.post(path, &Value::Null).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        answer.json::<Value>().await.unwrap()
    };
    assert_eq!(retry("/dead-letters/retry?handler=nobody").await, json!({ "retrying": 0 }));
    let all = retry("/dead-letters/retry?handler=receipts&type=OrderPaid&error=refused").await;
    assert_eq!(all, json!({ "retrying": 5 }));
    eventually(|| async {
        pay(&server, "card").await;
        let letters = server.json("/dead-letters").await;
        let again = letters.as_array().unwrap().iter();
        let again = again.filter(|l| l["attempts"] == 10 && l["status"] == "Parked").count();
        if again == 5 { Ok(()) } else { Err(letters.to_string()) }
    })
    .await;
    server.terminate().await;
    let log = std::fs::read_to_string(log.path()).unwrap();
    let given_up = |line: &&str| line.contains("ERROR") && line.contains("dead letter");
    assert_eq!(log.lines().filter(given_up).count(), 10, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_while_the_mail_server_is_away_no_receipt_is_given_up() {
    let (data, log) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let mut flags = vec!["--persistence", "file", "--data-dir", data.path().to_str().unwrap()];
    flags.extend(["--fail-receipts-for", "card"]);
    let mut server = Server::start_logged(&flags, log.reopen().unwrap()).await;
    for _ in 0..60 {
        pay(&server, "card").await;
    }
    let paused = async |server: &Server| {
        let health = server.json("/health").await;
        let receipts = &health["checks"]["handlers"]["receipts"];
        let is_paused = receipts["paused"]["lastError"] == "the mail server refused the receipt";
        if is_paused && health["status"] == "degraded" && receipts["status"] == "degraded" {
            Ok(())
        } else {
            Err(health.to_string())
        }
    };
    eventually(|| paused(&server)).await;
    assert_eq!(server.json("/health/ready").await["status"], "healthy");
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    for line in [
        r#"catga_handler_paused{handler="receipts"} 1"#,
        r#"catga_handler_paused{handler="order-log"} 0"#,
        r#"catga_handler_pauses_total{handler="receipts"} 1"#,
        r#"catga_dead_letters{handler="receipts"} 0"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in {metrics}");
    }
    assert_eq!(server.terminate().await, Some(0));

    // The mail server is back.
    flags.truncate(4);
    let server = Server::start_logged(&flags, log.reopen().unwrap()).await;
    eventually(|| async {
        let health = server.json("/health").await;
        let receipts = &health["checks"]["handlers"]["receipts"];
        if receipts["lag"] == 0 { Ok(()) } else { Err(health.to_string()) }
    })
    .await;
    assert_eq!(server.json("/health").await["status"], "healthy");
    assert_eq!(server.json("/dead-letters").await, json!([]));
    let log = std::fs::read_to_string(log.path()).unwrap();
    assert_eq!(log.matches("an event handler is paused").count(), 1, "{log}");
    assert!(log.matches("receipt sent").count() >= 60 && !log.contains("ERROR"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_poisoned_order_parks_alone_wherever_its_handler_runs() {
    let backend = Backend::redis().await;
    let mut cluster = Cluster::start(&backend, 3, &["--fail-receipts-for", "stale"]).await;
    cluster.settled().await;
    let (urls, http) = (cluster.urls(), Client::new());
    let pay = async |method: &str, n: usize| {
        let (one, two) = (&urls[n % 3], &urls[(n + 1) % 3]);
        let answer = http.post(format!("{one}/orders")).json(&order("c")).send().await.unwrap();
        let created: Value = answer.json().await.unwrap();
        let id = created["orderId"].as_str().unwrap().to_owned();
        let pay = http.post(format!("{two}/orders/{id}/pay"));
        let answer = pay.json(&json!({ "paymentMethod": method })).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        id
    };
    let bad = pay("stale", 0).await;
    for batch in 0..50 {
        join_all((0..20).map(|n| pay("card", batch + n))).await;
    }
    cluster.all_handled().await;
    let letters = async |node: usize| {
        let answer = http.get(format!("{}/dead-letters", urls[node])).send().await.unwrap();
        answer.json::<Value>().await.unwrap()
    };
    for node in 0..3 {
        let letters = letters(node).await;
        assert_eq!(letters.as_array().unwrap().len(), 1, "{letters}");
        assert_eq!(letters[0]["orderId"], bad);
    }
    // A step of the parked order waits, on a handler that wants it too.
    let id = letters(0).await[0]["id"].as_str().unwrap().to_owned();
    // The nodes are replaced by ones whose mail server works; then it is tried again.
    for node in &mut cluster.nodes {
        node.terminate().await;
        node.replace_flag("stale", "nothing");
        node.start().await;
    }
    cluster.settled().await;
    let retry = http.post(format!("{}/dead-letters/{id}/retry", urls[1])).send().await.unwrap();
    assert_eq!(retry.status(), StatusCode::ACCEPTED);
    eventually(async || {
        let letters = letters(2).await;
        if letters == json!([]) { Ok(()) } else { Err(letters.to_string()) }
    })
    .await;
}
