//! What the OpenAPI document says of each kind of route.

use catga::{Aggregate, Command, Query, Timestamp, handler::Handled};
use http::Method;
use schemars::{JsonSchema, Schema, json_schema};
use serde_json::{Map, Value};

use crate::{
    event_json::HistoryJson,
    openapi::{Body, Operation, Parameter, Place, Response, SchemaOf, schema_of},
    page::Limit,
    path::{Names, parameters},
    problem::{ExtraMember, ProblemKind},
    request::CONSISTENCY,
};

/// The largest position, and the largest version, in a request.
const LARGEST: u64 = 1 << 53;

const JSON: &str = "application/json";

/// A route that sends `C`. No body has the fields in `names`: the path says them, or the service.
pub(crate) fn command<C: Command + Handled<Output: JsonSchema> + JsonSchema>(
    mut operation: Operation,
    names: &'static Names,
    has_body: bool,
    is_new: bool,
) -> Operation {
    let (status, mut headers) = if is_new { (201, vec![location()]) } else { (200, vec![]) };
    headers.extend([etag(), position(), replayed()]);
    let is_unit = std::any::TypeId::of::<C::Output>() == std::any::TypeId::of::<()>();
    operation.responses.push(Response {
        status: if is_unit { 204 } else { status },
        description: if is_new { "Made".into() } else { "Done".into() },
        content: (!is_unit).then_some((JSON, schema_of::<C::Output>)),
        headers,
    });
    operation.parameters.extend([
        header(
            "Idempotency-Key",
            "The same key with the same request has one effect and one answer",
            json_schema!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" }),
        ),
        header(
            "If-Match",
            "The versions that it may have, in quotes: a list, or `*` for any",
            json_schema!({ "type": "string", "pattern": r#"^("[0-9]{1,15}"(, ?"[0-9]{1,15}")*|\*)$"# }),
        ),
        header(
            "X-Correlation-ID",
            "Kept with the events when it is 1 to 128 visible ASCII characters; else another takes its place",
            json_schema!({ "type": "string" }),
        ),
        header(
            "traceparent",
            "W3C Trace Context; a broken one is ignored",
            json_schema!({ "type": "string" }),
        ),
    ]);
    if !is_new {
        operation.parameters.extend(segments::<C>(&operation.path, names));
        operation.problems.push(NOT_FOUND);
    }
    if has_body {
        let schema: SchemaOf = schema_of::<C>;
        operation.request = Some(Body { schema, except: names.as_slice() });
        operation.problems.extend([TOO_LARGE, NO_JSON]);
    }
    operation.problems.extend([BAD_REQUEST, MISMATCH, COMMIT_TOO_LARGE, INVALID, REUSED]);
    operation.problems.extend([UNAVAILABLE, NOT_DURABLE, OVERLOADED, IN_DOUBT]);
    operation
}

/// A route that asks `Q`, with `names` in its path, and answers a `V`.
pub(crate) fn query<Q: Query + JsonSchema, V: JsonSchema>(
    mut operation: Operation,
    names: &Names,
    has_tag: bool,
) -> Operation {
    let headers = if has_tag { vec![etag()] } else { Vec::new() };
    operation.responses.push(answer(200, "OK", Some((JSON, schema_of::<V>)), headers));
    if has_tag {
        operation.responses.push(answer(304, "As `If-None-Match` has it", None, vec![etag()]));
        let tag = json_schema!({ "type": "string" });
        operation.parameters.push(header(
            "If-None-Match",
            "ETags of answers that are at hand",
            tag,
        ));
    }
    asked::<Q>(operation, names)
}

/// A route that asks `Q` and answers a page of `T`.
pub(crate) fn page<Q: Query + JsonSchema, T: JsonSchema>(
    mut operation: Operation,
    names: &Names,
) -> Operation {
    let content = Some((JSON, schema_of::<Vec<T>> as SchemaOf));
    operation.responses.push(answer(200, "OK", content, vec![next(), total()]));
    asked::<Q>(operation, names)
}

fn asked<Q: JsonSchema>(mut operation: Operation, names: &Names) -> Operation {
    operation.parameters.extend(segments::<Q>(&operation.path, names));
    let params = Parameter::all_of::<Q>(Place::Query).into_iter();
    operation
        .parameters
        .extend(params.filter(|param| !names.as_slice().contains(&param.name.as_str())));
    fresh(&mut operation);
    if !names.as_slice().is_empty() {
        operation.problems.push(NOT_FOUND);
    }
    operation.problems.extend([BAD_REQUEST, UNAVAILABLE, OVERLOADED]);
    operation
}

/// The history of an `A`.
pub(crate) fn history<A: Aggregate>(mut operation: Operation) -> Operation {
    let content = Some((JSON, schema_of::<HistoryJson<A>> as SchemaOf));
    operation.responses.push(answer(200, "OK", content, vec![next()]));
    let from = json_schema!({ "type": "integer", "minimum": 1, "maximum": LARGEST });
    operation.parameters.extend([
        parameter("from", "The first version on the page", from),
        parameter("limit", "", Limit::json_schema(&mut schemars::SchemaGenerator::default())),
    ]);
    fresh(&mut operation);
    operation.problems.extend([NOT_FOUND, BAD_REQUEST, UNAVAILABLE, OVERLOADED]);
    operation
}

/// The parameters of `path`, which are the fields `names` of `T`.
fn segments<T: JsonSchema>(path: &str, names: &Names) -> Vec<Parameter> {
    let fields = Parameter::all_of::<T>(Place::Path);
    let segment = |(parameter, name): (&str, &&str)| {
        let field = fields.iter().find(|field| field.name == **name)?;
        Some(Parameter { name: parameter.to_owned(), required: true, ..field.clone() })
    };
    parameters(path).zip(names.as_slice()).filter_map(segment).collect()
}

/// The routes that every service has; `tag` is that of the feed.
pub(crate) fn own(tag: &str) -> Vec<Operation> {
    let mut info =
        get("/", "info", "What this node is; a browser goes to /docs", schema_of::<Info>);
    info.responses.push(answer(303, "To /docs, for browsers", None, vec![]));
    let mut health = get("/health", "health", "Whether the store and the handlers work", HEALTH);
    health.description =
        "`degraded` while everything works but somebody should look: there are dead letters, or an event handler is \
         paused, as every event fails."
            .into();
    health.responses.push(answer(503, "Not healthy", Some((JSON, HEALTH)), vec![]));
    let mut ready = get("/health/ready", "ready", "Whether to send requests here", HEALTH);
    ready.responses.push(answer(503, "Not ready", Some((JSON, HEALTH)), vec![]));
    let text = |path, id, summary, kind| {
        let mut operation = get(path, id, summary, schema_of::<String>);
        operation.responses[0].content = Some((kind, schema_of::<String>));
        operation
    };
    let mut events =
        text("/events", "events", "The log as it grows (server-sent events)", "text/event-stream");
    events.description = "`id` is the log position with the log's id, `event` the event's type, `data` an Event. \
                          A position that the log does not have gets `event: reset` first, and then the log from its \
                          beginning. The stream does not end by itself."
        .into();
    events.tag = tag.to_owned();
    events.parameters = vec![
        parameter("from", "Resume right after this position", place()),
        parameter("lastEventId", "As `from`; wins over it", place()),
        header("Last-Event-ID", "As `from`; wins over both parameters", place()),
    ];
    events.problems.extend([UNAVAILABLE, OVERLOADED]);
    let mut live = get("/health/live", "live", "Whether the process can go on as it is", HEALTH);
    live.responses.push(answer(503, "Only a new start helps", Some((JSON, HEALTH)), vec![]));
    let mut all = vec![
        info,
        health,
        live,
        ready,
        text("/metrics", "metrics", "Metrics in the Prometheus text format", "text/plain"),
        get("/openapi.json", "openapi", "This document", schema_of::<Map<String, Value>>),
        text("/docs", "docs", "A page to try the API", "text/html"),
        get("/cluster", "cluster", "The nodes that are alive", schema_of::<Cluster>),
        events,
    ];
    all.extend(dead_letters());
    all
}

const HEALTH: SchemaOf = schema_of::<Health>;

fn dead_letters() -> [Operation; 4] {
    const LETTER: SchemaOf = schema_of::<DeadLetter>;
    let tag = |operation: &mut Operation| operation.tag = "Dead letters".to_owned();
    let busy = [UNAVAILABLE, OVERLOADED];
    let letters = schema_of::<Vec<DeadLetter>>;
    let mut list =
        get("/dead-letters", "listDeadLetters", "Events that a handler gave up on", letters);
    let text = || json_schema!({ "type": "string" });
    let filters = [
        parameter("handler", "Those of this event handler", text()),
        parameter("type", "Those with an event of this type", text()),
        parameter("error", "Those whose last error has this text in it", text()),
    ];
    let pattern = "^[0-9]{1,15}-[a-z0-9_-]{1,64}(@[0-9a-f]{16})?$";
    let place_in_list = json_schema!({ "type": "string", "pattern": pattern });
    let limit = Limit::json_schema(&mut schemars::SchemaGenerator::default());
    list.parameters.extend(filters.clone());
    list.parameters.extend([
        parameter("limit", "", limit),
        parameter("cursor", "Where the page begins, as a `Link` header said", place_in_list),
    ]);
    fresh(&mut list);
    list.responses[0].headers.extend([next(), total()]);
    let summary = "Hand all of them to their handlers again, or those that the parameters take";
    let mut retry_all =
        get("/dead-letters/retry", "retryDeadLetters", summary, schema_of::<Retrying>);
    retry_all.method = Method::POST;
    retry_all.parameters.extend(filters);
    let content = Some((JSON, schema_of::<Retrying> as SchemaOf));
    retry_all.responses = vec![answer(202, "They are being tried", content, vec![])];
    let summary = "Hand an event to its handler again, and then those behind it";
    let mut retry = get("/dead-letters/{id}/retry", "retryDeadLetter", summary, LETTER);
    retry.method = Method::POST;
    retry.responses = vec![answer(202, "It is being tried", Some((JSON, LETTER)), vec![])];
    retry.problems.push(NOT_FOUND);
    let summary = "Leave an event out, and go on with those behind it";
    let mut remove = get("/dead-letters/{id}", "dropDeadLetter", summary, LETTER);
    remove.method = Method::DELETE;
    remove.responses = vec![answer(204, "It is being left out", None, vec![])];
    remove.request = Some(Body { schema: schema_of::<Reason>, except: &[] });
    remove.problems.extend([NOT_FOUND, TOO_LARGE, NO_JSON]);
    let mut all = [list, retry_all, retry, remove];
    for operation in &mut all {
        tag(operation);
        operation.problems.extend(busy);
    }
    all
}

/// An operation that answers 200 with JSON.
fn get(path: &str, id: &str, summary: &str, schema: SchemaOf) -> Operation {
    Operation {
        method: Method::GET,
        path: path.to_owned(),
        id: id.to_owned(),
        summary: summary.to_owned(),
        description: String::new(),
        tag: "System".to_owned(),
        parameters: Vec::new(),
        request: None,
        responses: vec![answer(200, "OK", Some((JSON, schema)), vec![])],
        problems: vec![BAD_REQUEST],
    }
}

fn answer(
    status: u16,
    description: &str,
    content: Option<(&'static str, SchemaOf)>,
    headers: Vec<Parameter>,
) -> Response {
    Response { status, description: description.to_owned(), content, headers }
}

fn parameter(name: &str, description: &str, schema: Schema) -> Parameter {
    let (name, description) = (name.to_owned(), description.to_owned());
    Parameter { name, place: Place::Query, required: false, description, schema }
}

fn header(name: &str, description: &str, schema: Schema) -> Parameter {
    Parameter { place: Place::Header, ..parameter(name, description, schema) }
}

fn consistency() -> Parameter {
    let schema = json_schema!({ "type": "string", "enum": ["latest", "eventual"] });
    parameter(CONSISTENCY, "`eventual` does not wait for what was answered just before", schema)
}

fn etag() -> Parameter {
    header("ETag", "The version, in quotes", json_schema!({ "type": "string" }))
}

fn position() -> Parameter {
    let text = "The log position of the command's last event, with the log's id";
    header("X-Catga-Position", text, place())
}

/// A log position, and maybe the log that it is of.
fn place() -> Schema {
    json_schema!({ "type": "string", "pattern": "^[0-9]{1,15}(@[0-9a-f]{16})?$" })
}

/// What each read takes, and may answer for it.
fn fresh(operation: &mut Operation) {
    let text =
        "The position of a command's answer, which the answer is to show; alone or with its log";
    operation.parameters.extend([consistency(), header("X-Catga-Position", text, place())]);
    operation.problems.push(POSITION_UNKNOWN);
}

fn replayed() -> Parameter {
    let text = "`true` when the command was done before and this is its first answer";
    header("Idempotent-Replayed", text, json_schema!({ "type": "string" }))
}

fn location() -> Parameter {
    header("Location", "Where it is", json_schema!({ "type": "string" }))
}

fn next() -> Parameter {
    let text = "The next page, rel=\"next\" (RFC 8288); absent on the last";
    header("Link", text, json_schema!({ "type": "string" }))
}

fn total() -> Parameter {
    let schema = json_schema!({ "type": "integer", "minimum": 0 });
    header("X-Total-Count", "How many match, over all pages", schema)
}

/// A problem that the kit itself answers.
const fn kind(status: u16, code: &'static str, description: &'static str) -> ProblemKind {
    ProblemKind { status, code, description, extra: &[] }
}

const BAD_REQUEST: ProblemKind = kind(
    400,
    "bad_request",
    "Not JSON, a missing field, a field of the wrong type, or a bad parameter or header",
);
const NOT_FOUND: ProblemKind = kind(404, "not_found", "There is no such thing");
const TOO_LARGE: ProblemKind = kind(413, "payload_too_large", "The body is larger than 1 MiB");
const NO_JSON: ProblemKind =
    kind(415, "unsupported_media_type", "The body is not `application/json`");
const POSITION_UNKNOWN: ProblemKind = kind(
    409,
    "position_unknown",
    "The log does not have the position: it is one of another log, or of an end that was lost",
);
const MISMATCH: ProblemKind = ProblemKind {
    extra: &[ExtraMember::VERSION],
    ..kind(412, "version_mismatch", "It is not at a version that `If-Match` has")
};
const INVALID: ProblemKind = ProblemKind {
    extra: &[ExtraMember::ERRORS],
    ..kind(422, "validation_failed", "Well-formed, and not acceptable")
};
const REUSED: ProblemKind =
    kind(422, "idempotency_key_reused", "The `Idempotency-Key` was used for another request");
const UNAVAILABLE: ProblemKind = kind(
    503,
    "store_unavailable",
    "The store can't be reached or did not answer in time; `Retry-After` says when to try again",
);
const NOT_DURABLE: ProblemKind = kind(
    503,
    "durability_lost",
    "The store is not set to keep what it would acknowledge, and nothing was done",
);
const COMMIT_TOO_LARGE: ProblemKind =
    kind(413, "commit_too_large", "What the command records is larger than the event store takes");
const IN_DOUBT: ProblemKind = kind(
    504,
    "in_doubt",
    "The end of a command without an `Idempotency-Key` is not known: sent again, it could be done twice",
);
const OVERLOADED: ProblemKind =
    kind(503, "overloaded", "Too many requests are being worked on, and nothing was done");

/// What a node is.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "it is the shape of an answer")]
struct Info {
    service: String,
    version: String,
    node: String,
    mode: Mode,
    transport: String,
    persistence: String,
    status: String,
    timestamp: Timestamp,
}

#[derive(JsonSchema)]
#[allow(dead_code, reason = "it is the shape of an answer")]
#[schemars(inline)]
enum Mode {
    Standalone,
    Cluster,
}

/// Whether what the service needs works.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "it is the shape of an answer")]
struct Health {
    status: HealthStatus,
    timestamp: Timestamp,
    #[schemars(skip_serializing_if = "Map::is_empty")]
    checks: Map<String, Value>,
}

#[derive(JsonSchema)]
#[schemars(inline, rename_all = "lowercase")]
#[allow(dead_code, reason = "it is the shape of an answer")]
enum HealthStatus {
    Healthy,
    Degraded,
    Unhealthy,
}

/// The nodes that are alive, and how far the event handlers are behind the log.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "it is the shape of an answer")]
struct Cluster {
    nodes: Vec<ClusterNode>,
    handlers: Vec<HandlerLag>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[allow(dead_code, reason = "it is the shape of an answer")]
struct ClusterNode {
    node: String,
    address: String,
    version: String,
    started_at: Timestamp,
    last_seen: Timestamp,
    leases: Vec<String>,
}

#[derive(JsonSchema)]
#[allow(dead_code, reason = "it is the shape of an answer")]
struct HandlerLag {
    handler: String,
    /// Log positions behind the head, on the partition that is furthest behind.
    lag: u64,
}

/// An event that a handler gave up on. A further member has the key of what it happened to.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[allow(dead_code, reason = "it is the shape of an answer")]
struct DeadLetter {
    id: String,
    handler: String,
    version: u64,
    position: u64,
    event_id: uuid::Uuid,
    r#type: String,
    attempts: u32,
    last_error: String,
    since: Timestamp,
    status: LetterStatus,
}

#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "it is the shape of an answer")]
enum LetterStatus {
    Parked,
    Retrying,
    Dropping,
}

/// How many dead letters are tried again. Those that somebody acted on already are not counted.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "it is the shape of an answer")]
struct Retrying {
    retrying: u64,
}

/// Why an event is left out.
#[derive(JsonSchema)]
#[schemars(rename = "DropReason")]
#[allow(dead_code, reason = "it is the shape of a request")]
struct Reason {
    reason: Option<String>,
}
