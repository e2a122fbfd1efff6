//! The promises as rules that any backend is held to.
//!
//! [`backend`] checks every rule, and names the promise in each failure. What is tried is all that a promise
//! asks of a backend: an [`EventStore`] and the [`KvStore`] values beside it, a [`Transport`] where there is one, and whole
//! programs on top of them, which lose answers, run twice and start again. P10, the same everywhere, is to run it on
//! every backend.
//!
//! ```
//! use std::sync::Arc;
//! use catga::{store::{MemoryKvStore, MemoryStore}, conformance::{self, Stores}};
//!
//! # #[tokio::main] async fn main() {
//! conformance::backend(async || {
//!     Stores::new(Arc::new(MemoryStore::new()), Arc::new(MemoryKvStore::new()))
//! })
//! .await;
//! # }
//! ```
//!
//! A backend outside the process implements [`Fixture`], so that the rules can connect to it twice and start again.
//! [`event_store`], [`kv_store`] and [`transport`] check a part of a backend by itself.

mod p1_atomic;
mod p2_durable;
mod p3_in_doubt;
mod p4_one_effect;
mod p5_never_skipped;
mod p6_read_your_writes;
mod p7_delivery;
mod p7_transport;
mod p7_values;
mod p8_poison;
mod p9_readable;
mod program;
mod rule;
mod writer;

use std::{fmt, sync::Arc};

use self::rule::Ground;
pub use self::rule::{Failure, Promise, Rule};
use crate::store::{BoxFuture, EventStore, KvStore, MemoryKvStore, Transport};

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

/// The rules for a log by itself.
const LOG: [&[Rule]; 6] = [
    p1_atomic::RULES,
    p2_durable::LOG_RULES,
    p3_in_doubt::RULES,
    p5_never_skipped::RULES,
    p6_read_your_writes::LOG_RULES,
    p9_readable::LOG_RULES,
];

/// The rules for programs that run on a log, the values beside it and a topic.
const PROGRAM: [&[Rule]; 7] = [
    p2_durable::RULES,
    p3_in_doubt::PROGRAM_RULES,
    p4_one_effect::RULES,
    p6_read_your_writes::RULES,
    p7_delivery::RULES,
    p8_poison::RULES,
    p9_readable::RULES,
];

/// Every rule, in the order in which they are checked.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    let parts = [p7_values::RULES, p7_transport::RULES];
    LOG.into_iter().chain(parts).chain(PROGRAM).flatten()
}

/// Checks every rule, each on a backend that `fresh` makes for it and that is empty.
///
/// # Panics
/// With each rule that is broken, and the promise that breaks with it.
pub async fn backend<F: Fixture>(fresh: impl AsyncFn() -> F) {
    report(check(rules(), fresh).await);
}

/// Checks some of the [`rules`], each on a backend that `fresh` makes for it and that is empty. Answers those that are
/// broken.
pub async fn check<F: Fixture>(
    rules: impl IntoIterator<Item = &'static Rule>,
    fresh: impl AsyncFn() -> F,
) -> Vec<Failure> {
    let mut failures = Vec::new();
    for rule in rules {
        let fixture = fresh().await;
        failures.extend(rule.run(&Ground::new(&fixture)).await.err());
    }
    failures
}

/// Checks the rules for a log by itself, one after the other on the same `store`, which must be empty.
///
/// # Panics
/// With each rule that is broken, and the promise that breaks with it.
pub async fn event_store(store: Arc<dyn EventStore>) {
    let stores = Stores::new(store, Arc::new(MemoryKvStore::new()));
    report(check(LOG.into_iter().flatten(), async || stores.clone()).await);
}

/// Checks the rules for the values beside a log, one after the other on the same `keyed`, which must be empty.
///
/// # Panics
/// With each rule that is broken, and the promise that breaks with it.
pub async fn kv_store(kv: Arc<dyn KvStore>) {
    let stores = Stores::new(Arc::new(crate::store::MemoryStore::new()), kv);
    report(check(p7_values::RULES, async || stores.clone()).await);
}

/// Checks the rules for a transport, one after the other on the same `store` and `transport`, which must be empty.
///
/// # Panics
/// With each rule that is broken, and the promise that breaks with it.
pub async fn transport(store: Arc<dyn EventStore>, transport: Arc<dyn Transport>) {
    let stores = Stores::new(store, Arc::new(MemoryKvStore::new())).with_transport(transport);
    report(check(p7_transport::RULES, async || stores.clone()).await);
}

/// # Panics
/// With all `failures`, if there are any.
fn report(failures: Vec<Failure>) {
    let lines: Vec<_> = failures.iter().map(|failure| format!("\n  - {failure}")).collect();
    assert!(failures.is_empty(), "{} rules are broken:{}", failures.len(), lines.concat());
}
