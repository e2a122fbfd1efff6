//! What the server is, and what it says about how it keeps the log.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use async_nats::{
    Client, ServerInfo,
    jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType},
};
use futures_util::future::join_all;
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{options::NatsOptions, publication::locked};
use crate::{
    log::StoreError,
    store::{Durability, DurabilityReport},
};

/// The oldest version whose replicated streams were seen to refuse a second commit at one version. Those of 2.9 do
/// not.
const REPLICATED: (u64, u64) = (2, 14);

/// The oldest version whose atomic batches were seen to be synced, as a whole, before they are acknowledged.
const BATCHES: (u64, u64) = (2, 15);

/// The oldest version that reads messages from a connection while it stores those before them, in all its releases.
const QUEUES: (u64, u64) = (2, 10);

/// How long a monitoring may take to answer. Where a level is required, nothing is published on a new connection meanwhile.
const MONITOR_TIMEOUT: Duration = Duration::from_millis(900);

/// The most bytes that are read from the monitoring.
const MONITOR_BYTES: u64 = 1 << 20;

/// The subject of the [barriers](super::barrier) in the stream of the log `prefix`.
pub(super) fn barrier_subject(prefix: &str) -> String {
    format!("{prefix}.barrier")
}

/// The stream of the log. No commit in it is ever deleted: no limit of age, size or number, and new messages are
/// refused when the disk is full. Where several servers keep it there are barriers in it, which end by themselves.
pub(super) fn log_config(options: &NatsOptions) -> Config {
    let config = base_config(options);
    if options.replicas == 1 {
        return config;
    }
    let subjects = [config.subjects, vec![barrier_subject(&options.prefix)]].concat();
    Config { subjects, allow_message_ttl: true, ..config }
}

fn base_config(options: &NatsOptions) -> Config {
    let prefix = &options.prefix;
    Config {
        name: prefix.clone(),
        subjects: vec![format!("{prefix}.*.*")],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        max_messages: -1,
        max_bytes: -1,
        max_messages_per_subject: -1,
        num_replicas: options.replicas,
        deny_delete: true,
        deny_purge: true,
        allow_direct: true,
        ..Config::default()
    }
}

/// The stream of the values, as the client makes one for a key-value bucket.
pub(super) fn values_config(options: &NatsOptions) -> Config {
    let bucket = &options.prefix;
    Config {
        name: format!("KV_{bucket}"),
        subjects: vec![format!("$KV.{bucket}.>")],
        max_messages: -1,
        max_bytes: -1,
        max_messages_per_subject: 1,
        allow_rollup: true,
        deny_purge: false,
        ..base_config(options)
    }
}

/// The stream of the topic.
pub(super) fn topic_config(options: &NatsOptions) -> Config {
    let name = format!("{}-topic", options.prefix);
    Config { subjects: vec![format!("{name}.*.*.*")], name, ..base_config(options) }
}

/// # Errors
/// When the server is too old for what is asked of it.
pub(super) fn check(client: &Client, options: &NatsOptions) -> Result<(), StoreError> {
    let version = client.server_info().version;
    if options.replicas > 1 && numbers(&version) < REPLICATED {
        let (major, minor) = REPLICATED;
        return Err(StoreError::unusable(format!(
            "NATS {version} can accept two commits at one version of a replicated stream: {major}.{minor} or newer is needed for {} replicas",
            options.replicas
        )));
    }
    Ok(())
}

/// Whether commits are better off in atomic batches: the server syncs before it answers, and syncs a batch once.
pub(super) async fn prefers_batches(
    client: &Client,
    keepers: &Keepers,
    monitors: &Monitors,
) -> bool {
    keepers.replicas == 1
        && numbers(&client.server_info().version) >= BATCHES
        && durability(client, keepers, monitors)
            .await
            .is_ok_and(|report| report.level == Durability::PowerLoss)
}

/// The servers that keep a stream.
#[derive(Debug, Clone)]
pub(super) struct Keepers {
    replicas: usize,
    /// The names of them; none when the server is no part of a cluster.
    names: Vec<String>,
}

