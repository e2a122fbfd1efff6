//! The domain: what an order is and what may happen to it. Pure: no I/O, no async.
#![allow(missing_docs, reason = "the fields say what they are")]

pub mod commands;
pub mod events;
pub mod order;
pub mod queries;

pub use self::{commands::*, events::*, order::*, queries::*};
pub use catga_axum::{Money, MoneySum};
