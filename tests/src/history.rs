//! What clients saw while faults happened, and whether the log that is left agrees with it.
//!
//! A test records every call through a [`Recorder`], reads the final log, and lets
//! [`History::check`] compare them. The checker knows nothing of stores or HTTP: a commit is an
//! id, a stream, a number of events and a digest. What I1, I2 and so on mean is
//! said at [`History::check`].

mod check;
mod verdict;

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use catga::log::{Position, Version};

pub use self::verdict::{Verdict, Violation};

/// A moment: an order of the calls' begins and ends, finer than any clock.
pub type Tick = u64;

/// A commit as its sender knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The stream it was sent to.
    pub stream: String,
    /// Its identity, unique over the history.
    pub id: String,
    /// How many events it has.
    pub events: u64,
    /// The [`digest`] of its bytes.
    pub digest: u64,
}

/// How an append ended, for its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was acknowledged, at this place.
    Ok {
        /// The version of its first event.
        first_version: Version,
        /// The position of its first event.
        position: Position,
    },
    /// It was refused: it must not be in the log, ever.
    Failed,
    /// Its sender gave up without an answer: it may be in the log or not.
    Unknown,
}

/// One append, with all the retries that its sender made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Who.
    pub client: usize,
    /// When it was first sent.
    pub called: Tick,
    /// When its sender knew, or gave up.
    pub returned: Tick,
    /// What.
    pub sent: Sent,
    /// The version that the stream had to have, if its sender said one.
    pub expected: Option<Version>,
    /// How it ended.
    pub outcome: Outcome,
}

/// One read of a stream from its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Who.
    pub client: usize,
    /// When.
    pub called: Tick,
    /// When the answer was there.
    pub returned: Tick,
    /// What was read.
    pub stream: String,
    /// How many commits there were.
    pub commits: usize,
    /// Their ids, [chained](chain); `None` when the answer showed only how many there were.
    pub chain: Option<u64>,
}

/// One read of how many streams there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// When.
    pub called: Tick,
    /// When the answer was there.
    pub returned: Tick,
    /// How many streams there were.
    pub streams: usize,
}

/// What one reader of the log was given, from the log's beginning, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    /// The position and the id of each commit.
    pub commits: Vec<(Position, String)>,
}

/// A commit in the final log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// What it is.
    pub sent: Sent,
    /// The version of its first event.
    pub first_version: Version,
    /// The position of its first event.
    pub position: Position,
}

/// All calls of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The appends.
    pub attempts: Vec<Attempt>,
    /// The reads.
    pub looks: Vec<Look>,
    /// The readers of the whole log.
    pub tails: Vec<Tail>,
    /// The reads of the number of streams.
    pub counts: Vec<Count>,
}

impl History {
    /// The same history for a log that took the place of another at `replaced`, which all nodes had noticed at `noticed`:
    /// what was sent before may be in it or not, and what was read before says nothing of it.
    #[must_use]
    pub fn of_new_log(mut self, replaced: Tick, noticed: Tick) -> Self {
        let before = self.attempts.iter_mut().filter(|attempt| attempt.called < replaced);
        for attempt in before.filter(|attempt| attempt.outcome != Outcome::Failed) {
            attempt.outcome = Outcome::Unknown;
        }
        self.looks.retain(|look| look.called >= noticed);
        self.counts.retain(|count| count.called >= noticed);
        self
    }
}

/// Takes down calls from many tasks at once.
#[derive(Debug, Default)]
pub struct Recorder {
    clock: AtomicU64,
    history: Mutex<History>,
}

impl Recorder {
    /// An empty history.
    pub fn new() -> Self {
        Self::default()
    }

    /// This moment. A call that returned before another began has the lower tick.
    pub fn now(&self) -> Tick {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Takes down an append that was called at `called` and has ended now.
    pub fn attempt(
        &self,
        client: usize,
        called: Tick,
        sent: Sent,
        expected: Option<Version>,
        outcome: Outcome,
    ) {
        let returned = self.now();
        let attempt = Attempt { client, called, returned, sent, expected, outcome };
        self.history.lock().unwrap_or_else(PoisonError::into_inner).attempts.push(attempt);
    }

    /// Takes down a read of `stream` that was called at `called`, has ended now and saw commits with
    /// these ids.
    pub fn look<'a>(
        &self,
        client: usize,
        called: Tick,
        stream: &str,
        ids: impl IntoIterator<Item = &'a str>,
    ) {
        let (mut commits, mut chained) = (0, 0);
        for id in ids {
            commits += 1;
            chained = chain(chained, id);
        }
        self.push_look(client, called, stream, commits, Some(chained));
    }

    /// Takes down a read of `stream` that was called at `called`, has ended now and showed no more
    /// than how many commits there were.
    pub fn glance(&self, client: usize, called: Tick, stream: &str, commits: usize) {
        self.push_look(client, called, stream, commits, None);
    }

    fn push_look(
        &self,
        client: usize,
        called: Tick,
        stream: &str,
        commits: usize,
        chain: Option<u64>,
    ) {
        let (returned, stream) = (self.now(), stream.to_owned());
        let look = Look { client, called, returned, stream, commits, chain };
        self.history.lock().unwrap_or_else(PoisonError::into_inner).looks.push(look);
    }

    /// Takes down a read of the number of streams that was called at `called` and has ended now.
    pub fn count(&self, called: Tick, streams: usize) {
        let count = Count { called, returned: self.now(), streams };
        self.history.lock().unwrap_or_else(PoisonError::into_inner).counts.push(count);
    }

    /// Takes down all that a reader of the log was given.
    pub fn tail(&self, tail: Tail) {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).tails.push(tail);
    }

    /// How many appends were acknowledged so far.
    pub fn acked(&self) -> usize {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.attempts.iter().filter(|a| matches!(a.outcome, Outcome::Ok { .. })).count()
    }

    /// All that was taken down so far.
    pub fn history(&self) -> History {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The digest of the ids so far, and one more: equal only for the same ids in the same order.
pub fn chain(so_far: u64, id: &str) -> u64 {
    let bytes = [&so_far.to_le_bytes(), id.as_bytes()].concat();
    digest(&bytes)
}

/// A digest (FNV-1a) that tells stored bytes from others by accident, not by attack.
pub fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
