//! The NATS store on the server that Debian has and on the newest. That it keeps every promise is in `promises`.

mod outages;
mod replicated;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use catga::{
    log::{EventFrame, EventId, Position, StreamId},
    store::{
        Append, AppendError, Appended, Durability, EventStore, KvStore, NatsOptions, NatsStore,
        StoreError,
    },
    testing,
};
use catga_tests::{
    eventually,
    nats::{NatsServer, Settings, Version},
    proxy::Proxy,
};
use futures_util::future::join_all;
use tokio::time::timeout;

async fn connect(server: &NatsServer) -> NatsStore {
    NatsStore::connect(NatsOptions::new(server.url())).await.expect("the server can be used")
}

/// On a server that syncs before it answers, and says so.
async fn connect_durable(server: &NatsServer) -> NatsStore {
    let monitor = Some(server.monitor());
    let options = NatsOptions { monitor, ..NatsOptions::new(server.url()) };
    NatsStore::connect(options).await.expect("the server can be used")
}

fn stream(key: &str) -> StreamId {
    StreamId::new("test", key).unwrap()
}

fn frame(
    stream: &StreamId,
    version: impl Into<catga::log::Version>,
    events: usize,
    size: usize,
) -> Bytes {
    let payload = vec![7; size];
    let event = EventFrame { id: EventId::nil(), name: "Tested", schema: 1, payload: &payload };
    testing::commit(stream, version.into(), vec![event; events]).encode()
}

async fn append(
    store: &NatsStore,
    stream: &StreamId,
    version: impl Into<catga::log::Version>,
    token: u64,
    events: usize,
) -> Result<Appended, AppendError> {
    let version = version.into();
    let frame = frame(stream, version, events, 10);
    store.append(Append { stream, version, token, events, frame }).await
}

/// Among many commits at once, which share syncs, one is refused for itself: not those beside it.
#[tokio::test(flavor = "multi_thread")]
async fn p1_commits_that_share_a_sync_stand_alone() {
    let server = NatsServer::start_durable().await;
    // The stream is there already, as an older version of catga made it.
    drop(connect(&server).await);
    let store = connect_durable(&server).await;
    let old = stream("taken");
    let taken = append(&connect(&server).await, &old, 0, 0, 2).await.unwrap();
    let streams: Vec<_> = (0..200).map(|i| stream(&i.to_string())).collect();
    let (large, size) = (stream("large"), 2 << 20);
    let (appended, refused, late, twice) = tokio::join!(
        join_all(streams.iter().map(|stream| append(&store, stream, 0, 0, 1))),
        store.append(Append {
            stream: &large,
            version: 0.into(),
            token: 0,
            events: 1,
            frame: frame(&large, 0, 1, size),
        }),
        append(&store, &old, 0, 0, 1),
        join_all([1, 2].map(async |events| append(&store, &stream("twice"), 0, 0, events).await)),
    );
    assert!(matches!(refused, Err(AppendError::Refused(_))), "it is too large: {refused:?}");
    assert!(matches!(late, Err(AppendError::Conflict { actual }) if actual == 2), "{late:?}");
    assert_eq!(twice.iter().filter(|appended| appended.is_ok()).count(), 1, "{twice:?}");
    for (stream, appended) in streams.iter().zip(appended) {
        let appended = appended.unwrap();
        let records = store.read_stream(stream, 1.into(), 10).await.unwrap();
        let found: Vec<_> =
            records.iter().map(|r| (r.position, r.token, r.frame.clone())).collect();
        assert_eq!(found, [(appended.position, appended.token, frame(stream, 0, 1, 10))]);
    }
    append(&store, &old, 2, taken.token, 1).await.unwrap();

    let client = async_nats::connect(server.url()).await.unwrap();
    let log = async_nats::jetstream::new(client).get_stream("catga").await.unwrap();
    let mut shared = 0;
    for sequence in 1..=log.cached_info().state.last_sequence {
        let message = log.direct_get(sequence).await.unwrap();
        shared += usize::from(message.headers.get("Nats-Batch-Id").is_some());
    }
    assert!(shared > 100, "{shared} commits shared a sync");
}

/// A log that was filled anew may have another commit where the writer's last one was.
#[tokio::test(flavor = "multi_thread")]
async fn p1_the_right_version_after_another_commit_is_a_conflict() {
    for version in Version::ALL {
        let server = NatsServer::start(version).await;
        let (store, other) = (connect(&server).await, connect(&server).await);
        let (a, b) = (stream("a"), stream("b"));
        let first = append(&store, &b, 0, 0, 1).await.unwrap();
        let second = append(&store, &a, 0, 0, 2).await.unwrap();
        for store in [&store, &other] {
            let conflict = append(store, &a, 2, first.token, 1).await;
            assert!(
                matches!(conflict, Err(AppendError::Conflict { actual }) if actual == 2),
                "{version:?}: {conflict:?}"
            );
        }
        append(&other, &a, 2, second.token, 1).await.unwrap();
    }
}

