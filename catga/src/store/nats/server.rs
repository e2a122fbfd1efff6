//! What the server is, and what it says about how it keeps the log.

use std::time::Duration;

use async_nats::{
    Client,
    jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType},
};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::options::NatsOptions;
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

/// How long the monitoring may take to answer.
const MONITOR_TIMEOUT: Duration = Duration::from_secs(2);

/// The most bytes that are read from the monitoring.
const MONITOR_BYTES: u64 = 1 << 20;

/// The stream of the log. Nothing in it is ever deleted: no limit of age, size or number, and new messages are
/// refused when the disk is full.
pub(super) fn log_config(options: &NatsOptions) -> Config {
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
        ..log_config(options)
    }
}

/// The stream of the topic.
pub(super) fn topic_config(options: &NatsOptions) -> Config {
    let name = format!("{}-topic", options.prefix);
    Config { subjects: vec![format!("{name}.*.*.*")], name, ..log_config(options) }
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
    config: &Config,
    monitor: Option<&str>,
) -> bool {
    config.num_replicas == 1
        && numbers(&client.server_info().version) >= BATCHES
        && durability(client, config, monitor)
            .await
            .is_ok_and(|report| report.level == Durability::PowerLoss)
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

/// What an acknowledged commit survives. A client can't ask how a server syncs; only its monitoring tells.
pub(super) async fn durability(
    client: &Client,
    config: &Config,
    monitor: Option<&str>,
) -> Result<DurabilityReport, StoreError> {
    let info = client.server_info();
    let mut settings =
        vec![("version", info.version.clone()), ("replicas", config.num_replicas.to_string())];
    let (sync, is_always) = match monitor {
        None => ("not known".to_owned(), false),
        Some(monitor) => {
            let monitored = ask(monitor).await?;
            if monitored.server_id != info.server_id {
                return Err(StoreError::unusable("the monitoring is that of another NATS server"));
            }
            monitored.jetstream.config.sync()
        }
    };
    settings.push(("sync_interval", sync));
    Ok(DurabilityReport {
        level: if is_always { Durability::PowerLoss } else { Durability::ProcessCrash },
        settings,
        advice: (!is_always).then(|| {
            let advice = if monitor.is_none() {
                "only the server's monitoring tells whether it syncs before it answers: give its address"
            } else {
                "with `sync_interval: always` in its jetstream block (2.10 or newer) it survives a power cut"
            };
            advice.to_owned()
        }),
        refusal: None,
    })
}

/// The part of `/varz` that is of interest.
#[derive(Debug, Deserialize)]
struct Monitored {
    server_id: String,
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
    fn versions_are_compared_by_number() {
        assert!(numbers("2.9.10") < QUEUES && numbers("2.10.0") >= QUEUES);
        assert!(numbers("2.9.10") < REPLICATED && numbers("2.14.0") >= REPLICATED);
        assert!(numbers("10.0.1-beta") > REPLICATED && numbers("nonsense") < REPLICATED);
    }
}
