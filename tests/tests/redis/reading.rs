//! What is read: the log and streams in pages, ahead of who wants them, and as older programs stored them.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_large_log_is_read_in_pages_that_fit() {
    let server = RedisServer::start().await;
    let store = store(&server).await;
    let stream = stream("large");
    for version in 0..100 {
        let frame = frame(&stream, version, 1, 100_000);
        let stream = &stream;
        store
            .append(Append { stream, version: version.into(), token: 0, events: 1, frame })
            .await
            .unwrap();
    }
    let page = store.read_log(0.into(), 1000).await.unwrap();
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
    assert_eq!(store.read_stream(&stream, 1.into(), 1000).await.unwrap(), whole);
    assert_eq!(server.command("CONFIG RESETSTAT").await, "+OK");
    assert_eq!(store.read_stream(&stream, 2.into(), 1000).await.unwrap(), whole[1..]);
    assert!(calls(&server, "evalsha").await >= 5, "10 MB are not read with one call");
    assert_eq!(store.read_stream(&stream, 50.into(), 30).await.unwrap(), whole[49..79]);
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

/// Reads all of the log in pages of `limit`.
async fn whole_log(store: &RedisStore, limit: usize) -> Vec<Record> {
    let (mut whole, mut after) = (Vec::new(), Position::ZERO);
    loop {
        let page = store.read_log(after, limit).await.unwrap();
        let Some(last) = page.last() else { return whole };
        assert!(page.len() <= limit);
        after = last.end().unwrap();
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
    assert!(calls(&server, "mget").await > 40, "windows were read");
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
    let mut after = Position::ZERO;
    let error = loop {
        match store.read_log(after, 512).await {
            Ok(page) => after = page.last().unwrap().end().unwrap(),
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
    let whole = store.read_stream(&stream, 1.into(), 1000).await.unwrap();
    assert_eq!(whole.len(), 150);
    for (from, &commit) in (1..).zip(&commits).step_by(5) {
        for limit in [1, 2, 20, 70, 1000] {
            let end = (commit + limit).min(150);
            let found = store.read_stream(&stream, from.into(), limit).await.unwrap();
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
    let whole = store.read_stream(&stream("a"), 1.into(), 100).await.unwrap();
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
        store
            .append(Append { stream, version: version.into(), token: 0, events: 1, frame })
            .await
            .unwrap();
    }
    let whole = store.read_stream(&stream, 1.into(), 100).await.unwrap();
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
    let log = store.read_log(0.into(), 100).await.unwrap();
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
                let found = store.read_stream(stream, from.into(), limit).await.unwrap();
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
    let entry = |id: &str, stream, version: u64, events| {
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
    let read = store.read_stream(&stream("a"), 1.into(), 10).await;
    assert!(!read.unwrap_err().is_unavailable(), "trying again does not help");
}
