//! The program as an operator sees it: flags, exit codes, shutdown, hostile connections.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use catga_tests::{Server, eventually, program};
use futures_util::{StreamExt, future::join_all};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{ChildStderr, Command},
    time::timeout,
};

use crate::Service;

async fn run(service: &Service, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(program(service.program))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

async fn terminate(server: &mut Server) -> Option<i32> {
    signal(server, "-TERM").await;
    let exit = timeout(Duration::from_secs(15), server.child.wait()).await;
    exit.expect("it stops in time").unwrap().code()
}

async fn signal(server: &Server, signal: &str) {
    let pid = server.child.id().unwrap().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
}

/// A terminal that is closed sends it twice.
pub(crate) async fn sighup_stops_it_as_sigterm_does(service: &Service) {
    let mut server = service.start(&[]).await;
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    signal(&server, "-HUP").await;
    eventually(|| async {
        let answer = server_get(&address, "/health/ready").await;
        if answer.starts_with("HTTP/1.1 503 ") { Ok(()) } else { Err(answer) }
    })
    .await;
    signal(&server, "-HUP").await;
    let exit = timeout(Duration::from_secs(15), server.child.wait()).await;
    assert_eq!(exit.expect("it stops in time").unwrap().code(), Some(0));
}

pub(crate) async fn wrong_flags_are_named_and_exit_with_2(service: &Service) {
    for (args, named) in [
        (["--port", "70000"], "--port"),
        (["--persistence", "floppy"], "inmemory"),
        (["--node-id", "a b"], "--node-id"),
        (["--colour", "red"], "--colour"),
        (["--drain-timeout", "soon"], "--drain-timeout"),
        (["--keep-alive", "0"], "--keep-alive"),
    ] {
        let (code, text) = run(service, &args).await;
        assert_eq!(code, Some(2), "{args:?}");
        assert!(text.contains(named), "{args:?}: {text}");
    }
}

pub(crate) async fn a_taken_port_is_a_clear_failure(service: &Service) {
    let server = service.start(&[]).await;
    let port = server.url.rsplit(':').next().unwrap();
    let (code, text) = run(service, &["--port", port]).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("--port") && text.contains(port), "{text}");
}

pub(crate) async fn the_program_tells_what_is_in_it(service: &Service) {
    let (code, table) = run(service, &["handlers"]).await;
    assert_eq!(code, Some(0));
    for name in service.catalogue {
        assert!(table.contains(name), "{name}: {table}");
    }
    let (code, help) = run(service, &["--help"]).await;
    assert_eq!(code, Some(0));
    for flag in ["--host", "--port", "--transport", "--persistence", "--node-id", "CATGA_PORT"] {
        assert!(help.contains(flag), "{flag}");
    }
}

pub(crate) async fn sigterm_ends_feeds_and_exits_with_0(service: &Service) {
    let mut server = service.start(&[]).await;
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    assert_eq!(run(service, &["healthcheck", "--port", &port]).await.0, Some(0));
    let mut feed = server.get("/events").send().await.unwrap().bytes_stream();
    feed.next().await.unwrap().unwrap();
    let (code, ()) = tokio::join!(terminate(&mut server), async {
        while let Some(Ok(_)) = feed.next().await {}
    });
    assert_eq!(code, Some(0));
    assert_eq!(run(service, &["healthcheck", "--port", &port]).await.0, Some(1));
}

/// The whole answer to a GET request on a connection of its own, which the client leaves open.
async fn server_get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    // A server that keeps the connection open has not begun to stop; the part read so far tells.
    let _ = timeout(Duration::from_millis(500), stream.read_to_string(&mut answer)).await;
    answer
}

pub(crate) async fn a_probe_sees_an_idle_server_stop(service: &Service) {
    let mut server = service.start(&[]).await;
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let (code, ()) = tokio::join!(terminate(&mut server), async {
        eventually(|| async {
            let answer = server_get(&address, "/health/ready").await;
            if answer.starts_with("HTTP/1.1 503 ") { Ok(()) } else { Err(answer) }
        })
        .await;
    });
    assert_eq!(code, Some(0));
}

/// A request that the server is at work on, and waits for the body of.
async fn hang(address: &str, path: &str, body: &str) -> TcpStream {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body once it is at work on the request.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

pub(crate) async fn a_second_signal_stops_at_once_with_130(service: &Service) {
    let mut server = service.start(&["--drain-timeout", "60"]).await;
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let _hanging = hang(&address, service.collection, &service.new_body()).await;
    let pid = server.child.id().unwrap().to_string();
    let signal = async || Command::new("kill").args(["-INT", &pid]).status().await.unwrap();
    assert!(signal().await.success());
    eventually(|| async {
        let answer = server_get(&address, "/health/ready").await;
        if answer.starts_with("HTTP/1.1 503 ") { Ok(()) } else { Err(answer) }
    })
    .await;
    assert!(signal().await.success());
    let exit = timeout(Duration::from_secs(5), server.child.wait()).await;
    assert_eq!(exit.expect("it does not wait for the request").unwrap().code(), Some(130));
}

pub(crate) async fn a_body_that_does_not_come_is_refused_after_15_seconds(service: &Service) {
    let server = service.start(&[]).await;
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = hang(address, service.collection, &service.new_body()).await;
    let mut answer = String::new();
    let read = timeout(Duration::from_secs(25), stream.read_to_string(&mut answer)).await;
    read.expect("the server gives up").unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("did not arrive in time"),
        "{answer}"
    );
    assert_eq!(server.json(service.collection).await, json!([]));
}

