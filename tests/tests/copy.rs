//! Migrating with `order-system copy`: over every store and back, everything stays.

use catga_tests::{Server, backend::Backend, binary, eventually};
use serde_json::Value;
use tokio::process::Command;

fn location(backend: &Backend) -> String {
    match backend {
        Backend::File(directory) => format!("file:{}", directory.path().join("log").display()),
        Backend::Redis(server) => format!("redis://{}#moved", server.address()),
        Backend::Nats(server) => format!("{}#moved", server.url()),
        Backend::NatsCluster(_) => unreachable!("a location has no replicas"),
    }
}

async fn copy(from: &Backend, to: &Backend) -> (Option<i32>, String) {
    let (from, to) = (location(from), location(to));
    let copy = Command::new(binary()).args(["copy", "--from", &from, "--to", &to]).output().await;
    let output = copy.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// What the service shows, without positions, which may differ.
async fn shown(server: &Server, ids: &[String]) -> Vec<Value> {
    let mut shown = Vec::new();
    for id in ids {
        for path in [format!("/orders/{id}"), format!("/orders/{id}/history")] {
            let mut value = server.json(&path).await;
            for event in value.as_array_mut().into_iter().flatten() {
                event.as_object_mut().unwrap().remove("position");
            }
            shown.push(value);
        }
    }
    shown.push(server.json("/orders?limit=100").await);
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_goes_over_every_store_and_back() {
    let home = Backend::file().await;
    let flags = home.flags();
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let mut server = Server::start(&flags).await;
    let mut ids = Vec::new();
    for i in 0..40 {
        let id = server.create("c").await;
        for step in ["pay", "ship", "deliver"].iter().take(i % 4) {
            assert!(server.step(&id, step).await.status().is_success());
        }
        ids.push(id);
    }
    eventually(|| async {
        let health = server.json("/health").await;
        let handlers = health["checks"]["handlers"].as_object().unwrap();
        if handlers.values().all(|h| h["lag"] == 0) { Ok(()) } else { Err(health.to_string()) }
    })
    .await;
    let before = shown(&server, &ids).await;
    assert_eq!(server.terminate().await, Some(0));

    let stops = [
        Backend::redis().await,
        Backend::nats_debian().await,
        Backend::nats_newest().await,
        Backend::file().await,
    ];
    let mut from = &home;
    for to in &stops {
        let (code, text) = copy(from, to).await;
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("100 commits were copied and 0 were there"), "{text}");
        assert!(text.contains("2 event handlers go on"), "{text}");
        let (code, text) = copy(from, to).await;
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("0 commits were copied and 100 were there"), "{text}");
        from = to;
    }
    let Some(Backend::File(directory)) = stops.last() else { unreachable!("it ends in files") };
    let data = directory.path().join("log").display().to_string();
    let server = Server::start(&["--persistence", "file", "--data-dir", &data]).await;
    assert_eq!(shown(&server, &ids).await, before);
}
