//! Who does a piece of work, and how far it has come, as it is stored.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::log::{EventId, LogId, Position, StoreError};

/// The value under the key of a piece of work. It is written only if it is still as its writer knows it: once somebody
/// else has claimed the work, what its former owner writes is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Claim {
    /// The run of a node that works on it; `None` when it was handed over, or never claimed.
    pub(crate) owner: Option<Uuid>,
    /// `None` before the first event.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Which log the checkpoint is of; `None` when an older program wrote it.
    pub(crate) log: Option<LogId>,
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
        let Self { owner, checkpoint, log } = self;
        let fits = "a few numbers fit in a Vec";
        let claim = postcard::to_stdvec(&(owner, checkpoint)).expect(fits);
        // Older programs wrote nothing behind the claim, and read nothing there.
        match log {
            Some(log) => postcard::to_extend(log, claim).expect(fits).into(),
            None => claim.into(),
        }
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let decode = || {
            let ((owner, checkpoint), rest) = postcard::take_from_bytes(value)?;
            let log = if rest.is_empty() { None } else { Some(postcard::from_bytes(rest)?) };
            Ok(Self { owner, checkpoint, log })
        };
        decode().map_err(|_: postcard::Error| StoreError::corrupt("a checkpoint is damaged"))
    }

    pub(crate) fn position(&self) -> Position {
        self.checkpoint.map_or(Position::ZERO, |checkpoint| checkpoint.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_and_newer_programs_read_each_others_claims() {
        let checkpoint = Checkpoint { position: 7.into(), event: Uuid::from_u128(8) };
        let claim = Claim {
            owner: Some(Uuid::nil()),
            checkpoint: Some(checkpoint),
            log: Some(LogId::new(9)),
        };
        let encoded = claim.encode();
        assert_eq!(Claim::decode(&encoded).unwrap(), claim);
        type Older = (Option<Uuid>, Option<Checkpoint>);
        let read: Older = postcard::from_bytes(&encoded).unwrap();
        assert_eq!(read, (claim.owner, claim.checkpoint));
        let written = postcard::to_stdvec(&read).unwrap();
        assert_eq!(Claim::decode(&written).unwrap(), Claim { log: None, ..claim });
    }
}
