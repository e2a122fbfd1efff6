//! Writing answers: JSON, and the headers that say where in the log they are.

use std::fmt::{Arguments, Write as _};

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use catga::{
    CommandOutcome,
    log::{LogId, Version},
};
use serde::Serialize;

use crate::request::{self, LogPlace};

/// How many bytes most answers fit in.
const TYPICAL_BODY: usize = 512;

/// How many bytes most values of headers fit in.
const TYPICAL_HEADER: usize = 64;

/// `body` as JSON.
pub(crate) fn json_response(status: StatusCode, body: &impl Serialize) -> Response {
    let mut bytes = Vec::with_capacity(TYPICAL_BODY);
    if let Err(error) = serde_json::to_writer(&mut bytes, body) {
        // A map whose keys are no strings, or a `Serialize` that says no.
        tracing::error!(%error, "an answer is no JSON");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes)
        .into_response()
}

/// The answer to a command, with where its events are.
pub(crate) fn command_response<T: Serialize + 'static>(
    status: StatusCode,
    outcome: &CommandOutcome<T>,
    log: LogId,
) -> Response {
    let mut response = match (&outcome.output as &dyn std::any::Any).is::<()>() {
        true => StatusCode::NO_CONTENT.into_response(),
        false => json_response(status, &outcome.output),
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag(outcome.version));
    headers
        .insert(request::POSITION, ascii(format_args!("{}", LogPlace::of(outcome.position, log))));
    if outcome.is_replay {
        let replayed = HeaderName::from_static("idempotent-replayed");
        headers.insert(replayed, HeaderValue::from_static("true"));
    }
    response
}

pub(crate) fn etag(version: Version) -> HeaderValue {
    ascii(format_args!("\"{version}\""))
}

/// A header's value, of which only ASCII may be written.
pub(crate) fn ascii(text: Arguments<'_>) -> HeaderValue {
    let mut value = BytesMut::with_capacity(TYPICAL_HEADER);
    value.write_fmt(text).expect("the buffer grows");
    HeaderValue::from_maybe_shared(value.freeze()).expect("only ASCII is written into headers")
}

/// `text` for a query string: all but unreserved characters percent-encoded (RFC 3986).
pub(crate) fn percent(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
