//! The promises as tests, for any backend: P1 atomic, P3 never lost in doubt, P5 never
//! skipped, and the order that P6 and P7 stand on.
//!
//! A backend of your own calls [`event_store`], [`kv_store`] and [`transport`] in its tests, with fresh, empty
//! ones. Each panics with the promise that is broken.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    cluster::Work,
    log::{EventFrame, MAX_EVENTS, Position, Record, StreamId, Version},
    react::{Relay, WorkState},
    store::{AppendError, Appended, EventStore, KvStore, Transport},
    testing,
};

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(60);

fn stream(key: &str) -> StreamId {
    StreamId::new("conformance", key).expect("a plain key")
}

/// Appends a commit of `events` events.
async fn append(
    store: &dyn EventStore,
    stream: &StreamId,
    version: Version,
    token: u64,
    events: usize,
) -> Result<Appended, AppendError> {
    let payload = b"payload";
    let event = |_| EventFrame { id: Uuid::new_v4(), name: "Tested", schema: 1, payload };
    testing::append(store, &testing::commit(stream, version, (0..events).map(event)), token).await
}

async fn must_append(
    store: &dyn EventStore,
    stream: &StreamId,
    version: Version,
    token: u64,
    events: usize,
) -> Appended {
    append(store, stream, version, token, events)
        .await
        .expect("an append at the stream's end goes well")
}

/// All of the log after `after`, read in pages of `page` commits.
async fn whole_log(store: &dyn EventStore, mut after: Position, page: usize) -> Vec<Record> {
    let mut all = Vec::new();
    loop {
        let records = store.read_log(after, page).await.expect("the log can be read");
        let Some(last) = records.last() else { return all };
        assert!(records.len() <= page, "P5: a page holds no more than its limit");
        after = end(last);
        all.extend(records);
    }
}

fn end(record: &Record) -> Position {
    record.end().expect("a frame comes back as it was stored")
}

/// Everything a log promises. `store` must be empty.
///
/// # Panics
/// When a promise is broken.
pub async fn event_store(store: Arc<dyn EventStore>) {
    timeout(LIMIT, async {
        empty(&*store).await;
        append_and_read(&*store).await;
        conflicts(&*store).await;
        pages(&*store).await;
        largest_commit(&*store).await;
        races(&store).await;
        order(&store).await;
        wake_up(&store).await;
    })
    .await
    .expect("the conformance suite ends in time");
}

async fn empty(store: &dyn EventStore) {
    assert_eq!(store.head().await.expect("head"), 0, "the store under test must be empty");
    assert!(store.read_log(0, 10).await.expect("read_log").is_empty());
    assert!(store.read_stream(&stream("none"), 1, 10).await.expect("read_stream").is_empty());
    assert_eq!(store.read_short(&stream("none"), 10).await.expect("read_short"), Some(Vec::new()));
}

async fn append_and_read(store: &dyn EventStore) {
    let (a, b) = (stream("a"), stream("b"));
    let first = must_append(store, &a, 0, 0, 1).await;
    let second = must_append(store, &a, 1, first.token, 3).await;
    let third = must_append(store, &b, 0, 0, 1).await;
    assert!(first.position >= 1 && first.position < second.position);
    assert!(second.position + 2 < third.position, "a position for each event of a commit");
    assert_eq!(store.head().await.expect("head"), third.position, "the head is the last event");
    let records = store.read_stream(&a, 1, 10).await.expect("read_stream");
    assert_eq!(
        records.iter().map(|r| r.position).collect::<Vec<_>>(),
        [first.position, second.position]
    );
    assert_eq!(records[1].token, second.token, "a commit read gives the token its append gave");
    // A version inside a commit finds that commit.
    for from in [2, 3, 4] {
        let records = store.read_stream(&a, from, 10).await.expect("read_stream");
        assert_eq!(records.len(), 1, "from version {from}");
        assert_eq!(records[0].position, second.position);
    }
    assert!(store.read_stream(&a, 5, 10).await.expect("read_stream").is_empty());
    // A position inside a commit finds that commit, and its last one does not.
    for (after, wanted) in
        [(second.position, second), (second.position + 1, second), (second.position + 2, third)]
    {
        let records = store.read_log(after, 1).await.expect("read_log");
        assert_eq!(records[0].position, wanted.position, "P5: after {after}");
    }
}