/// A commit lists the ones before it, up to a number, and those before are found through them.
#[tokio::test(flavor = "multi_thread")]
async fn long_streams_are_read_from_every_version() {
    let server = NatsServer::start(Version::Debian).await;
    let writer = connect(&server).await;
    let long = stream("long");
    let (mut version, mut token) = (0, 0);
    for i in 0..300 {
        let events = i % 3 + 1;
        token = append(&writer, &long, version, token, events).await.unwrap().token;
        version += events as u64;
    }
    let whole = writer.read_stream(&long, 1.into(), 1000).await.unwrap();
    assert_eq!(whole.len(), 300);
    for from in [1, 2, 3, 63, 64, 65, 130, 299, 400, version - 1, version] {
        // Each time by somebody who knows nothing yet.
        let reader = connect(&server).await;
        let records = reader.read_stream(&long, from.into(), 1000).await.unwrap();
        let first = records[0].commit().unwrap();
        assert!(
            (first.first_version..=first.last_version()).contains(&catga::log::Version::new(from)),
            "from {from}"
        );
        assert_eq!(records, whole[300 - records.len()..], "from {from}");
        let page = reader.read_stream(&long, from.into(), 7).await.unwrap();
        assert_eq!(page, records[..records.len().min(7)], "from {from}, a page");
    }
    assert!(writer.read_stream(&long, (version + 1).into(), 10).await.unwrap().is_empty());
    // Who did not see the stream yet appends to it all the same.
    let other = connect(&server).await;
    let appended = append(&other, &long, version, token, 1).await.unwrap();
    let conflict = append(&writer, &long, version, token, 1).await;
    assert!(matches!(conflict, Err(AppendError::Conflict { actual }) if actual == version + 1));
    append(&writer, &long, version + 1, appended.token, 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_large_log_is_read_in_order_by_readers_that_stop_and_go_on() {
    for version in Version::ALL {
        let server = NatsServer::start(version).await;
        let store = connect(&server).await;
        for i in 0..700 {
            append(&store, &stream(&i.to_string()), 0, 0, i % 2 + 1).await.unwrap();
        }
        let reader = connect(&server).await;
        let mut ends = [Position::ZERO; 3];
        let mut seen = [const { Vec::new() }; 3];
        // Three readers take turns, with pages of different sizes.
        while seen.iter().any(|seen: &Vec<_>| seen.len() < 700) {
            for (i, page) in [100, 37, 255].into_iter().enumerate() {
                for record in reader.read_log(ends[i], page).await.unwrap() {
                    ends[i] = record.end().unwrap();
                    seen[i].push(record);
                }
            }
        }
        assert_eq!(seen[0], seen[1]);
        assert_eq!(seen[0], seen[2]);
        assert_eq!(ends[0], reader.head().await.unwrap());
        assert!(seen[0].windows(2).all(|w| w[0].token + 1 == w[1].token), "no message is missing");
    }
}

/// While a node writes alone it is sent nothing back, and another node's commits come all the same.
#[tokio::test(flavor = "multi_thread")]
async fn p5_who_writes_alone_is_not_followed_by_a_consumer_until_others_write() {
    for version in Version::ALL {
        let server = NatsServer::start(version).await;
        let (store, other) = (Arc::new(connect(&server).await), connect(&server).await);
        let client = async_nats::connect(server.url()).await.unwrap();
        let log = async_nats::jetstream::new(client).get_stream("catga").await.unwrap();
        let is_writing = Arc::new(AtomicBool::new(true));
        let writing: Vec<_> = (0..16)
            .map(|writer| {
                let (store, is_writing) = (store.clone(), is_writing.clone());
                tokio::spawn(async move {
                    for i in 0.. {
                        if !is_writing.load(Ordering::Relaxed) {
                            break;
                        }
                        let stream = stream(&format!("{writer}-{i}"));
                        append(&store, &stream, 0, 0, i % 3 + 1).await.unwrap();
                    }
                })
            })
            .collect();
        let reading = tokio::spawn({
            let store = store.clone();
            async move {
                let (mut after, mut sequences) = (Position::ZERO, Vec::new());
                while sequences.last() != Some(&u64::MAX) {
                    store.wait(after).await.unwrap();
                    for record in store.read_log(after, 1000).await.unwrap() {
                        let commit = record.commit().unwrap();
                        let is_last = commit.stream == "test/last";
                        after = commit.last_position(record.position);
                        sequences.push(record.token);
                        if is_last {
                            sequences.push(u64::MAX);
                        }
                    }
                }
                sequences.pop();
                sequences
            }
        });
        let mut delay = Duration::ZERO;
        for i in 0..8 {
            // Only the other node has a consumer.
            eventually(|| async {
                match log.get_info().await.unwrap().state.consumer_count {
                    1 => Ok(()),
                    consumers => Err(format!("{version:?}: {consumers} consumers")),
                }
            })
            .await;
            let appended = append(&other, &stream(&format!("other-{i}")), 0, 0, 1).await.unwrap();
            let begin = Instant::now();
            timeout(Duration::from_secs(5), store.wait(appended.position - 1))
                .await
                .unwrap()
                .unwrap();
            delay += begin.elapsed();
        }
        is_writing.store(false, Ordering::Relaxed);
        join_all(writing).await.into_iter().for_each(Result::unwrap);
        // Once a second the end is looked at anyway.
        assert!(delay < Duration::from_secs(2), "{version:?}: told of 8 commits after {delay:?}");
        append(&other, &stream("last"), 0, 0, 1).await.unwrap();
        let sequences = timeout(Duration::from_secs(5), reading).await.unwrap().unwrap();
        assert!(sequences.iter().copied().eq(1..=sequences.len() as u64), "each once, in order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_on_one_server_do_not_see_each_other() {
    let server = NatsServer::start(Version::Newest).await;
    let other = NatsOptions { prefix: "other".to_owned(), ..NatsOptions::new(server.url()) };
    let (one, other) = (connect(&server).await, NatsStore::connect(other).await.unwrap());
    append(&one, &stream("a"), 0, 0, 1).await.unwrap();
    one.put("k", "1".into(), 0, None).await.unwrap().unwrap();
    assert_eq!(other.head().await.unwrap(), 0);
    assert!(other.read_stream(&stream("a"), 1.into(), 1).await.unwrap().is_empty());
    assert_eq!(other.get("k").await.unwrap(), None);
    append(&other, &stream("a"), 0, 0, 1).await.unwrap();
}

/// The text of the error with which the store can't be opened.
async fn refused(options: NatsOptions) -> String {
    NatsStore::connect(options).await.expect_err("it must be refused").to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_another_configuration_is_refused_with_the_difference() {
    for version in Version::ALL {
        let server = NatsServer::start(version).await;
        let client = async_nats::connect(server.url()).await.unwrap();
        let config = async_nats::jetstream::stream::Config {
            name: "catga".to_owned(),
            subjects: vec!["catga.*.*".to_owned()],
            max_age: Duration::from_secs(7 * 24 * 3600),
            ..Default::default()
        };
        async_nats::jetstream::new(client).create_stream(config).await.unwrap();
        let error = refused(NatsOptions::new(server.url())).await;
        for part in ["max_age is 604800s and must be 0ns", "deny_delete is false and must be true"]
        {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains("subjects"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_refused_on_a_server_that_breaks_p1_with_them() {
    let server = NatsServer::start(Version::Debian).await;
    let error = refused(NatsOptions { replicas: 3, ..NatsOptions::new(server.url()) }).await;
    assert!(error.contains("2.14 or newer is needed for 3 replicas"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_over_the_servers_limit_is_refused_before_it_is_sent() {
    let settings = Settings { lines: "max_payload: 20000", ..Settings::default() };
    let server = NatsServer::start_with(Version::Newest, settings).await;
    let store = connect(&server).await;
    let large = stream("large");
    let of_size = |size| Append {
        stream: &large,
        version: 0.into(),
        token: 0,
        events: 1,
        frame: frame(&large, 0, 1, size),
    };
    let refused = store.append(of_size(20_000)).await;
    let is_too_large = |e: &StoreError| e.is_too_large() && e.to_string().contains("20000");
    assert!(matches!(refused, Err(AppendError::Refused(ref e)) if is_too_large(e)), "{refused:?}");
    store.append(of_size(19_000)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_only_the_monitoring_tells_that_the_server_syncs() {
    let durability = async |options: NatsOptions| {
        NatsStore::connect(options).await.unwrap().durability().await.unwrap()
    };
    let monitored = |server: &NatsServer| NatsOptions {
        monitor: Some(server.monitor()),
        ..NatsOptions::new(server.url())
    };
    let durable = NatsServer::start_durable().await;
    let report = durability(monitored(&durable)).await;
    assert_eq!((report.level, report.advice), (Durability::PowerLoss, None));
    assert!(report.settings.contains(&("sync_interval", "always".to_owned())));
    let report = durability(NatsOptions::new(durable.url())).await;
    assert_eq!(report.level, Durability::ProcessCrash, "nobody told");
    assert!(report.advice.unwrap().contains("monitoring"));
    for version in Version::ALL {
        let server = NatsServer::start(version).await;
        let report = durability(monitored(&server)).await;
        assert_eq!(report.level, Durability::ProcessCrash);
        assert!(report.advice.unwrap().contains("sync_interval: always"));
    }
    // The monitoring of another server says nothing about this one.
    let server = NatsServer::start(Version::Newest).await;
    let options = NatsOptions { monitor: Some(durable.monitor()), ..monitored(&server) };
    let error = NatsStore::connect(options).await.unwrap().durability().await.unwrap_err();
    assert!(error.to_string().contains("another NATS server"), "{error}");
}
