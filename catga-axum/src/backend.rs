//! The store behind the service, from the flags.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use catga::store::{
    Backend as Stores, DurabilityReport, FileError, FileStore, StoreError, Transport,
};
#[cfg(feature = "nats")]
use catga::store::{NatsOptions, NatsStore, NatsTransport};
#[cfg(feature = "redis")]
use catga::store::{RedisOptions, RedisStore, RedisTransport};
use tokio::time::{Instant, sleep, timeout_at};

#[cfg(any(feature = "redis", feature = "nats"))]
use crate::cli::ServerAddress;
use crate::cli::{self, Backends, Location, Persistence};

/// Why a backend can't be used; the text is for the person who started the program.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// How often a store that is not there yet is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Why a store can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct NotOpened {
    text: String,
    /// Whether it may be there a little later, with nothing changed by anybody.
    may_heal: bool,
}

impl NotOpened {
    /// `place` has no password in it, and neither has what a store says.
    fn new(place: impl fmt::Display, error: &StoreError) -> Self {
        Self { text: format!("{place}: {error}"), may_heal: error.is_unavailable() }
    }

    pub(crate) fn of_file(directory: &Path, error: &FileError) -> Self {
        let directory = directory.display().to_string();
        // It may be a server's address in the wrong place.
        let shown =
            if directory.contains('@') { "a directory with @ in its name" } else { &directory };
        Self { text: format!("{shown}: {error}"), may_heal: false }
    }

    pub(crate) fn at(self, flag: &str) -> Self {
        Self { text: format!("{flag}: {}", self.text), ..self }
    }
}

/// How long stores that are not there yet are waited for.
struct Patience {
    until: Instant,
    is_told: bool,
}

impl Patience {
    fn new(time: Duration) -> Self {
        Self { until: Instant::now() + time, is_told: false }
    }

    /// What `open` opens, as soon as it can be opened.
    async fn wait_for<T>(
        &mut self,
        open: impl AsyncFn() -> Result<T, NotOpened>,
    ) -> Result<T, NotOpened> {
        let mut outcome = open().await;
        loop {
            let error = match outcome {
                Err(error) if error.may_heal && Instant::now() < self.until => error,
                outcome => return outcome,
            };
            if !std::mem::replace(&mut self.is_told, true) {
                let seconds = (self.until - Instant::now()).as_secs_f32().ceil();
                let reason = error.to_string();
                tracing::warn!(reason, seconds, "the store is not there yet: it is waited for");
            }
            sleep(LOOK_EVERY.min(self.until - Instant::now())).await;
            outcome = timeout_at(self.until, open()).await.unwrap_or(Err(error));
        }
    }
}

/// An open store.
#[derive(Clone)]
pub(crate) struct Backend {
    /// The log, and the values beside it.
    pub(crate) stores: Stores,
    /// The topic that the log is brought to; `None` when event handlers read the log itself.
    pub(crate) transport: Option<Arc<dyn Transport>>,
    /// What an acknowledged command survived when it was opened.
    pub(crate) durability: DurabilityReport,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("durability", &self.durability).finish_non_exhaustive()
    }
}

/// Opens the store that the flags name, and asks it how durable it is. One that is not there yet is waited for, for `time`.
///
/// # Errors
/// When it can't be opened, or is less durable than `--require-durability` asks.
pub(crate) async fn open(flags: &Backends, time: Duration) -> Result<Backend, Failure> {
    let mut patience = Patience::new(time);
    let open_store = async || {
        let stores = open_stores(flags).await?;
        let durability = stores.store().durability().await;
        let durability = durability.map_err(|error| NotOpened::new("the store", &error))?;
        Ok((stores, durability))
    };
    let (stores, durability) = patience.wait_for(open_store).await?;
    if let Some(shortfall) = durability.shortfall(flags.require_durability) {
        return Err(format!("--require-durability: {shortfall}").into());
    }
    let transport = patience.wait_for(async || open_transport(flags).await).await?;
    Ok(Backend { stores, transport, durability })
}

