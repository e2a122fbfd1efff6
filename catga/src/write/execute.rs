//! Runs a command's handler until its outcome is based on the current state of the stream.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::sleep;

use crate::{
    log::{Position, Version},
    model::{Command, Error, ErrorKind, Interrupt, InterruptReason, Metadata},
    program::{Caller, CommandOutput, Context, Handled, Program, telemetry},
    store::Backoff,
    write::fingerprint::fingerprint,
};

/// How often a command handler is run again on newer state before the command fails.
const RUNS: u32 = 16;

/// The answer to a command, and where its events are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutcome<T> {
    /// What the handler answered.
    pub output: T,
    /// The version of the aggregate after the command; 0 when it wrote nothing.
    pub version: Version,
    /// The position of the command's last event; 0 when it wrote nothing.
    pub position: Position,
    /// Whether the command was done before under the same id. Then this is the answer that it got.
    pub is_replay: bool,
}

/// Validates a command, and runs its handler until its outcome is based on the current state of the stream.
pub(crate) async fn execute<C>(
    program: &Program,
    command: C,
    metadata: &Metadata,
    caller: Option<&Arc<Caller>>,
) -> Result<CommandOutcome<C::Output>, Error>
where
    C: Command + Handled<Output: CommandOutput>,
{
    command.validate().map_err(ErrorKind::Invalid)?;
    let fingerprint = match metadata.command_id {
        Some(_) => fingerprint(&command)?,
        None => 0,
    };
    let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(50));
    for run in 0..RUNS {
        let caller = caller.cloned();
        let run_clock = Some(OnceLock::new());
        let cx = Context { fingerprint, run, caller, run_clock, ..Context::new(program, metadata) };
        match command.clone().handle(&cx).await {
            Ok(output) => {
                let (version, position) = cx.committed.get().copied().unwrap_or_default();
                return Ok(CommandOutcome { output, version, position, is_replay: false });
            }
            Err(Interrupt(InterruptReason::Error(error))) => return Err(error),
            Err(Interrupt(InterruptReason::Replay { reply, version, position })) => {
                metrics::counter!(telemetry::REPLAYS, "name" => C::NAME).increment(1);
                let output = postcard::from_bytes(&reply).map_err(|_| {
                    Error::misuse("the stored answer is not of the command's output type any more")
                })?;
                return Ok(CommandOutcome { output, version, position, is_replay: true });
            }
            Err(Interrupt(InterruptReason::Again)) => {
                metrics::counter!(telemetry::RERUNS, "name" => C::NAME).increment(1);
                // The first rerun does not wait: usually the cached state was just stale.
                if run > 0 {
                    sleep(backoff.next_delay()).await;
                }
            }
        }
    }
    Err(ErrorKind::Contention.into())
}
