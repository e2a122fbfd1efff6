//! A topic in memory that is right, or wrong in one way.

use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use catga::{
    log::{Position, Record},
    store::{BoxFuture, StoreError, Transport},
};
use tokio::{sync::Notify, task::yield_now};

/// What a topic does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    AddsBehindAGap,
    AddsWhatItHas,
    ChecksThenAdds,
    EndsBeforeItsFirstCommit,
    EndsInsideACommit,
    IgnoresLimits,
    LeavesOutAStream,
    LosesEveryTenthCommit,
    NeverWakes,
    ShowsCommitsOnlyFromTheirFirstPosition,
    WaitsForTheNextCommit,
}

/// What all handles share.
#[derive(Debug, Default)]
pub(crate) struct Topic {
    records: Mutex<Vec<Record>>,
    added: Notify,
}

/// A handle on a topic.
pub(crate) struct PlantedTopic {
    pub(crate) topic: Arc<Topic>,
    pub(crate) wrong: Option<Wrong>,
}

impl PlantedTopic {
    fn is(&self, wrong: Wrong) -> bool {
        self.wrong == Some(wrong)
    }

    /// The commits that it shows.
    fn shown(&self) -> Vec<Record> {
        let mut records = self.topic.records.lock().unwrap().clone();
        if self.is(Wrong::LeavesOutAStream) {
            records.retain(|record| !record.commit().unwrap().stream.ends_with("handled3"));
        }
        records
    }

    fn last(&self) -> Position {
        let records = self.topic.records.lock().unwrap();
        records.last().map_or(0.into(), |record| record.end().unwrap())
    }

    fn add(&self, records: &[Record]) {
        let mut all = self.topic.records.lock().unwrap();
        for record in records {
            if !self.is(Wrong::LosesEveryTenthCommit) || record.position.get() % 10 != 0 {
                all.push(record.clone());
            }
        }
        drop(all);
        self.topic.added.notify_waiters();
    }
}

impl Transport for PlantedTopic {
    fn read(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            let limit = if self.is(Wrong::IgnoresLimits) { usize::MAX } else { limit };
            let whole = !self.is(Wrong::ShowsCommitsOnlyFromTheirFirstPosition);
            let mut records = self.shown();
            records.retain(|record| {
                let last = if whole { record.end().unwrap() } else { record.position };
                last > after
            });
            records.truncate(limit);
            Ok(records)
        })
    }

    fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if self.is(Wrong::WaitsForTheNextCommit) {
                self.topic.added.notified().await;
                return Ok(());
            }
            loop {
                let added = self.topic.added.notified();
                if self.shown().last().is_some_and(|record| record.end().unwrap() > after) {
                    return Ok(());
                }
                if self.is(Wrong::NeverWakes) {
                    pending::<()>().await;
                }
                added.await;
            }
        })
    }

    fn end(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async move {
            if self.is(Wrong::EndsInsideACommit) {
                let records = self.topic.records.lock().unwrap();
                return Ok(records.last().map_or(Position::ZERO, |record| record.position));
            }
            let is_ahead = self.is(Wrong::EndsBeforeItsFirstCommit) && self.last() == 0;
            Ok(if is_ahead { 1.into() } else { self.last() })
        })
    }

    fn publish<'a>(
        &'a self,
        after: Position,
        records: &'a [Record],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let end = self.last();
            let is_taken = self.is(Wrong::AddsWhatItHas) && after < end
                || self.is(Wrong::AddsBehindAGap) && after > end;
            if after != end && !is_taken {
                return Ok(false);
            }
            if self.is(Wrong::ChecksThenAdds) {
                yield_now().await;
            }
            self.add(records);
            Ok(true)
        })
    }
}