pub(crate) async fn a_request_in_flight_is_finished_before_the_exit(service: &Service) {
    let mut server = service.start(&[]).await;
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let body = service.new_body();
    let mut stream = hang(&address, service.collection, &body).await;

    let (code, answer) = tokio::join!(terminate(&mut server), async {
        // The shutdown has begun when the node is not ready any more. Others are served all the same.
        eventually(|| async {
            let answer = server_get(&address, "/health/ready").await;
            let is_closed = answer.contains("\r\nconnection: close\r\n");
            // A connection from just before the signal is closed without being told so.
            if answer.starts_with("HTTP/1.1 503 ") && is_closed { Ok(()) } else { Err(answer) }
        })
        .await;
        let list = server_get(&address, service.collection).await;
        assert!(list.starts_with("HTTP/1.1 200 "), "{list}");
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    });
    assert!(answer.starts_with("HTTP/1.1 201 ") && answer.contains("\r\nlocation: "), "{answer}");
    assert_eq!(code, Some(0));
}

pub(crate) async fn a_client_that_sends_half_a_request_is_cut_off(service: &Service) {
    let server = service.start(&[]).await;
    let address = server.url.strip_prefix("http://").unwrap();
    let cut = |half: &'static str| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let end = timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "{half:?} still holds its connection after 20 s");
    };
    join_all(["GET / HTT", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", ""].map(cut)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n", "x".repeat(64 << 10));
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    eventually(|| async {
        let status = server.get("/health/live").send().await.map(|answer| answer.status());
        if status.as_ref().is_ok_and(|s| *s == 200) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

/// A connection that had an answer.
async fn idle(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    answered(&mut stream).await;
    stream
}

async fn answered(stream: &mut TcpStream) {
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "it is closed");
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
}

pub(crate) async fn an_idle_connection_is_kept_by_its_own_flag(service: &Service) {
    let server = service.start(&[]).await;
    let mut stream = idle(&server).await;
    // Longer than a head may take.
    let closed = timeout(Duration::from_secs(13), stream.read_u8()).await;
    assert!(closed.is_err(), "it is closed: {closed:?}");
    answered(&mut stream).await;

    let server = service.start(&["--keep-alive", "1"]).await;
    let (begin, mut stream) = (Instant::now(), idle(&server).await);
    let closed = timeout(Duration::from_secs(8), stream.read_u8()).await;
    assert!(closed.expect("it is closed").is_err() && begin.elapsed() >= Duration::from_secs(1));
}

pub(crate) async fn a_later_head_has_its_own_time(service: &Service) {
    let server = service.start(&[]).await;
    let mut stream = idle(&server).await;
    stream.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await.unwrap();
    let end = timeout(Duration::from_secs(25), stream.read_u8()).await;
    assert!(end.expect("it is cut off").is_err());
}

pub(crate) async fn idle_connections_do_not_hold_up_a_stop(service: &Service) {
    let mut server = service.start(&[]).await;
    let clients = [idle(&server).await, TcpStream::connect(server.address()).await.unwrap()];
    let begin = Instant::now();
    assert_eq!(server.terminate().await, Some(0));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    drop(clients);
}

pub(crate) async fn a_host_can_be_named(service: &Service) {
    for (host, shown) in [("localhost", "127.0.0.1"), ("127.0.0.1", "127.0.0.1")] {
        let server = service.start(&["--host", host]).await;
        assert!(server.url.starts_with(&format!("http://{shown}:")), "{host}: {}", server.url);
        let port = server.url.rsplit(':').next().unwrap();
        let check = ["healthcheck", "--host", host, "--port", port];
        assert_eq!(run(service, &check).await, (Some(0), String::new()));
    }
}

/// The health check of an image does not know the flags of a container.
pub(crate) async fn the_health_check_finds_the_server_beside_it(service: &Service) {
    // A program of its own, of which nothing else runs.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("service");
    std::fs::copy(program(service.program), &path).unwrap();
    let start = || {
        let mut command = Command::new(&path);
        let command = command.args(["--port", "0"]).stdout(Stdio::piped()).stderr(Stdio::null());
        command.kill_on_drop(true).spawn().unwrap()
    };
    let check = async || Command::new(&path).arg("healthcheck").output().await.unwrap();
    let mut running = start();
    let mut line = [0; 9];
    running.stdout.as_mut().unwrap().read_exact(&mut line).await.unwrap();
    let found = check().await;
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    running.kill().await.unwrap();
    assert_eq!(check().await.status.code(), Some(1));
}

pub(crate) async fn descriptors_are_raised_to_the_hard_limit(service: &Service) {
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -Sn 100; exec \"$0\" --port 0"])
        .arg(program(service.program))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines();
    let said = said_in_time(said, "serving, up to these limits").await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id().unwrap())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard] = [3, 4].map(|column| files.split_whitespace().nth(column).unwrap());
    assert!(soft == hard && said.ends_with(&format!("descriptors={hard}")), "{files}; {said}");
}

/// The line that has `text` in it.
async fn said_in_time(mut lines: Lines<BufReader<ChildStderr>>, text: &str) -> String {
    let find = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it goes on");
            if line.contains(text) {
                return line;
            }
        }
    };
    timeout(Duration::from_secs(20), find).await.expect("it says so")
}
