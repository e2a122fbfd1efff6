//! Putting a program together: the builder, and what each registered item adds to it.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    cluster::ClusterSettings,
    log::Clock,
    program::{Behavior, Extensions, Registration, State},
    react::DeliverySettings,
    runtime::catga::Catga,
    store::{Backend, Transport},
};

/// Settings and parts of a program; [`start`](Self::start) puts them to work.
///
/// Every setting has a default: without any, the log is in memory and the time is the system's.
#[must_use = "nothing runs until `start` is called"]
pub struct Builder {
    pub(crate) backend: Backend,
    pub(crate) transport: Option<Arc<dyn Transport>>,
    pub(crate) behaviors: Vec<Box<dyn Behavior>>,
    pub(crate) clock: Clock,
    pub(crate) node: String,
    pub(crate) timeout: Duration,
    pub(crate) cache_bytes: u64,
    pub(crate) delivery: DeliverySettings,
    pub(crate) cluster: Option<ClusterSettings>,
    /// What the program is made of; `None` for all that is linked into it.
    pub(crate) items: Option<Vec<&'static Registration>>,
    pub(crate) extensions: Extensions,
}

impl Builder {
    fn new() -> Self {
        Self {
            backend: Backend::memory(),
            transport: None,
            behaviors: Vec::new(),
            clock: Clock::system(),
            node: "local".to_owned(),
            timeout: Duration::from_secs(5),
            cache_bytes: 64 << 20,
            delivery: DeliverySettings::default(),
            cluster: None,
            items: None,
            extensions: Extensions::default(),
        }
    }

    /// Where the log is kept, and checkpoints and leases beside it. Default: a new [`Backend::memory`].
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// A topic on a server that the log is brought to, and that event handlers read. Default: they read the log
    /// itself, and nothing is copied.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// A value that handlers take as `&State<T>`. A second value of one type replaces the first.
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.extensions.insert(State::new(value));
        self
    }

    /// A layer around every handler, inside those added before.
    pub fn behavior(mut self, behavior: impl Behavior) -> Self {
        self.behaviors.push(Box::new(behavior));
        self
    }

    /// The clock that commits are stamped by, and that handlers take as `&Clock`. Default: the system's.
    ///
    /// A command has [one time](Clock::now), its handler's and its commit's, which is never before the last event of the stream.
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

    /// What the program is made of, in place of all that is linked into it.
    pub(crate) fn items(mut self, items: Vec<&'static Registration>) -> Self {
        self.items = Some(items);
        self
    }
}

impl Catga {
    /// A program with default settings, to be set up and started.
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("node", &self.node).finish_non_exhaustive()
    }
}
