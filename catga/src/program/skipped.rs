//! The stream with the events that operators skipped: `catga-skipped/events`.
//!
//! It is part of the log, so every node goes on without the same events, a copy of the log does too, and who skipped what,
//! and why, can be read for ever.

use crate::{
    log::{StoreError, StreamId},
    model::{EventSkipped, Recorded, SkippedEvents},
    program::StreamEnd,
    store::EventStore,
};

/// The stream as it was read, and where it ends.
pub(crate) struct SkipStream {
    pub(crate) end: StreamEnd,
    pub(crate) skips: Vec<EventSkipped>,
}

impl SkipStream {
    /// Reads all of it.
    ///
    /// # Errors
    /// [`StoreError`] when the store can't be read.
    pub(crate) async fn read(store: &dyn EventStore) -> Result<Self, StoreError> {
        let stream = StreamId::new("catga-skipped", "events").expect("the name is valid");
        let (mut end, mut skips) = (StreamEnd::new(stream), Vec::new());
        loop {
            let page = end.next_page(store).await?;
            let Some(last) = page.last() else { return Ok(Self { end, skips }) };
            for record in &page {
                let events = Recorded::read(record).map_err(StoreError::corrupt)?;
                skips.extend(events.into_iter().map(|recorded| recorded.event));
            }
            end.pass(last).map_err(StoreError::corrupt)?;
        }
    }

    pub(crate) fn events(&self) -> SkippedEvents {
        self.skips.iter().map(|skip| skip.event_id).collect()
    }
}
