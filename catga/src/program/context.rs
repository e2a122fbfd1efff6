//! What one run of a handler draws its parameters from.

use std::sync::{Arc, OnceLock, Weak};

use crate::{
    log::{Clock, Position, StreamId, Version},
    model::{Consistency, Metadata},
    program::Program,
};

/// What one run of a handler draws its parameters from. Generated code passes it around.
#[derive(Debug)]
pub struct Context<'a> {
    pub(crate) program: &'a Program,
    pub(crate) metadata: &'a Metadata,
    /// A command's clock, made when it is first asked for: it says one time for the whole run.
    pub(crate) run_clock: Option<OnceLock<Clock>>,
    pub(crate) consistency: Consistency,
    /// The command's fingerprint, when it has an id.
    pub(crate) fingerprint: u64,
    /// 0 for the first run of the handler, one more each time it is run again on newer state.
    pub(crate) run: u32,
    /// The version and the position of the commit's last event, once it is in the log.
    pub(crate) committed: OnceLock<(Version, Position)>,
    /// The run that sent the message, if a handler did.
    pub(crate) caller: Option<Arc<Caller>>,
    /// This run, as those see it to which its handler sends messages: made when it takes `&Catga`.
    pub(crate) itself: OnceLock<Arc<Caller>>,
}

/// A run of a handler that sends messages of its own.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The aggregate that it has locked, for as long as somebody holds its name.
    locked: OnceLock<Weak<StreamId>>,
    /// Who sent the message that it handles.
    caller: Option<Arc<Caller>>,
}

impl Caller {
    /// Says that the run has locked `stream`, until the answer is dropped.
    pub(crate) fn lock(&self, stream: &StreamId) -> Arc<StreamId> {
        let locked = Arc::new(stream.clone());
        let _ = self.locked.set(Arc::downgrade(&locked));
        locked
    }

    /// Whether the run has locked `stream`, or one that waits for it has.
    pub(crate) fn has_locked(&self, stream: &StreamId) -> bool {
        let locked = self.locked.get().and_then(Weak::upgrade);
        locked.is_some_and(|locked| *locked == *stream)
            || self.caller.as_ref().is_some_and(|caller| caller.has_locked(stream))
    }
}

impl<'a> Context<'a> {
    pub(crate) fn new(program: &'a Program, metadata: &'a Metadata) -> Self {
        Self {
            program,
            metadata,
            run_clock: None,
            consistency: Consistency::Latest,
            fingerprint: 0,
            run: 0,
            committed: OnceLock::new(),
            caller: None,
            itself: OnceLock::new(),
        }
    }

    /// What time it is for the handler.
    pub(crate) fn clock(&self) -> &Clock {
        let clock = &self.program.clock;
        self.run_clock.as_ref().map_or(clock, |own| own.get_or_init(|| clock.for_run()))
    }

    /// This run, for those to which its handler sends messages.
    pub(crate) fn itself(&self) -> Arc<Caller> {
        let make = || Arc::new(Caller { locked: OnceLock::new(), caller: self.caller.clone() });
        self.itself.get_or_init(make).clone()
    }
}
