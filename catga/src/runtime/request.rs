//! A command or a query on its way: what travels with it is added before it is awaited.

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::pin,
};

use crate::{
    log::Version,
    model::{
        Command, CommandId, Consistency, Error, ErrorKind, Expected, FieldError, Interrupt,
        MAX_COMMAND_ID, Metadata, Query, Recorded,
    },
    program::{Call, CommandOutput, Context, Handled, Kind},
    runtime::catga::Catga,
    write::{CommandOutcome, execute},
};

/// A command that is sent when it is awaited, and answers the handler's output once its events are in the log.
///
/// ```standalone_crate
/// # use catga::{CommandOutcome, prelude::*}; use serde::{Serialize, Deserialize};
/// # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)] #[event(name = "DocPinged", version = 1)] struct Pinged;
/// # #[derive(Debug, Clone, PartialEq, Event)] enum PingEvent { Pinged(Pinged) }
/// # #[derive(Debug, Clone, Default)] struct Pings(u64);
/// # impl Aggregate for Pings { type Event = PingEvent; const NAME: &'static str = "docping"; fn apply(&mut self, _: PingEvent) { self.0 += 1; } }
/// # #[derive(Debug, Clone, Serialize, Command)] #[command(name = "doc.ping")] struct Ping { #[key] host: String }
/// # #[command_handler] fn ping(_: Ping, pings: &mut Root<Pings>) -> Result<u64, catga::Error> { pings.record(Pinged); Ok(pings.0) }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let catga = Catga::builder().start().await?;
/// let ping = || Ping { host: "a".to_owned() };
///
/// assert_eq!(catga.send(ping()).await?, 1);
/// // Sent again under one id, it has one effect and one answer.
/// assert_eq!(catga.send(ping()).id("second").expect_version(1).await?, 2);
/// let outcome: CommandOutcome<u64> = catga.send(ping()).id("second").outcome().await?;
/// assert_eq!((outcome.output, outcome.version.get(), outcome.is_replay), (2, 2, true));
/// # catga.shutdown().await; Ok(()) }
/// ```
#[must_use = "a command is sent when it is awaited"]
pub struct CommandRequest<'a, C, R> {
    command: Outgoing<'a, C>,
    run: R,
}

/// A query that is asked when it is awaited.
///
/// ```standalone_crate
/// # use catga::{Consistency, prelude::*};
/// # #[derive(Debug, Query)] #[query(name = "doc.answer")] struct Answer;
/// # #[query_handler] fn answer(_: Answer) -> Result<u64, catga::Error> { Ok(42) }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let catga = Catga::builder().start().await?;
/// assert_eq!(catga.query(Answer).await?, 42);
/// assert_eq!(catga.query(Answer).consistency(Consistency::Eventual).await?, 42);
/// # catga.shutdown().await; Ok(()) }
/// ```
#[must_use = "a query is asked when it is awaited"]
pub struct QueryRequest<'a, Q, R> {
    query: Asked<'a, Q>,
    run: R,
}

/// A command with what travels with it.
pub struct Outgoing<'a, C> {
    catga: &'a Catga,
    command: C,
    metadata: Metadata,
    /// Whether the id that the sender gave can't be one.
    has_invalid_id: bool,
}

/// A query with what it must see.
pub struct Asked<'a, Q> {
    catga: &'a Catga,
    query: Q,
    consistency: Consistency,
}

/// What makes a request a future. It is a function whose type nobody can write: the future of a handler has no name, and
/// in a box each message would pay for it.
pub trait Run<T>: Send {
    /// The future.
    type Future: Future;

    /// Makes it.
    fn run(self, request: T) -> Self::Future;
}

/// A future that answers a `T`, or what kept it from being answered.
pub trait Answers<T>: Future<Output = Result<T, Error>> + Send {}

impl<T, F: Future<Output = Result<T, Error>> + Send> Answers<T> for F {}

