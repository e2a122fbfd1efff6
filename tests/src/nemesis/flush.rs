//! Another log in the log's place, under load: what is on its server is deleted, and the stream is made anew.
//!
//! What was acknowledged before is gone with it; nobody can do anything about that. But each node must notice, stop, and go on
//! with the new log after a new start, and nothing may be acknowledged meanwhile that is not in the new log.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Client, StatusCode};

use super::server_faults::Servers;
use crate::{
    backend::Backend,
    cluster::Cluster,
    eventually_within,
    history::{Recorder, Tick},
    nats::NatsServer,
};

/// How long a node has to notice.
const NOTICED: Duration = Duration::from_secs(10);

/// A log took the place of another.
#[derive(Debug, Clone, Copy)]
pub struct Replaced {
    /// When it had.
    pub at: Tick,
    /// When all nodes had noticed.
    pub noticed: Tick,
}

/// Puts an empty log in the place of the log, waits until every node has noticed and ended, and starts them anew.
///
/// # Panics
/// When a node does not notice, or does not start.
pub async fn flush(servers: &Servers, cluster: &mut Cluster, recorder: &Recorder) -> Replaced {
    match &servers.log {
        Backend::File(_) => unreachable!("a cluster has a server"),
        Backend::Redis(redis) => assert_eq!(redis.command("FLUSHALL").await, "+OK"),
        Backend::Nats(nats) => make_anew(nats, "catga", true).await,
        Backend::NatsCluster(cluster) => make_anew(&cluster.servers[0], "catga", true).await,
    }
    let at = recorder.now();
    let http = Client::builder().timeout(Duration::from_secs(5)).build().expect("plain settings");
    // They end soon after they noticed.
    join_all(cluster.urls().iter().map(|url| has_noticed(&http, url))).await;
    let noticed = recorder.now();
    for node in &mut cluster.nodes {
        assert_eq!(node.end().await, Some(75), "so that it is started again");
    }
    // A topic that holds the former log would be left alone.
    if let Some(Backend::Nats(nats)) = &servers.topic {
        make_anew(nats, "catga-topic", false).await;
    }
    for node in &mut cluster.nodes {
        node.start().await;
    }
    Replaced { at, noticed }
}

async fn has_noticed(http: &Client, url: &str) {
    eventually_within(NOTICED, async || {
        let live = http.get(format!("{url}/health/live")).send().await;
        let live = live.map_err(|error| error.to_string())?;
        let (status, text) = (live.status(), live.text().await.unwrap_or_default());
        let is_noticed = status == StatusCode::SERVICE_UNAVAILABLE;
        if is_noticed { Ok(()) } else { Err(format!("{url}: {text}")) }
    })
    .await;
}

/// Deletes a stream, and makes it again unless the nodes do.
async fn make_anew(nats: &NatsServer, stream: &str, again: bool) {
    let client = async_nats::connect(nats.url()).await.expect("the server is there");
    let jetstream = async_nats::jetstream::new(client);
    let found = jetstream.get_stream(stream).await.expect("the stream is there");
    let config = found.cached_info().config.clone();
    jetstream.delete_stream(stream).await.expect("it can be deleted");
    if again {
        jetstream.create_stream(config).await.expect("it can be made");
    }
}
