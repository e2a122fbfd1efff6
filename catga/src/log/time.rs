//! Time as the log stores it, and where it comes from.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// A moment in UTC, in whole microseconds since 1970-01-01T00:00:00Z.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `micros` microseconds after 1970-01-01T00:00:00Z.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn as_micros(self) -> i64 {
        self.0
    }
}

/// Where a program gets the time from. Passed in, so that a test can hold it still.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    /// Microseconds; moved by [`Clock::advance`].
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The clock of the machine.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `start` until [`advance`](Self::advance) moves it, and with it every clone.
    ///
    /// ```
    /// use std::time::Duration;
    /// use catga::prelude::*;
    ///
    /// let clock = Clock::manual(Timestamp::from_micros(1_700_000_000_000_000));
    /// let builder = Catga::builder().clock(clock.clone());
    /// clock.advance(Duration::from_secs(60));
    /// assert_eq!(clock.now(), Timestamp::from_micros(1_700_000_060_000_000));
    /// # drop(builder);
    /// ```
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(start.0))))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
            }
            Source::Manual(micros) => Timestamp(micros.load(Ordering::Relaxed)),
        }
    }

    /// Moves a manual clock on by `step`. The system's clock moves by itself.
    pub fn advance(&self, step: Duration) {
        if let Source::Manual(micros) = &self.0 {
            micros
                .fetch_add(i64::try_from(step.as_micros()).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::System => f.write_str("Clock(system)"),
            Source::Manual(_) => write!(f, "Clock(manual, at {} µs)", self.now().0),
        }
    }
}
