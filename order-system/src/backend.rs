//! The store behind the service, from the flags.

use std::{fmt, sync::Arc};

use catga::{
    DurabilityReport, EventStore, Keyed, MemoryKeyed, MemoryStore, RedisOptions, RedisStore,
};

use crate::cli::{Backends, Persistence};

/// Why a backend can't be used; the text is for the person who started the program.
pub type Failure = Box<dyn std::error::Error>;

/// An open store.
#[derive(Clone)]
pub struct Backend {
    /// The log.
    pub store: Arc<dyn EventStore>,
    /// The values beside it.
    pub keyed: Arc<dyn Keyed>,
    /// What an acknowledged command survived when it was opened.
    pub durability: DurabilityReport,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("durability", &self.durability).finish_non_exhaustive()
    }
}

/// Opens the store that the flags name, and asks it how durable it is.
///
/// # Errors
/// When it can't be opened, or is less durable than `--require-durability` asks.
pub async fn open(flags: &Backends) -> Result<Backend, Failure> {
    let (store, keyed): (Arc<dyn EventStore>, Arc<dyn Keyed>) = match flags.persistence {
        Persistence::Inmemory => (Arc::new(MemoryStore::new()), Arc::new(MemoryKeyed::new())),
        Persistence::Redis => {
            let store = Arc::new(open_redis(flags).await?);
            (store.clone(), store)
        }
    };
    let durability = store.durability().await?;
    if durability.level < flags.require_durability {
        return Err(format!(
            "an acknowledged command would survive less than --require-durability asks\n{}",
            describe(flags, &durability)
        )
        .into());
    }
    Ok(Backend { store, keyed, durability })
}

async fn open_redis(flags: &Backends) -> Result<RedisStore, Failure> {
    let options = RedisOptions {
        prefix: flags.redis_prefix.clone(),
        ca: flags.redis_ca.clone(),
        ..RedisOptions::new(flags.redis.expose())
    };
    let address = options.address();
    RedisStore::connect(options).await.map_err(|error| {
        format!("can't use the Redis server at {address} (--redis): {error}").into()
    })
}

/// What an acknowledged command survives, with the settings that say so, a line each.
pub fn describe(flags: &Backends, durability: &DurabilityReport) -> String {
    let name = flags.persistence.name();
    let mut lines =
        format!("persistence {name}: an answered command survives: {}", durability.level);
    for (setting, value) in &durability.settings {
        lines += &format!("\n  {setting} = {value}");
    }
    if let Some(advice) = &durability.advice {
        lines += &format!("\n  {advice}");
    }
    lines
}

/// `order-system check`: what the store is, or why it can't be used.
///
/// # Errors
/// As [`open`].
pub async fn check(flags: &Backends) -> Result<String, Failure> {
    let backend = open(flags).await?;
    let head = backend.store.head().await?;
    Ok(format!("{}\n  last position {head}\n", describe(flags, &backend.durability)))
}
