//! Tells an event that its handler can't handle from a handler that can't do its work now, as the server that it needs is away.
//!
//! An event that fails while others succeed is poison, and is parked alone. When several fail and none succeeds, the handler is
//! paused on this node: nothing is parked, and one event after the other is tried, with growing waits in between, until one
//! succeeds. Each node judges for itself: the way to the server may be different.

use std::{
    collections::{BTreeSet, HashSet},
    future::pending,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    log::{Clock, Position, Timestamp},
    program::telemetry,
    store::{Backoff, LONGEST_REASON, first_chars},
};

/// A handler is paused when this many events in a row fail to their last attempt or on the way there, and none succeeds.
const FAILING: usize = 3;

/// Whether one handler is paused on this node, and what leads to it.
pub(crate) struct Breaker {
    handler: &'static str,
    clock: Clock,
    /// The waits between two tries while it is paused.
    delays: (Duration, Duration),
    /// As `state` has it; asked before each attempt.
    is_paused: AtomicBool,
    /// How often an event was handled.
    successes: AtomicU64,
    state: Mutex<State>,
    /// Tells those who wait that something of `state` changed.
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    /// The events that failed since there were so many successes.
    failing: (u64, HashSet<Position>),
    pause: Option<Pause>,
    /// Who waits, in the order of their turns: who was never tried says most, then who was not tried for longest.
    waiting: BTreeSet<(bool, u64)>,
    /// How many ever waited.
    tickets: u64,
}

struct Pause {
    since: Timestamp,
    begun: Instant,
    /// What an event failed with last.
    reason: String,
    backoff: Backoff,
    /// When the next event may be tried.
    next: Instant,
    is_trying: bool,
}

/// The right to run the handler once.
pub(crate) struct Turn<'a> {
    breaker: &'a Breaker,
    /// Whether the handler is paused, and this finds out if it still must be.
    pub(crate) is_probe: bool,
    /// Whether it came after a wait for the handler.
    pub(crate) has_waited: bool,
}

impl<'a> Turn<'a> {
    /// The turn of an attempt that has begun while the handler was not paused.
    pub(crate) fn free(breaker: &'a Breaker) -> Self {
        Self { breaker, is_probe: false, has_waited: false }
    }
}

/// A place among those who wait.
struct QueuedProbe<'a>(&'a Breaker, (bool, u64));

impl Breaker {
    pub(crate) fn new(handler: &'static str, clock: Clock, delays: (Duration, Duration)) -> Self {
        Self {
            handler,
            clock,
            delays,
            is_paused: AtomicBool::new(false),
            successes: AtomicU64::new(0),
            state: Mutex::default(),
            changes: watch::Sender::new(()),
        }
    }

    pub(crate) fn handler(&self) -> &'static str {
        self.handler
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Relaxed)
    }

    /// Since when it is paused, and what an event failed with last.
    pub(crate) fn pause(&self) -> Option<(Timestamp, String)> {
        self.state().pause.as_ref().map(|pause| (pause.since, pause.reason.clone()))
    }

    /// How often an event was handled. If this has not changed between two failures, nothing succeeded meanwhile.
    pub(crate) fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }

    /// Waits until the handler may be run: at once, unless it is paused.
    pub(crate) async fn turn(&self, is_new: bool) -> Turn<'_> {
        if !self.is_paused() {
            return Turn::free(self);
        }
        let turn = |is_probe| Turn { breaker: self, is_probe, has_waited: true };
        let mut changes = self.changes.subscribe();
        let place = self.queue_up(is_new);
        loop {
            let next = {
                let mut state = self.state();
                let is_first = state.waiting.first() == Some(&place.1);
                let Some(pause) = &mut state.pause else { return turn(false) };
                if is_first && !pause.is_trying && pause.next <= Instant::now() {
                    pause.is_trying = true;
                    return turn(true);
                }
                Some(pause.next).filter(|_| is_first && !pause.is_trying)
            };
            let its_time = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                changed = changes.changed() => changed.expect("the breaker lives as long as this"),
                () = its_time => {}
            }
        }
    }

    fn queue_up(&self, is_new: bool) -> QueuedProbe<'_> {
        let mut state = self.state();
        state.tickets += 1;
        let place = (!is_new, state.tickets);
        state.waiting.insert(place);
        QueuedProbe(self, place)
    }

    /// An event was handled: the handler need not be paused any longer.
    pub(crate) fn succeeded(&self) {
        self.successes.fetch_add(1, Ordering::Relaxed);
        if self.is_paused() {
            self.go_on();
        }
    }

    fn go_on(&self) {
        let mut state = self.state();
        self.is_paused.store(false, Ordering::Relaxed);
        let Some(pause) = state.pause.take() else { return };
        drop(state);
        let seconds = pause.begun.elapsed().as_secs();
        tracing::info!(handler = self.handler, seconds, "an event handler goes on after a pause");
        self.changes.send_replace(());
    }

    /// The event at `position` failed.
    pub(crate) fn failed(&self, position: Position, reason: &str) {
        let successes = self.successes();
        let mut state = self.state();
        if state.failing.0 != successes {
            state.failing = (successes, HashSet::new());
        }
        state.failing.1.insert(position);
        if let Some(pause) = &mut state.pause {
            pause.reason = first_chars(reason, LONGEST_REASON).to_owned();
        }
    }

    /// Whether an event that failed to its last attempt is to blame for that itself: others were handled meanwhile, or too few
    /// failed to say. Else the handler is paused now. `successes` are those when the event failed first.
    pub(crate) fn is_poison(&self, successes: u64, reason: &str) -> bool {
        let mut state = self.state();
        if state.pause.is_some() {
            return false;
        }
        if self.successes() != successes {
            return true;
        }
        if state.failing.0 != successes || state.failing.1.len() < FAILING {
            return true;
        }
        let mut backoff = Backoff::new(self.delays.0, self.delays.1);
        let reason = first_chars(reason, LONGEST_REASON).to_owned();
        let begun = Instant::now();
        let next = begun + backoff.next_delay();
        let events = state.failing.1.len();
        tracing::warn!(
            handler = self.handler,
            events,
            reason,
            "an event handler is paused: every event fails. It is tried again until one succeeds"
        );
        metrics::counter!(telemetry::HANDLER_PAUSES, "handler" => self.handler).increment(1);
        let since = self.clock.now();
        state.pause = Some(Pause { since, begun, reason, backoff, next, is_trying: false });
        self.is_paused.store(true, Ordering::Relaxed);
        false
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next turn is some time after the end of this one.
impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.is_probe {
            return;
        }
        if let Some(pause) = &mut self.breaker.state().pause {
            pause.is_trying = false;
            pause.next = Instant::now() + pause.backoff.next_delay();
        }
        self.breaker.changes.send_replace(());
    }
}

