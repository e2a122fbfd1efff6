//! What travels with a message, and what a handler's parameters are extracted from.

use std::sync::OnceLock;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    Clock, EventId, FromContext, Position, Resource, Setup, Stop, Timestamp, Version,
    runtime::Runtime,
};

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
    /// Whatever this node has at hand, once it has taken in the log up to this position.
    AtLeast(Position),
}

/// What one run of a handler draws its parameters from. Generated code passes it around.
#[derive(Debug)]
pub struct Context<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) metadata: &'a Metadata,
    pub(crate) consistency: Consistency,
    /// The command's fingerprint, when it has an id.
    pub(crate) fingerprint: u64,
    /// 0 for the first run of the handler, one more each time it is run again on newer state.
    pub(crate) run: u32,
    /// The version and the position of the commit's last event, once it is in the log.
    pub(crate) committed: OnceLock<(Version, Position)>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(runtime: &'a Runtime, metadata: &'a Metadata) -> Self {
        Self {
            runtime,
            metadata,
            consistency: Consistency::Latest,
            fingerprint: 0,
            run: 0,
            committed: OnceLock::new(),
        }
    }
}

impl<M: Sync> FromContext<M> for Metadata {
    type Held<'c> = &'c Self;

    async fn extract<'c>(cx: &'c Context<'c>, _: &M) -> Result<&'c Self, Stop> {
        Ok(cx.metadata)
    }

    fn declare(_: &mut Setup<'_>) {}
}

impl<M: Sync, T: Resource> FromContext<M> for T {
    type Held<'c> = &'c Self;

    async fn extract<'c>(cx: &'c Context<'c>, _: &M) -> Result<&'c Self, Stop> {
        Ok(cx.runtime.parts.expect::<T>())
    }

    fn declare(setup: &mut Setup<'_>) {
        setup.resource::<T>();
    }
}

impl Resource for Clock {}

/// How ids of events are made: UUIDs of version 7, in the order of time.
pub(crate) fn new_event_id(now: Timestamp) -> EventId {
    let micros = u64::try_from(now.as_micros()).unwrap_or(0);
    let nanos = u32::try_from(micros % 1_000_000 * 1000).expect("less than a second");
    let seconds = micros / 1_000_000;
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos))
}
