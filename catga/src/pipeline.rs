//! What wraps every command, query and event on its way to its handler.
//!
//! From the outside in: a tracing span and the metrics, the program's own [`Behavior`]s in the
//! order they were added, the timeout, the command's own validation, and the rerun after a
//! conflict. Events are retried around all of this, one whole pass an attempt.

use std::{fmt, future::Future, time::Instant};

use tracing::Instrument;

use crate::{BoxFuture, Error, ErrorKind, Kind, Metadata};

/// A layer around every handler, added with [`Builder::behavior`](crate::Builder::behavior).
///
/// ```
/// # use catga::{BoxFuture, prelude::*};
/// struct ReadOnly;
///
/// impl Behavior for ReadOnly {
///     fn handle<'a>(&'a self, call: &'a Call<'a>, next: Next<'a>) -> BoxFuture<'a, Result<(), catga::Error>> {
///         Box::pin(async move {
///             if call.kind == Kind::CommandHandler {
///                 return Err(catga::ErrorKind::Handler("down for maintenance".into()).into());
///             }
///             next.run().await
///         })
///     }
/// }
/// ```
pub trait Behavior: Send + Sync + 'static {
    /// Does what it does around `next.run()`. Without running it, it must answer an error.
    fn handle<'a>(&'a self, call: &'a Call<'a>, next: Next<'a>)
    -> BoxFuture<'a, Result<(), Error>>;
}

/// The message that is being handled.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Call<'a> {
    /// Which kind of handler it goes to.
    pub kind: Kind,
    /// The name of the command or query, or of the event handler.
    pub name: &'static str,
    /// What travels with it.
    pub metadata: &'a Metadata,
}

/// The rest of the pipeline.
pub struct Next<'a> {
    call: &'a Call<'a>,
    rest: &'a [Box<dyn Behavior>],
    handler: BoxFuture<'a, Result<(), Error>>,
}

impl<'a> Next<'a> {
    /// Runs the rest of the pipeline, once.
    pub fn run(self) -> BoxFuture<'a, Result<(), Error>> {
        match self.rest.split_first() {
            Some((behavior, rest)) => behavior.handle(self.call, Next { rest, ..self }),
            None => self.handler,
        }
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("call", self.call).finish_non_exhaustive()
    }
}

/// Runs `handler` inside the whole pipeline.
pub(crate) async fn run<T: Send>(
    behaviors: &[Box<dyn Behavior>],
    call: &Call<'_>,
    handler: impl Future<Output = Result<T, Error>> + Send,
) -> Result<T, Error> {
    let span = tracing::debug_span!("handle", kind = %call.kind, name = call.name);
    let start = Instant::now();
    let outcome = async {
        if behaviors.is_empty() { handler.await } else { wrap(behaviors, call, handler).await }
    }
    .instrument(span)
    .await;
    record(call, start, &outcome);
    outcome
}

/// Runs `handler` inside the program's own behaviors, which see neither its type nor its answer.
async fn wrap<T: Send>(
    behaviors: &[Box<dyn Behavior>],
    call: &Call<'_>,
    handler: impl Future<Output = Result<T, Error>> + Send,
) -> Result<T, Error> {
    let mut answer = None;
    let handler = async {
        answer = Some(handler.await?);
        Ok(())
    };
    Next { call, rest: behaviors, handler: Box::pin(handler) }.run().await?;
    answer.ok_or_else(|| Error::misuse("a behavior answered Ok without running the handler"))
}

fn record<T>(call: &Call<'_>, start: Instant, outcome: &Result<T, Error>) {
    let outcome = match outcome {
        Ok(_) => "ok",
        Err(error) => match error.kind() {
            ErrorKind::Handler(_)
            | ErrorKind::Invalid(_)
            | ErrorKind::VersionMismatch { .. }
            | ErrorKind::CommandIdReused => "refused",
            _ => "failed",
        },
    };
    metrics::histogram!(
        crate::telemetry::HANDLE_SECONDS,
        "kind" => call.kind.label(),
        "name" => call.name,
        "outcome" => outcome,
    )
    .record(start.elapsed());
}
