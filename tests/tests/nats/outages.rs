//! What a server, or the way to it, can do to the store.

use super::*;

/// Not only when the answer is late: whoever is in doubt keeps its aggregate from others.
#[tokio::test(flavor = "multi_thread")]
async fn p3_an_append_is_in_doubt_as_soon_as_its_connection_is_lost() {
    // On the old server commits take turns on two connections.
    for (version, turns) in Version::ALL.into_iter().flat_map(|v| [(v, 0), (v, 1)]) {
        let server = NatsServer::start(version).await;
        let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], server.port))).await;
        let options = NatsOptions::new(format!("nats://{}", proxy.address()));
        let store = NatsStore::connect(options).await.unwrap();
        for turn in 0..turns {
            append(&store, &stream(&turn.to_string()), 0, 0, 1).await.unwrap();
        }
        proxy.cut_replies("HPUB catga.", 0, 1);
        let begin = Instant::now();
        let outcome = append(&store, &stream("a"), 0, 0, 1).await;
        assert!(matches!(outcome, Err(AppendError::Unknown(_))), "{outcome:?}");
        assert!(begin.elapsed() < Duration::from_millis(1500), "{:?}", begin.elapsed());
        let (store, stream) = (&store, &stream("a"));
        eventually(|| async move {
            match append(store, stream, 0, 0, 1).await {
                Err(AppendError::Conflict { actual }) if actual == 1 => Ok(()),
                outcome => Err(format!("{outcome:?}")),
            }
        })
        .await;
    }
}

/// The old one stores a message before it reads the next one of the connection.
#[tokio::test]
async fn a_server_that_takes_more_from_two_connections_is_given_commits_on_both() {
    for (version, connections) in [(Version::Debian, 2), (Version::Newest, 1)] {
        let server = NatsServer::start(version).await;
        let store = connect(&server).await;
        for i in 0..100 {
            append(&store, &stream(&i.to_string()), 0, 0, 1).await.unwrap();
        }
        let monitored: serde_json::Value =
            serde_json::from_str(&server.monitored("/connz").await).unwrap();
        let found = monitored["connections"].as_array().unwrap();
        let messages: Vec<_> = found.iter().map(|c| c["in_msgs"].as_u64().unwrap()).collect();
        assert_eq!(messages.len(), connections, "{version:?}: {monitored}");
        assert!(messages.iter().all(|&messages| messages >= 50), "{version:?}: {messages:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_woken_over_an_outage_and_by_other_nodes() {
    for version in Version::ALL {
        let mut server = NatsServer::start(version).await;
        let (store, other) = (Arc::new(connect(&server).await), connect(&server).await);
        let first = append(&other, &stream("a"), 0, 0, 1).await.unwrap();
        timeout(Duration::from_secs(5), store.wait(0.into())).await.unwrap().unwrap();
        let head = store.head().await.unwrap();
        let waiting = tokio::spawn({
            let store = store.clone();
            async move { store.wait(head).await }
        });
        server.kill().await;
        let refused = append(&store, &stream("b"), 0, 0, 1).await;
        assert!(
            matches!(refused, Err(AppendError::Refused(_) | AppendError::Unknown(_))),
            "{refused:?}"
        );
        server.restart().await;
        let other = &other;
        eventually(|| async move {
            match append(other, &stream("a"), 1, first.token, 1).await {
                Ok(_) => Ok(()),
                Err(AppendError::Conflict { actual }) if actual == 2 => Ok(()),
                outcome => Err(format!("{outcome:?}")),
            }
        })
        .await;
        timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap().unwrap();
        let reader = &store;
        eventually(|| async move {
            match reader.read_log(head, 10).await {
                Ok(records) if !records.is_empty() => Ok(()),
                outcome => Err(format!("{outcome:?}")),
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_its_end_is_an_error_and_nobody_waits_for_it() {
    let mut server = NatsServer::start(Version::Newest).await;
    let store = connect(&server).await;
    append(&store, &stream("a"), 0, 0, 1).await.unwrap();
    let head = store.head().await.unwrap();
    server.kill().await;
    server.forget();
    server.restart().await;
    // An operator, or another node, makes the stream anew.
    connect(&server).await;
    let lost = timeout(Duration::from_secs(10), store.wait(head)).await.unwrap().unwrap_err();
    assert!(lost.to_string().contains("lost the end of the log"), "{lost}");
    assert!(!lost.is_unavailable());
    assert!(matches!(append(&store, &stream("b"), 0, 0, 1).await, Err(AppendError::Refused(_))));
    store.head().await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_lost_end_was_filled_by_others_is_an_error() {
    let mut server = NatsServer::start(Version::Newest).await;
    let store = connect(&server).await;
    append(&store, &stream("a"), 0, 0, 1).await.unwrap();
    server.kill().await;
    server.forget();
    server.restart().await;
    let other = connect(&server).await;
    append(&other, &stream("b"), 0, 0, 1).await.unwrap();
    append(&other, &stream("c"), 0, 0, 1).await.unwrap();
    eventually(|| async {
        match store.head().await {
            Err(error) if error.to_string().contains("lost the end of the log") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_took_the_place_of_another_is_an_error() {
    let server = NatsServer::start(Version::Newest).await;
    let (store, other) = (connect(&server).await, connect(&server).await);
    for key in ["a", "b", "c"] {
        append(&store, &stream(key), 0, 0, 1).await.unwrap();
    }
    other.head().await.unwrap();
    let jetstream = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let config = jetstream.get_stream("catga").await.unwrap().cached_info().config.clone();
    jetstream.delete_stream("catga").await.unwrap();
    jetstream.create_stream(config).await.unwrap();
    // It is stored, in the other stream, and not acknowledged.
    let outcome = append(&store, &stream("d"), 0, 0, 1).await;
    assert!(
        matches!(outcome, Err(AppendError::Unknown(ref e) | AppendError::Refused(ref e)) if e.is_ended()),
        "{outcome:?}"
    );
    let head = other.head().await;
    assert!(head.as_ref().is_err_and(StoreError::is_ended), "{head:?}");
    assert!(store.check().is_err() && other.check().is_err());
    let anew = connect(&server).await;
    assert_ne!(anew.log_id(), store.log_id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_deleted_is_an_error() {
    let server = NatsServer::start(Version::Newest).await;
    let store = connect(&server).await;
    append(&store, &stream("a"), 0, 0, 1).await.unwrap();
    let jetstream = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    jetstream.delete_stream("catga").await.unwrap();
    let waiting = store.wait(store.head().await.unwrap_or_else(|_| 1024.into())).await;
    assert!(waiting.is_err_and(|error| error.is_ended()));
}
