//! What strangers can send, and how little of it is kept.

use std::time::Duration;

use catga_tests::Server;
use futures_util::{StreamExt, stream};
use reqwest::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::Service;

/// How long a refusal may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn bodies_of_a_mebibyte_are_refused_and_not_kept(service: &Service) {
    let server = service.start(&[]).await;
    let before = server.peak_memory();
    let body = "x".repeat((1 << 20) + 1);
    let send = |_| {
        let (url, body) = (format!("{}{}", server.url, service.collection), body.clone());
        async move {
            // On a connection of its own: who waits for one of a pool whose connections all end is not always woken.
            let request = reqwest::Client::new().post(url).timeout(PATIENCE);
            let request = request.header("content-type", "application/json");
            let answer = request.body(body).send().await.unwrap();
            let status = answer.status();
            let text = answer.text().await.unwrap_or_default();
            assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{text}");
        }
    };
    stream::iter(0..400).for_each_concurrent(32, send).await;
    let more = server.peak_memory() - before;
    assert!(more < 50, "400 MiB of bodies took {more} MiB");
    service.made(&server).await;
}

/// A connection that has sent `request`, and has read nothing.
async fn open(server: &Server, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

pub(crate) async fn who_sends_all_before_reading_gets_the_refusal(service: &Service) {
    let server = service.start(&[]).await;
    let body = "x".repeat(2_000_000);
    let (at, length) = (service.collection, body.len());
    for n in 0..100 {
        let (framing, body) = match n % 2 {
            0 => (format!("Content-Length: {length}"), body.clone()),
            _ => (
                "Transfer-Encoding: chunked".to_owned(),
                format!("{length:x}\r\n{body}\r\n0\r\n\r\n"),
            ),
        };
        let head = format!(
            "POST {at} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
        );
        let mut stream = open(&server, &head).await;
        timeout(PATIENCE, stream.write_all(body.as_bytes())).await.unwrap().unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 413 ") && answer.contains("payload_too_large"),
            "{answer}"
        );
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    }
}

pub(crate) async fn half_sent_bodies_shut_nobody_out(service: &Service) {
    let server = service.start(&[]).await;
    let half = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{{",
        service.collection
    );
    // More than the requests that are worked on at once.
    let clients: Vec<_> = stream::iter(0..600).then(|_| open(&server, &half)).collect().await;
    for _ in 0..10 {
        service.made(&server).await;
        server.json(service.collection).await;
    }
    drop(clients);
}

pub(crate) async fn the_metrics_do_not_grow_with_what_strangers_send(service: &Service) {
    let server = service.start(&[]).await;
    let http = reqwest::Client::new();
    for n in 0..5 {
        let method = reqwest::Method::from_bytes(format!("MADE-UP-{n}").as_bytes()).unwrap();
        let path = format!("{}/nowhere-{n}", server.url);
        assert_eq!(http.request(method, path).send().await.unwrap().status(), 404);
    }
    let metrics = http.get(format!("{}/metrics", server.url)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let count = |line: &&str| line.starts_with("http_request_seconds_count");
    let lines: Vec<_> = metrics.lines().filter(count).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["method=\"other\"", "route=\"none\"", "status=\"404\"", " 5"] {
        assert!(lines[0].contains(part), "no {part} in {}", lines[0]);
    }
}

pub(crate) async fn a_request_names_one_host(service: &Service) {
    let server = service.start(&[]).await;
    for (head, status) in [
        ("HTTP/1.1", 400),
        ("HTTP/1.1\r\nHost: a\r\nHost: b", 400),
        ("HTTP/1.0\r\nHost: a\r\nHost: a", 400),
        ("HTTP/1.1\r\nHost: a", 200),
        ("HTTP/1.0", 200),
    ] {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let request = format!("GET /health/live {head}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status.to_string().as_str()), "{head}: {answer}");
        assert!(status == 200 || answer.contains("application/problem+json"), "{answer}");
    }
}
