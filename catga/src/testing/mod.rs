//! Tests of handlers and of what happens when the store fails.
//!
//! ```
//! # use catga::{prelude::*, testing::given}; use serde::{Serialize, Deserialize};
//! # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)] #[event(name = "DocCounted", version = 1)] struct Counted { by: u64 }
//! # #[derive(Debug, Clone, PartialEq, Event)] enum CounterEvent { Counted(Counted) }
//! # #[derive(Debug, Clone, Default)] struct Counter { total: u64 }
//! # impl Aggregate for Counter { type Event = CounterEvent; const NAME: &'static str = "doccounter"; fn apply(&mut self, CounterEvent::Counted(c): CounterEvent) { self.total += c.by; } }
//! # fn count(by: u64, counter: &mut Root<Counter>) -> Result<u64, std::fmt::Error> { counter.record(Counted { by }); Ok(counter.total) }
//! given::<Counter>([Counted { by: 2 }])
//!     .when(|counter| count(3, counter))
//!     .then([Counted { by: 3 }])
//!     .then_answer(5);
//! ```
//!
//! | a handler of | is given | and is |
//! |---|---|---|
//! | commands | [`given`] events, or [`Root::given`] | checked by [`Then::then`], [`then_answer`](Then::then_answer) and [`then_error`](Then::then_error) |
//! | queries | [`Root::given`], [`ReadModel::of`](crate::read::ReadModel::of), [`project`] | a function: look at what it answers |
//! | projections | [`project`] | a value: look at it, or let [`project_with_snapshots`] see that its snapshots are whole |
//! | events | [`Recorded::new`](crate::model::Recorded::new), and what else it takes | a function: look at what it did |
//! | events that cause others | a program that is sent commands | done when [`Catga::idle`](crate::runtime::Catga::idle) returns |
//!
//! Time is a [`Clock::manual`](crate::log::Clock::manual) that the test moves.

mod commits;
mod examples;
mod scripted;

use std::fmt;

pub use self::{
    commits::{append, commit},
    examples::{project, project_with_snapshots},
    scripted::{Fault, ScriptedStore},
};
use crate::model::{Aggregate, Event, Root};

/// An aggregate to which `events` happened, for one run of a handler.
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = impl Into<A::Event>>) -> Given<A> {
    Given { root: Root::given(events) }
}

/// An aggregate that a handler can be run on.
#[must_use = "nothing is tested until a handler is run"]
pub struct Given<A: Aggregate> {
    root: Root<A>,
}

impl<A: Aggregate> Given<A> {
    /// Runs a handler on the aggregate.
    ///
    /// # Panics
    /// When it records an event that can't be stored, or can't be read again.
    #[must_use = "nothing is checked until `then` or `then_error` is called"]
    pub fn when<O, E>(
        mut self,
        handler: impl FnOnce(&mut Root<A>) -> Result<O, E>,
    ) -> Then<A, O, E> {
        let outcome = handler(&mut self.root);
        let recorded = self.root.recorded();
        Then { recorded: recorded.expect("every recorded event can be stored and read"), outcome }
    }

    /// Runs an async handler on the aggregate.
    ///
    /// ```
    /// # use catga::{prelude::*, testing::given}; use serde::{Serialize, Deserialize};
    /// # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)] #[event(name = "DocAwaited", version = 1)] struct Counted { by: u64 }
    /// # #[derive(Debug, Clone, PartialEq, Event)] enum CounterEvent { Counted(Counted) }
    /// # #[derive(Debug, Clone, Default)] struct Counter { total: u64 }
    /// # impl Aggregate for Counter { type Event = CounterEvent; const NAME: &'static str = "docawaited"; fn apply(&mut self, CounterEvent::Counted(c): CounterEvent) { self.total += c.by; } }
    /// # async fn count(by: u64, counter: &mut Root<Counter>) -> Result<u64, std::fmt::Error> { counter.record(Counted { by }); Ok(counter.total) }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// given::<Counter>([Counted { by: 2 }])
    ///     .when_async(async |counter| count(3, counter).await)
    ///     .await
    ///     .then([Counted { by: 3 }])
    ///     .then_answer(5);
    /// # }
    /// ```
    pub async fn when_async<O, E>(
        mut self,
        handler: impl AsyncFnOnce(&mut Root<A>) -> Result<O, E>,
    ) -> Then<A, O, E> {
        let outcome = handler(&mut self.root).await;
        let recorded = self.root.recorded();
        Then { recorded: recorded.expect("every recorded event can be stored and read"), outcome }
    }
}

/// What a handler did.
pub struct Then<A: Aggregate, O, E> {
    recorded: Vec<A::Event>,
    outcome: Result<O, E>,
}

