//! What a message needs while it is handled: the program, the context of one run, and what handlers are registered as.

mod blocking;
mod context;
mod extensions;
mod handler;
pub(crate) mod pipeline;
mod progress;
mod registration;
mod setup;
mod skipped;
mod state;
mod stream_end;
pub(crate) mod telemetry;

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use tokio_util::task::TaskTracker;

pub(crate) use self::{
    blocking::BlockingWatch,
    context::Caller,
    extensions::Extensions,
    pipeline::Pipeline,
    progress::ReadProgress,
    registration::{doubled_names, empty_crates, place},
    setup::EventTypes,
    skipped::SkipStream,
    stream_end::StreamEnd,
};
pub use self::{
    context::Context,
    handler::{CommandOutput, FromContext, FromContextMut, Handled, HandlerError, IntoOutcome},
    pipeline::{Behavior, Call, Next},
    registration::{Kind, NamedCrate, Registration, catalogue},
    setup::Setup,
    state::State,
};
use crate::{
    log::{Clock, Position},
    model::{Consistency, Error, ErrorKind, SkippedEvents},
    store::{EventStore, KvStore},
};

/// What is there while a message is handled, whoever runs the background.
pub(crate) struct Program {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) kv: Arc<dyn KvStore>,
    pub(crate) clock: Clock,
    /// This node's name, which goes into every commit it makes.
    pub(crate) node: String,
    pub(crate) extensions: Extensions,
    pub(crate) pipeline: Pipeline,
    /// What an operator skipped. Read when the program starts.
    pub(crate) skipped: Arc<SkippedEvents>,
    /// How far the read models are.
    pub(crate) progress: ReadProgress,
    /// How long a command or query may take.
    pub(crate) timeout: Duration,
    /// What nobody waits for, as the write of a snapshot; a shutdown does.
    pub(crate) tasks: TaskTracker,
}

impl Program {
    pub(crate) fn store(&self) -> &dyn EventStore {
        self.store.deref()
    }

    /// # Errors
    /// When the log does not reach up to `position`, which must be one of another log then.
    pub(crate) async fn check_position(&self, position: Position) -> Result<(), Error> {
        if position > self.progress.position() && position > self.store().head().await? {
            return Err(ErrorKind::PositionUnknown.into());
        }
        Ok(())
    }

    /// Waits until the read models show what `consistency` asks for.
    pub(crate) async fn read_barrier(&self, consistency: Consistency) -> Result<(), Error> {
        let position = match consistency {
            Consistency::Eventual => return Ok(()),
            Consistency::Latest => self.store().head().await?,
            Consistency::AtLeast(position) => {
                self.check_position(position).await?;
                position
            }
        };
        self.progress.wait_for(position).await
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("node", &self.node).finish_non_exhaustive()
    }
}
