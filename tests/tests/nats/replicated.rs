//! A log that three servers keep.

use std::collections::HashMap;

use async_nats::{
    HeaderMap, header,
    jetstream::{self, stream::Config},
};
use catga::log::Record;
use catga_tests::{eventually_within, nats_cluster::NatsCluster};

use super::*;

/// An election takes up to nine seconds.
const LONG: Duration = Duration::from_secs(40);

/// As a node on a new cluster does, whose servers have to agree on much first.
async fn connect_to(url: String) -> NatsStore {
    let options = NatsOptions { replicas: 3, ..NatsOptions::new(url) };
    eventually_within(LONG, || async {
        match NatsStore::connect(options.clone()).await {
            Ok(store) => Ok(store),
            Err(error) if error.is_unavailable() => Err(error.to_string()),
            Err(error) => panic!("it would not be tried again: {error}"),
        }
    })
    .await
}

async fn connect_to_each(cluster: &NatsCluster) -> Vec<NatsStore> {
    join_all(cluster.servers.iter().map(|server| connect_to(server.url()))).await
}

/// Appends for as long as it takes. It is there once.
async fn append_in_time(store: &NatsStore, stream: &StreamId, version: u64, token: u64) {
    eventually_within(LONG, || async {
        match append(store, stream, version, token, 1).await {
            Ok(_) => Ok(()),
            Err(AppendError::Conflict { actual }) if actual == version + 1 => Ok(()),
            Err(error) => Err(format!("{error:?}")),
        }
    })
    .await;
}

async fn read_all(store: &NatsStore) -> Vec<Record> {
    let (mut records, mut after) = (Vec::new(), Position::ZERO);
    let end = store.head().await.unwrap();
    while after < end {
        let page = store.read_log(after, 50).await.unwrap();
        after = page.last().expect("there is more up to the end").end().unwrap();
        records.extend(page);
    }
    records
}

