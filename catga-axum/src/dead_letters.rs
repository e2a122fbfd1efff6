//! `/dead-letters`: events that a handler gave up on.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use catga::{DeadLetter, DeadLetterFilter, DeadLetterPlace, DeadLetterStatus};
use serde_json::{Value, json};

use crate::{
    event_json::key_member,
    message::number,
    page::{CURSOR, Limit, page_response},
    path::Id,
    problem::Problem,
    request::{CONSISTENCY, Params, Reason},
    respond::{json_response, percent},
    service::Shared,
};

fn letter_json(letter: &DeadLetter) -> Value {
    let mut json = json!({
        "id": letter.id,
        "handler": letter.handler,
        "version": letter.version,
        "position": letter.position,
        "eventId": letter.event_id.to_string(),
        "type": letter.event_type,
        "attempts": letter.attempts,
        "lastError": letter.error,
        "since": letter.since,
        "status": match letter.status {
            DeadLetterStatus::Parked => "Parked",
            DeadLetterStatus::Retrying => "Retrying",
            DeadLetterStatus::Dropping => "Dropping",
        },
    });
    json[key_member(letter.stream.aggregate())] = letter.stream.key().into();
    json
}

const FILTERS: [&str; 3] = ["handler", "type", "error"];

/// The dead letters that a request means.
fn filter(params: &Params) -> DeadLetterFilter {
    let [handler, event_type, error] = FILTERS.map(|name| params.text(name).map(str::to_owned));
    DeadLetterFilter { handler, event_type, error }
}

fn cursor(DeadLetterPlace { position, handler }: &DeadLetterPlace) -> String {
    format!("{}-{}", position.get(), percent(handler))
}

fn parse_cursor(text: &str) -> Option<DeadLetterPlace> {
    let (position, handler) = text.split_once('-')?;
    Some(DeadLetterPlace { position: number(position)?.into(), handler: handler.to_owned() })
}

pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let [handler, event_type, error] = FILTERS;
    params.only(&[handler, event_type, error, "limit", CURSOR, CONSISTENCY])?;
    params.take_log_of(CURSOR, &shared.catga)?;
    let Limit(limit) = params.parse("limit", "1 to 1000", Limit::parse)?.unwrap_or_default();
    let after = params.parse(CURSOR, "what a Link header said", parse_cursor)?;
    let consistency = params.consistency(&headers, &shared.catga).await?;
    let filter = filter(&params);
    let page = shared.catga.dead_letter_page(&filter, after.as_ref(), limit, consistency).await?;
    let letters: Vec<_> = page.dead_letters.iter().map(letter_json).collect();
    let (total, next) = (page.total as u64, page.next.as_ref().map(cursor));
    let log = shared.catga.store().log_id();
    Ok(page_response(&letters, Some(total), next.as_ref(), log, uri.path(), params.pairs()))
}

/// Retries all that the filters take, which may be all there are.
pub(crate) async fn retry_all(
    State(shared): State<Arc<Shared>>,
    params: Params,
) -> Result<Response, Problem> {
    params.only(&FILTERS)?;
    let retrying = shared.catga.retry_dead_letters(&filter(&params)).await?;
    Ok(json_response(StatusCode::ACCEPTED, &json!({ "retrying": retrying })))
}

pub(crate) async fn retry(
    State(shared): State<Arc<Shared>>,
    Id(id): Id,
    params: Params,
) -> Result<Response, Problem> {
    let id = id.ok_or_else(Problem::not_found)?;
    params.only(&[])?;
    let letter = shared.catga.retry_dead_letter(&id).await?.ok_or_else(Problem::not_found)?;
    Ok(json_response(StatusCode::ACCEPTED, &letter_json(&letter)))
}

pub(crate) async fn remove(
    State(shared): State<Arc<Shared>>,
    Id(id): Id,
    params: Params,
    Reason { reason }: Reason,
) -> Result<Response, Problem> {
    let id = id.ok_or_else(Problem::not_found)?;
    params.only(&[])?;
    shared.catga.drop_dead_letter(&id, reason).await?.ok_or_else(Problem::not_found)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
