//! `/orders` and all below it.

use std::{
    fmt::{Arguments, Write as _},
    sync::Arc,
};

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use catga::{
    Command, CommandOutcome, Metadata,
    handler::Handled,
    log::{Position, Version},
};
use uuid::Uuid;

use super::{
    App,
    json::{CreateBody, CreatedJson, EventJson, OrderJson, PayBody, ReasonBody, ShipBody},
    json_response,
    problem::Problem,
    request::{self, Headers, Json, Params, is_unchanged, number, order_id, required},
    write::{Exact, Time},
};
use crate::domain::{
    commands::{CancelOrder, DeliverOrder, OrderView, PayOrder, ShipOrder},
    order::Status,
    queries::{GetHistory, GetOrder, ListOrders, Moment},
};

/// The id in the path; text that is not even UTF-8 is an order that does not exist.
type Id = Result<Path<String>, PathRejection>;

/// A body that is looked at after the id: what is wrong with the body of nothing does not matter.
type Body<T> = Result<Json<T>, Problem>;

fn parse_id(id: Id) -> Result<String, Problem> {
    let Path(id) = id.map_err(|_| Problem::order_not_found())?;
    order_id(id)
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    params: Params,
    request: Json<CreateBody>,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let Json { headers, body } = request;
    // No key has a space in it, so a key used here is another one than the same key used on an order.
    let metadata = request::metadata(&headers, "/orders ")?;
    let id = match &metadata.command_id {
        Some(key) => key.derive_key(),
        None => Uuid::now_v7(),
    };
    let command = required(body)?.into_command(id.to_string())?;
    let done = app.catga.send(command).metadata(metadata).outcome().await?;
    let created = &done.output;
    let answer = CreatedJson {
        order_id: &created.order_id,
        total: Exact(created.total),
        created_at: Time(created.created_at),
    };
    let location = ascii(format_args!("/orders/{}", created.order_id));
    let mut response = command_response(StatusCode::CREATED, &done, &answer);
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

pub(super) async fn pay(
    State(app): State<Arc<App>>,
    id: Id,
    params: Params,
    request: Body<PayBody>,
) -> Result<Response, Problem> {
    let order_id = parse_id(id)?;
    let Json { headers, body } = request?;
    let payment_method = required(body)?.payment_method;
    step(&app, &params, &headers, PayOrder { order_id, payment_method }).await
}

pub(super) async fn ship(
    State(app): State<Arc<App>>,
    id: Id,
    params: Params,
    request: Body<ShipBody>,
) -> Result<Response, Problem> {
    let order_id = parse_id(id)?;
    let Json { headers, body } = request?;
    let tracking_number = required(body)?.tracking_number;
    step(&app, &params, &headers, ShipOrder { order_id, tracking_number }).await
}

pub(super) async fn deliver(
    State(app): State<Arc<App>>,
    id: Id,
    params: Params,
    Headers(headers): Headers,
) -> Result<Response, Problem> {
    step(&app, &params, &headers, DeliverOrder { order_id: parse_id(id)? }).await
}

pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    id: Id,
    params: Params,
    request: Body<ReasonBody>,
) -> Result<Response, Problem> {
    let order_id = parse_id(id)?;
    let Json { headers, body } = request?;
    let reason = body.unwrap_or_default().reason;
    step(&app, &params, &headers, CancelOrder { order_id, reason }).await
}

/// One step of an order's life, answered with the order.
async fn step<C>(
    app: &App,
    params: &Params,
    headers: &HeaderMap,
    command: C,
) -> Result<Response, Problem>
where
    C: Command<Output = OrderView> + Handled<Output = OrderView>,
{
    params.only(&[])?;
    let metadata: Metadata = request::metadata(headers, "")?;
    let done = app.catga.send(command).metadata(metadata).outcome().await?;
    Ok(command_response(StatusCode::OK, &done, &OrderJson::from(&done.output)))
}

/// An answer with where the command's events are.
fn command_response<T>(
    status: StatusCode,
    done: &CommandOutcome<T>,
    body: &impl serde::Serialize,
) -> Response {
    let mut response = json_response(status, body);
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag(done.version));
    headers.insert(request::POSITION, position(done.position));
    if done.is_replay {
        let replayed = HeaderName::from_static("idempotent-replayed");
        headers.insert(replayed, HeaderValue::from_static("true"));
    }
    response
}

