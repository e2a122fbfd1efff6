//! Log lines on their way to stderr. Who logs never waits for it, and never panics for it.
//!
//! A thread of its own writes the lines. While it can't (the disk is full, nobody drains the pipe) lines wait, up to
//! [`ROOM`] bytes, and what comes beyond that is lost. How many were lost is counted, and said as soon as lines are written
//! again. `tracing-appender` does the same but for the counting: a line that stderr refuses is lost without a word there.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write},
    panic,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

/// How many bytes of lines wait at most.
const ROOM: usize = 1 << 20;

/// How often it is said at most that lines were lost.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// How often stderr is tried again when it is non-blocking and has no room.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// How long the end of the process waits for lines to be written.
const AT_END: Duration = Duration::from_secs(1);

/// Counter: log lines that were lost because stderr did not take them.
const LOST: &str = "catga_log_lines_lost_total";

/// How many lines of this process were lost.
static LINES_LOST: AtomicU64 = AtomicU64::new(0);

/// Where log lines are put.
#[derive(Clone)]
pub(crate) struct LogLines(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    /// Notified when there are lines.
    filled: Condvar,
    /// Notified when all lines are written or lost.
    emptied: Condvar,
    lost: &'static AtomicU64,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Box<[u8]>>,
    /// Those in `lines`, and the one that is being written.
    bytes: usize,
}

/// Sets the counter of lost lines; call it before metrics are read.
pub(crate) fn observe() {
    metrics::describe_counter!(LOST, "Log lines lost because stderr did not take them");
    metrics::counter!(LOST).absolute(LINES_LOST.load(Ordering::Relaxed));
}

/// Logs panics as lines: the standard hook writes to stderr, and waits for it.
pub(crate) fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("no text");
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(location, "panicked: {message}");
    }));
}

impl LogLines {
    /// Lines for stderr.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(crate) fn to_stderr() -> io::Result<Self> {
        Self::spawn(io::stderr(), &LINES_LOST)
    }

    fn spawn(to: impl Write + Send + 'static, lost: &'static AtomicU64) -> io::Result<Self> {
        let (waiting, filled, emptied) = Default::default();
        let lines = Self(Arc::new(Shared { waiting, filled, emptied, lost }));
        let writer = Writer { to, shared: lines.0.clone(), is_torn: false };
        thread::Builder::new().name("catga-log".to_owned()).spawn(move || writer.run())?;
        Ok(lines)
    }

    /// Puts a line where it waits to be written, or counts it as lost.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut waiting = self.0.waiting();
        if waiting.bytes + line.len() > ROOM {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        } else {
            waiting.bytes += line.len();
            waiting.lines.push_back(line.into());
            self.0.filled.notify_one();
        }
    }

    /// Waits until what was put here is written, but not for long.
    pub(crate) fn finish(&self) {
        let (waiting, shared) = (self.0.waiting(), &self.0);
        drop(shared.emptied.wait_timeout_while(waiting, AT_END, |waiting| waiting.bytes > 0));
    }
}

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

/// `tracing_subscriber::fmt` writes each line as a whole.
impl Write for &LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writer<W> {
    to: W,
    shared: Arc<Shared>,
    /// Whether the last line was written in part.
    is_torn: bool,
}

impl<W: Write> Writer<W> {
    fn run(mut self) {
        // What was said of lost lines, and when.
        let (mut said, mut said_at) = (0, None::<Instant>);
        let mut works = true;
        loop {
            let lost = self.shared.lost.load(Ordering::Relaxed);
            let pause = said_at.map_or(Duration::ZERO, |at| SAY_EVERY.saturating_sub(at.elapsed()));
            let is_unsaid = works && lost > said;
            if is_unsaid && pause.is_zero() {
                // It comes here as a line itself. If that is lost, too, the total of the next one has it.
                tracing::warn!(lines = lost - said, total = lost, "log lines were lost");
                (said, said_at) = (lost, Some(Instant::now()));
            } else if let Some(line) = self.next(is_unsaid.then_some(pause)) {
                works = self.write(&line).is_ok();
                if !works {
                    self.shared.lost.fetch_add(1, Ordering::Relaxed);
                }
                let mut waiting = self.shared.waiting();
                waiting.bytes -= line.len();
                if waiting.bytes == 0 {
                    self.shared.emptied.notify_all();
                }
            }
        }
    }