/// The topic that the flags name. Where the log is in memory it begins anew with the process, and so does the topic.
async fn open_transport(flags: &Backends) -> Result<Option<Arc<dyn Transport>>, NotOpened> {
    match (flags.transport, flags.persistence) {
        (cli::Transport::Inmemory, _) => Ok(None),
        #[cfg(feature = "redis")]
        (cli::Transport::Redis, Persistence::Redis) => Ok(None),
        #[cfg(feature = "nats")]
        (cli::Transport::Nats, Persistence::Nats) => Ok(None),
        #[cfg(feature = "redis")]
        (cli::Transport::Redis, persistence) => {
            let options = redis_options(flags, &flags.redis, &flags.redis_prefix);
            let failure = |error| NotOpened::new(options.address(), &error).at("--transport redis");
            let transport = RedisTransport::connect(options.clone()).await.map_err(failure)?;
            if persistence == Persistence::Inmemory {
                transport.clear().await.map_err(failure)?;
            }
            Ok(Some(Arc::new(transport)))
        }
        #[cfg(feature = "nats")]
        (cli::Transport::Nats, persistence) => {
            let options = nats_options(flags, &flags.nats, &flags.nats_prefix);
            let failure = |error| NotOpened::new(options.address(), &error).at("--transport nats");
            let transport = NatsTransport::connect(options.clone()).await.map_err(failure)?;
            if persistence == Persistence::Inmemory {
                transport.clear().await.map_err(failure)?;
            }
            Ok(Some(Arc::new(transport)))
        }
    }
}

#[cfg(feature = "redis")]
fn redis_options(flags: &Backends, server: &ServerAddress, prefix: &str) -> RedisOptions {
    RedisOptions {
        server: server.expose().to_owned(),
        prefix: prefix.to_owned(),
        ca: flags.redis_ca.clone(),
        require_durability: flags.require_durability,
    }
}

#[cfg(feature = "nats")]
fn nats_options(flags: &Backends, server: &ServerAddress, prefix: &str) -> NatsOptions {
    NatsOptions {
        server: server.expose().to_owned(),
        prefix: prefix.to_owned(),
        replicas: flags.nats_replicas,
        credentials: flags.nats_credentials.clone(),
        ca: flags.nats_ca.clone(),
        monitor: flags.nats_monitor.clone(),
        require_durability: flags.require_durability,
    }
}

pub(crate) async fn open_stores(flags: &Backends) -> Result<Stores, NotOpened> {
    let (flag, location) = match flags.persistence {
        Persistence::Inmemory => {
            return Ok(Stores::memory());
        }
        Persistence::File => ("--data-dir", Location::File(flags.data_dir.clone())),
        #[cfg(feature = "redis")]
        Persistence::Redis => {
            ("--redis", Location::Redis(flags.redis.clone(), flags.redis_prefix.clone()))
        }
        #[cfg(feature = "nats")]
        Persistence::Nats => {
            ("--nats", Location::Nats(flags.nats.clone(), flags.nats_prefix.clone()))
        }
    };
    open_at(flags, &location).await.map_err(|error| error.at(flag))
}

#[cfg_attr(not(any(feature = "redis", feature = "nats")), allow(unused_variables))]
pub(crate) async fn open_at(flags: &Backends, location: &Location) -> Result<Stores, NotOpened> {
    match location {
        Location::File(directory) => {
            let store = FileStore::open(directory);
            store.map(Stores::of).map_err(|error| NotOpened::of_file(directory, &error))
        }
        #[cfg(feature = "redis")]
        Location::Redis(server, prefix) => {
            let options = redis_options(flags, server, prefix);
            let address = options.address();
            let store = RedisStore::connect(options).await;
            store.map(Stores::of).map_err(|error| NotOpened::new(address, &error))
        }
        #[cfg(feature = "nats")]
        Location::Nats(server, prefix) => {
            let options = nats_options(flags, server, prefix);
            let address = options.address();
            let store = NatsStore::connect(options).await;
            store.map(Stores::of).map_err(|error| NotOpened::new(address, &error))
        }
    }
}

/// What an acknowledged command survives, with the settings that say so, a line each.
pub(crate) fn describe(flags: &Backends, durability: &DurabilityReport) -> String {
    let name = flags.persistence.name();
    let mut lines =
        format!("persistence {name}: an answered command survives: {}", durability.survives());
    for (setting, value) in &durability.settings {
        lines += &format!("\n  {setting} = {value}");
    }
    if let Some(advice) = &durability.advice {
        lines += &format!("\n  {advice}");
    }
    lines
}
