//! What travels with a message: the command's id, what its sender expects, and where it came from.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::log::{EventId, Position, Version};

/// The longest command id, in bytes.
pub const MAX_COMMAND_ID: usize = 512;

/// An id that a sender gives a command, so that sending it again has no second effect (P4).
///
/// It counts per aggregate: the same id on two aggregates is two ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommandId(String);

impl CommandId {
    /// An id of 1 to [`MAX_COMMAND_ID`] bytes; `None` when it is empty or longer.
    pub fn new(id: impl Into<String>) -> Option<Self> {
        let id = id.into();
        (1..=MAX_COMMAND_ID).contains(&id.len()).then_some(Self(id))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A UUID that is always the same for this id, for the key of an aggregate that the command
    /// makes: sent again, it then meets the aggregate that it made. It is a UUID of version 8
    /// ([RFC 9562](https://www.rfc-editor.org/rfc/rfc9562#section-5.8)), from the id's SHA-256.
    pub fn derive_key(&self) -> Uuid {
        uuid::Builder::from_custom_bytes(self.digest()).into_uuid()
    }

    /// The first half of the id's SHA-256.
    pub(crate) fn digest(&self) -> [u8; 16] {
        let digest = Sha256::digest(self.0.as_bytes());
        digest[..16].try_into().expect("SHA-256 has 32 bytes")
    }
}

/// The version that a command's sender expects the aggregate to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expected {
    /// Whatever it is.
    #[default]
    Any,
    /// It must not exist.
    NoStream,
    /// It must be exactly at this version, 1 or more.
    Exact(Version),
}

/// What travels with a command and into the commit it makes. A handler can take `&Metadata`.
///
/// ```standalone_crate
/// # use catga::prelude::*;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// #[catga::command]
/// struct Trace;
///
/// #[command_handler]
/// fn trace(_: Trace, metadata: &Metadata) -> Option<String> {
///     metadata.correlation.clone()
/// }
///
/// let catga = Catga::builder().start().await?;
/// assert_eq!(catga.send(Trace).correlation("request 7").await?.as_deref(), Some("request 7"));
/// # catga.shutdown().await; Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The command's id, if it may be sent more than once.
    pub command_id: Option<CommandId>,
    /// The version that the aggregate must have.
    pub expected: Expected,
    /// What ties together all that comes of one outside request.
    pub correlation: Option<String>,
    /// The event that this command reacts to.
    pub causation: Option<EventId>,
    /// The trace it is part of ([W3C Trace Context](https://www.w3.org/TR/trace-context/)).
    pub traceparent: Option<String>,
}

/// How much a query must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// Everything that was answered before the query was sent (P6).
    #[default]
    Latest,
    /// Whatever this node has at hand.
    Eventual,
    /// Whatever this node has at hand, once it has taken in the log up to this position. One that the log does not have is
    /// refused at once ([`ErrorKind::PositionUnknown`](crate::ErrorKind::PositionUnknown)).
    AtLeast(Position),
}