/// Reads both commits of a stream before long, and never only one of them.
async fn reads_two(store: &NatsStore, stream: &StreamId) {
    eventually_within(LONG, || async {
        match store.read_stream(stream, 1.into(), 10).await {
            Ok(records) if records.len() == 2 => Ok(()),
            Ok(records) => panic!("stale: {} records", records.len()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_server_that_is_cut_off_from_the_others_gives_no_stale_answer() {
    let cluster = NatsCluster::start().await;
    let stores = connect_to_each(&cluster).await;
    let order = stream("a");
    let first = append(&stores[0], &order, 0, 0, 1).await.unwrap();
    let cut = cluster.leader("catga", 0).await;
    let (cut_off, other) = (&stores[cut], &stores[(cut + 1) % 3]);
    let mobile = join_all((0..6).map(|_| connect_to(cluster.urls()))).await;
    assert_eq!(cut_off.read_stream(&order, 1.into(), 10).await.unwrap().len(), 1);
    cluster.isolate(cut);
    append_in_time(other, &order, 1, first.token).await;
    assert_eq!(other.read_stream(&order, 1.into(), 10).await.unwrap().len(), 2);
    let (head, read) = tokio::join!(cut_off.head(), cut_off.read_stream(&order, 1.into(), 10));
    assert!(head.as_ref().is_err_and(StoreError::is_unavailable), "{head:?}");
    assert!(read.as_ref().is_err_and(StoreError::is_unavailable), "{read:?}");
    // What it has is still read by who does not ask for the end.
    assert_eq!(cut_off.read_log(0.into(), 10).await.unwrap().len(), 1);
    // Who knows of other servers leaves one that stores nothing.
    join_all(mobile.iter().map(|store| reads_two(store, &order))).await;
    cluster.heal();
    reads_two(cut_off, &order).await;
    assert_eq!(cut_off.head().await.unwrap(), other.head().await.unwrap());
}

/// A consumer shows commits of which the leader has not told yet; and servers come and go.
#[tokio::test(flavor = "multi_thread")]
async fn p2_nothing_is_taken_for_lost_under_load_and_while_a_leader_dies() {
    let mut cluster = NatsCluster::start().await;
    let stores: Vec<_> = join_all((0..3).map(|_| connect_to(cluster.urls())))
        .await
        .into_iter()
        .map(Arc::new)
        .collect();
    let is_loaded = Arc::new(AtomicBool::new(true));
    let load: Vec<_> = (0..48)
        .map(|client: usize| {
            let (store, is_loaded) = (stores[client % 3].clone(), is_loaded.clone());
            tokio::spawn(async move {
                let mut acked = Vec::new();
                for i in 0.. {
                    if !is_loaded.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("{client}-{i}");
                    match append(&store, &stream(&key), 0, 0, 1).await {
                        Ok(appended) => acked.push((format!("test/{key}"), appended.position)),
                        Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                    }
                    store.check().unwrap();
                }
                acked
            })
        })
        .collect();
    let reach = async |commits: u64| {
        eventually_within(LONG, || async {
            let head = stores[0].head().await.map_err(|error| error.to_string())?;
            stores.iter().for_each(|store| store.check().unwrap());
            if head.get() / 1024 > commits { Ok(head.get() / 1024) } else { Err(format!("{head}")) }
        })
        .await
    };
    let commits = reach(2000).await;
    let leader = cluster.leader("catga", 0).await;
    cluster.servers[leader].kill().await;
    let commits = reach(commits + 200).await;
    cluster.servers[leader].restart().await;
    reach(commits + 200).await;
    is_loaded.store(false, Ordering::Relaxed);
    let acked = join_all(load).await.into_iter().flat_map(Result::unwrap);
    let log = read_all(&stores[0]).await;
    let stored: HashMap<_, _> = log
        .iter()
        .map(|record| (record.commit().unwrap().stream.to_owned(), record.position))
        .collect();
    assert_eq!(stored.len(), log.len(), "nothing is there twice");
    for (stream, position) in acked {
        assert_eq!(stored.get(&stream), Some(&position), "{stream} is lost");
    }
    for store in &stores[1..] {
        assert!(read_all(store).await == log, "all read the same");
    }
}

/// The stream is from a single server; an operator had it kept by three.
#[tokio::test(flavor = "multi_thread")]
async fn p5_a_log_is_read_over_the_gaps_that_barriers_leave() {
    let cluster = NatsCluster::start().await;
    let client = async_nats::connect(cluster.servers[0].url()).await.unwrap();
    let context = jetstream::new(client.clone());
    let single = eventually_within(LONG, || async {
        NatsStore::connect(NatsOptions::new(cluster.urls())).await.map_err(|e| e.to_string())
    })
    .await;
    append(&single, &stream("first"), 0, 0, 2).await.unwrap();
    assert_eq!(single.durability().await.unwrap().survives().to_string(), "process-crash");
    drop(single);
    let server_loss = "process-crash,server-loss".parse().unwrap();
    let of_one =
        NatsOptions { require_durability: server_loss, ..NatsOptions::new(cluster.urls()) };
    let error = refused(of_one.clone()).await;
    assert!(error.contains("server-loss is required: no other server keeps it"), "{error}");
    for name in ["catga", "KV_catga"] {
        let found = context.get_stream(name).await.unwrap().cached_info().config.clone();
        context.update_stream(Config { num_replicas: 3, ..found }).await.unwrap();
    }
    let store = connect_to(cluster.urls()).await;
    // Each server is asked how it syncs, whichever the node is connected to.
    let monitors = cluster.servers.iter().map(NatsServer::monitor).collect::<Vec<_>>().join(",");
    let monitored = NatsOptions { replicas: 3, monitor: Some(monitors), ..of_one };
    let report = NatsStore::connect(monitored).await.unwrap().durability().await.unwrap();
    assert_eq!(report.survives(), server_loss);
    assert!(report.settings.contains(&("sync_interval", "120s".to_owned())), "{report:?}");
    let mut log = context.get_stream("catga").await.unwrap();
    assert_eq!(log.cached_info().config.subjects, ["catga.*.*", "catga.barrier"]);

    let barrier = async || {
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_MESSAGE_TTL, "1");
        context.publish_with_headers("catga.barrier", headers, Bytes::new()).await.unwrap().await
    };
    for i in 0..60 {
        append(&store, &stream(&i.to_string()), 0, 0, i % 3 + 1).await.unwrap();
        for _ in 0..i % 4 {
            barrier().await.unwrap();
        }
    }
    barrier().await.unwrap();
    let end = log.info().await.unwrap().state.last_sequence;
    assert_eq!(end, 61 + 15 * 6 + 1);
    eventually(|| async {
        let messages = context.get_stream("catga").await.unwrap().cached_info().state.messages;
        if messages == 61 { Ok(()) } else { Err(format!("{messages} messages")) }
    })
    .await;
    let reader = connect_to(cluster.urls()).await;
    let whole = read_all(&reader).await;
    assert_eq!(whole.len(), 61);
    assert!(read_all(&store).await == whole);
    // Little is read in another way than much, and from the end there is nothing.
    let (mut one_by_one, mut after) = (Vec::new(), Position::ZERO);
    while let [record] = &*reader.read_log(after, 1).await.unwrap() {
        after = record.end().unwrap();
        one_by_one.push(record.clone());
    }
    assert!(one_by_one == whole);
    assert_eq!(after, reader.head().await.unwrap());
}
