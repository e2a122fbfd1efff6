//! Errors as `application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).

use std::borrow::Cow;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use catga::{ErrorKind, FieldError};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::ProblemDetails;
use crate::{respond::json_response, service::Shared};

/// An error answer. Its text never holds an address, a path or anything else of the inside.
///
/// Handlers of a service's own routes can return it as the error of a `Result`.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    extra: Map<String, Value>,
    /// Whether the connection is closed after it.
    is_last: bool,
}

impl Problem {
    /// An answer with a status, a stable code and a text for people.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, code, detail: detail.into(), extra: Map::new(), is_last: false }
    }

    /// 400 `bad_request`.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    /// 404 `not_found`.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
    }

    /// What `error` answers.
    pub fn of(error: &impl ProblemDetails) -> Self {
        let status = StatusCode::from_u16(error.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let extra = error.extra().into_iter().map(|(name, value)| (name.to_owned(), value));
        let detail = error.to_string().into();
        Self { status, code: error.code(), detail, extra: extra.collect(), is_last: false }
    }

    pub(crate) fn method_not_allowed() -> Self {
        let detail = "this path does not take this method; the header Allow says which";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    pub(crate) fn payload_too_large(most: usize) -> Self {
        let detail = format!("the body is larger than {most} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail)
    }

    /// The same, and the connection is closed after it: the rest of the request is not read.
    pub(crate) fn closing(self) -> Self {
        Self { is_last: true, ..self }
    }

    fn unavailable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail)
    }

    /// The end of a command without an id is not known.
    pub(crate) fn in_doubt() -> Self {
        let detail = "it took too long, and may have been done or not: look before you send it again; with an \
                      Idempotency-Key it can be sent again at any time, and is done once";
        tracing::warn!("the end of a command without an Idempotency-Key is not known");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "in_doubt", detail)
    }

    pub(crate) fn overloaded() -> Self {
        let detail = "too many requests are being worked on; nothing was done about this one";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
    }

    pub(crate) fn too_much_kept() -> Self {
        let detail = "too much is kept for clients that are slow to send or to read; nothing was done about this request";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
    }

    pub(crate) fn too_many_feeds() -> Self {
        let detail = "too many feeds are open; each takes one of the connections that there can be";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
    }

    pub(crate) fn position_unknown() -> Self {
        let detail = "the log does not have the position: it is one of another log, or of an end that was lost";
        Self::new(StatusCode::CONFLICT, "position_unknown", detail)
    }

    /// The answer when a handler panicked, too: as any bug, it says nothing about the inside.
    pub(crate) fn internal() -> Self {
        let detail = "the request could not be handled; the log of the service says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// The same with a further member.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.extra.insert(name.to_owned(), value);
        self
    }
}

/// What a [`catga::Error`] answers that is no error of the domain.
impl From<catga::Error> for Problem {
    fn from(error: catga::Error) -> Self {
        match error.kind() {
            ErrorKind::Invalid(fields) => {
                let field = |FieldError { field, message }: &FieldError| json!({ "field": field, "message": message });
                let errors = fields.iter().map(field).collect();
                let detail = "some fields can't be accepted";
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation_failed", detail)
                    .with("errors", errors)
            }
            ErrorKind::VersionMismatch { actual } => {
                let detail = format!("it is at version {actual}");
                Self::new(StatusCode::PRECONDITION_FAILED, "version_mismatch", detail)
                    .with("version", json!(actual))
            }
            ErrorKind::CommandIdReused => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "the Idempotency-Key was used for another request before",
            ),
            ErrorKind::Store(store) if store.is_too_large() => {
                tracing::warn!(%error, "a commit is too large for the store");
                let detail = "what it records, with its answer if it has an Idempotency-Key, is larger than the event \
                              store takes; nothing was done";
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "commit_too_large", detail)
            }
            ErrorKind::Store(store) if store.is_not_durable() => {
                // What is wrong with it was said when it was found out; this would be a line for each command.
                tracing::debug!(%error, "a command is refused");
                let detail = "the event store is not set to keep what it would acknowledge; nothing was done, and \
                              commands are taken again once it is";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "durability_lost", detail)
            }
            ErrorKind::PositionUnknown => Self::position_unknown(),
            ErrorKind::Store(store) if store.is_ended() => {
                tracing::error!(%error, "a request failed");
                Self::unavailable(
                    "the event store is not what it was; nothing can be done until the service is started again",
                )
            }
            _ if error.is_retryable() => {
                tracing::warn!(%error, "the store is unavailable");
                Self::unavailable(
                    "the event store can't be reached or did not answer in time; send it again, with the same \
                     Idempotency-Key if it has one",
                )
            }
            _ => {
                tracing::error!(error = %format_args!("{error:#}"), "a request failed");
                Self::internal()
            }
        }
    }
}

