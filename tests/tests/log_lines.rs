//! Nothing waits for the log lines of a service, whatever happens to its stderr.

use std::{
    fs::File,
    io::{Write, pipe},
    process::Stdio,
    time::Duration,
};

use catga_tests::{Server, eventually};
use reqwest::StatusCode;
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
    assert_eq!(server.json("/dead-letters").await, serde_json::json!([]));
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