impl<T, F: FnOnce(T) -> Fut + Send, Fut: Future> Run<T> for F {
    type Future = Fut;

    fn run(self, request: T) -> Fut {
        self(request)
    }
}

impl Catga {
    /// Sends a command to its handler, and answers the handler's output once its events are in the log. What travels
    /// with it is added before the `.await`: see [`CommandRequest`].
    ///
    /// # Errors
    /// [`Error`]: the handler's own, or what kept the command from being done.
    pub fn send<C>(
        &self,
        command: C,
    ) -> CommandRequest<'_, C, impl for<'a> Run<Outgoing<'a, C>, Future: Answers<C::Output>> + use<C>>
    where
        C: Command + Handled<Output: CommandOutput>,
    {
        let metadata = Metadata::default();
        let command = Outgoing { catga: self, command, metadata, has_invalid_id: false };
        CommandRequest { command, run: output::<C> }
    }

    /// Asks a query; the answer shows every command that was answered before, unless
    /// [`consistency`](QueryRequest::consistency) says otherwise.
    ///
    /// # Errors
    /// [`Error`]: the handler's own, or what kept the query from being answered.
    pub fn query<Q>(
        &self,
        query: Q,
    ) -> QueryRequest<'_, Q, impl for<'a> Run<Asked<'a, Q>, Future: Answers<Q::Output>> + use<Q>>
    where
        Q: Query + Handled,
    {
        let query = Asked { catga: self, query, consistency: Consistency::Latest };
        QueryRequest { query, run: ask::<Q> }
    }
}

impl<C, R> CommandRequest<'_, C, R> {
    /// An id of 1 to [`MAX_COMMAND_ID`] bytes, so that sending the command again has no second effect: it is answered
    /// as it was the first time. It counts for this aggregate alone.
    ///
    /// An id has one effect, its commit. A command that was refused, or recorded nothing, leaves nothing, and is decided
    /// anew when it is sent again: who needs a decision remembered records it as an event.
    ///
    /// Awaited with another id, the command fails with [`ErrorKind::Invalid`], and is not sent.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.command.metadata.command_id = CommandId::new(id);
        self.command.has_invalid_id = self.command.metadata.command_id.is_none();
        self
    }

    /// The version that the aggregate must have; at another one the command fails with
    /// [`ErrorKind::VersionMismatch`]. Version 0 says that it must not exist.
    pub fn expect_version(mut self, version: impl Into<Version>) -> Self {
        let version = version.into();
        let is_new = version == Version::ZERO;
        self.command.metadata.expected =
            if is_new { Expected::NoStream } else { Expected::Exact(version) };
        self
    }

    /// The aggregate must not exist; otherwise the command fails with [`ErrorKind::VersionMismatch`].
    pub fn expect_new(mut self) -> Self {
        self.command.metadata.expected = Expected::NoStream;
        self
    }

    /// The event that the command reacts to. The command is then part of the same correlation and trace, too.
    pub fn caused_by<E>(mut self, event: &Recorded<E>) -> Self {
        let origin = event.origin();
        let metadata = &mut self.command.metadata;
        metadata.causation = Some(event.id);
        metadata.correlation = origin.correlation.map(str::to_owned);
        metadata.traceparent = origin.traceparent.map(str::to_owned);
        self
    }

    /// What ties together all that comes of one outside request.
    pub fn correlation(mut self, correlation: impl Into<String>) -> Self {
        self.command.metadata.correlation = Some(correlation.into());
        self
    }

    /// The trace that the command is part of ([W3C Trace Context](https://www.w3.org/TR/trace-context/)).
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.command.metadata.traceparent = Some(traceparent.into());
        self
    }

    /// All that travels with the command, in place of what was added before. It is for who has it at hand, as from the
    /// headers of a request.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.command.metadata = metadata;
        self.command.has_invalid_id = false;
        self
    }
}

