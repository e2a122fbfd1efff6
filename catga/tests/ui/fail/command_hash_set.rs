//! A command with a set that has no order.

use std::collections::{BTreeSet, HashSet};

#[catga::command]
struct Tag {
    #[key]
    order: String,
    tags: Option<HashSet<String>>,
    sorted: BTreeSet<String>,
}

/// A query is never told from another one.
#[catga::query]
struct Tagged {
    tags: HashSet<String>,
}

fn main() {}
