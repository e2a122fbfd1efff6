//! Reading: projections and their snapshots, and the history of one stream.

mod history;
mod projection;
mod snapshot;

pub use self::{
    history::History,
    projection::{Projection, ReadModel, register_projection},
};
pub(crate) use self::{
    projection::{Fold, Folds},
    snapshot::{End, ModelSnapshots},
};
