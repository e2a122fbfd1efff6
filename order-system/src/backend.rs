//! The store behind the service, from the flags.

use std::{fmt, path::Path, sync::Arc};

use catga::{DurabilityReport, EventStore, FileError, FileStore, Keyed, MemoryKeyed, MemoryStore};

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
        Persistence::File => {
            let directory = &flags.data_dir;
            let store = FileStore::open(directory).map_err(|error| data_dir(directory, &error))?;
            let store = Arc::new(store);
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

/// `order-system verify`: what the log below `--data-dir` holds.
///
/// # Errors
/// When something there is not as it was written, or can't be read.
pub fn verify(flags: &Backends) -> Result<String, Failure> {
    let found = FileStore::verify(&flags.data_dir).map_err(|e| data_dir(&flags.data_dir, &e))?;
    let end = match found.torn_bytes {
        0 if found.is_closed => "it was closed".to_owned(),
        0 => "it was not closed, and ends with a whole commit".to_owned(),
        bytes => format!(
            "it was not closed; {bytes} bytes of a write that was never acknowledged follow, and the next start cuts them off"
        ),
    };
    Ok(format!(
        "{}: sound\n  {} segments, {} commits of {} streams, last position {}\n  {end}\n",
        flags.data_dir.display(),
        found.segments,
        found.commits,
        found.streams,
        found.head,
    ))
}

fn data_dir(directory: &Path, error: &FileError) -> Failure {
    format!("--data-dir {}: {error}", directory.display()).into()
}