    /// The next line as soon as there is one; `None` when `limit` is over before.
    fn next(&self, limit: Option<Duration>) -> Option<Box<[u8]>> {
        let (shared, waiting) = (&self.shared, self.shared.waiting());
        let is_empty = |waiting: &mut Waiting| waiting.lines.is_empty();
        let waited = match limit {
            None => shared.filled.wait_while(waiting, is_empty).map_err(PoisonError::into_inner),
            Some(limit) => shared
                .filled
                .wait_timeout_while(waiting, limit, is_empty)
                .map(|(waiting, _)| waiting)
                .map_err(|error| error.into_inner().0),
        };
        waited.unwrap_or_else(|waiting| waiting).lines.pop_front()
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.write_bytes(b"\n")?;
        }
        self.write_bytes(line)
    }

    fn write_bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.to.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.is_torn = bytes[written - 1] != b'\n';
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Somebody who shares it made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(TRY_AGAIN),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// How the next writes end: with that many bytes, or refused.
    struct Scripted {
        script: Receiver<Option<usize>>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let Ok(Some(most)) = self.script.recv() else {
                return Err(ErrorKind::StorageFull.into());
            };
            let most = most.min(bytes.len());
            self.written.send(bytes[..most].to_owned()).unwrap();
            Ok(most)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const ALL: Option<usize> = Some(usize::MAX);
    const LIMIT: Duration = Duration::from_secs(10);

    fn scripted() -> (LogLines, Sender<Option<usize>>, Receiver<Vec<u8>>, &'static AtomicU64) {
        let (script, writes) = channel();
        let (written, lines) = channel();
        let lost: &'static AtomicU64 = Box::leak(Box::default());
        let to = Scripted { script: writes, written };
        (LogLines::spawn(to, lost).unwrap(), script, lines, lost)
    }

    #[test]
    fn who_logs_does_not_wait_and_what_has_no_room_is_counted() {
        let (lines, _script, _, lost) = scripted();
        let line = [b'x'; 1 << 10];
        // Nothing is written: the script says nothing yet.
        (0..ROOM / line.len() + 7).for_each(|_| lines.push(&line));
        assert_eq!(lost.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn lines_that_are_refused_are_counted_and_a_torn_one_is_ended() {
        let (lines, script, written, lost) = scripted();
        for step in [Some(4), None, None, ALL, ALL] {
            script.send(step).unwrap();
        }
        for line in ["torn line\n", "refused\n", "whole\n"] {
            lines.push(line.as_bytes());
        }
        let all: Vec<_> = (0..3).map(|_| written.recv_timeout(LIMIT).unwrap()).collect();
        assert_eq!(all.concat(), b"torn\nwhole\n");
        lines.finish();
        assert_eq!((lost.load(Ordering::Relaxed), lines.0.waiting().bytes), (2, 0));
    }

    #[test]
    fn what_was_lost_is_said_when_lines_are_written_again() {
        let (lines, script, written, _) = scripted();
        for step in [None, None, ALL, ALL, ALL] {
            script.send(step).unwrap();
        }
        let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).without_time();
        tracing::subscriber::set_global_default(subscriber.with_ansi(false).finish()).unwrap();
        for line in ["a\n", "b\n", "c\n"] {
            lines.push(line.as_bytes());
        }
        assert_eq!(written.recv_timeout(LIMIT).unwrap(), b"c\n");
        let said = String::from_utf8(written.recv_timeout(LIMIT).unwrap()).unwrap();
        assert!(said.contains("log lines were lost lines=2 total=2"), "{said}");
    }
}
