//! What the checker says of a history.

use std::fmt;

use catga::log::{Position, Version};

/// A promise that the log breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// I1: an acknowledged commit is not in the log.
    Lost {
        /// Which.
        id: String,
    },
    /// I1: an acknowledged commit is in the log at another place than the answer said.
    Moved {
        /// Which.
        id: String,
    },
    /// I1: a commit is not in the log as it was sent: its stream, events or bytes differ.
    Altered {
        /// Which.
        id: String,
    },
    /// I2: a commit that nobody sent.
    Phantom {
        /// Which.
        id: String,
    },
    /// I2: a commit that was refused, and is there.
    RefusedButStored {
        /// Which.
        id: String,
    },
    /// I3: a stream's versions have a gap or overlap.
    Gap {
        /// Which stream.
        stream: String,
        /// The version that should have come next.
        expected: Version,
        /// The version that came.
        found: Version,
    },
    /// I4: two acknowledged appends expected the same version.
    TwoWinners {
        /// Which stream.
        stream: String,
        /// The version they both expected.
        expected: Version,
    },
    /// I4: a commit is at another version than the one right after the expected one.
    Unexpected {
        /// Which.
        id: String,
    },
    /// I5: a read saw something else than a beginning of the stream.
    NotAPrefix {
        /// Which stream.
        stream: String,
        /// How many commits the read saw.
        commits: usize,
    },
    /// I5: a read saw, as the stream's last, a commit that was never acknowledged and is not there.
    DirtyRead {
        /// Which commit.
        id: String,
    },
    /// I5: a read missed what was acknowledged or read before it began.
    StaleRead {
        /// Which stream.
        stream: String,
        /// How many commits the read saw.
        commits: usize,
        /// How many it had to see.
        at_least: usize,
    },
    /// I6: a count of the streams missed some that were acknowledged or counted before it began, or
    /// has some that were not yet sent when it had ended.
    WrongCount {
        /// How many it said there were.
        streams: usize,
        /// How many there had to be.
        at_least: usize,
        /// How many there could be.
        at_most: usize,
    },
    /// I5: a read saw a commit that was not yet sent when the read had ended.
    EarlyRead {
        /// Which commit.
        id: String,
    },
    /// I7: a reader of the log was given something else than a beginning of it: it missed a commit,
    /// or saw one that is not there.
    NotTheLog {
        /// How many commits it was given that are right.
        right: usize,
        /// The position of the next one that it was given.
        given: Position,
    },
    /// I7: a position does not lie above all before it in the log.
    Disorder {
        /// Which.
        id: String,
        /// Its position.
        position: Position,
    },
    /// I8: a commit was acknowledged before another was sent, and comes after it in the log.
    Overtaken {
        /// The one that was acknowledged first.
        earlier: String,
        /// The one that was sent later and lies before it.
        later: String,
    },
    /// I12: a commit is in the log more than once.
    Twice {
        /// Which.
        id: String,
    },
}

/// What came of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many appends were acknowledged.
    pub acked: usize,
    /// How many were refused.
    pub refused: usize,
    /// How many were given up without an answer.
    pub in_doubt: usize,
    /// How many commits are in the log.
    pub stored: usize,
    /// How many reads there were.
    pub looks: usize,
    /// What is wrong.
    pub violations: Vec<Violation>,
}

impl Verdict {
    /// How many acknowledged commits are gone.
    pub fn lost(&self) -> usize {
        self.violations.iter().filter(|v| matches!(v, Violation::Lost { .. })).count()
    }

    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Leaves out the reads of commits that nobody was promised: what remains is what was
    /// promised and does not hold.
    pub fn forgive_dirty_reads(mut self) -> Self {
        self.violations.retain(|v| !matches!(v, Violation::DirtyRead { .. }));
        self
    }

    /// Asserts that nothing is wrong, in a run that says something: one with at least
    /// `least_acked` acknowledged appends.
    ///
    /// # Panics
    /// With the first violations, or when the run is void.
    #[track_caller]
    pub fn expect_clean(&self, least_acked: usize) {
        assert!(self.is_clean(), "{self}");
        assert!(self.acked >= least_acked, "void, fewer than {least_acked} acknowledged: {self}");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acked, refused, in_doubt, stored, looks, violations } = self;
        write!(
            f,
            "{acked} acknowledged, {refused} refused, {in_doubt} in doubt, {stored} stored, {looks} reads, \
             {} lost, {} violations",
            self.lost(),
            violations.len()
        )?;
        for violation in violations.iter().take(10) {
            write!(f, "\n  {violation:?}")?;
        }
        Ok(())
    }
}
