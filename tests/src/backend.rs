//! Each store that survives the service, so that one test can be run on all.

use tempfile::TempDir;

use crate::{
    nats::{NatsServer, Version},
    nats_cluster::NatsCluster,
    redis::RedisServer,
};

/// A store of one test's own, to run order-system on.
#[derive(Debug)]
pub enum Backend {
    /// Files in a directory.
    File(TempDir),
    /// A Redis server.
    Redis(RedisServer),
    /// A NATS server.
    Nats(NatsServer),
    /// Three NATS servers that keep each stream together.
    NatsCluster(NatsCluster),
}

impl Backend {
    /// A directory on the disk that the build is on.
    ///
    /// # Panics
    /// When it can't be made.
    pub async fn file() -> Self {
        Self::File(TempDir::new().expect("a temporary directory"))
    }

    /// A server that keeps everything.
    pub async fn redis() -> Self {
        Self::Redis(RedisServer::start().await)
    }

    /// Debian's server.
    pub async fn nats_debian() -> Self {
        Self::Nats(NatsServer::start(Version::Debian).await)
    }

    /// The newest server, which syncs before it answers.
    pub async fn nats_newest() -> Self {
        Self::Nats(NatsServer::start_durable().await)
    }

    /// Three servers of the newest version.
    pub async fn nats_cluster() -> Self {
        Self::NatsCluster(NatsCluster::start().await)
    }

    /// What order-system is started with to use it. The address is the last one.
    pub fn flags(&self) -> Vec<String> {
        let (flags, address): (&[&str], _) = match self {
            Self::File(directory) => {
                (&["file", "--data-dir"], directory.path().join("log").display().to_string())
            }
            Self::Redis(server) => (&["redis", "--redis"], server.address()),
            Self::Nats(server) => (&["nats", "--nats"], server.url()),
            Self::NatsCluster(cluster) => {
                (&["nats", "--nats-replicas", "3", "--nats"], cluster.servers[0].url())
            }
        };
        let flags = ["--persistence"].iter().chain(flags).map(|&flag| flag.to_owned());
        flags.chain([address]).collect()
    }

    /// What order-system is started with to have its transport there, and its log elsewhere.
    ///
    /// # Panics
    /// When it is no server.
    pub fn transport_flags(&self) -> Vec<String> {
        let mut flags = self.flags();
        assert!(self.port().is_some(), "a transport is a server");
        "--transport".clone_into(&mut flags[0]);
        flags
    }

    /// The port that the service connects to; `None` when the store is in its process.
    pub fn port(&self) -> Option<u16> {
        self.port_for(0)
    }

    /// The port that the `node`-th node connects to: of several servers, each node has its own.
    pub fn port_for(&self, node: usize) -> Option<u16> {
        match self {
            Self::File(_) => None,
            Self::Redis(server) => Some(server.port),
            Self::Nats(server) => Some(server.port),
            Self::NatsCluster(cluster) => Some(cluster.servers[node % cluster.servers.len()].port),
        }
    }

    /// The flags with another port in the place of [`port`](Self::port).
    pub fn flags_at(&self, port: u16) -> Vec<String> {
        let mut flags = self.flags();
        let (Some(own), Some(address)) = (self.port(), flags.last_mut()) else { return flags };
        *address = address.replace(&own.to_string(), &port.to_string());
        flags
    }

    /// What the proxy sees of an append in the service's request.
    pub fn append_pattern(&self) -> &'static str {
        match self {
            Self::File(_) => "no request",
            // More arguments follow the key in no other command.
            Self::Redis(_) => "{catga}:head\r\n$",
            Self::Nats(_) | Self::NatsCluster(_) => "HPUB catga.order.",
        }
    }

    /// Ends the server as a crash does, and starts it again.
    pub async fn crash(&mut self) {
        match self {
            Self::File(_) => {}
            Self::Redis(server) => {
                server.kill().await;
                server.restart().await;
            }
            Self::Nats(server) => {
                server.kill().await;
                server.restart().await;
            }
            Self::NatsCluster(cluster) => cluster.crash_all().await,
        }
    }
}

/// Runs each test on each store: `anywhere` on files too, `on_a_server` on Redis and NATS.
#[macro_export]
macro_rules! on_each_store {
    (anywhere: [$($test:ident),* $(,)?]) => {
        $crate::on_each_store!(anywhere: [$($test),*], on_a_server: []);
    };
    (anywhere: [$($test:ident),* $(,)?], on_a_server: [$($server_test:ident),* $(,)?]) => {
        $crate::on_each_store!(@store file $($test),*);
        $crate::on_each_store!(@store redis $($test,)* $($server_test),*);
        $crate::on_each_store!(@store nats_debian $($test,)* $($server_test),*);
        $crate::on_each_store!(@store nats_newest $($test,)* $($server_test),*);
    };
    (@store $store:ident $($test:ident),* $(,)?) => {
        mod $store {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::$test($crate::backend::Backend::$store().await).await;
                }
            )*
        }
    };
}
