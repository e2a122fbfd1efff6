//! Background tasks do not end unnoticed: a panic is caught, named, logged and counted. Whoever starts a task decides what comes
//! then: it begins anew, or it has stopped and health says why.

use std::{
    any::Any,
    fmt::{self, Display},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

use crate::store::Backoff;

/// Counter: panics of background tasks. Label: `task`. What a service runs beside its program counts there, too.
pub const TASK_PANICS: &str = "catga_task_panics_total";

/// Counter: background tasks that stopped for good. Label: `task`.
pub(crate) const TASKS_STOPPED: &str = "catga_tasks_stopped_total";

/// A task that ran for so long does not fail whenever it is started: its next failure is retried at once again.
pub(crate) const RUNS_WELL: Duration = Duration::from_secs(10);

/// How many characters are shown of why something failed, which may say anything.
pub(crate) const LONGEST_REASON: usize = 200;

/// A task of a store or a transport that does not go well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskTrouble {
    /// Its name.
    pub task: &'static str,
    /// What it failed with last.
    pub reason: String,
    /// Whether it has stopped, or fails whenever it is begun anew. Otherwise it failed a moment ago, and goes on.
    pub is_lasting: bool,
}

impl fmt::Display for TaskTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.task, self.reason)
    }
}

/// Runs `future` to its end.
///
/// # Errors
/// What it panicked with. It is logged and counted.
pub(crate) async fn guarded<T>(
    task: impl Display,
    future: impl Future<Output = T>,
) -> Result<T, String> {
    let ended = AssertUnwindSafe(future).catch_unwind().await;
    ended.map_err(|payload| report(&task, &*payload))
}

/// As [`guarded`], for work on a thread of its own.
///
/// # Errors
/// What it panicked with. It is logged and counted.
pub(crate) fn guarded_here<T>(task: impl Display, work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| report(&task, &*payload))
}

/// Runs the task that `begin` makes to its end. When it panics it is begun again, after a while.
pub(crate) async fn supervised<F: Future<Output = ()>>(
    task: impl Display,
    mut begin: impl FnMut() -> F,
) {
    let backoff = || Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    let mut delays = backoff();
    loop {
        let begun = Instant::now();
        if guarded(&task, begin()).await.is_ok() {
            return;
        }
        if begun.elapsed() > RUNS_WELL {
            delays = backoff();
        }
        sleep(delays.next_delay()).await;
    }
}

/// What a panic says, cut off after 200 characters: it is logged and shown in health, and where the panic is of the user's
/// code it may say anything.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    first_chars(text.unwrap_or("no text"), LONGEST_REASON)
}

/// The first `n` characters of `text`.
pub(crate) fn first_chars(text: &str, n: usize) -> &str {
    text.char_indices().nth(n).map_or(text, |(end, _)| &text[..end])
}

fn report(task: &impl Display, payload: &(dyn Any + Send)) -> String {
    let reason = panic_text(payload);
    tracing::error!(%task, reason, "a background task panicked");
    metrics::counter!(TASK_PANICS, "task" => task.to_string()).increment(1);
    format!("it panicked: {reason}")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_begun_again_until_it_ends() {
        let begun = AtomicU64::new(0);
        let task = || async {
            let turn = begun.fetch_add(1, Ordering::Relaxed);
            assert!(turn == 3, "turn {turn}");
        };
        supervised("test", task).await;
        assert_eq!(begun.load(Ordering::Relaxed), 4);
    }

    #[tokio::test]
    async fn what_panicked_says_why() {
        let panicked = guarded("test", async { panic!("at {}", 7) }).await;
        assert_eq!(panicked, Err::<(), _>("it panicked: at 7".to_owned()));
        assert_eq!(guarded_here("test", || 7), Ok(7));
        let panicked = guarded_here("test", || panic!("here"));
        assert_eq!(panicked, Err::<(), _>("it panicked: here".to_owned()));
        let long = guarded_here("test", || panic!("{}", "ä".repeat(999))).unwrap_err();
        assert_eq!(long.chars().count(), "it panicked: ".len() + LONGEST_REASON);
    }
}
