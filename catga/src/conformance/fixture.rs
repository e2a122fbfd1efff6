//! Where a backend under test is, and the handles on it.

use std::{fmt, sync::Arc};

use crate::store::{BoxFuture, EventStore, KvStore, Transport};

/// Handles on one backend: its log, the values beside it, and its topic.
#[derive(Clone)]
pub struct Stores {
    /// The log.
    pub store: Arc<dyn EventStore>,
    /// The values beside it.
    pub kv: Arc<dyn KvStore>,
    /// The topic that event handlers read; `None` when they read the log itself.
    pub transport: Option<Arc<dyn Transport>>,
}

impl Stores {
    /// A log and the values beside it.
    pub fn new(store: Arc<dyn EventStore>, kv: Arc<dyn KvStore>) -> Self {
        Self { store, kv, transport: None }
    }

    /// With a topic that the log is brought to.
    #[must_use]
    pub fn with_transport(self, transport: Arc<dyn Transport>) -> Self {
        Self { transport: Some(transport), ..self }
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}

/// A place where a backend keeps a log of its own: a directory, or a server and a prefix.
pub trait Fixture: Send + Sync {
    /// Connects to it, as a program does when it starts. All handles see one log, one topic and the same values. When
    /// none is left, the next ones are those of a start after a stop.
    ///
    /// It may panic when it can't: then the rule that asked for it fails.
    fn open(&self) -> BoxFuture<'_, Stores>;
}

/// For what is in memory, and so lives as long as its handles.
impl Fixture for Stores {
    fn open(&self) -> BoxFuture<'_, Stores> {
        Box::pin(std::future::ready(self.clone()))
    }
}
