//! Reading requests: query parameters, headers and bodies, each with an error that names what was wrong.

use std::{
    collections::HashSet, convert::Infallible, error::Error, fmt, marker::PhantomData, mem::take,
};

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{HeaderMap, HeaderName, StatusCode, header, request::Parts},
};
use catga::{CommandId, Consistency, Expected, Metadata, log::StreamId};
use http_body_util::LengthLimitError;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::problem::Problem;
use crate::timer::Late;

/// The largest body, in bytes.
pub(super) const MAX_BODY: usize = 1 << 20;

/// The header that holds a log position.
pub(super) const POSITION: HeaderName = HeaderName::from_static("x-catga-position");

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The headers of a request without a body, taken and not copied.
pub(super) struct Headers(pub(super) HeaderMap);

impl<S: Send + Sync> FromRequestParts<S> for Headers {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(take(&mut parts.headers)))
    }
}

/// The query parameters of a request, each given at most once. Most requests have none.
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if parts.uri.query().is_none() {
            return Ok(Self(Vec::new()));
        }
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::bad_request("the query string can't be read"))?;
        let mut names = HashSet::new();
        match pairs.iter().find(|(name, _)| !names.insert(name)) {
            None => Ok(Self(pairs)),
            Some((name, _)) => {
                let detail = format!("the query parameter {name:?} is given twice");
                Err(Problem::bad_request(detail))
            }
        }
    }
}

impl Params {
    /// Refuses parameters of other names than `known`.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Problem> {
        let unknown = self.0.iter().find(|(name, _)| !known.contains(&name.as_str()));
        let Some((name, _)) = unknown else { return Ok(()) };
        let allowed = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(Problem::bad_request(format!("unknown query parameter {name:?}; allowed: {allowed}")))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The parameter `name`, made of its text by `parse`; `allowed` says what it takes.
    pub(super) fn parse<T>(
        &self,
        name: &str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = || Problem::bad_request(format!("{name} is {text:?}; allowed: {allowed}"));
        parse(text).map(Some).ok_or_else(wrong)
    }

    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let parse = |text: &str| {
            number(text).and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=1000).contains(n))
        };
        Ok(self.parse("limit", "1 to 1000", parse)?.unwrap_or(100))
    }

    /// How fresh the answer must be, by `?consistency=` and the position header.
    pub(super) fn consistency(&self, headers: &HeaderMap) -> Result<Consistency, Problem> {
        let position = match headers.get(POSITION) {
            None => None,
            Some(value) => Some(value.to_str().ok().and_then(number).ok_or_else(|| {
                Problem::bad_request(
                    "the header X-Catga-Position takes a log position, a whole number",
                )
            })?),
        };
        let parse = |text: &str| match text {
            "latest" => Some(Consistency::Latest),
            "eventual" => Some(position.map_or(Consistency::Eventual, Consistency::AtLeast)),
            _ => None,
        };
        Ok(self.parse("consistency", "latest, eventual", parse)?.unwrap_or_default())
    }
}

/// A whole number as JSON would write it, up to 2^53.
pub(super) fn number(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| is_plain && *n <= 1 << 53)
}

/// `id` if an order can have it. Any other text is an order that does not exist, never an error.
pub(super) fn order_id(id: String) -> Result<String, Problem> {
    if StreamId::is_part(&id) { Ok(id) } else { Err(Problem::order_not_found()) }
}

/// A request with JSON in its body.
pub(super) struct Json<T> {
    pub(super) headers: HeaderMap,
    /// `None` when it is empty.
    pub(super) body: Option<T>,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (Parts { headers, .. }, body) = request.into_parts();
        let bytes = read(&headers, body).await?;
        if bytes.is_empty() {
            return Ok(Self { headers, body: None });
        }
        if !is_json(&headers) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "the body must be JSON, with Content-Type: application/json",
            ));
        }
        let body = match serde_json::from_slice(&bytes) {
            Ok(Object(body)) => body,
            // Once more, now keeping track of where in the body it is.
            Err(_) => parse(&bytes)?,
        };
        Ok(Self { headers, body: Some(body) })
    }
}

