//! Which log a position is of.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Tells a log from every other one, also from one that took its place: on a server that was emptied, or after a start in
/// memory. Positions and checkpoints of one log mean nothing in another. Its text is 16 hexadecimal digits.
///
/// ```
/// # use catga::log::LogId;
/// let id = LogId::random();
/// assert_eq!(id.to_string().parse(), Ok(id));
/// assert!("12".parse::<LogId>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogId(u64);

impl LogId {
    /// The id with this number, which a store got from where it keeps it.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The id of a new log.
    pub fn random() -> Self {
        Self::of(Uuid::new_v4())
    }

    /// The id of a log that has a longer one.
    pub(crate) fn of(id: Uuid) -> Self {
        let (high, low) = id.as_u64_pair();
        Self(high ^ low)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What is no [`LogId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of a log is 16 hexadecimal digits")]
pub struct InvalidLogId;

impl FromStr for LogId {
    type Err = InvalidLogId;

    fn from_str(text: &str) -> Result<Self, InvalidLogId> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 16 || !text.bytes().all(is_hex) {
            return Err(InvalidLogId);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| InvalidLogId)
    }
}