async fn conflicts(store: &dyn EventStore) {
    let stream = stream("conflicts");
    let first = must_append(store, &stream, 0, 0, 2).await;
    let head = store.head().await.expect("head");
    for (version, token) in [(0, 0), (1, first.token), (3, first.token)] {
        match append(store, &stream, version, token, 1).await {
            Err(AppendError::Conflict { actual }) => {
                assert_eq!(actual, 2, "P1: the conflict says the version");
            }
            other => panic!(
                "P1: an append at version {version} of a stream at 2 must conflict: {other:?}"
            ),
        }
    }
    assert_eq!(store.head().await.expect("head"), head, "P1: a conflict writes nothing");
    assert_eq!(store.read_stream(&stream, 1, 10).await.expect("read_stream").len(), 1);
    must_append(store, &stream, 2, first.token, 1).await;
}

async fn pages(store: &dyn EventStore) {
    let stream = stream("pages");
    let (mut version, mut token) = (0, 0);
    for i in 0..50 {
        let events = i % 3 + 1;
        token = must_append(store, &stream, version, token, events).await.token;
        version += events as u64;
    }
    let whole = whole_log(store, 0, 1000).await;
    assert_eq!(whole_log(store, 0, 7).await, whole, "P5: pages make up the log");
    let positions: Vec<_> = whole.iter().map(|r| (r.position, end(r))).collect();
    assert!(positions.windows(2).all(|w| w[0].1 < w[1].0), "P5: positions rise strictly");
    assert!(positions.iter().all(|p| p.1 < 1 << 53), "positions fit in a JSON number");
    for (i, record) in whole.iter().enumerate() {
        for after in record.position - 1..end(record) {
            let rest = store.read_log(after, 1000).await.expect("read_log");
            assert_eq!(rest, whole[i..], "P5: resuming after {after}");
        }
    }
    let mut next = 1;
    loop {
        let page = store.read_stream(&stream, next, 4).await.expect("read_stream");
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 4);
        for record in &page {
            let commit = record.commit().expect("a frame comes back as it was stored");
            assert_eq!((commit.first_version, commit.stream), (next, stream.as_str()));
            next = commit.last_version() + 1;
        }
        assert_eq!(last.commit().expect("a commit").last_version() + 1, next);
    }
    assert_eq!(next, version + 1, "pages make up the stream");
    let whole = store.read_stream(&stream, 1, 1000).await.expect("read_stream");
    for limit in [1, 20, 50, 99, 100, 1000] {
        let is_long = version > limit as Version;
        match store.read_short(&stream, limit).await.expect("read_short") {
            Some(begin) => assert_eq!(begin, whole[..limit.min(50)], "the first {limit} commits"),
            None => assert!(is_long, "a stream of {version} events is not longer than {limit}"),
        }
    }
}

async fn largest_commit(store: &dyn EventStore) {
    let stream = stream("largest");
    must_append(store, &stream, 0, 0, MAX_EVENTS).await;
    let records = store.read_stream(&stream, 500, 10).await.expect("read_stream");
    let whole = records[0].commit().expect("a frame comes back as it was stored");
    assert_eq!(whole.events.len(), MAX_EVENTS, "P1: a commit is whole");
}

/// Many writers at one version of a stream: one wins.
async fn races(store: &Arc<dyn EventStore>) {
    let stream = stream("races");
    let mut token = 0;
    for version in 0..20 {
        let tasks = (0..16).map(|_| {
            let (store, stream) = (store.clone(), stream.clone());
            tokio::spawn(async move { append(&*store, &stream, version, token, 1).await })
        });
        let outcomes = join_all(tasks).await;
        let won: Vec<_> = outcomes.into_iter().filter_map(|o| o.expect("no panic").ok()).collect();
        assert_eq!(won.len(), 1, "P1: one of 16 appends at version {version} wins");
        token = won[0].token;
    }
}

