//! The proxy that plays a bad network, in front of a server that repeats each line and counts them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use catga_tests::proxy::{Mode, Proxy};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// Answers each line with the same line. Answers where it is and how many it has answered.
async fn echo() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let answered = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answered = answered.clone();
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    answered.fetch_add(1, Ordering::SeqCst);
                    if write.write_all(format!("{line}\n").as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, count)
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(proxy: &Proxy) -> Self {
        Self(BufReader::new(TcpStream::connect(proxy.address()).await.unwrap()))
    }

    /// The line that comes back; `None` when the connection ends instead.
    async fn ask(&mut self, line: &str) -> Option<String> {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).await.ok()?;
        self.hear().await
    }

    async fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        let n = self.0.read_line(&mut line).await.ok()?;
        (n > 0).then(|| line.trim_end().to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_both_ways_until_the_proxy_is_gone() {
    let (target, _) = echo().await;
    let proxy = Proxy::start(target).await;
    let mut client = Client::connect(&proxy).await;
    let long = "x".repeat(1 << 20);
    assert_eq!(client.ask(&long).await, Some(long));
    drop(proxy);
    assert_eq!(client.ask("b").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusing_network_ends_open_and_new_connections() {
    let (target, answered) = echo().await;
    let proxy = Proxy::start(target).await;
    let mut open = Client::connect(&proxy).await;
    assert_eq!(open.ask("a").await.as_deref(), Some("a"));
    proxy.set(Mode::Refuse);
    assert_eq!(open.hear().await, None);
    assert_eq!(Client::connect(&proxy).await.ask("b").await, None);
    proxy.set(Mode::Pass);
    assert_eq!(Client::connect(&proxy).await.ask("c").await.as_deref(), Some("c"));
    assert_eq!(answered.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_is_silent_and_holds_what_was_sent() {
    let (target, answered) = echo().await;
    let proxy = Proxy::start(target).await;
    let (mut open, mut new) = (Client::connect(&proxy).await, None);
    assert_eq!(open.ask("a").await.as_deref(), Some("a"));
    proxy.set(Mode::BlackHole);
    let silence = Duration::from_millis(100);
    assert!(timeout(silence, open.ask("b")).await.is_err());
    let client = new.insert(Client::connect(&proxy).await);
    assert!(timeout(silence, client.ask("c")).await.is_err());
    assert_eq!(answered.load(Ordering::SeqCst), 1);
    proxy.set(Mode::Pass);
    assert_eq!(open.hear().await.as_deref(), Some("b"));
    assert_eq!(client.hear().await.as_deref(), Some("c"));
}

#[tokio::test(flavor = "multi_thread")]
async fn latency_delays_each_way() {
    let (target, _) = echo().await;
    let proxy = Proxy::start(target).await;
    let mut client = Client::connect(&proxy).await;
    client.ask("a").await.unwrap();
    proxy.set(Mode::Latency(Duration::from_millis(50)));
    let begin = Instant::now();
    client.ask("b").await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(100), "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_reply_leaves_the_request_done_and_only_those_that_match() {
    let (target, answered) = echo().await;
    let proxy = Proxy::start(target).await;
    // The second and third append lose their replies, and reads lose none.
    proxy.cut_replies("append", 1, 2);
    let mut client = Client::connect(&proxy).await;
    assert_eq!(client.ask("append 1").await.as_deref(), Some("append 1"));
    assert_eq!(client.ask("read").await.as_deref(), Some("read"));
    assert_eq!(client.ask("append 2").await, None);
    assert_eq!((answered.load(Ordering::SeqCst), proxy.cuts()), (3, 1), "it was done");
    let mut client = Client::connect(&proxy).await;
    assert_eq!(client.ask("read").await.as_deref(), Some("read"));
    assert_eq!(client.ask("append 3").await, None);
    let mut client = Client::connect(&proxy).await;
    assert_eq!(client.ask("append 4").await.as_deref(), Some("append 4"));
    assert_eq!((answered.load(Ordering::SeqCst), proxy.cuts()), (6, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_is_found_wherever_the_reads_split_it() {
    let (target, _) = echo().await;
    let proxy = Proxy::start(target).await;
    proxy.cut_replies("append", 0, 1);
    let mut client = Client::connect(&proxy).await;
    client.0.get_mut().set_nodelay(true).unwrap();
    for byte in "appen".bytes() {
        client.0.get_mut().write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(client.ask("d").await, None);
    assert_eq!(proxy.cuts(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_follow_the_server_to_another_port() {
    let ((first, _), (second, answered)) = (echo().await, echo().await);
    let proxy = Proxy::start(first).await;
    Client::connect(&proxy).await.ask("a").await.unwrap();
    proxy.set_target(second);
    Client::connect(&proxy).await.ask("b").await.unwrap();
    assert_eq!(answered.load(Ordering::SeqCst), 1);
}