/// Parses a body, or says what is wrong with it and where.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let Object(body) =
        serde_path_to_error::deserialize(&mut json).map_err(|error| bad_json(&error))?;
    json.end().map_err(|_| Problem::bad_request("the body goes on after the JSON value"))?;
    Ok(body)
}

/// The body, which must not be empty.
pub(super) fn required<T>(body: Option<T>) -> Result<T, Problem> {
    body.ok_or_else(|| Problem::bad_request("the body is missing: a JSON object is expected"))
}

/// A `T` written as a JSON object: serde alone would take an array of the fields' values, too.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }

        json.deserialize_map(Members(PhantomData)).map(Self)
    }
}

async fn read(headers: &HeaderMap, body: Body) -> Result<bytes::Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body is larger than {MAX_BODY} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail)
    };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if length.and_then(|length| length.parse::<usize>().ok()).is_some_and(|n| n > MAX_BODY) {
        return Err(too_large());
    }
    to_bytes(body, MAX_BODY).await.map_err(|error| {
        if is::<LengthLimitError>(&error) {
            too_large()
        } else if is::<Late>(&error) {
            Problem::bad_request("the body did not arrive in time")
        } else {
            Problem::bad_request("the body ended early")
        }
    })
}

/// Whether `error` came of an `E`.
fn is<E: Error + 'static>(error: &axum::Error) -> bool {
    let mut causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.any(<dyn Error>::is::<E>)
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or("").trim();
    kind.eq_ignore_ascii_case("application/json")
}

fn bad_json(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let path = error.path().to_string();
    let reason = error.inner().to_string();
    match path.as_str() {
        "." | "?" => {
            Problem::bad_request(format!("the body is not the JSON that is expected: {reason}"))
        }
        path => Problem::bad_request(format!("{path}: {reason}")),
    }
}

/// What the headers say about a command. `scope` makes the idempotency keys of different targets different.
pub(super) fn metadata(headers: &HeaderMap, scope: &str) -> Result<Metadata, Problem> {
    Ok(Metadata {
        command_id: idempotency_key(headers)?
            .and_then(|key| CommandId::new(format!("{scope}{key}"))),
        expected: if_match(headers)?,
        correlation: visible(headers, CORRELATION, 128)?.map(str::to_owned),
        causation: None,
        traceparent: traceparent(headers),
    })
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    visible(headers, IDEMPOTENCY_KEY, 255)
}

/// A header of 1 to `longest` visible ASCII characters.
fn visible(headers: &HeaderMap, name: HeaderName, longest: usize) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(&name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| {
        (1..=longest).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    });
    match text {
        Some(text) if values.next().is_none() => Ok(Some(text)),
        _ => Err(Problem::bad_request(format!(
            "the header {name} takes 1 to {longest} visible ASCII characters, once"
        ))),
    }
}

fn if_match(headers: &HeaderMap) -> Result<Expected, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(Expected::Any) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(Expected::Any);
    }
    let quoted = |text: &str| text.strip_prefix('"')?.strip_suffix('"').and_then(number);
    match (quoted(text), text.strip_prefix("W/").and_then(quoted)) {
        (Some(version), _) => Ok(Expected::Exact(version)),
        // A weak tag never matches here (RFC 9110, 13.1.1), and no order has this version.
        (None, Some(_)) => Ok(Expected::Exact(u64::MAX)),
        (None, None) => Err(Problem::bad_request(
            "the header If-Match takes one version in quotes, as in \"3\", or *",
        )),
    }
}

/// Whether `If-None-Match` names `etag`, or anything.
pub(super) fn is_unchanged(headers: &HeaderMap, etag: &str) -> bool {
    let values =
        headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// A well-formed `traceparent`; a broken one is ignored, as W3C Trace Context asks.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(TRACEPARENT)?.to_str().ok()?;
    let lengths: Vec<_> = value.split('-').map(str::len).collect();
    let is_hex =
        value.bytes().all(|b| b == b'-' || b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (lengths == [2, 32, 16, 2] && is_hex).then(|| value.to_owned())
}
