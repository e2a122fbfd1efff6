//! The domain: what an order is and what may happen to it. Pure: no I/O, no async.

pub mod commands;
pub mod events;
pub mod order;
pub mod queries;

pub use self::{commands::*, events::*, order::*, queries::*};
pub use catga_axum::Money;
