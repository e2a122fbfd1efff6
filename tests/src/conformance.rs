//! Stores and topics on servers as the conformance suite wants them: a new one for each rule, by its prefix.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use catga::{
    conformance::{Fixture, Stores},
    store::{
        BoxFuture, NatsOptions, NatsStore, NatsTransport, RedisOptions, RedisStore, RedisTransport,
    },
};

use crate::{nats::NatsServer, nats_cluster::NatsCluster, redis::RedisServer};

/// A prefix that nobody has used.
fn fresh_prefix() -> String {
    static USED: AtomicUsize = AtomicUsize::new(0);
    format!("fresh-{}", USED.fetch_add(1, Ordering::Relaxed))
}

/// What is on a server under one prefix. A log without a topic is read by event handlers itself.
#[derive(Debug, Clone)]
pub struct OnServer {
    log: Log,
    topic: Option<Log>,
}

/// A server, and a prefix there.
#[derive(Clone)]
enum Log {
    Redis(RedisOptions),
    Nats(NatsOptions),
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis(_) => "Redis",
            Self::Nats(_) => "Nats",
        })
    }
}

impl OnServer {
    /// An empty log on Redis.
    pub fn redis(server: &RedisServer) -> Self {
        let options =
            RedisOptions { prefix: fresh_prefix(), ..RedisOptions::new(server.address()) };
        Self { log: Log::Redis(options), topic: None }
    }

    /// An empty log on NATS.
    pub fn nats(server: &NatsServer) -> Self {
        let options = NatsOptions {
            prefix: fresh_prefix(),
            monitor: Some(server.monitor()),
            ..NatsOptions::new(server.url())
        };
        Self { log: Log::Nats(options), topic: None }
    }

    /// An empty log that three servers of NATS keep.
    pub fn nats_cluster(cluster: &NatsCluster) -> Self {
        let options =
            NatsOptions { prefix: fresh_prefix(), replicas: 3, ..NatsOptions::new(cluster.urls()) };
        Self { log: Log::Nats(options), topic: None }
    }

    /// With an empty topic where `other` has its log.
    #[must_use]
    pub fn with_topic(self, other: Self) -> Self {
        Self { topic: Some(other.log), ..self }
    }
}

impl Fixture for OnServer {
    fn open(&self) -> BoxFuture<'_, Stores> {
        Box::pin(async {
            let stores = match &self.log {
                Log::Redis(options) => {
                    let store = RedisStore::connect(options.clone()).await;
                    let store = Arc::new(store.expect("the server can be used"));
                    Stores::new(store.clone(), store)
                }
                Log::Nats(options) => {
                    let store = NatsStore::connect(options.clone()).await;
                    let store = Arc::new(store.expect("the server can be used"));
                    Stores::new(store.clone(), store)
                }
            };
            match &self.topic {
                None => stores,
                Some(Log::Redis(options)) => {
                    let topic = RedisTransport::connect(options.clone()).await;
                    stores.with_transport(Arc::new(topic.expect("the server can be used")))
                }
                Some(Log::Nats(options)) => {
                    let topic = NatsTransport::connect(options.clone()).await;
                    stores.with_transport(Arc::new(topic.expect("the server can be used")))
                }
            }
        })
    }
}
