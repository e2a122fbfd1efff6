//! order-system: an order service that shows all of catga, and that people copy.
//!
//! - [`domain`]: the order, its events, commands and queries; pure
//! - [`handlers`], [`projections`], [`effects`]: what catga runs
//! - [`app`]: its routes and flags

pub mod domain;
pub mod effects;
pub mod handlers;
pub mod projections;
mod routes;

pub use crate::routes::{Flags, app};
