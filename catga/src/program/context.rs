//! What one run of a handler draws its parameters from.

use std::sync::OnceLock;

use crate::{
    log::{Clock, Position, Version},
    model::{Consistency, Interrupt, Metadata},
    program::{FromContext, Program, Resource, Setup},
};

/// What one run of a handler draws its parameters from. Generated code passes it around.
#[derive(Debug)]
pub struct Context<'a> {
    pub(crate) program: &'a Program,
    pub(crate) metadata: &'a Metadata,
    pub(crate) consistency: Consistency,
    /// The command's fingerprint, when it has an id.
    pub(crate) fingerprint: u64,
    /// 0 for the first run of the handler, one more each time it is run again on newer state.
    pub(crate) run: u32,
    /// The version and the position of the commit's last event, once it is in the log.
    pub(crate) committed: OnceLock<(Version, Position)>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(program: &'a Program, metadata: &'a Metadata) -> Self {
        Self {
            program,
            metadata,
            consistency: Consistency::Latest,
            fingerprint: 0,
            run: 0,
            committed: OnceLock::new(),
        }
    }
}

impl<M: Sync> FromContext<M> for Metadata {
    type Held<'c> = &'c Self;

    async fn extract<'c>(cx: &'c Context<'c>, _: &M) -> Result<&'c Self, Interrupt> {
        Ok(cx.metadata)
    }

    fn declare(_: &mut Setup<'_>) {}
}

impl<M: Sync, T: Resource> FromContext<M> for T {
    type Held<'c> = &'c Self;

    async fn extract<'c>(cx: &'c Context<'c>, _: &M) -> Result<&'c Self, Interrupt> {
        Ok(cx.program.extensions.expect::<T>())
    }

    fn declare(setup: &mut Setup<'_>) {
        setup.resource::<T>();
    }
}

impl Resource for Clock {}
