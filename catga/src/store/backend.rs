//! A store with its key-value pairs: what a program keeps, in one value.

use std::{fmt, sync::Arc};

use crate::store::{EventStore, KvStore, MemoryKvStore, MemoryStore};

/// A log with the values beside it: checkpoints, leases and snapshots.
///
/// They belong together. A log that outlives its checkpoints would have every event handled again at each start.
///
/// ```
/// use catga::store::{Backend, FileStore};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let temporary = tempfile::tempdir()?;
/// # let directory = temporary.path().join("log");
/// let backend = Backend::of(FileStore::open(directory)?);
/// let builder = catga::Catga::builder().backend(backend);
/// # drop(builder); Ok(()) }
/// ```
#[derive(Clone)]
pub struct Backend {
    store: Arc<dyn EventStore>,
    kv: Arc<dyn KvStore>,
}

impl Backend {
    /// Both in the memory of this process, and gone with the last clone.
    pub fn memory() -> Self {
        Self::new(Arc::new(MemoryStore::new()), Arc::new(MemoryKvStore::new()))
    }

    /// Both by one store, as [`FileStore`](crate::store::FileStore) is.
    pub fn of(both: impl EventStore + KvStore) -> Self {
        let both = Arc::new(both);
        Self { store: both.clone(), kv: both }
    }

    /// A log, and the values beside it from elsewhere. They must live equally long.
    pub fn new(store: Arc<dyn EventStore>, kv: Arc<dyn KvStore>) -> Self {
        Self { store, kv }
    }

    /// The log.
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    /// The values beside it.
    pub fn kv(&self) -> &Arc<dyn KvStore> {
        &self.kv
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}
