//! Putting a program together: the builder, and what each registered item adds to it.

use std::{
    any::{Any, TypeId, type_name},
    collections::{HashMap, HashSet},
    fmt,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
    time::Duration,
};

use foldhash::fast::RandomState;

use crate::{
    Aggregate, Behavior, Catga, Clock, ClusterSettings, Delivered, Event, EventStore, Keyed, Kind,
    MemoryKeyed, MemoryStore, Projection, ReadModel, Registration, Resource, StoreError, StreamId,
    Transport, catalogue,
    cluster::{JoinError, Membership},
    delivery::{EventHandler, HandlerFn, TypedHandler},
    projection::Fold,
    repository::Repository,
    runtime::Runtime,
};

/// Settings and parts of a program; [`start`](Self::start) puts them to work.
///
/// Every setting has a default: without any, the log is in memory and the time is the system's.
#[must_use = "nothing runs until `start` is called"]
pub struct Builder {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) keyed: Arc<dyn Keyed>,
    pub(crate) transport: Option<Arc<dyn Transport>>,
    pub(crate) behaviors: Vec<Box<dyn Behavior>>,
    pub(crate) clock: Clock,
    pub(crate) node: String,
    pub(crate) timeout: Duration,
    pub(crate) cache_bytes: u64,
    pub(crate) delivery: DeliverySettings,
    cluster: Option<ClusterSettings>,
    /// What the program is made of; `None` for all that is linked into it.
    items: Option<Vec<&'static Registration>>,
    parts: Parts,
}

/// How events are delivered to event handlers.
#[derive(Debug, Clone, Copy)]
pub struct DeliverySettings {
    /// How often an event is tried before it is parked; 1 or more.
    pub attempts: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub first_delay: Duration,
    /// The longest wait between two attempts.
    pub longest_delay: Duration,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How many streams one handler works on at once in a partition; 1 or more.
    pub concurrency: usize,
    /// How long a shutdown goes on delivering what must be delivered so that nothing is repeated after the next
    /// start. What is not done by then is cut off, and comes again.
    pub drain: Duration,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_delay: Duration::from_millis(100),
            longest_delay: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            concurrency: 32,
            drain: Duration::from_secs(10),
        }
    }
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            store: Arc::new(MemoryStore::new()),
            keyed: Arc::new(MemoryKeyed::new()),
            transport: None,
            behaviors: Vec::new(),
            clock: Clock::system(),
            node: "local".to_owned(),
            timeout: Duration::from_secs(5),
            cache_bytes: 64 << 20,
            delivery: DeliverySettings::default(),
            cluster: None,
            items: None,
            parts: Parts::default(),
        }
    }

    /// The log. Default: a new [`MemoryStore`].
    pub fn store(mut self, store: Arc<dyn EventStore>) -> Self {
        self.store = store;
        self
    }

    /// Where checkpoints and leases are kept; by the same backend as the log. Default: a new [`MemoryKeyed`].
    pub fn keyed(mut self, keyed: Arc<dyn Keyed>) -> Self {
        self.keyed = keyed;
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
        self.parts.insert(value);
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

    /// Makes this node, by its [name](Self::node), one of a cluster: all programs whose log and keyed values are in
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

    /// Checks the whole program, and starts its read models and event handlers.
    ///
    /// # Errors
    /// [`StartError`] with everything that is missing or doubled, each with the source line to look
    /// at; or with the store's error when it can't be reached.
    pub async fn start(mut self) -> Result<Catga, StartError> {
        self.parts.insert(self.clock.clone());
        let items = self.items.take().unwrap_or_else(catalogue);
        if !items.iter().any(|item| item.kind != Kind::Event && item.kind != Kind::Projection) {
            return Err(StartError::NoHandlers);
        }
        let mut problems = doubled_names(&items);
        let mut folds = HashMap::default();
        for pass in [Pass::Projections, Pass::Others] {
            for item in
                items.iter().filter(|i| (i.kind == Kind::Projection) == (pass == Pass::Projections))
            {
                let mut setup = Setup {
                    item,
                    cache_bytes: self.cache_bytes,
                    parts: &mut self.parts,
                    folds: &mut folds,
                    problems: &mut problems,
                };
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
        let parts = std::mem::take(&mut self.parts);
        Ok(Runtime::start(self, parts, folds.into_values().collect(), membership))
    }

    async fn join(&mut self) -> Result<Option<Membership>, StartError> {
        let Some(settings) = self.cluster.take() else { return Ok(None) };
        let handlers = self.parts.event_handlers.iter().map(|h| h.name().to_owned()).collect();
        let (keyed, clock) = (self.keyed.clone(), self.clock.clone());
        let joined = Membership::join(keyed, settings, clock, &self.node, handlers).await;
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

/// Two items of one kind must not share a name: names are what is stored.
fn doubled_names(items: &[&'static Registration]) -> Vec<String> {
    let doubled = items.windows(2).filter(|w| (w[0].kind, w[0].name) == (w[1].kind, w[1].name));
    let problem = |w: &[&Registration]| {
        let (a, b) = (w[0], w[1]);
        format!("two of kind {} have the name `{}`: {} and {}", a.kind, a.name, place(a), place(b))
    };
    doubled.map(problem).collect()
}

fn place(item: &Registration) -> String {
    format!("`{}` ({}:{})", item.item, item.file, item.line)
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Why a program can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No annotated function was linked into the program.
    #[error(
        "no handler is linked into this program. A crate whose handlers are never named is left out by the linker: write `use my_handlers as _;` in the binary"
    )]
    NoHandlers,
    /// Something is missing or doubled.
    #[error("the program is incomplete:{}", .0.iter().map(|p| format!("\n  - {p}")).collect::<String>())]
    Incomplete(Vec<String>),
    /// The store can't be reached.
    #[error("the event store: {0}")]
    Store(StoreError),
    /// A node of this name is alive in the cluster.
    #[error(
        "the cluster has a node `{node}` already, at {address}; each node needs a name of its own"
    )]
    NameTaken {
        /// The name.
        node: String,
        /// Where the other node is reached.
        address: String,
    },
}

/// What a registered item adds to the program, and what it needs there. Generated code calls it.
pub struct Setup<'a> {
    item: &'static Registration,
    cache_bytes: u64,
    parts: &'a mut Parts,
    folds: &'a mut HashMap<TypeId, Box<dyn Fold>>,
    problems: &'a mut Vec<String>,
}

