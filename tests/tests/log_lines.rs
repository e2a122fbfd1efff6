//! Nothing waits for the log lines of a service, whatever happens to its stderr.

use std::{
    fs::File,
    io::{Write, pipe},
    process::Stdio,
    time::Duration,
};

use catga_tests::{Server, eventually};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;

/// Makes and pays orders on a service whose log goes to `stderr`: every one is answered and every event handled.
async fn is_well_without_log(stderr: Stdio) -> Server {
    let server = Server::start_logged(&["--log", "trace"], stderr).await;
    for _ in 0..60 {
        let id = server.create("c-1").await;
        assert_eq!(server.step(&id, "pay").await.status(), StatusCode::OK);
    }
    let handled = async || {
        let health = server.json("/health").await;
        let handlers = health["checks"]["handlers"].as_object().unwrap();
        let is_done = !handlers.is_empty() && handlers.values().all(|handler| handler["lag"] == 0);
        if is_done { Ok(()) } else { Err(health.to_string()) }
    };
    eventually(handled).await;
    assert_eq!(server.json("/dead-letters").await, json!([]));
    server
}

/// How many lines were lost, as the metrics have it.
async fn lost(server: &Server) -> Result<u64, String> {
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    let lost = metrics.lines().find_map(|line| line.strip_prefix("catga_log_lines_lost_total "));
    match lost.and_then(|lost| lost.parse().ok()) {
        Some(lost) if lost > 0 => Ok(lost),
        _ => Err(metrics),
    }
}

#[tokio::test]
async fn a_full_disk_costs_lines_and_nothing_else() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let server = is_well_without_log(full.into()).await;
    eventually(|| lost(&server)).await;
}

#[tokio::test]
async fn a_reader_that_has_gone_costs_lines_and_nothing_else() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let server = is_well_without_log(writer.into()).await;
    eventually(|| lost(&server)).await;
}

#[tokio::test]
async fn a_pipe_that_nobody_drains_keeps_nothing_waiting() {
    let (reader, mut writer) = pipe().unwrap();
    // Linux gives a pipe 64 KiB: there is room for some lines.
    writer.write_all(&[b'\n'; 60 << 10]).unwrap();
    let served = timeout(Duration::from_secs(30), is_well_without_log(writer.into())).await;
    let mut server = served.expect("nothing waits for the log");
    // Nor does the end of the process.
    assert_eq!(server.terminate().await, Some(0));
    drop(reader);
}

/// What customers said is for those who may read the orders, and not for all who may read a log.
#[tokio::test(flavor = "multi_thread")]
async fn no_line_holds_what_an_event_says() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let flags = ["--log", "debug", "--fail-receipts-for", "sAiD-card"];
    let server = Server::start_logged(&flags, File::create(&log).unwrap()).await;
    let order = json!({
        "customerId": "sAiD-customer",
        "items": [{ "productId": "sAiD-p", "name": "sAiD-Pen", "quantity": 2, "price": 49.99 }],
    });
    let said = |step: &str| match step {
        "pay" => json!({ "paymentMethod": "sAiD-card" }),
        "ship" => json!({ "trackingNumber": "sAiD-T" }),
        _ => json!({ "reason": "sAiD-because" }),
    };
    let mut ids = Vec::new();
    for steps in [&["pay", "ship"][..], &["cancel"], &["pay", "pay"]] {
        let answer = server.post("/orders", &order).send().await.unwrap();
        let id = answer.json::<Value>().await.unwrap()["orderId"].as_str().unwrap().to_owned();
        for step in steps {
            server.post(&format!("/orders/{id}/{step}"), &said(step)).send().await.unwrap();
        }
        ids.push(id);
    }
    let wrong = json!({ "customerId": { "sAiD-x": "sAiD-y" } });
    assert_eq!(server.post("/orders", &wrong).send().await.unwrap().status(), 400);
    eventually(async || {
        let letters = server.json("/dead-letters").await;
        if letters.as_array().unwrap().len() == 2 { Ok(()) } else { Err(letters.to_string()) }
    })
    .await;
    let lines = eventually(async || {
        let lines = std::fs::read_to_string(&log).unwrap();
        let types = ["OrderCreated", "OrderPaid", "OrderShipped", "OrderCancelled"];
        let mut parts = types.into_iter().chain(ids.iter().map(String::as_str));
        let is_logged = parts.all(|part| lines.contains(part));
        if is_logged { Ok(lines) } else { Err(lines) }
    })
    .await;
    assert!(!lines.contains("sAiD"), "{lines}");
}