impl<A: Aggregate, O: fmt::Debug, E: fmt::Debug> Then<A, O, E>
where
    A::Event: fmt::Debug + PartialEq,
{
    /// Checks that the handler answered `Ok` and recorded exactly `events`.
    ///
    /// # Panics
    /// When it did something else.
    #[track_caller]
    pub fn then(self, events: impl IntoIterator<Item = impl Into<A::Event>>) -> Self {
        assert!(self.outcome.is_ok(), "the handler refused: {:?}", self.outcome);
        let events: Vec<A::Event> = events.into_iter().map(Into::into).collect();
        assert_eq!(self.recorded, events, "what was recorded, and what was expected");
        self
    }

    /// Checks the handler's answer.
    ///
    /// # Panics
    /// When it is another one.
    #[track_caller]
    pub fn then_answer(self, answer: O) -> Self
    where
        O: PartialEq,
    {
        match &self.outcome {
            Ok(given) => assert_eq!(*given, answer, "what was answered, and what was expected"),
            Err(error) => panic!("the handler refused: {error:?}"),
        }
        self
    }

    /// Checks that the handler refused with `error`, so that nothing is appended.
    ///
    /// # Panics
    /// When it did something else.
    #[track_caller]
    pub fn then_error(self, error: E)
    where
        E: PartialEq,
    {
        match &self.outcome {
            Err(given) => assert_eq!(*given, error, "the refusal, and what was expected"),
            Ok(answer) => {
                panic!("the handler answered {answer:?}, and recorded {:?}", self.recorded)
            }
        }
    }
}

impl<A: Aggregate> fmt::Debug for Given<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("version", &self.root.version()).finish_non_exhaustive()
    }
}

impl<A: Aggregate, O, E> fmt::Debug for Then<A, O, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Then").field("recorded", &self.recorded.len()).finish_non_exhaustive()
    }
}

/// Checks `events.lock`: the stored bytes of a sample of every event type, one a line.
///
/// Each line must decode in today's program to what it meant when it was written, and every type in
/// `samples` must have a line for its present version (P9). With `CATGA_BLESS=1` in the environment
/// lines for new versions are added to the file at `path`; lines are never changed.
///
/// # Errors
/// Says which event type broke, and what to do.
pub fn check_events_lock<E: Event + fmt::Debug>(
    path: &std::path::Path,
    samples: &[E],
) -> Result<(), String> {
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    for line in stored.lines() {
        check_line::<E>(line)?;
    }
    let mut missing = String::new();
    let mut names = Vec::new();
    for sample in samples {
        let mut payload = Vec::new();
        let ty = sample.encode(&mut payload).map_err(|error| error.to_string())?;
        names.push(ty.name);
        let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        let start = format!("{} {} ", ty.name, ty.version);
        if !stored.lines().any(|line| line.starts_with(&start)) {
            missing.push_str(&format!("{start}{hex} {sample:?}\n"));
        }
    }
    if let Some(ty) = E::TYPES.iter().find(|ty| !names.contains(&ty.name)) {
        return Err(format!("{ty} has no sample"));
    }
    if missing.is_empty() {
        return Ok(());
    }
    if std::env::var_os("CATGA_BLESS").is_some() {
        return std::fs::write(path, stored + &missing).map_err(|error| error.to_string());
    }
    Err(format!("events.lock lacks these lines; CATGA_BLESS=1 adds them:\n{missing}"))
}

fn check_line<E: Event + fmt::Debug>(line: &str) -> Result<(), String> {
    let mut parts = line.splitn(4, ' ');
    let mut part = || parts.next().ok_or_else(|| format!("not a line of events.lock: {line}"));
    let (name, version, hex, meaning) = (part()?, part()?, part()?, part()?);
    let version: u16 = version.parse().map_err(|_| format!("not a version: {line}"))?;
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let payload: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
    let payload = payload.ok_or_else(|| format!("not hexadecimal: {line}"))?;
    let advice = "stored events must stay readable: restore the fields, or raise the version and add an `upcast`";
    match E::decode(name, version, &payload) {
        Ok(Some(event)) if E::TYPES.iter().any(|ty| (ty.name, ty.version) == (name, version)) => {
            let now = format!("{event:?}");
            if now == meaning {
                Ok(())
            } else {
                Err(format!("{name} v{version} meant {meaning} and now means {now}; {advice}"))
            }
        }
        // An older version: that it can be lifted is what counts.
        Ok(Some(_)) => Ok(()),
        Ok(None) => {
            Err(format!("{name} is in people's logs and no event type has that name; {advice}"))
        }
        Err(error) => Err(format!("{name} v{version}: {error}; {advice}")),
    }
}