/// How an error of the domain is found in a [`catga::Error`].
pub(crate) type Lookup = fn(&catga::Error) -> Option<Problem>;

/// The lookup of errors of type `E`.
pub(crate) fn lookup<E: ProblemDetails>(error: &catga::Error) -> Option<Problem> {
    error.handler::<E>().map(Problem::of)
}

/// An error answer's JSON.
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            extra: &self.extra,
        };
        let mut response = json_response(self.status, &body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.is_last {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Why a request was not answered as it hoped.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The path names something that can't be there.
    NoSuchKey,
    /// Something is wrong with the request.
    Problem(Problem),
    /// The program says so.
    Error(catga::Error),
}

impl Failure {
    /// The answer of a route that the kit has for every service.
    pub(crate) fn of_kit(self) -> Problem {
        match self {
            Self::NoSuchKey => Problem::not_found(),
            Self::Problem(problem) => problem,
            Self::Error(error) => error.into(),
        }
    }

    /// The answer of a route of the domain.
    pub(crate) fn into_problem(self, shared: &Shared) -> Problem {
        match self {
            Self::NoSuchKey => shared.domain.no_such_key.clone(),
            Self::Problem(problem) => problem,
            Self::Error(error) => {
                let known = shared.domain.errors.iter().find_map(|lookup| lookup(&error));
                known.unwrap_or_else(|| error.into())
            }
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<catga::Error> for Failure {
    fn from(error: catga::Error) -> Self {
        Self::Error(error)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, sync::Mutex};

    use catga::log::StoreError;

    use super::*;

    #[test]
    fn what_a_store_would_not_keep_says_so_and_nothing_of_its_settings() {
        let error: catga::Error = StoreError::not_durable("appendfsync = no").into();
        let problem = Problem::from(error);
        assert_eq!((problem.status.as_u16(), problem.code), (503, "durability_lost"));
        assert!(!problem.detail.contains("appendfsync"));
    }

    #[test]
    fn an_error_of_no_known_type_is_500_and_the_log_has_its_causes() {
        let (mut lines, writer) = std::io::pipe().unwrap();
        let writer = Mutex::new(writer);
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
        let guard = tracing::subscriber::set_default(subscriber);
        let cause = "pears".parse::<u32>().unwrap_err();
        let error = anyhow::Error::new(cause).context("the price list is wrong");
        let problem = Problem::from(catga::Error::refused(error));
        assert_eq!((problem.status.as_u16(), problem.code), (500, "internal"));
        assert!(!problem.detail.contains("price list"), "what went wrong is of the inside");
        drop(guard);
        let mut log = String::new();
        lines.read_to_string(&mut log).unwrap();
        let line = "ERROR catga_axum::problem::answer: a request failed \
                    error=the price list is wrong: invalid digit found in string\n";
        assert!(log.ends_with(line), "{log}");
    }

    #[test]
    fn a_commit_that_the_store_can_never_take_is_no_fault_of_the_service() {
        let error: catga::Error = StoreError::too_large("at most 20000 bytes").into();
        let problem = Problem::from(error);
        assert_eq!((problem.status.as_u16(), problem.code), (413, "commit_too_large"));
        assert!(!problem.detail.contains("20000"), "what a store takes is of the inside");
    }
}