impl Drop for QueuedProbe<'_> {
    fn drop(&mut self) {
        self.0.state().waiting.remove(&self.1);
        self.0.changes.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, poll};
    use std::pin::pin;

    use super::*;

    fn breaker() -> Breaker {
        let delays = (Duration::from_millis(100), Duration::from_secs(10));
        Breaker::new("mail", Clock::system(), delays)
    }

    fn fail(breaker: &Breaker, positions: &[u64]) {
        positions.iter().for_each(|&at| breaker.failed(at.into(), "it is away"));
    }

    #[tokio::test]
    async fn an_event_that_fails_while_others_succeed_is_poison() {
        let breaker = breaker();
        fail(&breaker, &[1, 2, 1, 1]);
        assert!(breaker.is_poison(0, "it is away"), "too few fail to say that it is the handler");
        fail(&breaker, &[3]);
        breaker.succeeded();
        assert!(breaker.is_poison(0, "it is away"), "another was handled since");
        fail(&breaker, &[4, 5]);
        assert!(breaker.is_poison(1, "it is away"), "what failed before that does not count");
        fail(&breaker, &[6]);
        assert!(!breaker.is_paused() && breaker.pause().is_none());
        assert!(!breaker.is_poison(1, "it is away"));
        assert!(breaker.is_paused());
        assert_eq!(breaker.pause().unwrap().1, "it is away");
        breaker.succeeded();
        assert!(!breaker.is_paused() && breaker.pause().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_handler_is_tried_one_event_at_a_time_until_one_succeeds() {
        let breaker = breaker();
        let turn = breaker.turn(false).now_or_never().unwrap();
        assert!(!turn.has_waited);
        fail(&breaker, &[1, 2, 3]);
        assert!(!breaker.is_poison(0, "it is away"));
        let (mut first, mut second) = (pin!(breaker.turn(false)), pin!(breaker.turn(false)));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        // Who was never tried comes first: it may be another that can't be handled.
        let mut new = pin!(breaker.turn(true));
        assert!(poll!(&mut new).is_pending());
        let begun = Instant::now();
        let probe = new.await;
        assert!(probe.has_waited && begun.elapsed() <= Duration::from_millis(101));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(poll!(&mut first).is_pending(), "one at a time");
        drop(probe);
        for longest in [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            let begun = Instant::now();
            let mut again = pin!(breaker.turn(false));
            let (probe, is_first) = tokio::select! {
                biased;
                probe = &mut again => (probe, false),
                probe = &mut first => (probe, true),
            };
            assert!(is_first, "those who were tried take turns");
            let waited = begun.elapsed().as_millis();
            assert!((longest / 2..=longest + 1).contains(&waited), "{waited} of {longest} ms");
            assert!(poll!(&mut second).is_pending());
            drop(probe);
            first.set(breaker.turn(false));
            std::mem::swap(&mut first, &mut second);
            assert!(poll!(&mut second).is_pending());
        }
        breaker.succeeded();
        let (one, other) = tokio::join!(first, second);
        assert!(one.has_waited && other.has_waited && !one.is_probe && !other.is_probe);
        assert!(!breaker.turn(true).now_or_never().unwrap().has_waited);
    }
}
