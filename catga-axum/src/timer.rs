//! The timer of a connection: for its next request to begin, for the head of that, and then for the body; and for its
//! answers to be read.
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

use futures_util::task::AtomicWaker;
use hyper::rt::{Sleep, Timer};

use crate::{
    refusals::{CROWDED, MEMORY, Refusals, UNREAD},
    room::Room,
};

/// How long a request's head may take to arrive, from the connection's begin or, for a later one, from when it is noticed
/// that it has begun, which is at most as long again.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// How long an answer waits for a client that reads nothing of it.
const STALL_TIME: Duration = Duration::from_secs(30);

/// How many bytes a client must read in a second, on the average, to be waited for.
const STALL_PACE: usize = 4 << 10;

/// What a connection waits with for a part of a request. Times are nanoseconds since the connection's begin.
#[derive(Debug, Clone)]
pub(crate) struct RequestTimer {
    begin: Instant,
    head_time: Duration,
    stall_time: Duration,
    /// How long a connection may be idle between two requests.
    keep_alive: Duration,
    shared: Arc<Times>,
}

#[derive(Debug, Default)]
struct Times {
    /// Where what is kept for the client is counted.
    room: Arc<Room>,
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
    /// When the client must have read more of an answer; 0 while it reads as fast as is written.
    stalled_until: AtomicU64,
    /// Since when the client's request is awaited; 0 while it is worked on.
    waits_since: AtomicU64,
    /// Whether the client is cut off.
    is_cut_off: AtomicBool,
    /// What there is to be room for, if nothing is worked on: one of the constants below.
    make_room: AtomicU8,
    task: AtomicWaker,
}

/// The client is in nobody's way.
const STAY: u8 = 0;
/// Others have no connection.
const FOR_CONNECTIONS: u8 = 1;
/// There is no room for what is kept for others.
const FOR_MEMORY: u8 = 2;

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
    pub(crate) fn new(keep_alive: Duration, room: Arc<Room>) -> Self {
        let (head_time, stall_time) = (HEAD_TIME, STALL_TIME);
        let shared = Arc::new(Times { room, ..Times::default() });
        Self { begin: Instant::now(), head_time, stall_time, keep_alive, shared }
    }

    /// Where what is kept for the client is counted.
    pub(crate) fn room(&self) -> &Room {
        &self.shared.room
    }

    /// How often is looked at least.
    fn limit(&self) -> Duration {
        self.head_time.min(self.stall_time).min(self.keep_alive)
    }

    /// Runs `connection`, which hyper made with this timer, and wakes it when a part is overdue.
    ///
    /// # Errors
    /// When the client is cut off: it did not read its answer, or was waited for while others had no room.
    ///
    /// Both are in boxes: a task that is made of them would have room for the connection four times.
    pub(crate) fn run<T>(
        self,
        connection: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, &'static Refusals>> {
        let mut connection = Box::pin(connection);
        let mut timer = Box::pin(tokio::time::sleep(self.limit()));
        poll_fn(move |cx| {
            self.shared.task.register(cx.waker());
            let room_for = self.shared.make_room.swap(STAY, Ordering::Relaxed);
            if room_for != STAY && self.waited().is_some() {
                let is_stalled = self.shared.stalled_until.load(Ordering::Relaxed) != 0;
                self.shared.is_cut_off.store(is_stalled, Ordering::Relaxed);
                let reason = if room_for == FOR_MEMORY { &MEMORY } else { &CROWDED };
                return Poll::Ready(Err(reason));
            }
            while timer.as_mut().poll(cx).is_ready() {
                timer.as_mut().reset((self.begin + self.fire()).into());
                if self.is_stalled() {
                    self.shared.is_cut_off.store(true, Ordering::Relaxed);
                    return Poll::Ready(Err(&UNREAD));
                }
            }
            connection.as_mut().poll(cx).map(Ok)
        })
    }

    /// For how long the client is waited for; `None` when it waits itself.
    pub(crate) fn waited(&self) -> Option<Duration> {
        let begin = self.shared.waits_since.load(Ordering::Relaxed);
        let stalled = self.shared.stalled_until.load(Ordering::Relaxed);
        let stalled = (stalled != 0).then(|| stalled.saturating_sub(nanos(self.stall_time)));
        let since = stalled.into_iter().chain((begin != 0).then_some(begin)).min()?;
        Some(self.now().saturating_sub(Duration::from_nanos(since)))
    }

    /// Ends the connection, so that there is one for others, unless a request of its is worked on.
    pub(crate) fn make_room(&self) {
        self.shared.make_room.store(FOR_CONNECTIONS, Ordering::Relaxed);
        self.shared.task.wake();
    }

    /// Ends the connection, so that there is room for what is kept for others, unless a request of its is worked on.
    pub(crate) fn leave_for_memory(&self) {
        self.shared.make_room.store(FOR_MEMORY, Ordering::Relaxed);
        self.shared.task.wake();
    }

    /// A part of a request is awaited.
    pub(crate) fn begin_wait(&self) -> Duration {
        let now = self.now();
        self.shared.waits_since.store(nanos(now).max(1), Ordering::Relaxed);
        now
    }

    /// It is there.
    pub(crate) fn end_wait(&self) {
        self.shared.waits_since.store(0, Ordering::Relaxed);
    }

    /// Not all of an answer could be written.
    pub(crate) fn has_stalled(&self) {
        let until = &self.shared.stalled_until;
        if until.load(Ordering::Relaxed) == 0 {
            until.store(nanos(self.now() + self.stall_time), Ordering::Relaxed);
        }
    }

    /// So many bytes of an answer were written. They give the client more time.
    pub(crate) fn has_written(&self, bytes: usize) {
        let until = &self.shared.stalled_until;
        match until.load(Ordering::Relaxed) {
            0 => {}
            before => {
                let more = bytes as u64 * 1_000_000_000 / STALL_PACE as u64;
                let most = nanos(self.now() + self.stall_time);
                until.store(before.saturating_add(more).min(most), Ordering::Relaxed);
            }
        }
    }

    /// All that was to be written was.
    pub(crate) fn has_flushed(&self) {
        if self.shared.stalled_until.load(Ordering::Relaxed) != 0 {
            self.shared.stalled_until.store(0, Ordering::Relaxed);
        }
    }

    /// Whether the connection ends because the client does not read.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.shared.is_cut_off.load(Ordering::Relaxed)
    }

    fn is_stalled(&self) -> bool {
        let until = self.shared.stalled_until.load(Ordering::Relaxed);
        until != 0 && until <= self.shared.fired.load(Ordering::Relaxed)
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
        let due = [&times.due, &times.stalled_until].map(|due| due.load(Ordering::Relaxed));
        let due = due.map(Duration::from_nanos).into_iter().filter(|due| *due > now);
        due.fold(now + self.limit(), Duration::min)
    }
}

