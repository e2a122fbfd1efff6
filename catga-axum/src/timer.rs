//! The timer of a connection: for the head of its next request, and then for the body.
//!
//! A timer of the runtime that is made for a request and dropped when the request is there takes the lock of all timers
//! twice. Here a connection has one, which looks again later when the request has come.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};

/// What a connection waits with for a part of a request. Times are nanoseconds since the connection's begin.
#[derive(Debug, Clone)]
pub(crate) struct RequestTimer {
    begin: Instant,
    /// How long a part may take at least.
    limit: Duration,
    shared: Arc<Times>,
}

#[derive(Debug, Default)]
struct Times {
    /// When the part that came last, or is awaited, has to be there.
    due: AtomicU64,
    /// The time when the connection's timer fired last.
    fired: AtomicU64,
    /// Whether a part of a head has come, and not all of it.
    is_in_head: AtomicBool,
    /// Whether a head is awaited.
    awaits_head: AtomicBool,
    /// Whether a body was left before its end.
    is_body_left: AtomicBool,
}

impl RequestTimer {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { begin: Instant::now(), limit, shared: Arc::default() }
    }

    /// Runs `connection`, which hyper made with this timer, and wakes it when a part is overdue.
    ///
    /// Both are in boxes: a task that is made of them would have room for the connection four times.
    pub(crate) fn run<T>(self, connection: impl Future<Output = T>) -> impl Future<Output = T> {
        let mut connection = Box::pin(connection);
        let mut timer = Box::pin(tokio::time::sleep(self.limit));
        poll_fn(move |cx| {
            while timer.as_mut().poll(cx).is_ready() {
                timer.as_mut().reset((self.begin + self.fire()).into());
            }
            connection.as_mut().poll(cx)
        })
    }

    /// How long there has been this connection.
    pub(crate) fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Awaits a part that has to be there by `due`, and answers whether that is over. The connection is woken then.
    pub(crate) fn is_over(&self, due: Duration) -> bool {
        let due = nanos(due);
        self.shared.due.store(due, Ordering::Relaxed);
        due <= self.shared.fired.load(Ordering::Relaxed)
    }

    /// Something has come.
    pub(crate) fn has_read(&self) {
        self.shared.is_in_head.store(true, Ordering::Relaxed);
    }

    /// Nobody reads the rest of a body.
    pub(crate) fn leave_unread(&self) {
        self.shared.is_body_left.store(true, Ordering::Relaxed);
    }

    /// Whether the client may be sending a part of a request that nobody reads.
    pub(crate) fn is_request_unread(&self) -> bool {
        let is = |state: &AtomicBool| state.load(Ordering::Relaxed);
        let Times { awaits_head, is_in_head, is_body_left, .. } = &*self.shared;
        is(is_body_left) || is(awaits_head) && is(is_in_head)
    }

    /// Notes the time, and answers when to look again. Nothing is due earlier: what is set from now on is `limit` away.
    fn fire(&self) -> Duration {
        let now = self.now();
        let due = Duration::from_nanos(self.shared.due.load(Ordering::Relaxed));
        self.shared.fired.store(nanos(now), Ordering::Relaxed);
        if due > now { due } else { now + self.limit }
    }
}

impl Timer for RequestTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let due = nanos(deadline - self.begin);
        self.shared.due.store(due, Ordering::Relaxed);
        self.shared.awaits_head.store(true, Ordering::Relaxed);
        self.shared.is_in_head.store(false, Ordering::Relaxed);
        self.shared.is_body_left.store(false, Ordering::Relaxed);
        Box::pin(Head { due, shared: self.shared.clone() })
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A head that is awaited.
struct Head {
    due: u64,
    shared: Arc<Times>,
}

impl Future for Head {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.due <= self.shared.fired.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        // The connection's timer wakes the whole connection.
        Poll::Pending
    }
}

impl Sleep for Head {}

impl Drop for Head {
    fn drop(&mut self) {
        self.shared.awaits_head.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(40);

    #[tokio::test]
    async fn each_part_has_its_own_time() {
        let timer = RequestTimer::new(LIMIT);
        let parts = async {
            for _ in 0..3 {
                let begin = Instant::now();
                timer.sleep(LIMIT).await;
                let waited = begin.elapsed();
                assert!(waited >= LIMIT && waited < 50 * LIMIT, "{waited:?}");
                // A part that came in time leaves nothing behind that makes the next one late or early.
                drop(timer.sleep(LIMIT));
            }
        };
        timer.clone().run(parts).await;
    }
}
