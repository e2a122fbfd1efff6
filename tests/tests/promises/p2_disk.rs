//! order-system on a disk that runs full and fails: nothing is acknowledged that is not safe, reads go on, and it
//! recovers by itself.

use std::time::{Duration, Instant};

use catga_tests::{
    Server, eventually, order,
    power::{Cut, Metadata, PowerFs},
};
use reqwest::{StatusCode, header::RETRY_AFTER};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

async fn start(disk: &PowerFs) -> Server {
    let directory = disk.path().join("log").display().to_string();
    Server::start(&["--persistence", "file", "--data-dir", &directory]).await
}

/// Creates orders with large names until one fails. Answers how many were made, and how the last one ended.
async fn create_until_one_fails(server: &Server) -> (u64, StatusCode) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut body = order("c");
    body["items"][0]["name"] = json!("x".repeat(200));
    let items = vec![body["items"][0].clone(); 100];
    body["items"] = json!(items);
    for made in 0.. {
        assert!(Instant::now() < deadline, "void: the fault does not bite");
        let answer = server.post("/orders", &body).send().await.unwrap();
        let retry_after = answer.headers().get(RETRY_AFTER);
        match answer.status() {
            StatusCode::CREATED => {}
            status @ StatusCode::SERVICE_UNAVAILABLE => {
                assert_eq!(retry_after.unwrap(), "1");
                return (made, status);
            }
            status @ StatusCode::GATEWAY_TIMEOUT => {
                assert_eq!(retry_after, None, "it may have been done");
                return (made, status);
            }
            status => panic!("{status}: {}", answer.text().await.unwrap()),
        }
    }
    unreachable!("the loop ends by an answer")
}

async fn creates_again(server: &Server) {
    eventually(|| async {
        match server.post("/orders", &order("c")).send().await.unwrap().status() {
            StatusCode::CREATED => Ok(()),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Err("not yet".to_owned())
            }
            status => panic!("{status}"),
        }
    })
    .await;
}

async fn orders(server: &Server) -> u64 {
    server.json("/stats").await["totalOrders"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_full_disk_is_503_and_reads_go_on() {
    let disk = PowerFs::mount(Metadata::UntilSynced);
    let mut server = start(&disk).await;
    let id = server.create("c").await;
    // The segment that is there is full after some hundred large orders, and there is no room for the next.
    disk.fill(1 << 20);
    let (made, end) = create_until_one_fails(&server).await;
    assert_eq!(end, StatusCode::SERVICE_UNAVAILABLE, "nothing was done");
    assert_eq!(orders(&server).await, made + 1, "reads go on, and see what was answered");
    assert_eq!(server.json(&format!("/orders/{id}")).await["status"], "Pending");
    assert_eq!(server.get("/health/live").send().await.unwrap().status(), StatusCode::OK);
    disk.make_room();
    creates_again(&server).await;
    let before = orders(&server).await;
    server.child.kill().await.unwrap();
    disk.cut(Cut::Drop);
    disk.restore();
    let server = start(&disk).await;
    assert_eq!(orders(&server).await, before, "what was answered survives a power cut afterwards");
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_failing_sync_leaves_a_command_in_doubt_and_reads_go_on() {
    let disk = PowerFs::mount(Metadata::UntilSynced);
    let mut server = start(&disk).await;
    server.create("c").await;
    disk.fail_syncs(u32::MAX);
    let (made, end) = create_until_one_fails(&server).await;
    assert_eq!(
        (made, end),
        (0, StatusCode::GATEWAY_TIMEOUT),
        "what was written may be there after a power cut"
    );
    for _ in 0..2 {
        assert_eq!(create_until_one_fails(&server).await.0, 0);
        assert_eq!(orders(&server).await, 1);
    }
    assert!(disk.counts().failed_syncs > 0);
    disk.fail_syncs(0);
    creates_again(&server).await;
    let before = orders(&server).await;
    server.child.kill().await.unwrap();
    disk.cut(Cut::Drop);
    disk.restore();
    let server = start(&disk).await;
    assert_eq!(orders(&server).await, before, "what was answered survives a power cut afterwards");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_stops_the_start_and_verify_names_the_byte() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("log").display().to_string();
    let flags = ["--persistence", "file", "--data-dir", &data];
    let mut server = Server::start(&flags).await;
    for _ in 0..3 {
        server.create("c").await;
    }
    let run = async |args: &[&str]| {
        let output = Command::new(catga_tests::binary()).args(args).output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let verify = ["verify", "--data-dir", &data];
    let (code, text) = run(&verify).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("in use by another process"), "{text}");
    assert_eq!(server.terminate().await, Some(0));
    let (code, text) = run(&verify).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("sound") && text.contains("3 commits of 3 streams"), "{text}");
    assert!(text.contains("it was closed"), "{text}");

    let segment = directory.path().join("log/00000001.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    for args in [&verify[..], &[&flags[..], &["--port", "0"]].concat()] {
        let (code, text) = run(args).await;
        assert_eq!(code, Some(1), "{text}");
        assert!(
            text.contains("--data-dir") && text.contains("00000001.log is damaged at byte 56"),
            "{text}"
        );
    }
    assert_eq!(std::fs::read(&segment).unwrap(), bytes, "nothing was changed");
}
