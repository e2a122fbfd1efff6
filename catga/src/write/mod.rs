//! Commands: loading an aggregate, running its handler, and appending what it recorded.

mod encode;
mod execute;
mod fingerprint;
mod loaded;
mod repository;
mod snapshot;

pub use self::execute::CommandOutcome;
pub(crate) use self::{
    execute::execute,
    repository::{declare_key, stream_of},
    snapshot::{SnapshotStore, build},
};