impl Keepers {
    pub(super) fn of(info: &Info) -> Self {
        let cluster = info.cluster.iter();
        let names = cluster.flat_map(|cluster| {
            cluster
                .leader
                .clone()
                .into_iter()
                .chain(cluster.replicas.iter().map(|r| r.name.clone()))
        });
        Self { replicas: info.config.num_replicas, names: names.collect() }
    }
}

/// Whether each message is checked, stored and answered before the server reads the next one of its connection, so that
/// it takes more of them from two. A newer server takes no more, and who waits is answered later.
pub(super) fn stores_where_it_reads(client: &Client) -> bool {
    numbers(&client.server_info().version) < QUEUES
}

fn numbers(version: &str) -> (u64, u64) {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The monitorings that are asked, and what they said last.
pub(super) struct Monitors {
    addresses: Vec<String>,
    /// By the servers' names.
    known: Mutex<HashMap<String, Monitored>>,
}

impl Monitors {
    /// Those at `host:port,host:port`.
    pub(super) fn new(addresses: Option<&str>) -> Self {
        let addresses = addresses.iter().flat_map(|all| all.split(',')).map(str::trim);
        let addresses = addresses.map(str::to_owned).collect();
        Self { addresses, known: Mutex::default() }
    }

    /// Asks all of them. Answers what is wrong with one of those that said nothing. A server syncs as it did when it was
    /// started: where several keep the stream, what is known of one that is away holds.
    async fn ask(&self, keepers: &Keepers) -> Option<StoreError> {
        let answers = join_all(self.addresses.iter().map(|address| ask(address))).await;
        let mut known = locked(&self.known);
        if keepers.replicas == 1 {
            known.clear();
        }
        let mut silent = None;
        for answer in answers {
            match answer {
                Ok(answer) => _ = known.insert(answer.server_name.clone(), answer),
                Err(error) => silent = Some(error),
            }
        }
        silent
    }

    /// How the servers that keep the stream sync, and whether all do always; `None` when nothing is known of any of them. The
    /// connection is to the server `connected`.
    fn sync_of(&self, keepers: &Keepers, connected: &ServerInfo) -> Option<(String, bool)> {
        let known = locked(&self.known);
        let is_right = |found: &&Monitored| {
            found.server_name != connected.server_name || found.server_id == connected.server_id
        };
        let of = |name: &String| {
            known.get(name).filter(is_right).map(|found| found.jetstream.config.sync())
        };
        let syncs: Vec<_> = match &keepers.names[..] {
            [] => vec![of(&connected.server_name)],
            names => names.iter().map(of).collect(),
        };
        if syncs.iter().all(Option::is_none) {
            return None;
        }
        // What is least is what counts.
        let unknown = || ("not known of each server".to_owned(), false);
        syncs.into_iter().map(|sync| sync.unwrap_or_else(unknown)).min_by_key(|(_, always)| *always)
    }
}

/// What an acknowledged commit survives. A client can't ask how a server syncs; only the monitoring tells, of each server for
/// itself.
///
/// # Errors
/// When the monitorings say nothing of a server that keeps the stream.
pub(super) async fn durability(
    client: &Client,
    keepers: &Keepers,
    monitors: &Monitors,
) -> Result<DurabilityReport, StoreError> {
    let info = client.server_info();
    let is_monitored = !monitors.addresses.is_empty();
    let (sync, is_always) = if is_monitored {
        let silent = monitors.ask(keepers).await;
        let other = || StoreError::unusable("the monitoring is that of another NATS server");
        monitors.sync_of(keepers, &info).ok_or_else(|| silent.unwrap_or_else(other))?
    } else {
        ("not known".to_owned(), false)
    };
    let advice = match (is_monitored, keepers.replicas) {
        _ if is_always => None,
        (false, 1) => Some(
            "only the server's monitoring tells whether it syncs before it answers: give its address",
        ),
        (false, _) => Some(
            "only the monitoring of each server tells whether it syncs before it answers: give their addresses",
        ),
        _ => Some(
            "with `sync_interval: always` in its jetstream block (2.10 or newer) it survives a power cut",
        ),
    };
    Ok(DurabilityReport {
        level: if is_always { Durability::PowerLoss } else { Durability::ProcessCrash },
        server_loss: keepers.replicas > 1,
        settings: vec![
            ("version", info.version.clone()),
            ("replicas", keepers.replicas.to_string()),
            ("sync_interval", sync),
        ],
        advice: advice.map(str::to_owned),
        refusal: None,
    })
}

/// The part of `/varz` that is of interest.
#[derive(Debug, Deserialize)]
struct Monitored {
    server_id: String,
    server_name: String,
    jetstream: JetStream,
}

#[derive(Debug, Deserialize)]
struct JetStream {
    config: JetStreamConfig,
}

#[derive(Debug, Deserialize)]
struct JetStreamConfig {
    /// In nanoseconds. Servers that can't be told leave it out.
    sync_interval: Option<u64>,
    #[serde(default)]
    sync_always: bool,
}

impl JetStreamConfig {
    fn sync(&self) -> (String, bool) {
        match self.sync_interval {
            _ if self.sync_always => ("always".to_owned(), true),
            Some(interval) => (format!("{:?}", Duration::from_nanos(interval)), false),
            None => ("the server's own".to_owned(), false),
        }
    }
}

async fn ask(monitor: &str) -> Result<Monitored, StoreError> {
    let answer = timeout(MONITOR_TIMEOUT, get(monitor)).await;
    let answer = answer
        .map_err(|_| StoreError::unavailable("the monitoring of NATS did not answer in time"))?
        .map_err(|error| StoreError::unavailable(format!("the monitoring of NATS: {error}")))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).map_err(|_| {
        StoreError::unavailable("what answers is no monitoring of a NATS server with JetStream")
    })
}

