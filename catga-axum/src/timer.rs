//! The timer of a connection: for its next request to begin, for the head of that, and then for the body.
//!
//! A timer of the runtime that is made for a request and dropped when the request is there takes the lock of all timers
//! twice. Here a connection has one, which looks again later when the request has come.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};

/// How long a request's head may take to arrive, from the connection's begin or, for a later one, from when it is noticed
/// that it has begun, which is at most as long again.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// What a connection waits with for a part of a request. Times are nanoseconds since the connection's begin.
#[derive(Debug, Clone)]
pub(crate) struct RequestTimer {
    begin: Instant,
    head_time: Duration,
    /// How long a connection may be idle between two requests.
    keep_alive: Duration,
    shared: Arc<Times>,
}

#[derive(Debug, Default)]
struct Times {
    /// When the part that came last, or is awaited, has to be there.
    due: AtomicU64,
    /// The time when the connection's timer fired last.
    fired: AtomicU64,
    /// Which head is awaited: one of the constants below.
    head: AtomicU8,
    /// Whether there was a head before.
    is_kept_alive: AtomicBool,
    /// Whether a body was left before its end.
    is_body_left: AtomicBool,
}

/// No head is awaited.
const NONE: u8 = 0;
/// The connection's first head is awaited, and has its time from the begin.
const FIRST: u8 = 1;
/// A later head is awaited, and has not begun.
const IDLE: u8 = 2;
/// It has begun.
const BEGUN: u8 = 3;
/// It has begun, and has its time.
const TIMED: u8 = 4;

impl RequestTimer {
    pub(crate) fn new(keep_alive: Duration) -> Self {
        Self { begin: Instant::now(), head_time: HEAD_TIME, keep_alive, shared: Arc::default() }
    }

    /// How often is looked at least.
    fn limit(&self) -> Duration {
        self.head_time.min(self.keep_alive)
    }

    /// Runs `connection`, which hyper made with this timer, and wakes it when a part is overdue.
    ///
    /// Both are in boxes: a task that is made of them would have room for the connection four times.
    pub(crate) fn run<T>(self, connection: impl Future<Output = T>) -> impl Future<Output = T> {
        let mut connection = Box::pin(connection);
        let mut timer = Box::pin(tokio::time::sleep(self.limit()));
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
        match self.shared.head.load(Ordering::Relaxed) {
            FIRST => self.shared.head.store(TIMED, Ordering::Relaxed),
            IDLE => self.shared.head.store(BEGUN, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Nobody reads the rest of a body.
    pub(crate) fn leave_unread(&self) {
        self.shared.is_body_left.store(true, Ordering::Relaxed);
    }

    /// Whether the client may be sending a part of a request that nobody reads.
    pub(crate) fn is_request_unread(&self) -> bool {
        let Times { head, is_body_left, .. } = &*self.shared;
        is_body_left.load(Ordering::Relaxed)
            || matches!(head.load(Ordering::Relaxed), BEGUN | TIMED)
    }

    /// Notes the time, and answers when to look again: nothing that is awaited from now on is due before.
    fn fire(&self) -> Duration {
        let (now, times) = (self.now(), &*self.shared);
        if times.head.load(Ordering::Relaxed) == BEGUN {
            times.head.store(TIMED, Ordering::Relaxed);
            times.due.store(nanos(now + self.head_time), Ordering::Relaxed);
        }
        times.fired.store(nanos(now), Ordering::Relaxed);
        let due = Duration::from_nanos(times.due.load(Ordering::Relaxed));
        let next = now + self.limit();
        if due > now { due.min(next) } else { next }
    }
}

impl Timer for RequestTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    /// hyper asks for it when it waits for a head, and drops it when that is there.
    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let times = &*self.shared;
        let (head, due) = match times.is_kept_alive.swap(true, Ordering::Relaxed) {
            false => (FIRST, self.head_time),
            true => (IDLE, deadline - self.begin),
        };
        times.due.store(nanos(due), Ordering::Relaxed);
        times.head.store(head, Ordering::Relaxed);
        times.is_body_left.store(false, Ordering::Relaxed);
        Box::pin(Head(self.shared.clone()))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A head that is awaited.
struct Head(Arc<Times>);

impl Future for Head {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.0.due.load(Ordering::Relaxed) <= self.0.fired.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        // The connection's timer wakes the whole connection.
        Poll::Pending
    }
}

impl Sleep for Head {}

impl Drop for Head {
    fn drop(&mut self) {
        self.0.head.store(NONE, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(40);
    const LONG: Duration = Duration::from_millis(400);

    /// How long the connection's next head may take, once `begin` was done.
    async fn head(timer: &RequestTimer, begin: impl FnOnce()) -> Duration {
        let start = Instant::now();
        let head = timer.sleep(timer.keep_alive);
        begin();
        timer.clone().run(head).await;
        start.elapsed()
    }

    #[tokio::test]
    async fn a_head_and_the_time_before_it_have_their_own_limits() {
        let timer = RequestTimer { head_time: SHORT, ..RequestTimer::new(LONG) };
        for _ in 0..3 {
            // A head that came in time leaves nothing behind that makes the next one late or early.
            let begun = RequestTimer { head_time: SHORT, ..RequestTimer::new(LONG) };
            drop(begun.sleep(LONG));
            let idle = head(&begun, || {}).await;
            assert!(idle >= LONG && idle < 50 * LONG, "{idle:?}");
            let sending = head(&begun, || begun.has_read()).await;
            assert!(sending >= SHORT && sending < LONG, "{sending:?}");
        }
        let first = head(&timer, || {}).await;
        assert!(first >= SHORT && first < LONG, "{first:?}");
    }
}
