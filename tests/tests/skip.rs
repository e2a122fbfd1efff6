//! `order-system skip`: finding an event that can't be read, and going on without it.

use catga::{
    log::{EventFrame, EventId, StreamId},
    store::FileStore,
    testing,
};
use catga_tests::{Server, binary, order};
use tempfile::TempDir;
use tokio::process::Command;

async fn skip(data: &str, more: &[&str]) -> (Option<i32>, String) {
    let place = ["skip", "--persistence", "file", "--data-dir", data];
    let output = Command::new(binary()).args([&place, more].concat()).output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_lives_on_once_its_unreadable_event_is_skipped() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("log").display().to_string();
    let flags = ["--persistence", "file", "--data-dir", &data];
    let mut server = Server::start(&flags).await;
    let id = server.create("c").await;
    assert_eq!(server.terminate().await, Some(0));
    assert_eq!(
        skip(&data, &[]).await,
        (Some(0), "this program can read every event in the log\n".to_owned())
    );

    let store = FileStore::open(&data).unwrap();
    let stream = StreamId::new("order", &id).unwrap();
    let event =
        EventFrame { id: EventId::from_u128(7), name: "OrderPaid", schema: 1, payload: &[255] };
    testing::append(&store, &testing::commit(&stream, 1.into(), [event]), 0).await.unwrap();
    drop(store);
    let mut server = Server::start(&flags).await;
    for path in [format!("/orders/{id}"), "/orders".to_owned(), "/health".to_owned()] {
        assert!(server.get(&path).send().await.unwrap().status().is_server_error(), "{path}");
    }
    assert_eq!(server.terminate().await, Some(0));

    let (code, text) = skip(&data, &[]).await;
    let found =
        format!("position 2, version 2 of order/{id}: the payload of `OrderPaid v1` is damaged");
    assert!(
        code == Some(0) && text.starts_with(&found) && text.contains("Nothing was changed"),
        "{text}"
    );
    for (wrong, refusal) in [
        (&["2"][..], "--reason <TEXT>"),
        (&["--reason", "it is lost"], "a flag is missing: <POSITION>"),
        (&["2", "--reason", " "], "1 to 1000 characters are allowed"),
        (&["x", "--reason", "it is lost"], "a position of the log, 1 or more, is allowed"),
        (&["1", "--reason", "it is lost"], "a `OrderCreated`, can be read by this program"),
        // Far beyond the end: handlers that park the event they can't read append to the log, too.
        (&["99", "--reason", "it is lost"], "there is no event at position 99"),
    ] {
        let (code, text) = skip(&data, wrong).await;
        assert!(code != Some(0) && text.contains(refusal), "{wrong:?}: {code:?} {text}");
    }
    let (code, text) = skip(&data, &["2", "--reason", "a disk lost it"]).await;
    assert!(code == Some(0) && text.contains("Start every node again"), "{text}");
    let (_, text) = skip(&data, &[]).await;
    assert!(text.starts_with(&found) && text.contains("; skipped: a disk lost it"), "{text}");

    let server = Server::start(&flags).await;
    assert_eq!(server.json(&format!("/orders/{id}")).await["status"], "Pending");
    assert!(server.step(&id, "pay").await.status().is_success());
    assert_eq!(server.json("/orders").await[0]["status"], "Paid");
    let history = server.json(&format!("/orders/{id}/history")).await;
    let versions: Vec<_> =
        history.as_array().unwrap().iter().map(|e| e["version"].clone()).collect();
    assert_eq!(versions, [1, 3]);
    server.post("/orders", &order("d")).send().await.unwrap().error_for_status().unwrap();
}
