//! Three NATS servers that keep each stream together, and the network between them.

use std::{net::SocketAddr, time::Duration};

use async_nats::jetstream;
use bytes::Bytes;
use futures_util::future::join_all;

use crate::{
    eventually_within,
    nats::{NatsServer, Settings, Version},
    proxy::{Mode, Proxy},
    redis::free_port,
};

/// How many servers there are.
const SERVERS: usize = 3;

/// Three servers of the newest version, whose routes to one another can be cut. They are gone with this.
#[derive(Debug)]
pub struct NatsCluster {
    /// The servers; the names of them are `s0`, `s1` and `s2`.
    pub servers: Vec<NatsServer>,
    /// The way from one server to another.
    routes: Vec<(usize, usize, Proxy)>,
}

impl NatsCluster {
    /// Starts three empty servers with default settings.
    pub async fn start() -> Self {
        let ports: Vec<_> = (0..SERVERS).map(|_| free_port()).collect();
        let mut routes = Vec::new();
        for from in 0..SERVERS {
            for to in (0..SERVERS).filter(|to| *to != from) {
                let target = SocketAddr::from(([127, 0, 0, 1], ports[to]));
                routes.push((from, to, Proxy::start(target).await));
            }
        }
        let server = |server: usize| {
            let ways = routes.iter().filter(|(from, ..)| *from == server);
            let ways: Vec<_> =
                ways.map(|(.., proxy)| format!("nats://{}", proxy.address())).collect();
            // What it tells of itself leads nowhere: so all routes are through the proxies.
            let lines = format!(
                "server_name: s{server}\ncluster {{\n  name: catga\n  listen: 127.0.0.1:{}\n  no_advertise: true\n  advertise: \"127.0.0.1:1\"\n  routes: [{}]\n}}",
                ports[server],
                ways.join(", ")
            );
            NatsServer::spawn_with(Version::Newest, Settings { lines: &lines, jetstream: "" })
        };
        let mut servers: Vec<_> = (0..SERVERS).map(server).collect();
        join_all(servers.iter_mut().map(NatsServer::wait_until_ready)).await;
        Self { servers, routes }
    }

    /// `nats://127.0.0.1:PORT` of all servers.
    pub fn urls(&self) -> String {
        self.servers.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// Which server leads `stream`, as `asked` knows it.
    pub async fn leader(&self, stream: &str, asked: usize) -> usize {
        let client = async_nats::connect(self.servers[asked].url()).await;
        let context = jetstream::new(client.expect("the server is there"));
        eventually_within(Duration::from_secs(60), || async {
            let stream = context.get_stream(stream).await.map_err(|error| error.to_string())?;
            let cluster = stream.cached_info().cluster.as_ref();
            let leader = cluster.and_then(|cluster| cluster.leader.as_deref());
            let number = leader.and_then(|name| name.strip_prefix('s')?.parse().ok());
            number.ok_or_else(|| "nobody leads".to_owned())
        })
        .await
    }

    /// Ends all servers as a power cut of their rack does, and starts them again.
    pub async fn crash_all(&mut self) {
        join_all(self.servers.iter_mut().map(NatsServer::kill)).await;
        self.servers.iter_mut().for_each(NatsServer::respawn);
        join_all(self.servers.iter_mut().map(NatsServer::wait_until_ready)).await;
    }

    /// Has the leader of `stream` hand over, as before an upgrade.
    ///
    /// # Panics
    /// When it does not.
    pub async fn step_down(&self, stream: &str) {
        let client = async_nats::connect(self.servers[0].url()).await.expect("the server is there");
        let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}");
        client.request(subject, Bytes::new()).await.expect("the leader answers");
    }

    /// Cuts one server off from the others. Clients still reach it.
    pub fn isolate(&self, server: usize) {
        for (from, to, proxy) in &self.routes {
            if [*from, *to].contains(&server) {
                proxy.set(Mode::Refuse);
            }
        }
    }

    /// Lets all servers reach one another.
    pub fn heal(&self) {
        self.routes.iter().for_each(|(.., proxy)| proxy.set(Mode::Pass));
    }
}
