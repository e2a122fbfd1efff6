//! Time as the log stores it, and where it comes from.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::log::rfc3339::{self, InvalidTimestamp};

/// A moment in UTC, in whole microseconds since 1970-01-01T00:00:00Z.
///
/// It is stored as that number. In JSON, and as text, it is RFC 3339: `2026-01-31T12:00:00.25Z`.
///
/// ```
/// use catga::Timestamp;
///
/// let noon: Timestamp = "2026-01-31T12:00:00.25Z".parse()?;
/// assert_eq!(noon.to_string(), "2026-01-31T12:00:00.25Z");
/// assert!(noon > Timestamp::from_micros(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => rfc3339::with_text(self.0, |text| serializer.serialize_str(text)),
            false => serializer.serialize_i64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return i64::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        rfc3339::with_text(self.0, |text| f.pad(text))
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        rfc3339::parse(text).map(Self)
    }
}

#[cfg(feature = "schemars")]
impl schemars::JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

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
///
/// ```
/// use std::time::Duration;
/// use catga::{Clock, Timestamp};
///
/// let clock = Clock::manual(Timestamp::from_micros(0));
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(clock.now(), Timestamp::from_micros(1_000_000));
/// ```
///
/// A command handler's clock stands still while the handler runs: see [`now`](Self::now).
#[derive(Clone)]
pub struct Clock {
    source: Source,
    /// That of a command handler has one time for its run.
    run: Option<Run>,
}

/// The one time of a run, in microseconds; [`UNKNOWN`] at first.
struct Run {
    /// What the clock said when it was first asked.
    first: AtomicI64,
    /// When the last event of the stream was recorded.
    floor: AtomicI64,
}

const UNKNOWN: i64 = i64::MIN;

impl Clone for Run {
    fn clone(&self) -> Self {
        let copy = |time: &AtomicI64| AtomicI64::new(time.load(Ordering::Relaxed));
        Self { first: copy(&self.first), floor: copy(&self.floor) }
    }
}

#[derive(Clone)]
enum Source {
    System,
    /// Microseconds; moved by [`Clock::advance`].
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The clock of the machine.
    pub const fn system() -> Self {
        Self { source: Source::System, run: None }
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
        Self { source: Source::Manual(Arc::new(AtomicI64::new(start.0))), run: None }
    }

    /// The time now.
    ///
    /// In a handler of commands it is the same for the whole run, and what the commit is stamped with. It is never before
    /// the last event of the stream, whose node may have had a clock that is ahead of this one.
    pub fn now(&self) -> Timestamp {
        let Some(run) = &self.run else { return self.source.now() };
        let floor = run.floor.load(Ordering::Relaxed);
        let mut first = run.first.load(Ordering::Relaxed);
        if first == UNKNOWN {
            let now = self.source.now().0;
            let set =
                run.first.compare_exchange(UNKNOWN, now, Ordering::Relaxed, Ordering::Relaxed);
            first = set.err().unwrap_or(now);
        }
        Timestamp(first.max(floor))
    }

    /// This clock for one run of a command handler.
    pub(crate) fn for_run(&self) -> Self {
        let run = Run { first: AtomicI64::new(UNKNOWN), floor: AtomicI64::new(UNKNOWN) };
        Self { source: self.source.clone(), run: Some(run) }
    }

    /// Says that the stream's last event was recorded at `time`.
    pub(crate) fn not_before(&self, time: Timestamp) {
        if let Some(run) = &self.run {
            run.floor.store(time.0, Ordering::Relaxed);
        }
    }

    /// Moves a manual clock on by `step`. The system's clock moves by itself.
    pub fn advance(&self, step: Duration) {
        if let Source::Manual(micros) = &self.source {
            micros
                .fetch_add(i64::try_from(step.as_micros()).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
    }
}

impl Source {
    fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
            }
            Self::Manual(micros) => Timestamp(micros.load(Ordering::Relaxed)),
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
        match &self.source {
            Source::System => f.write_str("Clock(system)"),
            Source::Manual(_) => write!(f, "Clock(manual, at {} µs)", self.now().0),
        }
    }
}
