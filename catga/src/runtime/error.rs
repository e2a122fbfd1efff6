//! Why a program can't start.

use std::fmt;

use crate::log::StoreError;

/// Why a program can't start.
///
/// Its `Debug` is its `Display`, so that a `main` that returns it prints what to do.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No annotated function was linked into the program.
    #[error(
        "no handler is linked into this program. A crate whose handlers are never named is left out by the linker: write `catga::handlers!(my_handlers);` in the binary"
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

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
