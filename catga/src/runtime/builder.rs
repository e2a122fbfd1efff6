//! Putting a program together: the builder, and what each registered item adds to it.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    cluster::{ClusterSettings, JoinError, Membership},
    log::Clock,
    program::{Behavior, Extensions, Kind, Resource, Setup, catalogue, doubled_names},
    react::{DeliverySettings, EventHandlers},
    runtime::{Catga, StartError, start::start},
    store::{EventStore, KvStore, MemoryKvStore, MemoryStore, Transport},
    write::SnapshotStore,
};

/// Settings and parts of a program; [`start`](Self::start) puts them to work.
///
/// Every setting has a default: without any, the log is in memory and the time is the system's.
#[must_use = "nothing runs until `start` is called"]
pub struct Builder {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) kv: Arc<dyn KvStore>,
    pub(crate) transport: Option<Arc<dyn Transport>>,
    pub(crate) behaviors: Vec<Box<dyn Behavior>>,
    pub(crate) clock: Clock,
    pub(crate) node: String,
    pub(crate) timeout: Duration,
    pub(crate) cache_bytes: u64,
    pub(crate) delivery: DeliverySettings,
    cluster: Option<ClusterSettings>,
    pub(crate) extensions: Extensions,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            store: Arc::new(MemoryStore::new()),
            kv: Arc::new(MemoryKvStore::new()),
            transport: None,
            behaviors: Vec::new(),
            clock: Clock::system(),
            node: "local".to_owned(),
            timeout: Duration::from_secs(5),
            cache_bytes: 64 << 20,
            delivery: DeliverySettings::default(),
            cluster: None,
            extensions: Extensions::default(),
        }
    }

    /// The log. Default: a new [`MemoryStore`].
    pub fn store(mut self, store: Arc<dyn EventStore>) -> Self {
        self.store = store;
        self
    }

    /// Where checkpoints and leases are kept; by the same backend as the log. Default: a new [`MemoryKvStore`].
    pub fn kv(mut self, kv: Arc<dyn KvStore>) -> Self {
        self.kv = kv;
        self
    }

    /// A topic on a server that the log is brought to, and that event handlers read. Default: they read the log
    /// itself, and nothing is copied.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// A value that handlers take as `&T`. A second value of one type replaces the first.
    pub fn resource<T: Resource>(mut self, value: T) -> Self {
        self.extensions.insert(value);
        self
    }

    /// A layer around every handler, inside those added before.
    pub fn behavior(mut self, behavior: impl Behavior) -> Self {
        self.behaviors.push(Box::new(behavior));
        self
    }

    /// The clock that commits are stamped by, and that handlers take as `&Clock`. Default: the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// This node's name, which goes into every commit it makes. Default: `local`.
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = node.into();
        self
    }

    /// How long a command or query may take, waiting included. Default: 5 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// About how many bytes of aggregates are kept in memory, per aggregate type. Default: 64 MiB.
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// How events are delivered.
    pub fn delivery(mut self, settings: DeliverySettings) -> Self {
        self.delivery = settings;
        self
    }

    /// Makes this node, by its [name](Self::node), one of a cluster: all programs whose log and key-value pairs are in
    /// the same stores. Each event handler's partitions are spread over the nodes. Default: it is alone, and runs
    /// all of them.
    pub fn cluster(mut self, settings: ClusterSettings) -> Self {
        self.cluster = Some(settings);
        self
    }

    /// Checks the whole program, and starts its read models and event handlers.
    ///
    /// # Errors
    /// [`StartError`] with everything that is missing or doubled, each with the source line to look
    /// at; or with the store's error when it can't be reached.
    pub async fn start(mut self) -> Result<Catga, StartError> {
        self.extensions.insert(self.clock.clone());
        let items = catalogue();
        if !items.iter().any(|item| item.kind != Kind::Event && item.kind != Kind::Projection) {
            return Err(StartError::NoHandlers);
        }
        let mut problems = doubled_names(&items);
        for pass in [Pass::Projections, Pass::Others] {
            for item in
                items.iter().filter(|i| (i.kind == Kind::Projection) == (pass == Pass::Projections))
            {
                let bytes = self.cache_bytes;
                let mut setup = Setup::new(item, bytes, &mut self.extensions, &mut problems);
                (item.setup)(&mut setup);
            }
        }
        if self.cluster.as_ref().is_some_and(|cluster| cluster.lease < Duration::from_secs(1)) {
            problems.push("a cluster needs a lease time of 1 second or more".to_owned());
        }
        if self.delivery.attempts == 0 || self.delivery.concurrency == 0 {
            problems.push("delivery needs at least 1 attempt and a concurrency of 1".to_owned());
        }
        if !problems.is_empty() {
            problems.sort();
            return Err(StartError::Incomplete(problems));
        }
        self.store.head().await.map_err(StartError::Store)?;
        let membership = self.join().await?;
        self.extensions.insert(SnapshotStore::new(self.kv.clone()));
        let handlers = self.extensions.take::<EventHandlers>();
        Ok(start(self, handlers, membership))
    }

    async fn join(&mut self) -> Result<Option<Membership>, StartError> {
        let Some(settings) = self.cluster.take() else { return Ok(None) };
        let handlers = self
            .extensions
            .get_or_default::<EventHandlers>()
            .iter()
            .map(|h| h.name().to_owned())
            .collect();
        let (kv, clock) = (self.kv.clone(), self.clock.clone());
        let joined = Membership::join(kv, settings, clock, &self.node, handlers).await;
        joined.map(Some).map_err(|error| match error {
            JoinError::Store(error) => StartError::Store(error),
            JoinError::NameTaken { address } => {
                StartError::NameTaken { node: self.node.clone(), address }
            }
        })
    }
}

#[derive(PartialEq, Clone, Copy)]
enum Pass {
    Projections,
    Others,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("node", &self.node).finish_non_exhaustive()
    }
}
