//! Who does a piece of work, and how far it has come, as it is stored.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::log::{EventId, Position, StoreError};

/// The value under the key of a piece of work. It is written only if it is still as its writer knows it: once somebody
/// else has claimed the work, what its former owner writes is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// The run of a node that works on it; `None` when it was handed over, or never claimed.
    pub(crate) owner: Option<Uuid>,
    /// `None` before the first event.
    pub(crate) checkpoint: Option<Checkpoint>,
}

/// The last event below which everything is handled or parked. The id is checked when the handler goes on, so that
/// a log that lost its end is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) position: Position,
    pub(crate) event: EventId,
}

impl Claim {
    /// Where the claim on a handler's partition is kept.
    pub(crate) fn key(handler: &str, partition: u16) -> String {
        format!("handler/{handler}/{partition}")
    }

    pub(crate) fn encode(&self) -> Bytes {
        postcard::to_stdvec(self).expect("a few numbers fit in a Vec").into()
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, StoreError> {
        postcard::from_bytes(value).map_err(|_| StoreError::corrupt("a checkpoint is damaged"))
    }

    pub(crate) fn position(&self) -> Position {
        self.checkpoint.map_or(Position::ZERO, |checkpoint| checkpoint.position)
    }
}
