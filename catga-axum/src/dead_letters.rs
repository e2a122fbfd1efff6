//! `/dead-letters`: events that a handler gave up on.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use catga::{DeadLetter, DeadLetterStatus};
use serde_json::{Value, json};

use crate::{
    event_json::key_member,
    path::Id,
    problem::Problem,
    request::{Params, Reason},
    respond::json_response,
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

pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    params.only(&["consistency"])?;
    let letters = shared.catga.dead_letters(params.consistency(&headers)?).await?;
    let letters: Vec<_> = letters.iter().map(letter_json).collect();
    Ok(json_response(StatusCode::OK, &letters))
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
