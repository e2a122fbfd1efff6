//! Reading: projections with their tables and snapshots, and the history of one stream.

mod history;
mod projection;
mod snapshot;
pub mod table;

pub use self::{
    history::History,
    projection::{Projection, ReadModel, register_projection},
};
pub(crate) use self::{
    projection::{Fold, Folds},
    snapshot::{End, ModelSnapshots},
};
