//! What a rule is, and how rules are run.

use std::{fmt, panic::AssertUnwindSafe, time::Duration};

use futures_util::{FutureExt, future::LocalBoxFuture};
use tokio::time::timeout;

use super::fixture::{Fixture, Stores};
use crate::{
    log::{FrameError, StoreError},
    model::Error,
    runtime::StartError,
    store::{AppendError, NotAppended},
};

/// How long one rule may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A promise of Catga's, as far as a backend can break it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// P1: a commit is stored whole at the expected version, or refused as a conflict.
    Atomic,
    /// P2: an acknowledged commit survives what the store says it survives.
    Durable,
    /// P3: an append whose answer was lost is found, or done, once.
    NeverLostInDoubt,
    /// P4: a command id has one effect and one answer.
    OneEffectPerKey,
    /// P5: every reader sees every commit, in one order.
    NeverSkipped,
    /// P6: a read sees what was answered before it, on any node.
    ReadYourWrites,
    /// P7: every event reaches every handler at least once, per stream in order.
    AtLeastOnce,
    /// P8: an event that keeps failing parks its own stream alone.
    PoisonContained,
    /// P9: what was stored can be read for ever.
    ReadableForever,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Atomic => "P1 atomic",
            Self::Durable => "P2 durable",
            Self::NeverLostInDoubt => "P3 never lost in doubt",
            Self::OneEffectPerKey => "P4 one effect per key",
            Self::NeverSkipped => "P5 never skipped",
            Self::ReadYourWrites => "P6 read your writes",
            Self::AtLeastOnce => "P7 at least once, in order",
            Self::PoisonContained => "P8 poison is contained",
            Self::ReadableForever => "P9 readable for ever",
        })
    }
}

/// One thing that a backend must do, and the promise that rests on it.
pub struct Rule {
    /// The promise that breaks with it.
    pub promise: Promise,
    /// Says what must be so: `a_conflict_writes_nothing`.
    pub name: &'static str,
    pub(super) check: for<'a> fn(&'a Ground<'a>) -> LocalBoxFuture<'a, Verdict>,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.name)
    }
}

/// The rule that the function of this name checks.
macro_rules! rule {
    ($promise:ident, $check:ident) => {
        $crate::conformance::rule::Rule {
            promise: $crate::conformance::rule::Promise::$promise,
            name: stringify!($check),
            check: |ground| Box::pin($check(ground)),
        }
    };
}

/// Ends a rule as broken, with a text, unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::conformance::rule::Broken::new(format!($($text)+)));
        }
    };
}

/// Ends a rule as broken, with both values and a text, unless they are equal.
macro_rules! ensure_eq {
    ($found:expr, $wanted:expr, $($text:tt)+) => {
        let (found, wanted) = (&$found, &$wanted);
        if found != wanted {
            return Err($crate::conformance::rule::Broken::differs(found, wanted, format!($($text)+)));
        }
    };
}

pub(super) use {ensure, ensure_eq, rule};

/// How a rule ended.
pub(super) type Verdict = Result<(), Broken>;

/// What was not as the rule says.
#[derive(Debug)]
pub(super) struct Broken(String);

impl Broken {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    pub(super) fn differs(
        found: &(impl fmt::Debug + ?Sized),
        wanted: &(impl fmt::Debug + ?Sized),
        what: String,
    ) -> Self {
        let shorten = |value: String| match value.char_indices().nth(500) {
            Some((end, _)) => format!("{}…", &value[..end]),
            None => value,
        };
        let (found, wanted) = (shorten(format!("{found:?}")), shorten(format!("{wanted:?}")));
        Self(format!("{what}: found {found}, and wanted {wanted}"))
    }
}

macro_rules! broken_by {
    ($($error:ty: $text:literal),+) => {
        $(impl From<$error> for Broken {
            fn from(error: $error) -> Self {
                Self(format!(concat!($text, ": {}"), error))
            }
        })+
    };
}

broken_by! {
    StoreError: "a call failed",
    NotAppended: "an append in doubt was not resolved",
    AppendError: "an append at the stream's end failed",
    Error: "a message failed",
    FrameError: "a frame did not come back as it was stored",
    StartError: "a program did not start",
    tokio::time::error::Elapsed: "it took too long"
}

/// Where a rule is checked: nothing else uses it meanwhile.
pub(super) struct Ground<'a> {
    fixture: &'a dyn Fixture,
}

impl<'a> Ground<'a> {
    pub(super) fn new(fixture: &'a dyn Fixture) -> Self {
        Self { fixture }
    }

    /// Further handles on the stores.
    pub(super) async fn open(&self) -> Stores {
        self.fixture.open().await
    }
}

/// A rule that is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The promise that breaks with it.
    pub promise: Promise,
    /// The rule.
    pub rule: &'static str,
    /// What was not as it says.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is broken: {}: {}", self.promise, self.rule, self.what)
    }
}

impl Rule {
    /// Checks the rule on `ground`.
    pub(super) async fn run(&self, ground: &Ground<'_>) -> Result<(), Failure> {
        let verdict = timeout(LIMIT, AssertUnwindSafe((self.check)(ground)).catch_unwind()).await;
        let what = match verdict {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(Broken(what)))) => what,
            Ok(Err(_)) => "something panicked".to_owned(),
            Err(_) => format!("it was not done after {} seconds", LIMIT.as_secs()),
        };
        Err(Failure { promise: self.promise, rule: self.name, what })
    }
}
