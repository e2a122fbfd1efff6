//! order-system: an order service that shows all of catga, and that people copy.
//!
//! - [`domain`]: the order, its events, commands and queries; pure
//! - [`handlers`], [`projections`], [`effects`]: what catga runs
//! - [`http`]: the HTTP contract
//! - [`cli`], [`backend`], [`server`], [`serve`]: the program around it

pub mod backend;
pub mod cli;
pub mod domain;
pub mod effects;
pub mod handlers;
pub mod http;
pub mod projections;
pub mod serve;
pub mod server;
mod timer;
