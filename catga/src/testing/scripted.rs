//! A store that does what a test wants to see survived, and tells what it was asked for.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::watch;

use crate::{
    log::{LogId, Position, Record, StoreError, StreamId, Version},
    store::{
        Append, AppendError, Appended, BoxFuture, Durability, DurabilityReport, EventStore,
        TaskTrouble,
    },
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
    /// The answer is lost, and the commit comes to the store only while the next append does. Without one it never comes.
    Late,
}

/// An append that is still under way.
struct LateAppend {
    stream: StreamId,
    version: Version,
    token: u64,
    events: usize,
    frame: Bytes,
}

/// A store that hands everything on to another one, counts what is read, and does otherwise when it is told to.
pub struct ScriptedStore {
    inner: Arc<dyn EventStore>,
    /// How the next appends go.
    faults: Mutex<VecDeque<Option<Fault>>>,
    late: Mutex<Vec<LateAppend>>,
    /// Up to where the log can be read.
    shown: watch::Sender<Position>,
    of_streams: AtomicUsize,
    of_log: AtomicUsize,
    /// How many of the next reads of the log fail.
    failing_reads: AtomicUsize,
    /// Whether it panics when somebody waits for more.
    panics: AtomicBool,
    troubles: Mutex<Vec<TaskTrouble>>,
    durability: Option<Durability>,
    knows_lengths: bool,
}

impl ScriptedStore {
    /// A store over `inner` that does nothing else yet.
    pub fn new(inner: Arc<dyn EventStore>) -> Self {
        let (faults, late, of_streams, of_log, failing_reads, panics) = Default::default();
        Self {
            inner,
            faults,
            late,
            shown: watch::Sender::new(Position::MAX),
            of_streams,
            of_log,
            failing_reads,
            panics,
            troubles: Mutex::default(),
            durability: None,
            knows_lengths: false,
        }
    }

    /// It says that what it acknowledged survives this.
    #[must_use]
    pub fn with_durability(self, level: Durability) -> Self {
        Self { durability: Some(level), ..self }
    }

    /// It knows beforehand how long a stream is, and [`read_short`](EventStore::read_short) reads nothing of a long one.
    #[must_use]
    pub fn with_known_lengths(self) -> Self {
        Self { knows_lengths: true, ..self }
    }

    /// The next appends go as `faults` says, one each: `None` goes well. After that all go well.
    pub fn script(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).extend(faults);
    }

    /// The next `count` reads of the log fail, as if the store could not be reached.
    pub fn fail_reads_of_log(&self, count: usize) {
        self.failing_reads.store(count, Relaxed);
    }

    /// How many reads of the log are still to fail.
    pub fn failing_reads_of_log(&self) -> usize {
        self.failing_reads.load(Relaxed)
    }

    /// From now on the log can be read in order up to position `end` only, as if it took long to read on, so that read
    /// models are behind. [`Position::MAX`] shows all of it, as at first.
    pub fn show_up_to(&self, end: Position) {
        self.shown.send_replace(end);
    }

    /// Whether it panics from now on whenever there is more for who waits, as a store with a bug does.
    pub fn panic_at_more(&self, panics: bool) {
        self.panics.store(panics, Relaxed);
    }

    /// From now on these tasks of its do not go well.
    pub fn trouble(&self, troubles: impl IntoIterator<Item = TaskTrouble>) {
        let troubles = troubles.into_iter().collect();
        *self.troubles.lock().unwrap_or_else(PoisonError::into_inner) = troubles;
    }

    /// How many commits of streams were read so far.
    pub fn read_of_streams(&self) -> usize {
        self.of_streams.load(Relaxed)
    }

    /// How many commits were read so far in the order of the log.
    pub fn read_of_log(&self) -> usize {
        self.of_log.load(Relaxed)
    }

    fn late(&self) -> MutexGuard<'_, Vec<LateAppend>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_fault(&self) -> Option<Fault> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).pop_front().flatten()
    }
}

impl LateAppend {
    fn again(&self) -> Append<'_> {
        let Self { ref stream, version, token, events, .. } = *self;
        Append { stream, version, token, events, frame: self.frame.clone() }
    }
}

impl EventStore for ScriptedStore {
    fn log_id(&self) -> LogId {
        self.inner.log_id()
    }

    fn check(&self) -> Result<(), StoreError> {
        self.inner.check()
    }

    fn task_troubles(&self) -> Vec<TaskTrouble> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner).clone();
        troubles.into_iter().chain(self.inner.task_troubles()).collect()
    }

    fn append<'a>(&'a self, append: Append<'a>) -> BoxFuture<'a, Result<Appended, AppendError>> {
        let lost = || StoreError::unavailable("the answer was lost, as scripted");
        Box::pin(async move {
            match self.next_fault() {
                None => {
                    let late = std::mem::take(&mut *self.late());
                    let late = join_all(late.iter().map(|late| self.inner.append(late.again())));
                    tokio::join!(self.inner.append(append), late).0
                }
                Some(Fault::Refuse) => {
                    Err(AppendError::Refused(StoreError::unavailable("refused, as scripted")))
                }
                Some(Fault::LoseRequest) => Err(AppendError::Unknown(lost())),
                Some(Fault::LoseAnswer) => {
                    let _ = self.inner.append(append).await;
                    Err(AppendError::Unknown(lost()))
                }
                Some(Fault::Late) => {
                    let Append { stream, version, token, events, frame } = append;
                    let late = LateAppend { stream: stream.clone(), version, token, events, frame };
                    self.late().push(late);
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
        Box::pin(async move {
            let records = self.inner.read_stream(stream, from, limit).await?;
            self.of_streams.fetch_add(records.len(), Relaxed);
            Ok(records)
        })
    }

    fn read_short<'a>(
        &'a self,
        stream: &'a StreamId,
        limit: usize,
    ) -> BoxFuture<'a, Result<Option<Vec<Record>>, StoreError>> {
        Box::pin(async move {
            let beyond = Version::new(limit as u64).next();
            if self.knows_lengths && !self.inner.read_stream(stream, beyond, 1).await?.is_empty() {
                return Ok(None);
            }
            let records = self.inner.read_short(stream, limit).await?;
            self.of_streams.fetch_add(records.as_ref().map_or(0, Vec::len), Relaxed);
            Ok(records)
        })
    }

    fn read_log(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            if self.failing_reads.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                return Err(StoreError::unavailable("it can't be read, as scripted"));
            }
            let end = *self.shown.borrow();
            let mut records = self.inner.read_log(after, limit).await?;
            records.retain(|record| record.position <= end);
            self.of_log.fetch_add(records.len(), Relaxed);
            Ok(records)
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.inner.head()
    }

    fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let mut shown = self.shown.subscribe();
            shown.wait_for(|end| *end > after).await.expect("the sender is here");
            self.inner.wait(after).await?;
            assert!(!self.panics.load(Relaxed), "a bug in the log");
            // It may be hidden since.
            shown.wait_for(|end| *end > after).await.expect("the sender is here");
            Ok(())
        })
    }

    fn durability(&self) -> BoxFuture<'_, Result<DurabilityReport, StoreError>> {
        match self.durability {
            Some(level) => Box::pin(async move { Ok(level.into()) }),
            None => self.inner.durability(),
        }
    }
}

impl fmt::Debug for ScriptedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedStore").finish_non_exhaustive()
    }
}