impl<C, R> CommandRequest<'_, C, R>
where
    C: Command + Handled<Output: CommandOutput>,
{
    /// Sends the command, and answers the handler's output with where its events are, and whether it was done before.
    ///
    /// # Errors
    /// As [`Catga::send`].
    pub fn outcome(self) -> impl Future<Output = Result<CommandOutcome<C::Output>, Error>> + Send {
        outcome(self.command)
    }
}

impl<Q, R> QueryRequest<'_, Q, R> {
    /// How much the answer must show. Default: [`Consistency::Latest`].
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.query.consistency = consistency;
        self
    }
}

impl<'a, C, R: Run<Outgoing<'a, C>>> IntoFuture for CommandRequest<'a, C, R> {
    type Output = <R::Future as Future>::Output;
    type IntoFuture = R::Future;

    fn into_future(self) -> R::Future {
        self.run.run(self.command)
    }
}

impl<'a, Q, R: Run<Asked<'a, Q>>> IntoFuture for QueryRequest<'a, Q, R> {
    type Output = <R::Future as Future>::Output;
    type IntoFuture = R::Future;

    fn into_future(self) -> R::Future {
        self.run.run(self.query)
    }
}

async fn output<C>(request: Outgoing<'_, C>) -> Result<C::Output, Error>
where
    C: Command + Handled<Output: CommandOutput>,
{
    let Outgoing { catga, command, ref metadata, has_invalid_id } = request;
    Ok(deliver(catga, command, metadata, has_invalid_id).await?.output)
}

async fn outcome<C>(request: Outgoing<'_, C>) -> Result<CommandOutcome<C::Output>, Error>
where
    C: Command + Handled<Output: CommandOutput>,
{
    let Outgoing { catga, command, ref metadata, has_invalid_id } = request;
    deliver(catga, command, metadata, has_invalid_id).await
}

/// Metadata stays where the request keeps it: it is some hundred bytes, and each move would copy it.
async fn deliver<C>(
    catga: &Catga,
    command: C,
    metadata: &Metadata,
    has_invalid_id: bool,
) -> Result<CommandOutcome<C::Output>, Error>
where
    C: Command + Handled<Output: CommandOutput>,
{
    if has_invalid_id {
        let message = format!("must have 1 to {MAX_COMMAND_ID} bytes");
        return Err(ErrorKind::Invalid(vec![FieldError::new("id", message)]).into());
    }
    let program = &*catga.runtime.program;
    let (kind, name, may_block) = (Kind::CommandHandler, C::NAME, false);
    let call = Call { kind, name, metadata, may_block };
    let work = pin!(execute(program, command, metadata, catga.caller.as_ref()));
    program.pipeline.run(&call, program.timeout, work).await
}

async fn ask<Q>(query: Asked<'_, Q>) -> Result<Q::Output, Error>
where
    Q: Query + Handled,
{
    let Asked { catga, query, consistency } = query;
    let metadata = Metadata::default();
    let (kind, name, may_block) = (Kind::QueryHandler, Q::NAME, false);
    let call = Call { kind, name, metadata: &metadata, may_block };
    let program = &*catga.runtime.program;
    let caller = catga.caller.clone();
    let cx = Context { consistency, caller, ..Context::new(program, &metadata) };
    let work = pin!(async { query.handle(&cx).await.map_err(Interrupt::into_error) });
    program.pipeline.run(&call, program.timeout, work).await
}

impl<C, R> fmt::Debug for CommandRequest<'_, C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metadata = &self.command.metadata;
        f.debug_struct("CommandRequest").field("metadata", metadata).finish_non_exhaustive()
    }
}

impl<Q, R> fmt::Debug for QueryRequest<'_, Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let consistency = self.query.consistency;
        f.debug_struct("QueryRequest").field("consistency", &consistency).finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for Outgoing<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("metadata", &self.metadata).finish_non_exhaustive()
    }
}

impl<Q> fmt::Debug for Asked<'_, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("consistency", &self.consistency).finish_non_exhaustive()
    }
}
