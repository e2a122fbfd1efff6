//! The tasks of a store's own, which run for as long as it is open: a failure of one is seen in health.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

#[cfg(feature = "nats")]
use crate::log::StoreError;
use crate::store::{Backoff, RUNS_WELL, TASKS_STOPPED, TaskTrouble, guarded};

/// A task that fails again and again for so long does not heal by being begun anew.
const PATIENCE: Duration = Duration::from_secs(30);

/// The tasks of one store, and how they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks(Arc<Mutex<BTreeMap<&'static str, Failure>>>);

#[derive(Debug)]
struct Failure {
    reason: String,
    /// When it failed last.
    at: Instant,
    /// Since when it has not run well.
    since: Instant,
    has_stopped: bool,
}

impl Tasks {
    /// Runs the task that `begin` makes until the handle is dropped. When it panics it is begun again, after a while.
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(
        &self,
        task: &'static str,
        mut begin: impl FnMut() -> F + Send + 'static,
    ) -> AbortOnDropHandle<()> {
        self.spawn_until(task, move || {
            let begun = begin();
            async {
                begun.await;
                Ok(())
            }
        })
    }

    /// As [`spawn`](Self::spawn), for a task that may find out that nothing of the kind can go on until the store is opened
    /// anew: it ends with the reason.
    pub(crate) fn spawn_until<F: Future<Output = Result<(), String>> + Send + 'static>(
        &self,
        task: &'static str,
        mut begin: impl FnMut() -> F + Send + 'static,
    ) -> AbortOnDropHandle<()> {
        let tasks = self.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            let backoff = || Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
            let mut delays = backoff();
            loop {
                let begun = Instant::now();
                match guarded(task, begin()).await {
                    Ok(Ok(())) => return,
                    Ok(Err(reason)) => return tasks.stop(task, reason),
                    Err(reason) => tasks.fail(task, reason),
                }
                if begun.elapsed() > RUNS_WELL {
                    delays = backoff();
                }
                sleep(delays.next_delay()).await;
            }
        }))
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<&'static str, Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a panic, which is logged and counted already.
    fn fail(&self, task: &'static str, reason: String) {
        let at = Instant::now();
        let mut all = self.all();
        let before = all.get(task).filter(|failure| failure.is_fresh());
        let since = before.map_or(at, |failure| failure.since);
        all.insert(task, Failure { reason, at, since, has_stopped: false });
    }

    fn stop(&self, task: &'static str, reason: String) {
        tracing::error!(task, reason, "a background task stopped, and only a new start helps");
        metrics::counter!(TASKS_STOPPED, "task" => task).increment(1);
        let at = Instant::now();
        self.all().insert(task, Failure { reason, at, since: at, has_stopped: true });
    }

    /// Those that do not go well now.
    pub(crate) fn troubles(&self) -> Vec<TaskTrouble> {
        let all = self.all();
        let troubles = all.iter().filter(|(_, failure)| failure.is_fresh());
        let troubles = troubles.map(|(task, failure)| TaskTrouble {
            task,
            reason: failure.reason.clone(),
            is_lasting: failure.has_stopped || failure.at - failure.since >= PATIENCE,
        });
        troubles.collect()
    }

    /// # Errors
    /// When one has stopped.
    #[cfg(feature = "nats")]
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let all = self.all();
        let mut stopped = all.iter().filter(|(_, failure)| failure.has_stopped);
        stopped.next().map_or(Ok(()), |(task, failure)| {
            Err(StoreError::ended(format!("{task}: {}", failure.reason)))
        })
    }
}

impl Failure {
    /// Whether it says something about how the task is now.
    fn is_fresh(&self) -> bool {
        self.has_stopped || self.at.elapsed() < RUNS_WELL
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_in_trouble_for_a_while_and_for_good_if_it_goes_on() {
        let (tasks, is_broken) = (Tasks::default(), Arc::new(AtomicBool::new(true)));
        let _task = tasks.spawn("follower", {
            let is_broken = is_broken.clone();
            move || {
                let is_broken = is_broken.clone();
                async move {
                    assert!(!is_broken.load(Ordering::Relaxed), "a bug");
                    std::future::pending::<()>().await;
                }
            }
        });
        assert_eq!(tasks.troubles(), []);
        sleep(Duration::from_secs(1)).await;
        let reason = "it panicked: a bug".to_owned();
        let trouble = TaskTrouble { task: "follower", reason, is_lasting: false };
        assert_eq!(tasks.troubles(), std::slice::from_ref(&trouble));
        assert_eq!(trouble.to_string(), "follower: it panicked: a bug");
        sleep(PATIENCE + Duration::from_secs(3)).await;
        assert_eq!(tasks.troubles(), [TaskTrouble { is_lasting: true, ..trouble }]);
        assert!(tasks.check().is_ok(), "it may yet go on");
        is_broken.store(false, Ordering::Relaxed);
        sleep(RUNS_WELL + Duration::from_secs(3)).await;
        assert_eq!(tasks.troubles(), [], "it has run well since");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_stops_is_in_trouble_for_ever() {
        let tasks = Tasks::default();
        let _task = tasks.spawn_until("receiver", || async { Err("the client ended".to_owned()) });
        let _other = tasks.spawn("watch", || async {});
        sleep(Duration::from_secs(999)).await;
        let reason = "the client ended".to_owned();
        assert_eq!(
            tasks.troubles(),
            [TaskTrouble { task: "receiver", reason, is_lasting: true }],
            "what ends because the store is closed is none"
        );
        let error = tasks.check().unwrap_err();
        assert!(error.is_ended() && error.to_string() == "receiver: the client ended", "{error}");
    }
}