impl Timer for RequestTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    /// hyper asks for it when it waits for a head, and drops it when that is there.
    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let times = &*self.shared;
        let end = deadline - self.begin;
        let (head, due) = match times.is_kept_alive.swap(true, Ordering::Relaxed) {
            false => (FIRST, self.head_time),
            true => (IDLE, end),
        };
        times.due.store(nanos(due), Ordering::Relaxed);
        let since = nanos(end.saturating_sub(self.keep_alive)).max(1);
        times.waits_since.store(since, Ordering::Relaxed);
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
        self.0.waits_since.store(0, Ordering::Relaxed);
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
        timer.clone().run(head).await.expect("it is not cut off");
        start.elapsed()
    }

    #[tokio::test]
    async fn a_head_and_the_time_before_it_have_their_own_limits() {
        let timer = RequestTimer { head_time: SHORT, ..RequestTimer::new(LONG, Arc::default()) };
        for _ in 0..3 {
            // A head that came in time leaves nothing behind that makes the next one late or early.
            let begun =
                RequestTimer { head_time: SHORT, ..RequestTimer::new(LONG, Arc::default()) };
            drop(begun.sleep(LONG));
            let idle = head(&begun, || {}).await;
            assert!(idle >= LONG && idle < 50 * LONG, "{idle:?}");
            let sending = head(&begun, || begun.has_read()).await;
            assert!(sending >= SHORT && sending < LONG, "{sending:?}");
        }
        let first = head(&timer, || {}).await;
        assert!(first >= SHORT && first < LONG, "{first:?}");
    }

    #[tokio::test]
    async fn a_client_that_reads_too_slowly_is_cut_off() {
        let timer = RequestTimer { stall_time: SHORT, ..RequestTimer::new(LONG, Arc::default()) };
        timer.has_stalled();
        timer.has_flushed();
        let answer = tokio::time::sleep(5 * SHORT);
        timer.clone().run(answer).await.expect("it has read all");
        timer.has_stalled();
        let until = timer.shared.stalled_until.load(Ordering::Relaxed);
        // A byte now and then is no reading.
        (0..10).for_each(|_| timer.has_written(1));
        assert!(timer.shared.stalled_until.load(Ordering::Relaxed) - until < 10_000_000);
        let end = timer.clone().run(std::future::pending::<()>());
        let end = tokio::time::timeout(50 * LONG, end).await.expect("it ends");
        assert!(end.is_err() && timer.is_cut_off());
    }
}
