//! A store that does what a test wants to see survived.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    Append, AppendError, Appended, BoxFuture, DurabilityReport, EventStore, Position, Record,
    StoreError, StreamId, Version,
};

/// How one append fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The commit is not written, and the store says so.
    Refuse,
    /// The commit is not written, and the answer is lost.
    LoseRequest,
    /// The commit is written, and the answer is lost.
    LoseAnswer,
}

/// A store that hands everything on to another one, and fails when it is told to.
pub struct ScriptedStore {
    inner: Arc<dyn EventStore>,
    faults: Mutex<VecDeque<Option<Fault>>>,
}

impl ScriptedStore {
    /// A store over `inner` that does not fail yet.
    pub fn new(inner: Arc<dyn EventStore>) -> Self {
        Self { inner, faults: Mutex::default() }
    }

    /// The next appends go as `faults` says, one each: `None` goes well. After that all go well.
    pub fn script(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).extend(faults);
    }

    fn next_fault(&self) -> Option<Fault> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).pop_front().flatten()
    }
}

impl EventStore for ScriptedStore {
    fn append<'a>(&'a self, append: Append<'a>) -> BoxFuture<'a, Result<Appended, AppendError>> {
        let lost = || StoreError::unavailable("the answer was lost, as scripted");
        Box::pin(async move {
            match self.next_fault() {
                None => self.inner.append(append).await,
                Some(Fault::Refuse) => {
                    Err(AppendError::Refused(StoreError::unavailable("refused, as scripted")))
                }
                Some(Fault::LoseRequest) => Err(AppendError::Unknown(lost())),
                Some(Fault::LoseAnswer) => {
                    let _ = self.inner.append(append).await;
                    Err(AppendError::Unknown(lost()))
                }
            }
        })
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        from: Version,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        self.inner.read_stream(stream, from, limit)
    }

    fn read_short<'a>(
        &'a self,
        stream: &'a StreamId,
        limit: usize,
    ) -> BoxFuture<'a, Result<Option<Vec<Record>>, StoreError>> {
        self.inner.read_short(stream, limit)
    }

    fn read_log(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.inner.read_log(after, limit)
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.inner.head()
    }

    fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.wait(after)
    }

    fn durability(&self) -> BoxFuture<'_, Result<DurabilityReport, StoreError>> {
        self.inner.durability()
    }
}

impl fmt::Debug for ScriptedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedStore").finish_non_exhaustive()
    }
}
