//! P3 never lost in doubt: behind a network, a commit whose answer is lost is in the log once, from a store alone and
//! from order-system.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use catga::store::{EventStore, NatsOptions, NatsStore, RedisOptions, RedisStore};
use catga_tests::{
    Server,
    backend::Backend,
    history::Recorder,
    load::{self, Plan, Stop, http},
    nats::{NatsServer, Version},
    on_each_store,
    proxy::Proxy,
    redis::RedisServer,
};
use reqwest::Client;
use tokio::time::sleep;

async fn proxy_to(port: u16) -> Proxy {
    Proxy::start(SocketAddr::from(([127, 0, 0, 1], port))).await
}

/// Eight writers, and the answer to the fourth append is lost.
fn few() -> (usize, Plan) {
    (3, Plan::default())
}

/// The plan's appends, and as many again, until the connection was cut often enough after an append was sent and
/// before its answer was there.
async fn lose_answers(
    name: &str,
    proxied: Arc<dyn EventStore>,
    direct: Arc<dyn EventStore>,
    proxy: &Proxy,
    pattern: &str,
    (skip, plan): (usize, Plan),
) {
    let (recorder, stop) = (Arc::new(Recorder::new()), Stop::default());
    let plan = Plan { time: Duration::from_secs(60), ..plan };
    let cuts = AtomicUsize::new(0);
    let cutting = async {
        while !stop.is_now() {
            proxy.cut_replies(pattern, skip, 1);
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
    lose_answers("redis", proxied, direct, &proxy, "EVALSHA", few()).await;
}

async fn nats(name: &str, server: NatsServer, load: (usize, Plan)) {
    let proxy = proxy_to(server.port).await;
    let connect = async |address: String| {
        let monitor = Some(server.monitor());
        let options = NatsOptions { monitor, ..NatsOptions::new(address) };
        Arc::new(NatsStore::connect(options).await.unwrap())
    };
    let (proxied, direct) =
        (connect(format!("nats://{}", proxy.address())).await, connect(server.url()).await);
    lose_answers(name, proxied, direct, &proxy, "HPUB catga.", load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_nats_debian() {
    nats("nats Debian", NatsServer::start(Version::Debian).await, few()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_nats_newest() {
    nats("nats newest", NatsServer::start(Version::Newest).await, few()).await;
}

/// Of so many writers that their commits share syncs, and answers.
#[tokio::test(flavor = "multi_thread")]
async fn p3_nats_together() {
    let many = Plan { writers: 64, streams: 200, commits: 4000, ..Plan::default() };
    nats("nats, together", NatsServer::start_durable().await, (40, many)).await;
}

on_each_store!(anywhere: [], on_a_server: [
    p3_p4_when_every_answer_of_the_store_is_lost_nothing_is_lost_or_doubled,
]);

/// Between the service and its store, each append is cut off when it was sent and before its answer is there; only
/// what is sent a second time gets through.
async fn p3_p4_when_every_answer_of_the_store_is_lost_nothing_is_lost_or_doubled(backend: Backend) {
    let port = backend.port().expect("it is a server");
    let proxy = Arc::new(Proxy::start(SocketAddr::from(([127, 0, 0, 1], port))).await);
    let flags = backend.flags_at(proxy.address().port());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = Server::start(&flags).await;
    let (recorder, stop) = (Recorder::new(), Stop::default());
    let time = Duration::from_secs(120);
    let plan = http::Plan { clients: 1, orders: 500, time, name: "k".to_owned() };
    let is_done = Stop::default();
    let cutting = async {
        let mut cuts = 0;
        proxy.cut_replies(backend.append_pattern(), 0, 1);
        while !is_done.is_now() {
            if proxy.cuts() == 1 {
                cuts += 1;
                proxy.cut_replies(backend.append_pattern(), 1, 1);
            }
            sleep(Duration::from_millis(1)).await;
        }
        proxy.cut_replies("", 0, 0);
        cuts
    };
    let load = async {
        let answered = http::send(std::slice::from_ref(&server.url), &plan, &recorder, &stop).await;
        is_done.now();
        answered
    };
    let (answered, cuts) = tokio::join!(load, cutting);
    assert_eq!(answered.len(), 1000);
    assert!(cuts >= 900, "void: only {cuts} answers were lost");
    assert!(answered.iter().all(|command| command.tries == 1), "the service finds out by itself");
    let log = http::final_log(&Client::new(), &server.url).await;
    let verdict = recorder.history().check(&log);
    println!("{}: {cuts} answers cut: {verdict}", backend.flags()[1]);
    verdict.expect_clean(1000);
    http::all_again(&answered, &server.url).await;
}
