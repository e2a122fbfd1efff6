//! The domain: what an order is and what may happen to it. Pure: no I/O, no async, no JSON.

pub mod commands;
pub mod events;
pub mod money;
pub mod order;
pub mod queries;