/// Writers and readers at once: every reader sees one order, without gaps, and its own writes.
async fn order(store: &Arc<dyn EventStore>) {
    let start = store.head().await.expect("head");
    let (writers, commits) = (8, 100);
    let write = |writer: usize| {
        let store = store.clone();
        tokio::spawn(async move {
            let stream = stream(&format!("order{writer}"));
            let (mut version, mut token) = (0, 0);
            for i in 0..commits {
                let appended = must_append(&*store, &stream, version, token, i % 2 + 1).await;
                (version, token) = (version + (i % 2 + 1) as u64, appended.token);
                let head = store.head().await.expect("head");
                assert!(head >= appended.position, "P6: the head is at least what was answered");
                let found = store.read_log(appended.position - 1, 1).await.expect("read_log");
                assert_eq!(
                    found[0].position, appended.position,
                    "P5: an answered commit is visible"
                );
            }
        })
    };
    let read = |_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut seen = Vec::new();
            let mut after = start;
            while seen.len() < writers * commits {
                store.wait(after).await.expect("wait");
                for record in store.read_log(after, 13).await.expect("read_log") {
                    after = end(&record);
                    seen.push(record);
                }
            }
            seen
        })
    };
    let writes = join_all((0..writers).map(write));
    let (writes, reads) = tokio::join!(writes, join_all((0..3).map(read)));
    writes.into_iter().for_each(|write| write.expect("no writer panics"));
    let whole = whole_log(&**store, start, 1000).await;
    for seen in reads {
        assert_eq!(
            seen.expect("no reader panics"),
            whole,
            "P5: each reader sees the log as it ended up"
        );
    }
    let unique: HashSet<_> = whole.iter().map(|record| record.position).collect();
    assert_eq!(unique.len(), writers * commits, "P5: no position twice");
}

async fn wake_up(store: &Arc<dyn EventStore>) {
    let head = store.head().await.expect("head");
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { store.wait(head).await })
    };
    must_append(&**store, &stream("wake"), 0, 0, 1).await;
    waiting.await.expect("no panic").expect("who waits for more is woken");
    store.wait(head).await.expect("who waits for what is there already is not held up");
}

/// How large a value must be allowed to be: snapshots of read models come in parts of this size.
const LARGE_VALUE: usize = 512 << 10;

