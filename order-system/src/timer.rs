//! The timer of a connection's next request.
//!
//! A timer of the runtime that is made for each request and dropped when the request's head is there takes the lock
//! of all timers twice a request. Here a connection has one, which looks again later when the request has come.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};

/// What hyper waits with for a request's head. Times are nanoseconds since the connection's begin.
#[derive(Debug, Clone)]
pub(crate) struct HeadTimer {
    begin: Instant,
    /// How long a head may take.
    limit: Duration,
    shared: Arc<Times>,
}

#[derive(Debug, Default)]
struct Times {
    /// When the head that came last, or is awaited, has to be there.
    due: AtomicU64,
    /// The time when the connection's timer fired last.
    fired: AtomicU64,
}

impl HeadTimer {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { begin: Instant::now(), limit, shared: Arc::default() }
    }

    /// Runs `connection`, which hyper made with this timer, and wakes it when a head is overdue.
    pub(crate) async fn run<T>(self, connection: impl Future<Output = T>) -> T {
        let mut connection = pin!(connection);
        let mut timer = pin!(tokio::time::sleep(self.limit));
        poll_fn(|cx| {
            while timer.as_mut().poll(cx).is_ready() {
                timer.as_mut().reset((self.begin + self.fire()).into());
            }
            connection.as_mut().poll(cx)
        })
        .await
    }

    /// Notes the time, and answers when to look again. No head is due earlier: what is set from now on is `limit` away.
    fn fire(&self) -> Duration {
        let now = self.begin.elapsed();
        let due = Duration::from_nanos(self.shared.due.load(Ordering::Relaxed));
        self.shared.fired.store(nanos(now), Ordering::Relaxed);
        if due > now { due } else { now + self.limit }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let due = nanos(deadline - self.begin);
        self.shared.due.store(due, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(40);

    #[tokio::test]
    async fn each_head_has_its_own_time() {
        let timer = HeadTimer::new(LIMIT);
        let heads = async {
            for _ in 0..3 {
                let begin = Instant::now();
                timer.sleep(LIMIT).await;
                let waited = begin.elapsed();
                assert!(waited >= LIMIT && waited < 50 * LIMIT, "{waited:?}");
                // A head that came in time leaves nothing behind that makes the next one late or early.
                drop(timer.sleep(LIMIT));
            }
        };
        timer.clone().run(heads).await;
    }
}
