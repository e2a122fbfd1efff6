//! Reading requests: query parameters, headers and bodies, each with an error that names what was wrong.

use std::{collections::HashSet, fmt};

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{HeaderMap, HeaderName, StatusCode, Uri, header, request::Parts},
};
use bytes::Bytes;
use catga::{
    Catga, CommandId, Consistency, Expected, Metadata,
    log::{LogId, Position, Version},
};
use serde::{Deserialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    body::MAX_BODY,
    message::{self, Place, number},
    path::{Names, Values},
    problem::{Failure, Problem},
};

/// The header that holds a log position.
pub(crate) const POSITION: HeaderName = HeaderName::from_static("x-catga-position");

/// The query parameter that says how fresh an answer must be.
pub(crate) const CONSISTENCY: &str = "consistency";

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The query parameters of a request, each given at most once. Most requests have none.
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.uri)
    }
}

impl Params {
    /// # Errors
    /// When one is given twice, or it is no query string.
    pub(crate) fn of(uri: &Uri) -> Result<Self, Problem> {
        if uri.query().is_none() {
            return Ok(Self(Vec::new()));
        }
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
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

    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// Takes the log that follows the value of `name`, if one does.
    ///
    /// # Errors
    /// When it is another log than that of `catga`.
    pub(crate) fn take_log_of(&mut self, name: &str, catga: &Catga) -> Result<(), Problem> {
        let Some((_, text)) = self.0.iter_mut().find(|(found, _)| found == name) else {
            return Ok(());
        };
        let Some((value, log)) = text.split_once('@') else { return Ok(()) };
        // Where it is none, who reads the value says what is wrong with it.
        if let Ok(log) = log.parse() {
            check_log(log, catga)?;
            *text = value.to_owned();
        }
        Ok(())
    }

    /// Refuses parameters of other names than `known`.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Problem> {
        let unknown = self.0.iter().find(|(name, _)| !known.contains(&name.as_str()));
        let Some((name, _)) = unknown else { return Ok(()) };
        let allowed = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(Problem::bad_request(format!("unknown query parameter {name:?}; allowed: {allowed}")))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The parameter `name`, made of its text by `parse`; `allowed` says what it takes.
    pub(crate) fn parse<T>(
        &self,
        name: &str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = || Problem::bad_request(format!("{name} is {text:?}; allowed: {allowed}"));
        parse(text).map(Some).ok_or_else(wrong)
    }

    /// How fresh the answer must be, by `?consistency=` and the position header.
    ///
    /// # Errors
    /// When one of them can't be read, or the log does not have the position.
    pub(crate) async fn consistency(
        &self,
        headers: &HeaderMap,
        catga: &Catga,
    ) -> Result<Consistency, Problem> {
        let position = match headers.get(POSITION) {
            None => None,
            Some(value) => {
                let place = value.to_str().ok().and_then(LogPlace::parse).ok_or_else(|| {
                    Problem::bad_request(format!(
                        "the header X-Catga-Position takes {}",
                        LogPlace::ALLOWED
                    ))
                })?;
                let position = place.on(catga)?;
                catga.check_position(position).await?;
                Some(position)
            }
        };
        let parse = |text: &str| match text {
            "latest" => Some(Consistency::Latest),
            "eventual" => Some(position.map_or(Consistency::Eventual, Consistency::AtLeast)),
            _ => None,
        };
        Ok(self.parse(CONSISTENCY, "latest, eventual", parse)?.unwrap_or_default())
    }
}

/// A position as clients are given it, and give it back: alone, or with the log that it is of, as in `12@00c0ffee00c0ffee`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogPlace {
    position: Position,
    log: Option<LogId>,
}

impl LogPlace {
    /// A position of `log`, to be given out.
    pub(crate) fn of(position: Position, log: LogId) -> Self {
        Self { position, log: Some(log) }
    }

    /// What is allowed, for who gave something else.
    pub(crate) const ALLOWED: &str =
        "a log position, a whole number, or one with its log as it was answered";

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (position, log) = match text.split_once('@') {
            None => (text, None),
            Some((position, log)) => (position, Some(log.parse().ok()?)),
        };
        Some(Self { position: number(position)?.into(), log })
    }

    /// The position in the log of `catga`.
    ///
    /// # Errors
    /// When it is one of another log.
    pub(crate) fn on(self, catga: &Catga) -> Result<Position, Problem> {
        self.log.map_or(Ok(()), |log| check_log(log, catga))?;
        Ok(self.position)
    }
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.position.fmt(f)?;
        self.log.map_or(Ok(()), |log| write!(f, "@{log}"))
    }
}

/// # Errors
/// When it is another log than that of `catga`.
fn check_log(log: LogId, catga: &Catga) -> Result<(), Problem> {
    if log == catga.store().log_id() { Ok(()) } else { Err(Problem::position_unknown()) }
}

