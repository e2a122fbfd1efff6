//! How the work on one partition, or of the relay, is: for health and metrics.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{cluster::Work, log::Position};

/// How one piece of work goes, for health and metrics.
pub(crate) struct WorkState {
    pub(crate) work: Work,
    /// Whether this node works on it.
    is_held: AtomicBool,
    /// Everything up to here is done, as far as this node knows.
    position: AtomicU64,
    /// Why it stopped for good, if it did.
    stopped: Mutex<Option<String>>,
}

impl WorkState {
    pub(crate) fn new(work: Work) -> Self {
        let (is_held, position, stopped) = Default::default();
        Self { work, is_held, position, stopped }
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

    pub(crate) fn set_held(&self, is_held: bool) {
        self.is_held.store(is_held, Ordering::Relaxed);
    }

    pub(crate) fn set_position(&self, position: Position) {
        self.position.store(position.get(), Ordering::Relaxed);
    }

    pub(crate) fn set_stopped(&self, reason: String) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
}

impl fmt::Debug for WorkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkState")
            .field("share", &self.work)
            .field("is_held", &self.is_held())
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}