pub(super) async fn get(
    State(app): State<Arc<App>>,
    id: Id,
    params: Params,
    Headers(headers): Headers,
) -> Result<Response, Problem> {
    let order_id = parse_id(id)?;
    params.only(&["version", "at", "consistency"])?;
    let version = params.parse("version", "a whole number", number)?;
    let at = params.parse("at", "a time in RFC 3339, as 2026-01-31T12:00:00Z", |text| {
        let at: jiff::Timestamp = text.parse().ok()?;
        Some(catga::Timestamp::from_micros(at.as_microsecond()))
    })?;
    let moment = match (version, at) {
        (Some(_), Some(_)) => {
            return Err(Problem::bad_request("version and at exclude each other"));
        }
        (Some(version), None) => Moment::Version(version),
        (None, Some(time)) => Moment::Time(time),
        (None, None) => Moment::Now,
    };
    let consistency = params.consistency(&headers)?;
    let view = app.catga.query(GetOrder { order_id, moment }).consistency(consistency).await?;
    let tag = etag(view.version);
    let is_unchanged = is_unchanged(&headers, tag.to_str().unwrap_or_default());
    let mut response = if is_unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        json_response(StatusCode::OK, &OrderJson::from(&view))
    };
    response.headers_mut().insert(header::ETAG, tag);
    Ok(response)
}

pub(super) async fn history(
    State(app): State<Arc<App>>,
    id: Id,
    params: Params,
    Headers(headers): Headers,
) -> Result<Response, Problem> {
    let order_id = parse_id(id)?;
    params.only(&["from", "limit", "consistency"])?;
    let positive = |text: &str| number(text).filter(|from| *from > 0);
    let from = params.parse("from", "a version, 1 or more", positive)?.unwrap_or(1);
    let limit = params.limit()?;
    let consistency = params.consistency(&headers)?;
    // One more than is shown tells whether there is a next page.
    let query = GetHistory { order_id: order_id.clone(), from, limit: limit + 1 };
    let mut events = app.catga.query(query).consistency(consistency).await?;
    let next = events.get(limit).map(|event| event.version);
    events.truncate(limit);
    let shown: Vec<_> = events.iter().map(EventJson::from).collect();
    let mut response = json_response(StatusCode::OK, &shown);
    if let Some(next) = next {
        let history = format_args!("/orders/{order_id}/history?from={next}&limit={limit}");
        response
            .headers_mut()
            .insert(header::LINK, ascii(format_args!("<{history}>; rel=\"next\"")));
    }
    Ok(response)
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    params: Params,
    Headers(headers): Headers,
) -> Result<Response, Problem> {
    params.only(&["status", "customerId", "limit", "cursor", "consistency"])?;
    let named = |text: &str| Status::ALL.into_iter().find(|status| status.name() == text);
    let statuses = "Pending, Paid, Shipped, Delivered, Cancelled";
    let query = ListOrders {
        status: params.parse("status", statuses, named)?,
        customer_id: params.text("customerId").map(str::to_owned),
        before: params.parse("cursor", "what a Link header gave", parse_cursor)?,
        limit: params.limit()?,
    };
    let filters: String = ["status", "customerId"]
        .iter()
        .filter_map(|name| Some(format!("&{name}={}", percent(params.text(name)?))))
        .collect();
    let limit = query.limit;
    let consistency = params.consistency(&headers)?;
    let page = app.catga.query(query).consistency(consistency).await?;
    let orders: Vec<_> = page.orders.iter().map(OrderJson::from).collect();
    let mut response = json_response(StatusCode::OK, &orders);
    response.headers_mut().insert("x-total-count", position(page.total));
    if let Some(next) = page.next {
        let list = format_args!("/orders?limit={limit}&cursor={}{filters}", cursor(next));
        response.headers_mut().insert(header::LINK, ascii(format_args!("<{list}>; rel=\"next\"")));
    }
    Ok(response)
}

/// A place in the list as clients see it: a format version, then the place, scrambled in nothing but its look.
fn cursor(place: u32) -> String {
    format!("1{place:08x}")
}

fn parse_cursor(text: &str) -> Option<u32> {
    let place = text.strip_prefix('1').filter(|place| place.len() == 8)?;
    let is_ours = place.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    is_ours.then(|| u32::from_str_radix(place, 16).ok())?
}

/// `text` for a query string: all but unreserved characters percent-encoded (RFC 3986).
fn percent(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn etag(version: Version) -> HeaderValue {
    ascii(format_args!("\"{version}\""))
}

fn position(position: Position) -> HeaderValue {
    HeaderValue::from(position)
}

/// How many bytes most values of headers fit in.
const TYPICAL_HEADER: usize = 64;

fn ascii(text: Arguments<'_>) -> HeaderValue {
    let mut value = BytesMut::with_capacity(TYPICAL_HEADER);
    value.write_fmt(text).expect("the buffer grows");
    HeaderValue::from_maybe_shared(value.freeze()).expect("only ASCII is written into headers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_back_and_nothing_else_is() {
        for place in [0, 1, 999_999, u32::MAX] {
            assert_eq!(parse_cursor(&cursor(place)), Some(place));
        }
        for text in ["", "1", "2000000ff", "10000000g", "1+00000ff", "1000000fff", "1000000FF"] {
            assert_eq!(parse_cursor(text), None, "{text}");
        }
    }
}
