//! How far a handler is in a partition, as it is stored.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{EventId, Position, StoreError};

/// The last event below which everything is handled or parked. The id is checked when the handler goes on, so that
/// a log that lost its end is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) position: Position,
    pub(crate) event: EventId,
}

impl Checkpoint {
    /// Where it is kept.
    pub(crate) fn key(handler: &str, partition: u16) -> String {
        format!("checkpoint/{handler}/{partition}")
    }

    pub(crate) fn encode(&self) -> Bytes {
        postcard::to_stdvec(self).expect("two numbers fit in a Vec").into()
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, StoreError> {
        postcard::from_bytes(value).map_err(|_| StoreError::corrupt("a checkpoint is damaged"))
    }
}
