//! How the work on one partition, or of the relay, is: for health and metrics.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::time::Instant;

use crate::{
    cluster::Work,
    log::{Position, StoreError},
    model::Error,
    program::telemetry,
    store::{RUNS_WELL, guarded},
};

/// How one piece of work goes, for health and metrics.
pub(crate) struct WorkState {
    pub(crate) work: Work,
    /// Whether this node works on it.
    is_held: AtomicBool,
    /// Everything up to here is done, as far as this node knows.
    position: AtomicU64,
    /// Whether events are under way, and so may take as long as their attempts may.
    is_busy: AtomicBool,
    /// Why it stopped for good, if it did.
    stopped: Mutex<Option<String>>,
    /// When it panicked last, and with what.
    panicked: Mutex<Option<(Instant, String)>>,
}

impl WorkState {
    pub(crate) fn new(work: Work) -> Self {
        let (is_held, position, is_busy, stopped, panicked) = Default::default();
        Self { work, is_held, position, is_busy, stopped, panicked }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Relaxed)
    }

    pub(crate) fn position(&self) -> Position {
        Position::new(self.position.load(Ordering::Relaxed))
    }

    pub(crate) fn stopped(&self) -> Option<String> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why it does not go well: it stopped for good, or panicked a moment ago.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.stopped().or_else(|| {
            let panicked = self.panicked.lock().unwrap_or_else(PoisonError::into_inner);
            let (at, reason) = panicked.as_ref()?;
            (at.elapsed() < RUNS_WELL).then(|| reason.clone())
        })
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Relaxed)
    }

    pub(crate) fn set_busy(&self, is_busy: bool) {
        self.is_busy.store(is_busy, Ordering::Relaxed);
    }

    pub(crate) fn set_held(&self, is_held: bool) {
        self.is_held.store(is_held, Ordering::Relaxed);
    }

    pub(crate) fn set_position(&self, position: Position) {
        self.position.store(position.get(), Ordering::Relaxed);
    }

    /// Does the work for a while. A panic is an error that lets it begin anew: the claim is this node's still, and it goes
    /// on from its checkpoint.
    pub(crate) async fn guard<T>(
        &self,
        doing: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        guarded(self.work, doing).await.unwrap_or_else(|reason| {
            let panicked = (Instant::now(), reason.clone());
            *self.panicked.lock().unwrap_or_else(PoisonError::into_inner) = Some(panicked);
            Err(StoreError::unavailable(reason).into())
        })
    }

    pub(crate) fn set_stopped(&self, reason: String) {
        metrics::counter!(telemetry::TASKS_STOPPED, "task" => self.work.to_string()).increment(1);
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
}

impl fmt::Debug for WorkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkState")
            .field("work", &self.work)
            .field("is_held", &self.is_held())
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}
