//! Where an event came from.

use crate::log::EventId;

/// Where an event came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The id of the command that made it, if it had one.
    pub command_id: Option<&'a str>,
    /// What ties together all that came of one outside request.
    pub correlation: Option<&'a str>,
    /// The event that the command reacted to.
    pub causation: Option<EventId>,
    /// The trace that the command was part of.
    pub traceparent: Option<&'a str>,
    /// The node that decided it.
    pub node: &'a str,
}
