//! The store on a real Redis server: the promises, and what a server can do to them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use catga::{
    Append, AppendError, Appended, Commit, EventFrame, EventStore, InMemoryTransport, Keyed,
    Position, Record, RedisOptions, RedisStore, StreamId, Timestamp, Version, conformance,
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
fn frame(stream: &StreamId, version: Version, events: usize, size: usize) -> Bytes {
    let payload: Vec<u8> = (0..size).map(|i| u8::try_from(i % 256).unwrap()).collect();
    let event = EventFrame { id: uuid(), name: "Tested", schema: 1, payload: &payload };
    let commit = Commit {
        stream: stream.as_str(),
        first_version: version + 1,
        time: Timestamp::from_micros(1),
        node: "test",
        command: None,
        correlation: None,
        causation: None,
        traceparent: None,
        events: vec![event; events].into(),
    };
    commit.encode()
}

/// No test looks at the ids.
fn uuid() -> catga::EventId {
    catga::EventId::nil()
}

async fn append(
    store: &RedisStore,
    stream: &StreamId,
    version: Version,
    events: usize,
) -> Result<Appended, AppendError> {
    let frame = frame(stream, version, events, 10);
    store.append(Append { stream, version, token: 0, events, frame }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_keeps_its_promises() {
    let server = RedisServer::start().await;
    conformance::event_store(store(&server).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_values_keep_their_promises() {
    let server = RedisServer::start().await;
    conformance::keyed(store(&server).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_as_a_topic_keeps_its_promises() {
    let server = RedisServer::start().await;
    let store = store(&server).await;
    conformance::transport(store.clone(), Arc::new(InMemoryTransport::new(store))).await;
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
    conformance::keyed(store).await;
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
    store.wait(0).await.unwrap();
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
    assert!(two.read_log(0, 10).await.unwrap().is_empty());
    assert!(two.read_stream(&stream("a"), 1, 10).await.unwrap().is_empty());
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
    assert_eq!(store.read_stream(&stream("a"), 1, 10).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_large_log_is_read_in_pages_that_fit() {
    let server = RedisServer::start().await;
    let store = store(&server).await;
    let stream = stream("large");
    for version in 0..100 {
        let frame = frame(&stream, version, 1, 100_000);
        let stream = &stream;
        store.append(Append { stream, version, token: 0, events: 1, frame }).await.unwrap();
    }
    let page = store.read_log(0, 1000).await.unwrap();
    assert!(page.len() < 100, "10 MB are more than a page, which had {} commits", page.len());
    let mut whole = page;
    while let Some(last) = whole.last()
        && let page = store.read_log(last.position, 1000).await.unwrap()
        && !page.is_empty()
    {
        whole.extend(page);
    }
    assert_eq!(whole.len(), 100);
    // Who replays a stream takes a short page for its end.
    assert_eq!(store.read_stream(&stream, 1, 1000).await.unwrap(), whole);
    assert_eq!(server.command("CONFIG RESETSTAT").await, "+OK");
    assert_eq!(store.read_stream(&stream, 2, 1000).await.unwrap(), whole[1..]);
    assert!(calls(&server, "evalsha").await >= 5, "10 MB are not read with one call");
    assert_eq!(store.read_stream(&stream, 50, 30).await.unwrap(), whole[49..79]);
    assert_eq!(whole[7].frame, frame(&stream, 7, 1, 100_000), "bytes of every value come back");
}

/// Appends 2,000 commits of one to three events and of many, with positions between them that nothing uses.
async fn long_log(server: &RedisServer, store: &RedisStore) {
    let stream = stream("a");
    let mut version = 0;
    for i in 0..2_000 {
        let events = if i % 500 == 250 { 700 } else { i % 3 + 1 };
        append(store, &stream, version, events).await.unwrap();
        version += events as u64;
        if i % 400 == 399 {
            // As a script that fails does.
            server.command("INCRBY {catga}:head 600").await;
        }
    }
}

/// The position of a commit's last event.
fn end(record: &Record) -> Position {
    record.position + record.commit().unwrap().events.len() as u64 - 1
}

/// Reads all of the log in pages of `limit`.
async fn whole_log(store: &RedisStore, limit: usize) -> Vec<Record> {
    let (mut whole, mut after) = (Vec::new(), 0);
    loop {
        let page = store.read_log(after, limit).await.unwrap();
        let Some(last) = page.last() else { return whole };
        assert!(page.len() <= limit);
        after = end(last);
        whole.extend(page);
    }
}

/// How often a server was asked `name` since its counters were set back.
async fn calls(server: &RedisServer, name: &str) -> u64 {
    let stats = server.command("INFO commandstats").await;
    let calls = stats.split_once(&format!("cmdstat_{name}:calls="));
    calls.map_or(0, |(_, calls)| calls.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_what_is_asked_for_ahead_has_no_gap() {
    let server = RedisServer::start().await;
    let writer = store(&server).await;
    long_log(&server, &writer).await;
    let whole = whole_log(&writer, 100).await;
    assert_eq!(whole.len(), 2_000);
    let reader = store(&server).await;
    reader.wait(whole[1_999].position - 1).await.unwrap();
    assert_eq!(server.command("CONFIG RESETSTAT").await, "+OK");
    for limit in [512, 256, 700, 512] {
        assert!(whole_log(&reader, limit).await == whole, "in pages of {limit}");
    }
    assert!(calls(&server, "get").await > 40, "windows were read");
    // Others read meanwhile, and append.
    let more = async {
        for version in 0..500 {
            append(&writer, &stream("b"), version, 1).await.unwrap();
        }
    };
    let (one, two, ()) = tokio::join!(whole_log(&reader, 512), whole_log(&reader, 512), more);
    let whole = whole_log(&writer, 100).await;
    assert_eq!(whole.len(), 2_500);
    for read in [one, two] {
        assert!(read.len() >= 2_000 && read == whole[..read.len()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_window_that_the_log_ended_inside_of_is_worth_nothing() {
    let server = RedisServer::start().await;
    let store = store(&server).await;
    long_log(&server, &store).await;
    let whole = whole_log(&store, 100).await;
    // As a server that lost the end of the log, in the moment before anybody has noticed.
    assert_eq!(server.command("SET {catga}:head 5000").await, "+OK");
    let mut after = 0;
    let error = loop {
        match store.read_log(after, 512).await {
            Ok(page) => after = end(page.last().unwrap()),
            Err(error) => break error,
        }
    };
    assert!(error.is_unavailable() && after <= 5000, "{error} after {after}");
    let next = whole.iter().find(|record| record.position > after);
    assert_eq!(store.read_log(after, 1).await.unwrap().first(), next);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_streams_of_commits_of_every_size_are_read_from_every_version() {
    let server = RedisServer::start().await;
    let store = store(&server).await;
    let (stream, other) = (stream("long"), stream("other"));
    let (mut version, mut others) = (0, 0);
    let mut commits = Vec::new();
    for i in 0..150 {
        // At first many that are side by side in the log, then few.
        let events = if i < 60 { 1 } else { i * 7 % 11 + 1 };
        if i % 25 == 3 {
            append(&store, &other, others, 1).await.unwrap();
            others += 1;
        }
        append(&store, &stream, version, events).await.unwrap();
        commits.extend(vec![i; events]);
        version += events as u64;
    }
    let whole = store.read_stream(&stream, 1, 1000).await.unwrap();
    assert_eq!(whole.len(), 150);
    for (from, &commit) in (1..).zip(&commits).step_by(5) {
        for limit in [1, 2, 20, 70, 1000] {
            let end = (commit + limit).min(150);
            let found = store.read_stream(&stream, from, limit).await.unwrap();
            assert!(found == whole[commit..end], "{limit} commits from version {from}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_known_to_be_long_before_it_is_read() {
    let server = RedisServer::start().await;
    let store = store(&server).await;
    for version in 0..64 {
        append(&store, &stream("a"), version, 1).await.unwrap();
    }
    let whole = store.read_stream(&stream("a"), 1, 100).await.unwrap();
    assert_eq!(server.command("CONFIG RESETSTAT").await, "+OK");
    assert!(store.read_short(&stream("a"), 64).await.unwrap() == Some(whole));
    assert_eq!(calls(&server, "evalsha").await, 1);
    append(&store, &stream("a"), 64, 1).await.unwrap();
    assert_eq!(server.command("CONFIG RESETSTAT").await, "+OK");
    assert!(store.read_short(&stream("a"), 64).await.unwrap().is_none());
    assert_eq!((calls(&server, "evalsha").await, calls(&server, "lrange").await), (1, 0));
    // One of few and large commits is short, and takes several calls.
    let stream = stream("large");
    for version in 0..30 {
        let frame = frame(&stream, version, 1, 100_000);
        let stream = &stream;
        store.append(Append { stream, version, token: 0, events: 1, frame }).await.unwrap();
    }
    let whole = store.read_stream(&stream, 1, 100).await.unwrap();
    assert_eq!(whole.len(), 30);
    assert!(store.read_short(&stream, 64).await.unwrap() == Some(whole));
}

/// What appended before a commit was in the log alone.
const OLD_APPEND: &str = r"#!lua
local version = redis.call('LLEN', KEYS[1])
if version ~= tonumber(ARGV[1]) then return {0, version} end
local events = tonumber(ARGV[2])
local last = redis.call('INCRBY', KEYS[3], events)
local first = last - events + 1
local commit = struct.pack('>I8', first) .. ARGV[3]
redis.call('XADD', KEYS[2], string.format('0-%.0f', last), 'c', commit)
local elements = {commit}
for distance = 1, events - 1 do elements[distance + 1] = distance end
redis.call('RPUSH', KEYS[1], unpack(elements))
return {1, first}";

#[tokio::test(flavor = "multi_thread")]
async fn what_older_programs_appended_is_read_and_appended_to() {
    let server = RedisServer::start().await;
    let mut connection = connection(&server).await;
    let (a, b) = (stream("a"), stream("b"));
    let old = Script::new(OLD_APPEND);
    let (mut version, mut commits) = (0, Vec::new());
    for events in [1, 3, 2, 20, 1] {
        for stream in [&a, &b] {
            let mut call = old.key(format!("{{catga}}:s:{stream}"));
            call.key("{catga}:log").key("{catga}:head").arg(version).arg(events);
            let frame = frame(stream, version, events, 10);
            let _: Value = call.arg(&frame[..]).invoke_async(&mut connection).await.unwrap();
        }
        commits.extend(vec![commits.last().map_or(0, |last| last + 1); events]);
        version += events as u64;
    }
    let store = store(&server).await;
    let old_end = store.head().await.unwrap();
    for events in [2, 1, 20, 3] {
        for stream in [&b, &a] {
            append(&store, stream, version, events).await.unwrap();
        }
        commits.extend(vec![commits.last().unwrap() + 1; events]);
        version += events as u64;
    }
    let log = store.read_log(0, 100).await.unwrap();
    assert_eq!(log.len(), 18);
    let mut next = 1;
    for record in &log {
        assert_eq!(record.position, next, "the log has no gap");
        next += record.commit().unwrap().events.len() as u64;
    }
    assert_eq!(store.read_log(old_end - 1, 2).await.unwrap(), log[9..11]);
    for stream in [&a, &b] {
        let of_stream = |record: &&Record| record.commit().unwrap().stream == stream.as_str();
        let whole: Vec<_> = log.iter().filter(of_stream).cloned().collect();
        for (from, &commit) in (1..).zip(&commits) {
            for limit in [1, 3, 100] {
                let found = store.read_stream(stream, from, limit).await.unwrap();
                let end = (commit + limit).min(9);
                assert!(found == whole[commit..end], "{limit} commits from version {from}");
            }
        }
    }
}

/// These are in people's servers: if this fails, they can't be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_stored_once_and_like_this() {
    let server = RedisServer::start().await;
    let store = store(&server).await;
    let (a, b) = (stream("a"), stream("b"));
    append(&store, &a, 0, 3).await.unwrap();
    append(&store, &b, 0, 1).await.unwrap();
    append(&store, &a, 3, 1).await.unwrap();
    let mut connection = connection(&server).await;
    let list = redis::Cmd::lrange("{catga}:s:test/a", 0, -1);
    let elements: Vec<String> = list.query_async(&mut connection).await.unwrap();
    assert_eq!(elements, ["-3", "1", "2", "-5"]);
    type Entries = Vec<(String, Vec<(String, Bytes)>)>;
    let log = redis::Cmd::xrange_all("{catga}:log");
    let entries: Entries = log.query_async(&mut connection).await.unwrap();
    let entry = |id: &str, stream, version, events| {
        let frame = frame(stream, version, events, 10);
        (id.to_owned(), vec![(events.to_string(), frame)])
    };
    assert_eq!(entries, [entry("0-3", &a, 0, 3), entry("0-4", &b, 0, 1), entry("0-5", &a, 3, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_commit_is_not_in_the_log_is_an_error() {
    let server = RedisServer::start().await;
    let store = store(&server).await;
    for version in 0..3 {
        append(&store, &stream("a"), version, 1).await.unwrap();
    }
    assert_eq!(server.command("XDEL {catga}:log 0-2").await, ":1");
    let read = store.read_stream(&stream("a"), 1, 10).await;
    assert!(!read.unwrap_err().is_unavailable(), "trying again does not help");
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
    let waiter = waiting(0);
    append(&there, &stream("a"), 0, 1).await.unwrap();
    timeout(Duration::from_secs(5), waiter).await.expect("it is woken").unwrap().unwrap();

    let waiter = waiting(1);
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
            Ok(_) | Err(AppendError::Conflict { actual: 1 }) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    again.await;
    assert_eq!(store.read_log(0, 10).await.unwrap().len(), 1);
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
        tokio::spawn(async move { store.wait(3).await })
    };
    assert_eq!(server.command("FLUSHALL").await, "+OK");
    let woken = timeout(Duration::from_secs(5), waiter).await.expect("it is woken").unwrap();
    assert!(!woken.unwrap_err().is_unavailable(), "trying again does not help");
    assert!(store.head().await.is_err() && store.read_log(0, 1).await.is_err());
    let outcome = append(&store, &stream("a"), 0, 1).await;
    assert!(matches!(outcome, Err(AppendError::Refused(_))), "{outcome:?}");
    // A new start reads it as it is now.
    let store = self::store(&server).await;
    assert_eq!(append(&store, &stream("a"), 0, 1).await.unwrap().position, 1);
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
    assert_eq!(store.read_stream(&stream("a"), 1, 10).await.unwrap().len(), 1);
    assert_eq!(store.read_log(0, 10).await.unwrap().len(), 1);
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
        catga::Durability::Seconds,
        "an append-only file, synced we know not how"
    );
    assert!(report.advice.unwrap().contains("CONFIG"));
    append(&store, &stream("a"), 0, 1).await.unwrap();
}
