//! Reading: projections with their tables and snapshots, the history of one stream, and the log as a stream of events.

mod history;
mod projection;
mod snapshot;
mod subscription;
pub mod table;

pub use self::{
    history::History,
    projection::{Projection, ReadModel, register_projection},
    subscription::Subscription,
};
pub(crate) use self::{
    projection::{Fold, Folds},
    snapshot::{End, ModelSnapshots},
    subscription::SharedPages,
};
