//! The derives: [`message`] for commands and queries, [`event`] for events,
//! [`problem`] for what errors answer over HTTP.
//!
//! A derive with a mistake still implements its trait if it can, so that the user reads what is wrong with it,
//! and not that half the program lacks the trait.

pub(crate) mod event;
mod event_enum;
pub(crate) mod message;
pub(crate) mod problem;
