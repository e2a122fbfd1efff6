//! What clients saw of each node: what it answered and what not, and which events were acknowledged when.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// What was asked of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// A command.
    Command,
    /// A read.
    Read,
}

/// One request to a node.
#[derive(Debug, Clone)]
pub struct Try {
    /// Which node, as an index.
    pub node: usize,
    /// What was asked.
    pub asked: Asked,
    /// When it was sent.
    pub begun: Instant,
    /// When there was an answer, or the client gave up.
    pub ended: Instant,
    /// Why the node did not do it: it refused to for the time being, or said nothing. `None` when it answered.
    pub problem: Option<String>,
}

/// An event that a client knows to be in the log.
#[derive(Debug, Clone)]
pub struct Ack {
    /// The order.
    pub order: String,
    /// The event's version.
    pub version: u64,
    /// When the client knew.
    pub at: Instant,
}

/// All that clients saw.
#[derive(Debug, Default)]
pub struct Witness {
    tries: Mutex<Vec<Try>>,
    acks: Mutex<Vec<Ack>>,
}

impl Witness {
    /// Takes down a request that has ended now.
    pub fn tried(&self, node: usize, asked: Asked, begun: Instant, problem: Option<String>) {
        let seen = Try { node, asked, begun, ended: Instant::now(), problem };
        self.tries.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }

    /// Takes down that an event was acknowledged now.
    pub fn acked(&self, order: &str, version: u64) {
        let ack = Ack { order: order.to_owned(), version, at: Instant::now() };
        self.acks.lock().unwrap_or_else(PoisonError::into_inner).push(ack);
    }

    /// All requests so far.
    pub fn tries(&self) -> Vec<Try> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All acknowledged events so far.
    pub fn acks(&self) -> Vec<Ack> {
        self.acks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a request that ended after `since` met a problem whose text has `text`.
    pub fn has_met(&self, text: &str, since: Instant) -> bool {
        let tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let new = tries.iter().rev().take_while(|seen| seen.ended > since);
        new.filter_map(|seen| seen.problem.as_ref()).any(|problem| problem.contains(text))
    }
}
