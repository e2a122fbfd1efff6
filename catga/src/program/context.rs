//! What one run of a handler draws its parameters from.

use std::sync::OnceLock;

use crate::{
    log::{Position, Version},
    model::{Consistency, Metadata},
    program::Program,
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
