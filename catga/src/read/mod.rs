//! Reading: projections with their tables and snapshots, the history of one stream, and the log as a stream of events.

mod history;
mod projection;
pub mod read_model;
mod snapshot;
mod subscription;

pub use self::{
    history::{History, HistoryPage},
    projection::{Projection, ReadModel, register_projection},
    subscription::Subscription,
};
pub(crate) use self::{
    projection::{Fold, Folds},
    snapshot::{End, ModelSnapshots},
    subscription::SharedPages,
};