/// Everything a key-value store promises. `kv` must be empty.
///
/// # Panics
/// When a promise is broken.
pub async fn kv_store(kv: Arc<dyn KvStore>) {
    let value = |text: &'static str| Bytes::from_static(text.as_bytes());
    assert_eq!(kv.get("k").await.expect("get"), None);
    let first =
        kv.put("k", value("1"), 0, None).await.expect("put").expect("there is no value yet");
    assert_eq!(kv.put("k", value("x"), 0, None).await.expect("put"), None, "there is a value");
    let second =
        kv.put("k", value("2"), first, None).await.expect("put").expect("the revision is right");
    assert!(second > first);
    assert_eq!(kv.put("k", value("x"), first, None).await.expect("put"), None, "an old revision");
    let entry = kv.get("k").await.expect("get").expect("there is a value");
    assert_eq!((entry.value, entry.revision), (value("2"), second));
    assert!(!kv.delete("k", first).await.expect("delete"), "an old revision");
    assert!(kv.delete("k", second).await.expect("delete"));
    assert_eq!(kv.get("k").await.expect("get"), None);
    let again = kv.put("k", value("3"), 0, None).await.expect("put").expect("the key is free");
    assert!(again > second, "a revision never comes back");

    let large: Bytes = (0..LARGE_VALUE).map(|i| u8::try_from(i % 251).expect("small")).collect();
    kv.put("large/0", large.clone(), 0, None).await.expect("put").expect("the key is free");
    let entry = kv.get("large/0").await.expect("get").expect("there is a value");
    assert!(entry.value == large, "a large value comes back as it was");

    let tasks = (0..16).map(|_| {
        let kv = kv.clone();
        tokio::spawn(async move { kv.put("race", Bytes::new(), 0, None).await })
    });
    let won = join_all(tasks).await.into_iter().filter(|o| matches!(o, Ok(Ok(Some(_)))));
    assert_eq!(won.count(), 1, "one of 16 claims of a key wins");

    let ttl = Some(Duration::from_secs(1));
    kv.put("ttl", value("1"), 0, ttl).await.expect("put").expect("the key is free");
    let gone = async {
        while kv.get("ttl").await.expect("get").is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.expect("a value is gone after its time to live");
    assert!(
        kv.put("ttl", value("2"), 0, None).await.expect("put").is_some(),
        "and its key is free"
    );
}

/// Everything a transport promises: each commit of `store` gets there once and in order, each position can be resumed
/// from, and of two who publish one is refused. Both must be empty.
///
/// # Panics
/// When a promise is broken.
pub async fn transport(store: Arc<dyn EventStore>, transport: Arc<dyn Transport>) {
    let relay = || Relay {
        store: store.clone(),
        transport: transport.clone(),
        state: Arc::new(WorkState::new(Work::Relay)),
    };
    assert_eq!(relay().catch_up().await.expect("an empty log is brought there"), 0);
    assert_eq!(transport.read(0, 7).await.expect("read"), []);
    let woken = {
        let transport = transport.clone();
        tokio::spawn(async move { transport.wait(0).await })
    };
    fill(&*store, 0..100).await;
    let middle = relay().catch_up().await.expect("the log is brought there");
    woken.await.expect("no panic").expect("who waits for the first commit is woken");
    fill(&*store, 100..200).await;

    // Two at once, as when a paused relay wakes up.
    let (one, two) = (relay(), relay());
    let (one, two) = tokio::join!(one.catch_up(), two.catch_up());
    let whole = whole_log(&*store, 0, 1000).await;
    let last = end(whole.last().expect("200 commits were made"));
    assert_eq!((one.expect("one relay"), two.expect("the other")), (last, last));
    assert_eq!(transport.end().await.expect("end"), last);
    let late = transport.publish(middle, &whole[..1]).await.expect("publish");
    assert!(!late, "P5: nothing is added but at the end");
    transport.wait(middle).await.expect("who waits for what is there is not held up");

    let all = topic(&*transport, 0).await;
    let frames = |records: &[Record]| {
        records.iter().map(|r| (r.position, r.frame.clone())).collect::<Vec<_>>()
    };
    assert_eq!(frames(&all), frames(&whole), "P5: the topic is the log");
    for (i, record) in all.iter().enumerate() {
        let rest = topic(&*transport, end(record)).await;
        assert_eq!(frames(&rest), frames(&all[i + 1..]), "P5: resuming after {}", end(record));
        let within = transport.read(record.position - 1, 1).await.expect("read");
        assert_eq!(frames(&within), frames(&all[i..=i]), "P5: right before {}", record.position);
    }
}

/// Appends commits of one to three events to twenty streams in turn.
async fn fill(store: &dyn EventStore, commits: std::ops::Range<usize>) {
    for i in commits {
        let stream = stream(&format!("t{}", i * 7 % 20));
        let end = store.read_stream(&stream, 1, 1000).await.expect("read_stream").pop();
        let (version, token) = end.map_or((0, 0), |record| {
            (record.commit().expect("it comes back as stored").last_version(), record.token)
        });
        must_append(store, &stream, version, token, i % 3 + 1).await;
    }
}

/// All there is after `after`.
async fn topic(transport: &dyn Transport, mut after: Position) -> Vec<Record> {
    let mut all = Vec::new();
    loop {
        let page = transport.read(after, 7).await.expect("the topic can be read");
        let Some(last) = page.last() else { return all };
        after = end(last);
        all.extend(page);
    }
}
