//! `/dead-letters`: events that a handler gave up on.

use std::sync::Arc;

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use catga::{DeadLetter, DeadLetterStatus};
use serde_json::{Value, json};

use super::{
    App,
    json::ReasonBody,
    json_response,
    problem::Problem,
    request::{Json, Params},
    write::Time,
};

/// The id in the path; text that is not even UTF-8 is a dead letter that does not exist.
type Id = Result<Path<String>, PathRejection>;

fn parse_id(id: Id) -> Result<String, Problem> {
    id.map(|Path(id)| id).map_err(|_| Problem::not_found())
}

fn letter_json(letter: &DeadLetter) -> Value {
    json!({
        "id": letter.id,
        "handler": letter.handler,
        "orderId": letter.stream.key(),
        "version": letter.version,
        "position": letter.position,
        "eventId": letter.event_id.to_string(),
        "type": letter.event_type,
        "attempts": letter.attempts,
        "lastError": letter.error,
        "since": Time(letter.since),
        "status": match letter.status {
            DeadLetterStatus::Parked => "Parked",
            DeadLetterStatus::Retrying => "Retrying",
            DeadLetterStatus::Dropping => "Dropping",
        },
    })
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    params.only(&["consistency"])?;
    let letters = app.catga.dead_letters(params.consistency(&headers)?).await?;
    let letters: Vec<_> = letters.iter().map(letter_json).collect();
    Ok(json_response(StatusCode::OK, &letters))
}

pub(super) async fn retry(
    State(app): State<Arc<App>>,
    id: Id,
    params: Params,
) -> Result<Response, Problem> {
    let id = parse_id(id)?;
    params.only(&[])?;
    let letter = app.catga.retry_dead_letter(&id).await?.ok_or_else(Problem::not_found)?;
    Ok(json_response(StatusCode::ACCEPTED, &letter_json(&letter)))
}

pub(super) async fn remove(
    State(app): State<Arc<App>>,
    id: Id,
    params: Params,
    request: Json<ReasonBody>,
) -> Result<Response, Problem> {
    let id = parse_id(id)?;
    params.only(&[])?;
    let reason = request.body.unwrap_or_default().reason;
    app.catga.drop_dead_letter(&id, reason).await?.ok_or_else(Problem::not_found)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