/// HTTP/1.0, so that the answer is what comes until the end.
async fn get(monitor: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(monitor).await?;
    stream.write_all(b"GET /varz HTTP/1.0\r\nHost: monitor\r\n\r\n").await?;
    let mut answer = String::new();
    stream.take(MONITOR_BYTES).read_to_string(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_keep_the_stream_have_to_sync() {
        let keepers = |names: &[&str]| Keepers {
            replicas: names.len().max(1),
            names: names.iter().map(|&name| name.to_owned()).collect(),
        };
        let monitors = Monitors::new(Some("a:1, b:1"));
        assert_eq!(monitors.addresses, ["a:1", "b:1"]);
        let says = |name: &str, sync_always| {
            let config = JetStreamConfig { sync_interval: Some(120_000_000_000), sync_always };
            let (server_id, server_name) = (format!("id-{name}"), name.to_owned());
            let found = Monitored { server_id, server_name, jetstream: JetStream { config } };
            locked(&monitors.known).insert(name.to_owned(), found);
        };
        let connected = |id: &str| ServerInfo {
            server_id: id.to_owned(),
            server_name: "a".to_owned(),
            ..ServerInfo::default()
        };
        let of = |names: &[&str], id| monitors.sync_of(&keepers(names), &connected(id));
        let always = || Some(("always".to_owned(), true));
        says("x", true);
        assert_eq!((of(&[], "id-a"), of(&["a", "b", "c"], "id-a")), (None, None));
        says("a", true);
        assert_eq!(of(&[], "id-a"), always());
        assert_eq!(of(&[], "id-new"), None, "it was started anew, or is another one of that name");
        let unknown = Some(("not known of each server".to_owned(), false));
        assert_eq!(of(&["a", "b", "c"], "id-a"), unknown);
        says("b", false);
        says("c", true);
        assert_eq!(of(&["a", "b", "c"], "id-a"), Some(("120s".to_owned(), false)));
        says("b", true);
        assert_eq!(of(&["a", "b", "c"], "id-a"), always());
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(numbers("2.9.10") < QUEUES && numbers("2.10.0") >= QUEUES);
        assert!(numbers("2.9.10") < REPLICATED && numbers("2.14.0") >= REPLICATED);
        assert!(numbers("10.0.1-beta") > REPLICATED && numbers("nonsense") < REPLICATED);
    }
}
