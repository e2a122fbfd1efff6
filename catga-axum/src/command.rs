//! Commands as routes.

use std::{fmt, marker::PhantomData, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::Response,
    routing::{MethodRouter, on},
};
use bytes::Bytes;
use catga::{
    Catga, Command, CommandOutcome, Error, ErrorKind, Expected, Metadata,
    handler::{CommandOutput, Handled, Kind},
    log::{LogId, Version},
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{
    app::Domain,
    describe,
    endpoint::{At, Endpoint, field, fields, operation_id, texts},
    path::{Names, Values},
    problem::{Failure, Problem},
    request::{self, Params},
    respond::command_response,
    service::Shared,
};

/// A route that sends a command.
///
/// The command is made of the path's parameters and the JSON body; a parameter that no field is named after is the field
/// marked `#[key]`. The answer is the command's output as JSON, or 204 when that is `()`, with `ETag` and
/// `X-Catga-Position`. `Idempotency-Key`, `If-Match`, `If-None-Match: *`, `X-Correlation-Id` and `traceparent` are
/// read from the request.
pub fn command<C: Command + Handled>() -> CommandRoute<C> {
    CommandRoute { location: None, of: PhantomData }
}

/// See [`command`].
pub struct CommandRoute<C: Command + Handled> {
    location: Option<Location<C>>,
    of: PhantomData<fn() -> C>,
}

/// Where what a command made is.
type Location<C> = fn(&<C as Handled>::Output) -> String;

impl<C: Command + Handled> CommandRoute<C> {
    /// The command makes something new, whose key the service makes: 201, with `location` of its output in the header
    /// `Location`. The key is a UUID, and the same one whenever the command is sent again with the same `Idempotency-Key`.
    #[must_use]
    pub fn created(self, location: fn(&C::Output) -> String) -> Self {
        Self { location: Some(location), ..self }
    }
}

impl<C: Command + Handled> fmt::Debug for CommandRoute<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandRoute").field("command", &C::NAME).finish_non_exhaustive()
    }
}

impl<C> Endpoint for CommandRoute<C>
where
    C: Command + Handled<Output: CommandOutput + JsonSchema> + DeserializeOwned + JsonSchema,
{
    fn mount(self, at: At, domain: &mut Domain) -> MethodRouter<Arc<Shared>> {
        let mut plan = Plan::<C> {
            names: at.names::<C>(C::KEY),
            scope: String::new(),
            makes_key: false,
            has_body: false,
            location: self.location,
        };
        if self.location.is_some() && plan.names.as_slice().is_empty() {
            let key = C::KEY.and_then(|key| field(fields::<C>(), key));
            let key = key.unwrap_or_else(|| {
                panic!("{}: the command `{}` has no field marked `#[key]`", at.path, C::NAME)
            });
            plan.names.push(key);
            plan.makes_key = true;
            // No key has a space in it, so a key used here is another one than the same key used on what is there.
            plan.scope = format!("{} ", at.path);
        }
        plan.has_body = fields::<C>().iter().any(|field| !plan.names.as_slice().contains(field));
        // The routes live as long as the program, and each request would count its use of them.
        let plan: &'static Plan<C> = Box::leak(Box::new(plan));
        let operation = at.operation(operation_id::<C>(), texts(Kind::CommandHandler, C::NAME));
        let (has_body, is_new) = (plan.has_body, plan.location.is_some());
        domain.operations.push(describe::command::<C>(operation, &plan.names, has_body, is_new));
        on(at.method, move |State(shared): State<Arc<Shared>>, request: Request| async move {
            let outcome = plan.run(&shared, request).await;
            outcome.map_err(|failure| failure.into_problem(&shared))
        })
    }
}

/// How requests become commands of type `C`.
struct Plan<C: Command + Handled> {
    names: Names,
    /// What makes the idempotency keys of this route other ones than those of the others.
    scope: String,
    /// Whether the one name is the key, which is made and not in the path.
    makes_key: bool,
    has_body: bool,
    location: Option<Location<C>>,
}

impl<C> Plan<C>
where
    C: Command + Handled<Output: CommandOutput> + DeserializeOwned,
{
    async fn run(&self, shared: &Shared, request: Request) -> Result<Response, Failure> {
        let (mut parts, body) = request.into_parts();
        // A body is looked at after the id: what is wrong with the body of nothing does not matter.
        let values = match self.makes_key {
            true => Values::default(),
            false => Values::of(&mut parts, &self.names).ok_or(Failure::NoSuchKey)?,
        };
        let bytes = match self.has_body {
            true => request::json(&parts.headers, body).await?,
            false => Bytes::new(),
        };
        let asked = self.read(parts, values, &bytes)?;
        let has_id = asked.metadata.command_id.is_some();
        let done = execute(&shared.catga, asked).await.map_err(|error| match error.kind() {
            // 503 would tell clients and proxies to send it again, and it could be done twice.
            ErrorKind::Timeout if !has_id => Failure::Problem(Problem::in_doubt()),
            _ => error.into(),
        })?;
        Ok(self.respond(&done, shared.catga.store().log_id()))
    }

    /// What is asked for, by all but the body's arrival.
    fn read(&self, parts: Parts, values: Values, bytes: &[u8]) -> Result<Asked<C>, Failure> {
        Params::of(&parts.uri)?.only(&[])?;
        let (metadata, others) = request::metadata(&parts.headers, &self.scope)?;
        let make_key = || match &metadata.command_id {
            Some(id) => id.derive_key(),
            None => Uuid::now_v7(),
        };
        let values = if self.makes_key { Values::one(make_key().to_string()) } else { values };
        let command = request::message(parts, bytes, &self.names, values)?;
        Ok(Asked { command, metadata, others })
    }

    fn respond(&self, done: &CommandOutcome<C::Output>, log: LogId) -> Response {
        let Some(location) = self.location else {
            return command_response(StatusCode::OK, done, log);
        };
        let mut response = command_response(StatusCode::CREATED, done, log);
        match HeaderValue::try_from(location(&done.output)) {
            Ok(location) => _ = response.headers_mut().insert(header::LOCATION, location),
            Err(error) => tracing::error!(%error, "a location is no header"),
        }
        response
    }
}

/// A command with what the request said about it.
struct Asked<C> {
    command: C,
    metadata: Metadata,
    /// The versions that are as good as the expected one.
    others: Vec<Version>,
}

async fn execute<C>(
    catga: &Catga,
    Asked { command, metadata, others }: Asked<C>,
) -> Result<CommandOutcome<C::Output>, Error>
where
    C: Command + Handled<Output: CommandOutput>,
{
    if others.is_empty() {
        return catga.send(command).metadata(metadata).outcome().await;
    }
    Box::pin(execute_at_any(catga, Asked { command, metadata, others })).await
}

/// Runs a command at the expected version, or at one of the others.
async fn execute_at_any<C>(
    catga: &Catga,
    Asked { command, mut metadata, mut others }: Asked<C>,
) -> Result<CommandOutcome<C::Output>, Error>
where
    C: Command + Handled<Output: CommandOutput>,
{
    loop {
        let error = match catga.send(command.clone()).metadata(metadata.clone()).outcome().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let ErrorKind::VersionMismatch { actual } = *error.kind() else { return Err(error) };
        let Some(at) = others.iter().position(|other| *other == actual) else { return Err(error) };
        // Each is tried once, so that it ends.
        others.swap_remove(at);
        metadata.expected = Expected::Exact(actual);
    }
}
