//! P3 on the stores behind a network: a commit whose answer is lost is in the log once.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use catga::{EventStore, NatsOptions, NatsStore, RedisOptions, RedisStore};
use catga_tests::{
    history::Recorder,
    load::{self, Plan, Stop},
    nats::{NatsServer, Version},
    proxy::Proxy,
    redis::RedisServer,
};
use tokio::time::sleep;

async fn proxy_to(port: u16) -> Proxy {
    Proxy::start(SocketAddr::from(([127, 0, 0, 1], port))).await
}

/// A thousand appends, and another thousand, until the connection was cut often enough after an append was sent and
/// before its answer was there.
async fn lose_answers(
    name: &str,
    proxied: Arc<dyn EventStore>,
    direct: Arc<dyn EventStore>,
    proxy: &Proxy,
    pattern: &str,
) {
    let (recorder, stop) = (Arc::new(Recorder::new()), Stop::default());
    let plan = Plan { commits: 1000, time: Duration::from_secs(60), ..Plan::default() };
    let cuts = AtomicUsize::new(0);
    let cutting = async {
        while !stop.is_now() {
            proxy.cut_replies(pattern, 3, 1);
            sleep(Duration::from_millis(30)).await;
            cuts.fetch_add(proxy.cuts(), Ordering::Relaxed);
        }
    };
    let load = async {
        for _ in 0..10 {
            load::append(proxied.clone(), &plan, &recorder, &stop).await;
            if cuts.load(Ordering::Relaxed) >= 20 {
                break;
            }
        }
        stop.now();
    };
    tokio::join!(load, cutting);
    let cuts = cuts.into_inner();
    let log = load::final_log(&*direct).await;
    let verdict = recorder.history().check(&log);
    println!("{name}, {cuts} answers cut: {verdict}");
    assert!(cuts >= 20, "void: only {cuts} answers were lost");
    verdict.expect_clean(600);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_redis() {
    let server = RedisServer::start().await;
    let proxy = proxy_to(server.port).await;
    let connect = async |address: String| {
        Arc::new(RedisStore::connect(RedisOptions::new(address)).await.unwrap())
    };
    let (proxied, direct) =
        (connect(proxy.address().to_string()).await, connect(server.address()).await);
    lose_answers("redis", proxied, direct, &proxy, "EVALSHA").await;
}

async fn nats(version: Version) {
    let server = NatsServer::start(version).await;
    let proxy = proxy_to(server.port).await;
    let connect = async |address: String| {
        Arc::new(NatsStore::connect(NatsOptions::new(address)).await.unwrap())
    };
    let (proxied, direct) =
        (connect(format!("nats://{}", proxy.address())).await, connect(server.url()).await);
    lose_answers(&format!("nats {version:?}"), proxied, direct, &proxy, "HPUB catga.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_nats_debian() {
    nats(Version::Debian).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_nats_newest() {
    nats(Version::Newest).await;
}
