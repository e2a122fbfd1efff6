//! Errors as `application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).

use std::borrow::Cow;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use catga::{ErrorKind, FieldError};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::json_response;
use crate::domain::order::OrderError;

/// An error answer. Its text never holds an address, a path or anything else of the inside.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    extra: Map<String, Value>,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, code, detail: detail.into(), extra: Map::new() }
    }

    pub(super) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
    }

    pub(super) fn order_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "order_not_found", OrderError::NotFound.to_string())
    }

    pub(super) fn unavailable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail)
    }

    pub(super) fn overloaded() -> Self {
        let detail = "too many requests are being worked on; nothing was done about this one";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
    }

    /// The answer when a handler panicked, too: as any bug, it says nothing about the inside.
    pub(super) fn internal() -> Self {
        let detail = "the request could not be handled; the log of the service says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.extra.insert(name.to_owned(), value);
        self
    }
}

impl From<catga::Error> for Problem {
    fn from(error: catga::Error) -> Self {
        if let Some(refusal) = error.handler::<OrderError>() {
            return refusal.into();
        }
        match error.kind() {
            ErrorKind::Invalid(fields) => {
                let field = |FieldError { field, message }: &FieldError| json!({ "field": field, "message": message });
                let errors = fields.iter().map(field).collect();
                let detail = "some fields can't be accepted";
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation_failed", detail)
                    .with("errors", errors)
            }
            ErrorKind::VersionMismatch { actual } => {
                let detail = format!("the order is at version {actual}");
                Self::new(StatusCode::PRECONDITION_FAILED, "version_mismatch", detail)
                    .with("version", json!(actual))
            }
            ErrorKind::CommandIdReused => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "the Idempotency-Key was used for another request before",
            ),
            _ if error.is_retryable() => {
                tracing::warn!(%error, "the store is unavailable");
                Self::unavailable(
                    "the event store did not answer in time; send it again with the same Idempotency-Key",
                )
            }
            _ => {
                tracing::error!(%error, "a request failed");
                Self::internal()
            }
        }
    }
}

impl From<&OrderError> for Problem {
    fn from(error: &OrderError) -> Self {
        let detail = error.to_string();
        match error {
            OrderError::NotFound => Self::order_not_found(),
            OrderError::VersionNotFound => {
                Self::new(StatusCode::NOT_FOUND, "version_not_found", detail)
            }
            OrderError::Exists => Self::new(StatusCode::CONFLICT, "order_exists", detail),
            OrderError::InvalidTransition { status, .. } => {
                // RFC 9457 has `status` for the number, so the order's has a longer name.
                Self::new(StatusCode::CONFLICT, "invalid_transition", detail)
                    .with("orderStatus", json!(status.name()))
            }
        }
    }
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
        response
    }
}
