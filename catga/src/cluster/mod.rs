//! The nodes of a cluster: who is alive, and who works on what.
//!
//! Nodes are equal. Each writes a beat into one small value in the key-value store, the roster, and counts as alive for
//! as long as the others see it change. No node trusts another one's clock: a node gives itself up when it could
//! not write its beat for a part of the lease time, by its own clock, and the others give it up when they saw the
//! same beat for a larger part of it, by theirs
//! ([Gray and Cheriton, Leases, 1989](https://doi.org/10.1145/74851.74870)). The beat was written before it was
//! seen, so a node stops before anybody takes over from it.
//!
//! One node at a time does each piece of work: a handler on a partition, or the relay. Every node finds out from the
//! roster what is its own, and claims that. It is no danger that a paused node may not know that the others have given
//! it up: a claim is a conditional write, and so is all that its owner writes.

mod claim;
mod leases;
mod roster;
mod work;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use self::{
    claim::{Checkpoint, Claim},
    leases::{Held, Leases, Over},
    roster::{JoinError, Membership},
    work::{View, Work},
};
use crate::log::Timestamp;

/// How a program is part of a cluster.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// Where this node is reached; the other nodes show it.
    pub address: String,
    /// The version of the program; the other nodes show it.
    pub version: String,
    /// How long after its end a node's work is taken over, at most. One second or more.
    pub lease: Duration,
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub node: String,
    /// Where it is reached.
    pub address: String,
    /// The version of its program.
    pub version: String,
    /// When it started, by its own clock.
    pub started_at: Timestamp,
    /// When it wrote its last beat, by its own clock.
    pub last_seen: Timestamp,
    /// What it works on: `{handler}/{partition}`, or `relay`.
    pub leases: Vec<String>,
    /// Tells this run of the node from any other.
    pub(crate) run: Uuid,
    /// Rises with every beat.
    pub(crate) beat: u64,
    /// The event handlers that its program has.
    pub(crate) handlers: Vec<String>,
    /// What stopped for good on it, and is for the others to do. Written behind the members, where earlier versions do not look.
    #[serde(skip)]
    pub(crate) stopped: Vec<String>,
    /// The event handlers that are paused on it. Written behind what stopped.
    #[serde(skip)]
    pub(crate) paused: Vec<String>,
}

/// What a node works on, and what it can't work on any more: both as in [`Member::leases`]. And its event handlers that are paused.
#[derive(Debug, Default)]
pub(crate) struct NodeWork {
    pub(crate) held: Vec<String>,
    pub(crate) stopped: Vec<String>,
    pub(crate) paused: Vec<String>,
}

/// A node of a cluster, for tests.
#[cfg(test)]
fn member(node: &str, handlers: &[&str]) -> Member {
    Member {
        node: node.to_owned(),
        address: String::new(),
        version: String::new(),
        started_at: Timestamp::default(),
        last_seen: Timestamp::default(),
        leases: Vec::new(),
        run: Uuid::new_v4(),
        beat: 0,
        handlers: handlers.iter().map(|&name| name.to_owned()).collect(),
        stopped: Vec::new(),
        paused: Vec::new(),
    }
}
