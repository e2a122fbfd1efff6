//! The stream with the events that operators skipped: `catga-skipped/events`.
//!
//! It is part of the log, so every node goes on without the same events, a copy of the log does too, and who skipped what,
//! and why, can be read for ever.

use crate::{
    log::{StoreError, StreamId, Timestamp, Version},
    model::{EventSkipped, Recorded, SkippedEvents},
    store::EventStore,
};

/// How many commits are read at once.
const PAGE: usize = 512;

/// The stream as it was read, and where it ends.
pub(crate) struct SkipStream {
    pub(crate) stream: StreamId,
    pub(crate) version: Version,
    pub(crate) token: u64,
    /// Nothing may be recorded earlier.
    pub(crate) time: Timestamp,
    pub(crate) skips: Vec<EventSkipped>,
}

impl SkipStream {
    /// Reads all of it.
    ///
    /// # Errors
    /// [`StoreError`] when the store can't be read.
    pub(crate) async fn read(store: &dyn EventStore) -> Result<Self, StoreError> {
        let mut this = Self {
            stream: StreamId::new("catga-skipped", "events").expect("the name is valid"),
            version: Version::ZERO,
            token: 0,
            time: Timestamp::from_micros(i64::MIN),
            skips: Vec::new(),
        };
        loop {
            let page = store.read_stream(&this.stream, this.version + 1, PAGE).await?;
            let Some(last) = page.last() else { return Ok(this) };
            for record in &page {
                let events = Recorded::read(record).map_err(StoreError::corrupt)?;
                this.skips.extend(events.into_iter().map(|recorded| recorded.event));
            }
            let commit = last.commit().map_err(StoreError::corrupt)?;
            (this.version, this.token, this.time) =
                (commit.last_version(), last.token, commit.time);
        }
    }

    pub(crate) fn events(&self) -> SkippedEvents {
        self.skips.iter().map(|skip| skip.event_id).collect()
    }
}
