//! What is refused or cut off so that all others can be served: each is counted, and said in the log.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use metrics::Counter;

/// Counter: requests and connections that were refused or cut off, by `reason`.
const REFUSED: &str = "http_refused_total";

/// How often each reason is said at most. The line has how many there were since the last one.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// More requests than are worked on at once.
pub(crate) static REQUESTS: Refusals =
    Refusals::new("requests", "too many requests are being worked on: others are answered 503");

/// A body that is too large.
pub(crate) static LARGE_BODY: Refusals =
    Refusals::new("large_body", "a request's body is too large: it is answered 413");

/// A body that does not arrive in time.
pub(crate) static SLOW_BODY: Refusals =
    Refusals::new("slow_body", "a request's body did not arrive in time: it is answered 400");

/// An answer that the client does not read.
pub(crate) static UNREAD: Refusals =
    Refusals::new("unread_answer", "a client does not read its answer: it is cut off");

/// A client that is waited for while there are as many connections as can be.
pub(crate) static CROWDED: Refusals = Refusals::new(
    "connections",
    "there are as many connections as can be: those whose clients are waited for longest are closed",
);

/// More bytes of bodies and answers than are kept at once.
pub(crate) static MEMORY: Refusals = Refusals::new(
    "memory",
    "too much is kept for clients: those who are waited for longest are cut off, and others are answered 503",
);

/// More feeds than are open at once.
pub(crate) static FEEDS: Refusals =
    Refusals::new("feeds", "too many feeds are open: others are answered 503");

/// A connection that the system does not hand over.
pub(crate) static NOT_ACCEPTED: Refusals =
    Refusals::new("not_accepted", "connections can't be accepted, mostly for want of descriptors");

/// All that is refused for one reason.
#[derive(Debug)]
pub(crate) struct Refusals {
    reason: &'static str,
    text: &'static str,
    counter: OnceLock<Counter>,
    unsaid: AtomicU64,
    /// When it may be said next, in nanoseconds since the first refusal.
    say_at: AtomicU64,
}

impl Refusals {
    const fn new(reason: &'static str, text: &'static str) -> Self {
        let (unsaid, say_at) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { reason, text, counter: OnceLock::new(), unsaid, say_at }
    }

    /// Counts one, and says so if it was not said just now.
    pub(crate) fn count(&self) {
        let counter = self.counter.get_or_init(|| {
            metrics::describe_counter!(REFUSED, "Requests and connections refused or cut off");
            metrics::counter!(REFUSED, "reason" => self.reason)
        });
        counter.increment(1);
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        if let Some(times) = self.say(elapsed()) {
            tracing::warn!(reason = self.reason, times, "{}", self.text);
        }
    }

    /// How many are to be said at `now`, if they are.
    fn say(&self, now: Duration) -> Option<u64> {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let is_due = |at: u64| (at <= nanos(now)).then(|| nanos(now + SAY_EVERY));
        // Of many at once, one says it for all.
        self.say_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due).ok()?;
        Some(self.unsaid.swap(0, Ordering::Relaxed))
    }
}

/// The time since this was asked first.
fn elapsed() -> Duration {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    BEGIN.get_or_init(Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_at_once_and_then_with_how_often() {
        let refusals = Refusals::new("test", "");
        let refuse = |seconds| {
            refusals.unsaid.fetch_add(1, Ordering::Relaxed);
            refusals.say(Duration::from_secs(seconds))
        };
        assert_eq!(
            [0, 1, 9, 10, 11, 30].map(refuse),
            [Some(1), None, None, Some(3), None, Some(2)]
        );
    }
}
