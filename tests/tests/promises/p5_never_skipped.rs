//! P5 never skipped, on the topics: brought from every store, and brought again when a server lost them.

use std::{process::Stdio, sync::Arc, time::Duration};

use catga::{
    conformance,
    log::{EventFrame, EventId, Position, StreamId},
    store::{
        EventStore, FileStore, MemoryStore, NatsOptions, NatsStore, NatsTransport, RedisOptions,
        RedisStore, RedisTransport, Transport, partition,
    },
    testing,
};
use catga_tests::{
    Server, eventually,
    nats::{NatsServer, Version},
    redis::RedisServer,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

async fn on_redis(server: &RedisServer) -> Arc<RedisTransport> {
    Arc::new(RedisTransport::connect(RedisOptions::new(server.address())).await.unwrap())
}

async fn on_nats(server: &NatsServer) -> Arc<NatsTransport> {
    Arc::new(NatsTransport::connect(NatsOptions::new(server.url())).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_topic_on_redis_is_the_log_from_every_store() {
    let directory = tempfile::tempdir().unwrap();
    let nats = NatsServer::start(Version::Debian).await;
    let stores: [Arc<dyn EventStore>; 3] = [
        Arc::new(MemoryStore::new()),
        Arc::new(FileStore::open(&directory).unwrap()),
        Arc::new(NatsStore::connect(NatsOptions::new(nats.url())).await.unwrap()),
    ];
    let server = RedisServer::start().await;
    let transport = on_redis(&server).await;
    for store in stores {
        conformance::transport(store, transport.clone()).await;
        transport.clear().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_topic_on_nats_is_the_log_from_every_store() {
    let directory = tempfile::tempdir().unwrap();
    let redis = RedisServer::start().await;
    let stores: [Arc<dyn EventStore>; 3] = [
        Arc::new(MemoryStore::new()),
        Arc::new(FileStore::open(&directory).unwrap()),
        Arc::new(RedisStore::connect(RedisOptions::new(redis.address())).await.unwrap()),
    ];
    let server = NatsServer::start(Version::Newest).await;
    let transport = on_nats(&server).await;
    for store in stores {
        conformance::transport(store, transport.clone()).await;
        transport.clear().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_topic_on_debians_nats_is_the_log() {
    let server = NatsServer::start(Version::Debian).await;
    conformance::transport(Arc::new(MemoryStore::new()), on_nats(&server).await).await;
}

/// Appends a commit of `events` events to stream `test/{key}`, which does not exist.
async fn append(store: &dyn EventStore, key: &str, events: usize) {
    let stream = StreamId::new("test", key).unwrap();
    let event = EventFrame { id: EventId::nil(), name: "Tested", schema: 1, payload: b"" };
    let commit = testing::commit(&stream, 0.into(), vec![event; events]);
    testing::append(store, &commit, 0).await.unwrap();
}

/// A topic that is emptied behind its users' backs is filled again, and its readers find everything.
async fn a_lost_end_is_brought_again(transport: Arc<dyn Transport>, lose: impl AsyncFnOnce()) {
    let store = MemoryStore::new();
    for i in 0..30 {
        append(&store, &format!("k{i}"), i % 3 + 1).await;
    }
    let log = store.read_log(0.into(), 100).await.unwrap();
    assert!(transport.publish(0.into(), &log).await.unwrap());
    assert_eq!(transport.read(0.into(), 3).await.unwrap().len(), 3);
    let head = store.head().await.unwrap();
    assert_eq!(transport.end().await.unwrap(), head);
    lose().await;
    assert_eq!(transport.end().await.unwrap(), 0);
    // What a reader has in memory was in the log, and is no mistake.
    eventually(async || match transport.read(0.into(), 3).await {
        Ok(page) if page.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let woken = {
        let transport = transport.clone();
        tokio::spawn(async move { transport.wait(0.into()).await })
    };
    assert!(!transport.publish(head, &log).await.unwrap(), "P5: never with a gap");
    assert!(transport.publish(0.into(), &log[..10]).await.unwrap());
    timeout(Duration::from_secs(10), woken).await.unwrap().unwrap().unwrap();
    let mut after = Position::ZERO;
    let mut found = Vec::new();
    loop {
        let page = transport.read(after, 4).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.end().unwrap();
        found.extend(page.into_iter().map(|record| record.frame));
    }
    assert_eq!(found, log[..10].iter().map(|record| record.frame.clone()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_what_redis_lost_is_brought_again() {
    let server = RedisServer::start().await;
    let lose = async || assert_eq!(server.command("FLUSHALL").await, "+OK");
    a_lost_end_is_brought_again(on_redis(&server).await, lose).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_what_nats_lost_is_brought_again() {
    let server = NatsServer::start(Version::Newest).await;
    let lose = async || on_nats(&server).await.clear().await.unwrap();
    a_lost_end_is_brought_again(on_nats(&server).await, lose).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_services_find_each_stream_in_its_partition() {
    let store = MemoryStore::new();
    for i in 0..40 {
        append(&store, &format!("k{i}"), 1).await;
    }
    let log = store.read_log(0.into(), 100).await.unwrap();
    let redis = RedisServer::start().await;
    assert!(on_redis(&redis).await.publish(0.into(), &log).await.unwrap());
    let mut lengths = [0; 8];
    for i in 0..40 {
        let stream = StreamId::new("test", &format!("k{i}")).unwrap();
        lengths[usize::from(partition(&stream))] += 1;
    }
    for (partition, length) in lengths.iter().enumerate() {
        let answer = redis.command(&format!("XLEN {{catga}}:topic:{partition}")).await;
        assert_eq!(answer, format!(":{length}"));
    }
}

/// The consumer in docs/cluster.md, as it stands there, but for the server's port.
#[tokio::test(flavor = "multi_thread")]
async fn the_consumer_in_the_documentation_reads_the_topic() {
    let page = include_str!("../../../docs/cluster.md");
    let code = page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let redis = RedisServer::start().await;
    let code = code.replace("redis.Redis()", &format!("redis.Redis(port={})", redis.port));
    assert!(code.contains("port="), "it connects to Redis");
    let flags = ["--transport", "redis", "--redis", &redis.address()];
    let service = Server::start(&flags).await;
    let id = service.create("c").await;
    service.step(&id, "pay").await;
    // Debian's Python, which has Debian's packages, whatever else is on the path.
    let mut consumer = Command::new("/usr/bin/python3")
        .args(["-u", "-c", &code])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python3 with its redis is needed: apt-get install python3-redis");
    let mut lines = BufReader::new(consumer.stdout.take().unwrap()).lines();
    for version in 1..=2 {
        let line = timeout(Duration::from_secs(10), lines.next_line()).await;
        let line = line.expect("it reads in time").unwrap().unwrap_or_default();
        let wanted = format!("order/{id} from version {version}");
        assert!(line.ends_with(&wanted), "{line}: install python3-redis if it could not start");
    }
}
