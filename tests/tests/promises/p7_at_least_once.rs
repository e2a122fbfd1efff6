//! P7 at least once, in order: the event handlers of order-system over a restart, on each store.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use catga_tests::{Server, backend::Backend, eventually, on_each_store};
use tempfile::TempDir;

on_each_store!(anywhere: [p7_checkpoints_survive_a_restart]);

/// The receipts that were sent, by what the service wrote to its log.
fn receipts(log: &Path) -> usize {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().filter(|line| line.contains("receipt sent")).count()
}

async fn start_logged(backend: &Backend, directory: &TempDir, name: &str) -> (Server, PathBuf) {
    let path = directory.path().join(name);
    let file = File::create(&path).unwrap();
    let flags = backend.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    (Server::start_logged(&flags, file).await, path)
}

async fn handlers_are_done(server: &Server) {
    eventually(|| async {
        let health = server.json("/health").await;
        let handlers = health["checks"]["handlers"].as_object().unwrap();
        if handlers.values().all(|h| h["lag"] == 0) { Ok(()) } else { Err(health.to_string()) }
    })
    .await;
}

async fn p7_checkpoints_survive_a_restart(backend: Backend) {
    let directory = TempDir::new().unwrap();
    let (mut server, first_log) = start_logged(&backend, &directory, "first").await;
    for _ in 0..20 {
        let id = server.create("c").await;
        server.step(&id, "pay").await;
    }
    handlers_are_done(&server).await;
    assert_eq!(receipts(&first_log), 20);
    assert_eq!(server.terminate().await, Some(0));

    let (server, second_log) = start_logged(&backend, &directory, "second").await;
    let id = server.create("c").await;
    server.step(&id, "pay").await;
    handlers_are_done(&server).await;
    assert_eq!(receipts(&second_log), 1, "what was handled before is not handled again");
}
