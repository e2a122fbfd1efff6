//! How far the read models of a node are, and who waits for that: the read barrier (P6).

use tokio::sync::watch;

use crate::{
    log::Position,
    model::{Error, ErrorKind},
    program::telemetry,
};

/// How far the read models are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TailProgress {
    /// Every event up to here is in every read model.
    pub(crate) position: Position,
    /// Why the tail stopped for good, if it did.
    pub(crate) stopped: Option<String>,
    /// Whether the end of the log was ever reached.
    pub(crate) is_caught_up: bool,
    /// Why projections stopped that could not take in an event. The others go on.
    pub(crate) failed: Vec<String>,
}

/// What the tail tells of its progress, for those who wait for it.
#[derive(Debug)]
pub(crate) struct ReadProgress {
    progress: watch::Sender<TailProgress>,
}

impl ReadProgress {
    pub(crate) fn new() -> Self {
        Self {
            progress: watch::Sender::new(TailProgress {
                position: Position::ZERO,
                stopped: None,
                is_caught_up: false,
                failed: Vec::new(),
            }),
        }
    }

    /// Tells whenever the read models have taken in more.
    pub(crate) fn subscribe(&self) -> watch::Receiver<TailProgress> {
        self.progress.subscribe()
    }

    /// How far they are now.
    pub(crate) fn now(&self) -> TailProgress {
        self.progress.borrow().clone()
    }

    /// Every event up to here is in every read model.
    pub(crate) fn position(&self) -> Position {
        self.progress.borrow().position
    }

    /// The read models hold everything up to `position`.
    pub(crate) fn advance(&self, position: Position) {
        self.progress.send_modify(|p| p.position = position.max(p.position));
    }

    /// The end of the log was reached.
    pub(crate) fn caught_up(&self) {
        self.progress.send_if_modified(|p| !std::mem::replace(&mut p.is_caught_up, true));
    }

    /// A projection takes in nothing more.
    pub(crate) fn fail(&self, reason: String) {
        self.progress.send_modify(|p| p.failed.push(reason));
    }

    /// The read models take in nothing more.
    pub(crate) fn stop(&self, reason: String) {
        metrics::counter!(telemetry::TASKS_STOPPED, "task" => "tail").increment(1);
        self.progress.send_modify(|p| p.stopped = Some(reason));
    }

    /// Waits until the read models hold everything up to `position`.
    pub(crate) async fn wait_for(&self, position: Position) -> Result<(), Error> {
        let is_there = |progress: &TailProgress| progress.position >= position;
        if is_there(&self.progress.borrow()) {
            return Ok(());
        }
        let mut progress = self.progress.subscribe();
        let reached = progress
            .wait_for(|p| is_there(p) || p.stopped.is_some())
            .await
            .expect("the tail is alive as long as who waits for it");
        match &reached.stopped {
            Some(reason) if !is_there(&reached) => Err(ErrorKind::ReadModel(reason.clone()).into()),
            _ => Ok(()),
        }
    }
}
