//! The store on a real Redis server, and what a server can do to it. That it keeps every promise is in `promises`.

mod reading;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use catga::{
    conformance,
    log::{EventFrame, EventId, Position, Record, StreamId, Version},
    store::{Append, AppendError, Appended, EventStore, KvStore, RedisOptions, RedisStore},
    testing,
};
use catga_tests::{eventually, redis::RedisServer};
use redis::{Script, Value, aio::MultiplexedConnection};
use tokio::time::timeout;

async fn store(server: &RedisServer) -> Arc<RedisStore> {
    Arc::new(RedisStore::connect(RedisOptions::new(server.address())).await.unwrap())
}

fn stream(key: &str) -> StreamId {
    StreamId::new("test", key).unwrap()
}

/// A frame of `events` events, each with a payload of `size` bytes of every value.
fn frame(stream: &StreamId, version: impl Into<Version>, events: usize, size: usize) -> Bytes {
    let payload: Vec<u8> = (0..size).map(|i| u8::try_from(i % 256).unwrap()).collect();
    // No test looks at the ids.
    let event = EventFrame { id: EventId::nil(), name: "Tested", schema: 1, payload: &payload };
    testing::commit(stream, version.into(), vec![event; events]).encode()
}

async fn append(
    store: &RedisStore,
    stream: &StreamId,
    version: impl Into<Version>,
    events: usize,
) -> Result<Appended, AppendError> {
    let version = version.into();
    let frame = frame(stream, version, events, 10);
    store.append(Append { stream, version, token: 0, events, frame }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_stay_together_in_a_cluster() {
    let server = RedisServer::start_with(&["--cluster-enabled", "yes"]).await;
    assert_eq!(server.command("CLUSTER ADDSLOTSRANGE 0 16383").await, "+OK");
    eventually(|| async {
        let info = server.command("CLUSTER INFO").await;
        if info.contains("cluster_state:ok") { Ok(()) } else { Err(info) }
    })
    .await;
    let store = store(&server).await;
    conformance::event_store(store.clone()).await;
    conformance::kv_store(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_on_a_unix_socket_leaves_no_connection_behind() {
    let directory = tempfile::TempDir::new().unwrap();
    let socket = directory.path().join("redis.sock");
    let socket = socket.to_str().unwrap();
    let server = RedisServer::start_with(&["--unixsocket", socket]).await;
    let options = RedisOptions::new(format!("unix:{socket}"));
    let store = RedisStore::connect(options).await.unwrap();
    append(&store, &stream("a"), 0, 1).await.unwrap();
    store.wait(0.into()).await.unwrap();
    drop(store);
    eventually(|| async {
        let clients = server.command("CLIENT LIST").await;
        if clients.contains(socket) { Err(clients) } else { Ok(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_on_one_server_do_not_see_each_other() {
    let server = RedisServer::start().await;
    let one = store(&server).await;
    let options =
        RedisOptions { prefix: "other".to_owned(), ..RedisOptions::new(server.address()) };
    let two = RedisStore::connect(options).await.unwrap();
    append(&one, &stream("a"), 0, 2).await.unwrap();
    one.put("k", Bytes::from_static(b"1"), 0, None).await.unwrap().unwrap();
    assert_eq!(two.head().await.unwrap(), 0);
    assert!(two.read_log(0.into(), 10).await.unwrap().is_empty());
    assert!(two.read_stream(&stream("a"), 1.into(), 10).await.unwrap().is_empty());
    assert_eq!(two.get("k").await.unwrap(), None);
    assert_eq!(append(&two, &stream("a"), 0, 1).await.unwrap().position, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgot_the_scripts_gets_them_again() {
    let mut server = RedisServer::start().await;
    let store = store(&server).await;
    append(&store, &stream("a"), 0, 1).await.unwrap();
    assert_eq!(server.command("SCRIPT FLUSH").await, "+OK");
    append(&store, &stream("a"), 1, 1).await.unwrap();
    let revision = store.put("k", Bytes::new(), 0, None).await.unwrap().unwrap();

    server.kill().await;
    server.restart().await;
    eventually(|| async { append(&store, &stream("a"), 2, 1).await.map_err(|e| e.to_string()) })
        .await;
    assert!(store.delete("k", revision).await.unwrap());
    assert_eq!(store.read_stream(&stream("a"), 1.into(), 10).await.unwrap().len(), 3);
}

async fn connection(server: &RedisServer) -> MultiplexedConnection {
    let client = redis::Client::open(format!("redis://{}", server.address())).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_woken_over_an_outage_and_by_other_nodes() {
    let mut server = RedisServer::start().await;
    let (here, there) = (store(&server).await, store(&server).await);
    let waiting = |after: Position| {
        let here = here.clone();
        tokio::spawn(async move { here.wait(after).await })
    };
    let waiter = waiting(0.into());
    append(&there, &stream("a"), 0, 1).await.unwrap();
    timeout(Duration::from_secs(5), waiter).await.expect("it is woken").unwrap().unwrap();

    let waiter = waiting(1.into());
    server.kill().await;
    assert!(here.head().await.unwrap_err().is_unavailable());
    server.restart().await;
    let back = Instant::now();
    eventually(|| async { append(&there, &stream("a"), 1, 1).await.map_err(|e| e.to_string()) })
        .await;
    timeout(Duration::from_secs(5), waiter).await.expect("it is woken").unwrap().unwrap();
    assert!(back.elapsed() < Duration::from_secs(1), "it took {:?}", back.elapsed());
    assert_eq!(here.head().await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_an_append_to_a_server_that_stands_still_is_not_known_and_happens_once() {
    let server = RedisServer::start().await;
    let store = store(&server).await;
    server.pause().await;
    let outcome = append(&store, &stream("a"), 0, 1).await;
    assert!(matches!(outcome, Err(AppendError::Unknown(_))), "{outcome:?}");
    server.resume().await;
    // What was sent happens now, or after this attempt, which then wins in its place.
    let again = eventually(|| async {
        match append(&store, &stream("a"), 0, 1).await {
            Ok(_) => Ok(()),
            Err(AppendError::Conflict { actual }) if actual == 1 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    again.await;
    assert_eq!(store.read_log(0.into(), 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_can_not_be_sent_is_refused() {
    let mut server = RedisServer::start().await;
    let store = store(&server).await;
    append(&store, &stream("a"), 0, 1).await.unwrap();
    server.kill().await;
    // The connection breaks while the first one is under way.
    eventually(|| async {
        match append(&store, &stream("a"), 1, 1).await {
            Err(AppendError::Refused(error)) if error.is_unavailable() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_connections_for_a_while_is_used_again() {
    let mut server =
        RedisServer::start_with(&["--requirepass", "right", "--appendonly", "yes"]).await;
    let options = RedisOptions::new(format!("redis://:right@{}", server.address()));
    let store = RedisStore::connect(options).await.unwrap();
    append(&store, &stream("a"), 0, 1).await.unwrap();
    server.kill().await;
    server.set(&["--requirepass", "wrong"]);
    server.restart().await;
    eventually(|| async {
        match append(&store, &stream("a"), 1, 1).await {
            Err(AppendError::Refused(error)) if error.to_string().contains("password") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    server.kill().await;
    server.set(&["--requirepass", "right"]);
    server.restart().await;
    eventually(|| async { append(&store, &stream("a"), 1, 1).await.map_err(|e| e.to_string()) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_its_end_is_an_error_and_nobody_waits_for_it() {
    let server = RedisServer::start().await;
    let store = store(&server).await;
    for version in 0..3 {
        append(&store, &stream("a"), version, 1).await.unwrap();
    }
    let waiter = {
        let store = store.clone();
        tokio::spawn(async move { store.wait(3.into()).await })
    };
    assert_eq!(server.command("FLUSHALL").await, "+OK");
    let woken = timeout(Duration::from_secs(5), waiter).await.expect("it is woken").unwrap();
    assert!(!woken.unwrap_err().is_unavailable(), "trying again does not help");
    assert!(store.head().await.is_err() && store.read_log(0.into(), 1).await.is_err());
    let outcome = append(&store, &stream("a"), 0, 1).await;
    assert!(matches!(outcome, Err(AppendError::Refused(_))), "{outcome:?}");
    // A new start reads it as it is now.
    let store = self::store(&server).await;
    assert_eq!(append(&store, &stream("a"), 0, 1).await.unwrap().position, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_into_a_log_that_took_the_place_of_another() {
    let server = RedisServer::start().await;
    let (store, other) = (store(&server).await, store(&server).await);
    append(&store, &stream("a"), 0, 1).await.unwrap();
    let id = store.log_id();
    assert_eq!(server.command("FLUSHALL").await, "+OK");
    // At once: nobody has polled yet.
    let outcome = append(&store, &stream("b"), 0, 1).await;
    assert!(matches!(outcome, Err(AppendError::Refused(ref e)) if e.is_ended()), "{outcome:?}");
    assert!(store.check().unwrap_err().is_ended());
    let anew = self::store(&server).await;
    assert_ne!(anew.log_id(), id);
    for version in 0..3 {
        append(&anew, &stream("b"), version, 1).await.unwrap();
    }
    // Whoever asks first finds it out, whatever is asked.
    let put = other.put("checkpoint", "7".into(), 0, None).await;
    assert!(put.as_ref().is_err_and(catga::store::StoreError::is_ended), "{put:?}");
    assert_eq!(anew.get("checkpoint").await.unwrap(), None);
    assert_eq!(anew.head().await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_an_older_program_gets_an_id() {
    let server = RedisServer::start().await;
    let store = self::store(&server).await;
    append(&store, &stream("a"), 0, 1).await.unwrap();
    drop(store);
    assert_eq!(server.command("DEL {catga}:id").await, ":1");
    let (a, b) = (self::store(&server).await, self::store(&server).await);
    assert_eq!(a.log_id(), b.log_id());
    assert_eq!(append(&a, &stream("a"), 1, 1).await.unwrap().position, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_log_with_another_past_is_an_error() {
    let mut server = RedisServer::start().await;
    let store = store(&server).await;
    append(&store, &stream("a"), 0, 1).await.unwrap();
    // As when another node was first after a crash, and filled the positions that were lost.
    let mut other = RedisServer::start().await;
    let writer = self::store(&other).await;
    for version in 0..3 {
        append(&writer, &stream("b"), version, 1).await.unwrap();
    }
    server.kill().await;
    other.kill().await;
    other.port = server.port;
    other.restart().await;
    eventually(|| async {
        match store.head().await {
            Err(error) if !error.is_unavailable() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_refuses_before_it_writes() {
    let server = RedisServer::start().await;
    let store = store(&server).await;
    append(&store, &stream("a"), 0, 3).await.unwrap();
    assert_eq!(server.command("CONFIG SET maxmemory 1mb").await, "+OK");
    let outcome = append(&store, &stream("a"), 3, 1).await;
    match outcome {
        Err(AppendError::Refused(error)) => {
            assert!(error.is_unavailable() && error.to_string().contains("OOM"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert!(store.put("k", Bytes::new(), 0, None).await.is_err());
    assert_eq!(store.head().await.unwrap(), 3, "reads go on");
    assert_eq!(store.read_stream(&stream("a"), 1.into(), 10).await.unwrap().len(), 1);
    assert_eq!(store.read_log(0.into(), 10).await.unwrap().len(), 1);
    assert_eq!(server.command("CONFIG SET maxmemory 0").await, "+OK");
    assert_eq!(append(&store, &stream("a"), 3, 1).await.unwrap().position, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_can_delete_events_is_refused() {
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let server = RedisServer::start_with(&["--maxmemory-policy", policy]).await;
        let refused = RedisStore::connect(RedisOptions::new(server.address())).await;
        let text = refused.unwrap_err().to_string();
        assert!(text.contains(policy) && text.contains("noeviction"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_config_is_told_what_can_not_be_known() {
    let server = RedisServer::start().await;
    let acl = "ACL SETUSER limited on >pw ~* +@all -config";
    assert_eq!(server.command(acl).await, "+OK");
    let options = RedisOptions::new(format!("redis://limited:pw@{}", server.address()));
    let store = RedisStore::connect(options).await.unwrap();
    let report = store.durability().await.unwrap();
    assert_eq!(
        report.level,
        catga::store::Durability::Seconds,
        "an append-only file, synced we know not how"
    );
    assert!(report.advice.unwrap().contains("CONFIG"));
    append(&store, &stream("a"), 0, 1).await.unwrap();
}