impl Setup<'_> {
    /// The item's handler takes `&T`.
    pub fn resource<T: Resource>(&mut self) {
        if !self.parts.has::<T>() {
            self.missing(&format!(
                "`&{0}`, which the builder was not given: `.resource(..)` with a `{0}`",
                type_name::<T>()
            ));
        }
    }

    /// The item's handler takes a [`Root`](crate::Root) of `A`.
    pub fn aggregate<A: Aggregate>(&mut self) {
        if !StreamId::is_part(A::NAME) {
            let problem = format!(
                "a `Root<{}>`, whose NAME `{}` can't be part of a stream's name",
                type_name::<A>(),
                A::NAME
            );
            self.missing(&problem);
        } else if !self.parts.has::<Repository<A>>() {
            self.parts.insert(Repository::<A>::new(self.cache_bytes));
        }
    }

    /// The item's handler takes the read model of `P`.
    pub fn read_model<P: Projection>(&mut self) {
        if !self.parts.has::<ReadModel<P>>() {
            let problem = format!(
                "`&ReadModel<{0}>`, but there is no `#[projection]` above `impl Projection for {0}`",
                type_name::<P>()
            );
            self.missing(&problem);
        }
    }

    /// The item is the projection `P`.
    pub fn projection<P: Projection>(&mut self) {
        let model = ReadModel::<P>::new();
        self.folds.insert(TypeId::of::<P>(), model.fold());
        self.parts.insert(model);
    }

    /// The item is the event type `E`.
    pub fn event<E: Event>(&mut self) {
        self.parts.event_types.extend(E::TYPES.iter().map(|ty| ty.name));
    }

    /// The item is an event handler.
    pub fn event_handler<P: Delivered + 'static>(
        &mut self,
        name: &'static str,
        call: HandlerFn<P::Event>,
    ) {
        self.parts.event_handlers.push(Arc::new(TypedHandler::<P> { name, call }));
    }

    fn missing(&mut self, what: &str) {
        self.problems.push(format!("{} takes {what}", place(self.item)));
    }
}

impl fmt::Debug for Setup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("item", self.item).finish_non_exhaustive()
    }
}

/// What the handlers of a program draw on, by type. It does not change once the program runs.
#[derive(Default)]
pub(crate) struct Parts {
    values: HashMap<TypeId, Box<dyn Any + Send + Sync>, BuildHasherDefault<TypeIdHasher>>,
    /// The names of all event types that are linked into the program.
    pub(crate) event_types: HashSet<&'static str, RandomState>,
    pub(crate) event_handlers: Vec<Arc<dyn EventHandler>>,
}

impl Parts {
    fn has<T: Any>(&self) -> bool {
        self.values.contains_key(&TypeId::of::<T>())
    }

    fn insert<T: Any + Send + Sync>(&mut self, value: T) {
        self.values.insert(TypeId::of::<T>(), Box::new(value));
    }

    /// The value of type `T`, which was checked to be there when the program started.
    pub(crate) fn expect<T: Any + Send + Sync>(&self) -> &T {
        self.values
            .get(&TypeId::of::<T>())
            .and_then(|value| value.downcast_ref())
            .expect("every part a handler declares is checked at start")
    }
}

/// A `TypeId` is a hash already.
#[derive(Default)]
struct TypeIdHasher(u64);

impl Hasher for TypeIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
