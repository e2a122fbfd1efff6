//! Whoever blocks the thread it runs on is found and named.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::program::{registration::Kind, telemetry};

/// Who holds a thread for so long blocks: meanwhile nothing else runs there, no request either.
const TOO_LONG: Duration = Duration::from_millis(100);

/// How often one of them is named in the log, at most, in seconds.
const SAY_EVERY: u64 = 10;

/// Notices when a handler or a projection blocks. It reads no clock: those who ask it have done so anyway.
#[derive(Debug, Default)]
pub(crate) struct BlockingWatch {
    /// Nothing is said before, in seconds of this process.
    quiet_until: AtomicU64,
    /// How often it did so far.
    times: AtomicU64,
}

impl BlockingWatch {
    /// Takes in for how long `name` held its thread.
    #[inline]
    pub(crate) fn held(&self, kind: Kind, name: &'static str, time: Duration) {
        if is_too_long(time) {
            self.report(kind, name, time);
        }
    }

    #[cold]
    fn report(&self, kind: Kind, name: &'static str, time: Duration) {
        let blocked = telemetry::HANDLER_BLOCKED;
        metrics::counter!(blocked, "handler" => name, "kind" => kind.label()).increment(1);
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
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let way_out = match kind {
            Kind::EventHandler => "write `blocking` into its attribute",
            Kind::Projection => "a projection changes itself and waits for nothing",
            _ => {
                "what blocks belongs into `tokio::task::spawn_blocking`, which an `async fn` awaits"
            }
        };
        tracing::warn!(
            handler = name,
            %kind,
            milliseconds,
            times,
            "it holds its thread, and nothing else runs there: {way_out}"
        );
    }
}

/// Whether who holds its thread for so long blocks.
#[inline]
pub(crate) fn is_too_long(time: Duration) -> bool {
    time >= TOO_LONG
}

fn started() -> Instant {
    static STARTED: OnceLock<Instant> = OnceLock::new();
    *STARTED.get_or_init(Instant::now)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

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
    fn who_blocks_is_named_and_counted() {
        let (lines, recorder) = (Lines::default(), PrometheusBuilder::new().build_recorder());
        let metrics = recorder.handle();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let watch = BlockingWatch::default();
        let held = |time| watch.held(Kind::QueryHandler, "slow", time);
        metrics::with_local_recorder(&recorder, || {
            tracing::subscriber::with_default(subscriber, || {
                held(TOO_LONG - Duration::from_nanos(1));
                assert!(lines.0.lock().unwrap().is_empty());
                held(TOO_LONG);
                held(TOO_LONG);
            });
        });
        let counted = r#"catga_handler_blocked_total{handler="slow",kind="query"} 2"#;
        assert!(metrics.render().contains(counted), "{}", metrics.render());
        let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(lines.lines().count(), 1, "once in ten seconds: {lines}");
        assert!(
            lines.contains("WARN") && lines.contains(r#"handler="slow" kind=query"#),
            "{lines}"
        );
    }
}