/// The message in a body, which may be empty, and in the path. The fields that a body leaves out must be those that
/// may be missing.
///
/// # Errors
/// When the body is none that can be read, or it or the path does not fit.
pub(crate) fn message<T: DeserializeOwned>(
    mut parts: Parts,
    bytes: &[u8],
    names: &Names,
    mut values: Values,
) -> Result<T, Failure> {
    let mut is_path_wrong = false;
    let place = Place { names, values: &mut values, is_path_wrong: &mut is_path_wrong };
    if bytes.is_empty() {
        return message::from_nothing(place).map_err(|_| match is_path_wrong {
            true => Failure::NoSuchKey,
            false => Problem::bad_request("the body is missing: a JSON object is expected").into(),
        });
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    match message::from_json(&mut json, place).and_then(|message| json.end().map(|()| message)) {
        Ok(message) => Ok(message),
        Err(_) if is_path_wrong => Err(Failure::NoSuchKey),
        // Once more, now keeping track of where in the body it is.
        Err(_) => {
            let values = Values::of(&mut parts, names).unwrap_or_default();
            Err(explain::<T>(bytes, names, values).into())
        }
    }
}

/// What is wrong with a body, and where.
fn explain<T: DeserializeOwned>(bytes: &[u8], names: &Names, mut values: Values) -> Problem {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut track = serde_path_to_error::Track::new();
    let place = Place { names, values: &mut values, is_path_wrong: &mut false };
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    match message::from_json::<T, _>(tracked, place) {
        Ok(_) => Problem::bad_request("the body goes on after the JSON value"),
        Err(reason) => bad_json(&track.path().to_string(), &reason),
    }
}

fn bad_json(path: &str, reason: &serde_json::Error) -> Problem {
    Problem::bad_request(match path {
        "." | "?" => format!("the body is not the JSON that is expected: {reason}"),
        path => format!("{path}: {reason}"),
    })
}

/// A body that says why, for who wants to.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Reason {
    pub(crate) reason: Option<String>,
}

impl<S: Send + Sync> FromRequest<S> for Reason {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = json(&parts.headers, body).await?;
        message(parts, &bytes, &Names::default(), Values::default()).map_err(Failure::of_kit)
    }
}

/// The bytes of a body that must be JSON, if there are any. It has arrived before a route gets the request.
pub(crate) async fn json(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let bytes = to_bytes(body, MAX_BODY).await;
    let bytes = bytes.map_err(|_| Problem::bad_request("the body ended early"))?;
    let detail = match bytes.is_empty() || is_json(headers) {
        false => "the body must be JSON, with Content-Type: application/json",
        true if is_encoded(headers) => "the body must be sent as it is, without Content-Encoding",
        true => return Ok(bytes),
    };
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
}

/// Whether the body is compressed, or encoded otherwise.
fn is_encoded(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = lists.flat_map(|list| list.to_str().unwrap_or("?").split(',')).map(str::trim);
    codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
}

/// Whether a request names one host, as HTTP/1.1 asks ([RFC 9112, 3.2](https://www.rfc-editor.org/rfc/rfc9112#section-3.2)).
///
/// # Errors
/// When it names none, or several: what is in front of the service may have taken another than what is behind.
pub(crate) fn check_host<B>(request: &http::Request<B>) -> Result<(), Problem> {
    match request.headers().get_all(header::HOST).iter().count() {
        1 => Ok(()),
        0 if request.version() <= http::Version::HTTP_10 => Ok(()),
        _ => Err(Problem::bad_request("the header Host is to be there once")),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or("").trim();
    kind.eq_ignore_ascii_case("application/json")
}

/// What the headers say about a command. `scope` makes the idempotency keys of different targets different.
///
/// The versions are those that `If-Match` names beside the first.
///
/// # Errors
/// When a header is malformed.
pub(crate) fn metadata(
    headers: &HeaderMap,
    scope: &str,
) -> Result<(Metadata, Vec<Version>), Problem> {
    let (expected, others) = expected(headers)?;
    let metadata = Metadata {
        command_id: idempotency_key(headers)?
            .and_then(|key| CommandId::new(format!("{scope}{key}"))),
        expected,
        correlation: correlation(headers),
        causation: None,
        traceparent: traceparent(headers),
    };
    Ok((metadata, others))
}

/// What the request is part of. It is for tracing alone, so one that can't be kept does not cost the command, and another
/// takes its place.
fn correlation(headers: &HeaderMap) -> Option<String> {
    match visible(headers, CORRELATION, 128) {
        Ok(correlation) => correlation.map(str::to_owned),
        Err(_) => Some(Uuid::new_v4().to_string()),
    }
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

/// Which version the aggregate must have, by `If-Match` and `If-None-Match: *`, and which others are as good.
fn expected(headers: &HeaderMap) -> Result<(Expected, Vec<Version>), Problem> {
    let mut lists = headers.get_all(header::IF_MATCH).iter().peekable();
    if lists.peek().is_none() {
        let is_new = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value == "*");
        return Ok((if is_new { Expected::NoStream } else { Expected::Any }, Vec::new()));
    }
    let (mut first, mut others) = (None, Vec::new());
    for tag in lists.flat_map(|list| list.to_str().unwrap_or("?").split(',')).map(str::trim) {
        let version = match tag {
            "*" => return Ok((Expected::Any, Vec::new())),
            // A list may have empty elements (RFC 9110, 5.6.1).
            "" => continue,
            tag => version(tag)?,
        };
        match first {
            None => first = Some(version),
            Some(_) => others.push(version),
        }
    }
    let first = first.ok_or_else(bad_if_match)?;
    Ok((Expected::Exact(first), others))
}

/// The version in an entity tag.
fn version(tag: &str) -> Result<Version, Problem> {
    let quoted = |text: &str| text.strip_prefix('"')?.strip_suffix('"').and_then(number);
    match (quoted(tag), tag.strip_prefix("W/").and_then(quoted)) {
        (Some(version), _) => Ok(version.into()),
        // A weak tag never matches here (RFC 9110, 13.1.1), and nothing has this version.
        (None, Some(_)) => Ok(Version::MAX),
        (None, None) => Err(bad_if_match()),
    }
}

fn bad_if_match() -> Problem {
    Problem::bad_request(
        "the header If-Match takes versions in quotes, as in \"3\" or \"3\", \"4\", or *",
    )
}

/// Whether `If-None-Match` names `etag`, or anything.
pub(crate) fn is_unchanged(headers: &HeaderMap, etag: &str) -> bool {
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
