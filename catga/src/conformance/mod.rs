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

mod fixture;
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

use std::sync::Arc;

use self::rule::Ground;
pub use self::{
    fixture::{Fixture, Stores},
    rule::{Failure, Promise, Rule},
};
use crate::store::{EventStore, KvStore, MemoryKvStore, Transport};

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
