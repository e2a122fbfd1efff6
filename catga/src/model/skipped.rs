//! Events that an operator decided to go on without, as nobody can read them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::log::{EventId, Position};

/// An operator's decision, as an event of the log. Its name and fields are stored, so they never change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, catga_macros::Event)]
#[event(name = "catga.EventSkipped", version = 1)]
pub(crate) struct EventSkipped {
    pub(crate) event_id: Uuid,
    pub(crate) event_type: String,
    pub(crate) stream: String,
    /// Where it was in the log when it was skipped. A copy of the log may have it elsewhere.
    pub(crate) position: Position,
    pub(crate) reason: String,
}

/// The events to go on without if they can't be read. They are asked for only then, so a program that can read one does.
#[derive(Debug, Default)]
pub(crate) struct SkippedEvents(BTreeSet<EventId>);

impl SkippedEvents {
    pub(crate) const NONE: &Self = &Self(BTreeSet::new());

    pub(crate) fn contains(&self, event: EventId) -> bool {
        self.0.contains(&event)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<EventId> for SkippedEvents {
    fn from_iter<I: IntoIterator<Item = EventId>>(events: I) -> Self {
        Self(events.into_iter().collect())
    }
}
