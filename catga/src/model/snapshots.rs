//! When snapshots are taken, and how they are encoded.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use crate::log::readable::append_readable_up_to;

/// Larger states are not read back before they are written, which would take three times the memory.
const MOST_READ_BACK: usize = 1 << 20;

/// When snapshots of an aggregate or a projection are taken, and how they are encoded:
/// [`Aggregate::SNAPSHOTS`](crate::model::Aggregate::SNAPSHOTS), [`Projection::SNAPSHOTS`](crate::read::Projection::SNAPSHOTS).
///
/// ```
/// # use catga::prelude::*;
/// # #[catga::event] struct Stepped { by: u64 }
/// #[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
/// struct Walk { distance: u64 }
///
/// impl Aggregate for Walk {
///     type Event = Stepped;
///     const NAME: &str = "snapshots-walk";
///     const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::every(100));
///
///     fn apply(&mut self, stepped: Stepped) {
///         self.distance += stepped.by;
///     }
/// }
/// ```
pub struct Snapshots<A> {
    pub(crate) every: u64,
    /// Behind what is in the vector.
    pub(crate) encode: fn(&A, Vec<u8>) -> Result<Vec<u8>, String>,
    pub(crate) decode: fn(&[u8]) -> postcard::Result<A>,
}

impl<A: Serialize + DeserializeOwned> Snapshots<A> {
    /// A snapshot after every `events` events.
    ///
    /// Of an aggregate also after a load that had to read more than some dozen commits behind the last one. Streams of up
    /// to 64 events are read with one call and have none. With more than some dozen events between snapshots, the first
    /// load by a node that knows nothing of the stream takes more calls, on NATS many more.
    ///
    /// Of large read models after more events, so that no more than some dozen bytes are written for each; and at a stop.
    pub const fn every(events: u64) -> Self {
        assert!(events > 0, "a snapshot every 0 events makes no sense");
        Self { every: events, encode: encode::<A>, decode: decode::<A> }
    }
}

/// # Errors
/// Why it could not be read again.
fn encode<A: Serialize + DeserializeOwned>(
    state: &A,
    mut bytes: Vec<u8>,
) -> Result<Vec<u8>, String> {
    append_readable_up_to::<A>(state, &mut bytes, MOST_READ_BACK)?;
    Ok(bytes)
}

fn decode<A: DeserializeOwned>(bytes: &[u8]) -> postcard::Result<A> {
    postcard::from_bytes(bytes)
}

impl<A> fmt::Debug for Snapshots<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots").field("every", &self.every).finish_non_exhaustive()
    }
}
