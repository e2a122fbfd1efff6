//! Event handlers that block the thread they run on: found, and given a way out.

use std::{
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Semaphore,
    task::{block_in_place, yield_now},
};

use crate::program::telemetry;

/// A handler blocks when it holds its thread for so long: meanwhile nothing else runs there, no request either.
const TOO_LONG: Duration = Duration::from_millis(100);

/// How often one handler is named in the log, at most.
const SAY_EVERY: u64 = 10;

/// How much that blocks runs at once in a process. Each takes a thread, of which tokio has 512 at most, for others, too.
static ROOM: Semaphore = Semaphore::const_new(128);

/// Runs what blocks. Generated code calls it.
///
/// In a runtime with one thread there is no other that could go on meanwhile.
pub async fn blocking<T>(work: impl FnOnce() -> T) -> T {
    // The runner tries whether an event is handled at once; this is not.
    yield_now().await;
    let _room = ROOM.acquire().await;
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => work(),
        _ => block_in_place(work),
    }
}

/// Notices when a handler blocks.
#[derive(Debug, Default)]
pub(crate) struct BlockingWatch {
    /// Nothing is said before, in seconds of this process.
    quiet_until: AtomicU64,
    /// How often it did so far.
    times: AtomicU64,
}

impl BlockingWatch {
    /// Polls `future`, which is `handler`'s, and says so when that takes too long.
    pub(crate) fn poll<F: Future + ?Sized>(
        &self,
        handler: &'static str,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        let begun = Instant::now();
        let poll = future.poll(cx);
        let took = begun.elapsed();
        if took >= TOO_LONG {
            self.report(handler, took);
        }
        poll
    }

    #[cold]
    fn report(&self, handler: &'static str, took: Duration) {
        metrics::counter!(telemetry::HANDLER_BLOCKED, "handler" => handler).increment(1);
        let times = self.times.fetch_add(1, Ordering::Relaxed) + 1;
        let now = started().elapsed().as_secs();
        let quiet_until = self.quiet_until.load(Ordering::Relaxed);
        let next = now + SAY_EVERY;
        let order = Ordering::Relaxed;
        if now < quiet_until
            || self.quiet_until.compare_exchange(quiet_until, next, order, order).is_err()
        {
            return;
        }
        tracing::warn!(
            handler,
            milliseconds = took.as_millis(),
            times,
            "an event handler holds its thread, and nothing else runs there: it blocks. Write `blocking` into its attribute"
        );
    }
}

fn started() -> Instant {
    static STARTED: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *STARTED.get_or_init(Instant::now)
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        io::{self, Write},
        pin::pin,
        sync::{Arc, Mutex},
        thread,
    };

    use futures_util::FutureExt;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_handler_that_blocks_is_named_and_counted() {
        let (lines, recorder) = (Lines::default(), PrometheusBuilder::new().build_recorder());
        let metrics = recorder.handle();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let watch = BlockingWatch::default();
        let run = |time: Duration| {
            let mut handler = pin!(async move { thread::sleep(time) });
            let watched = poll_fn(|cx| watch.poll("slow", handler.as_mut(), cx));
            watched.now_or_never().expect("it ends at once");
        };
        metrics::with_local_recorder(&recorder, || {
            tracing::subscriber::with_default(subscriber, || {
                run(Duration::ZERO);
                assert!(lines.0.lock().unwrap().is_empty());
                run(TOO_LONG);
                run(TOO_LONG);
            });
        });
        let counted = r#"catga_handler_blocked_total{handler="slow"} 2"#;
        assert!(metrics.render().contains(counted), "{}", metrics.render());
        let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(lines.lines().count(), 1, "once in ten seconds: {lines}");
        assert!(lines.contains("WARN") && lines.contains(r#"handler="slow""#), "{lines}");
    }
}
