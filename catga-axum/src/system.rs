//! What the node says about itself.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use catga::{Clock, Health, Timestamp, cluster::Member};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    accept::prefers_html, log_lines, problem::Problem, request::Params, respond::json_response,
    service::Shared,
};

fn now() -> Timestamp {
    Clock::system().now()
}

pub(crate) async fn info(
    State(shared): State<Arc<Shared>>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let mut response = match prefers_html(&headers) {
        true => Redirect::to("/docs").into_response(),
        false => node_info(&shared),
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

fn node_info(shared: &Shared) -> Response {
    let node = &shared.node;
    json_response(
        StatusCode::OK,
        &json!({
            "service": shared.domain.name,
            "version": shared.domain.version,
            "node": node.id,
            "mode": if shared.catga.members().is_some() { "Cluster" } else { "Standalone" },
            "transport": node.transport,
            "persistence": node.persistence,
            "status": "running",
            "timestamp": now(),
        }),
    )
}

pub(crate) async fn health(
    State(shared): State<Arc<Shared>>,
    params: Params,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let health = shared.catga.health().await;
    let status = match is_healthy(&health) {
        false => Status::Unhealthy,
        true if is_degraded(&health) => Status::Degraded,
        true => Status::Healthy,
    };
    Ok(health_response(&health, status))
}

/// Whether a new start is what the node needs. It asks nobody, so it answers whatever else is slow or away.
pub(crate) async fn live(
    State(shared): State<Arc<Shared>>,
    params: Params,
) -> Result<Response, Problem> {
    params.only(&[])?;
    Ok(match shared.catga.check() {
        Ok(()) => {
            json_response(StatusCode::OK, &json!({ "status": "healthy", "timestamp": now() }))
        }
        Err(error) => {
            let store = check(&Err(error.to_string()));
            status_response(Status::Unhealthy, &json!({ "store": store }))
        }
    })
}

pub(crate) async fn ready(
    State(shared): State<Arc<Shared>>,
    params: Params,
) -> Result<Response, Problem> {
    params.only(&[])?;
    if shared.draining.is_cancelled() {
        return Ok(status_response(Status::Unhealthy, &json!({ "draining": true })));
    }
    let health = shared.catga.health().await;
    let is_ready = can_serve(&health) && health.is_caught_up;
    Ok(health_response(&health, if is_ready { Status::Healthy } else { Status::Unhealthy }))
}

/// Whether requests belong on this node. What has failed on every node alike, such as a projection, or does not touch requests,
/// such as an event handler, is no reason to send them nowhere.
fn can_serve(health: &Health) -> bool {
    health.store.is_ok()
        && health.appends.is_ok()
        && health.transport.is_ok()
        && health.is_following
        && health.is_member != Some(false)
}

fn is_healthy(health: &Health) -> bool {
    can_serve(health)
        && health.read_models.is_ok()
        && health.standstill.is_empty()
        && !health.tasks.iter().any(|task| task.is_lasting)
        && health.handlers.iter().all(|handler| handler.trouble.is_none())
}

/// Whether somebody should look at it, though everything goes on: effects fail, or something can't keep up.
fn is_degraded(health: &Health) -> bool {
    !health.paused.is_empty()
        || !health.falling_behind.is_empty()
        || !health.tasks.is_empty()
        || health.dead_letters.values().any(|count| *count > 0)
}

fn check(outcome: &Result<(), String>) -> Value {
    match outcome {
        Ok(()) => json!({ "status": "healthy" }),
        Err(reason) => json!({ "status": "unhealthy", "reason": reason }),
    }
}

/// How the node is. What is degraded works, and somebody should look at it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Healthy,
    Degraded,
    Unhealthy,
}

fn health_response(health: &Health, status: Status) -> Response {
    let handlers: Map<String, Value> = health
        .handler_positions()
        .map(|(name, position)| {
            let partitions = health.handlers.iter().filter(|handler| handler.name == name);
            let trouble = partitions.filter_map(|handler| {
                Some(format!("{name}/{}: {}", handler.partition, handler.trouble.as_ref()?))
            });
            let mut handler =
                check(&trouble.reduce(|all, one| all + "; " + &one).map_or(Ok(()), Err));
            if let Some(paused) = health.paused.iter().find(|paused| paused.name == name) {
                if handler["status"] == "healthy" {
                    handler["status"] = json!(Status::Degraded);
                }
                handler["paused"] =
                    json!({ "since": paused.since, "lastError": paused.last_error });
            }
            handler["lag"] = health.head.saturating_sub(position).into();
            (name.to_owned(), handler)
        })
        .collect();
    let lag = health.head.saturating_sub(health.read_model_position);
    let mut store = check(&health.store.clone().and(health.appends.clone()));
    if let Some(durability) = &health.durability {
        store["durability"] = durability.survives().to_string().into();
        store["settings"] = durability
            .settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone().into()))
            .collect::<Map<String, Value>>()
            .into();
    }
    let mut read_models = check(&health.read_models);
    read_models["lag"] = lag.into();
    let mut checks = json!({ "store": store, "readModels": read_models, "handlers": handlers });
    if health.transport.is_err() || health.transport_position.is_some() {
        let lag = health.transport_position.map(|position| health.head.saturating_sub(position));
        checks["transport"] = check(&health.transport);
        checks["transport"]["lag"] = lag.into();
    }
    if !health.standstill.is_empty() {
        checks["progress"] = check(&Err(health.standstill.join("; ")));
    } else if !health.falling_behind.is_empty() {
        let reason = health.falling_behind.join("; ");
        checks["progress"] = json!({ "status": Status::Degraded, "reason": reason });
    }
    let troubles = health.tasks.iter().map(ToString::to_string);
    if let Some(reason) = troubles.reduce(|all, one| all + "; " + &one) {
        let is_lasting = health.tasks.iter().any(|task| task.is_lasting);
        let status = if is_lasting { Status::Unhealthy } else { Status::Degraded };
        checks["tasks"] = json!({ "status": status, "reason": reason });
    }
    if let Some(is_member) = health.is_member {
        checks["cluster"] = json!({ "status": if is_member { "healthy" } else { "unhealthy" } });
    }
    let waiting: Map<_, Value> = health
        .dead_letters
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| (name.clone(), (*count).into()))
        .collect();
    if !waiting.is_empty() {
        checks["deadLetters"] = json!({ "status": Status::Degraded, "waiting": waiting });
    }
    status_response(status, &checks)
}

fn status_response(status: Status, checks: &Value) -> Response {
    let code = match status {
        Status::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
        Status::Healthy | Status::Degraded => StatusCode::OK,
    };
    json_response(code, &json!({ "status": status, "timestamp": now(), "checks": checks }))
}

pub(crate) async fn metrics(
    State(shared): State<Arc<Shared>>,
    params: Params,
) -> Result<Response, Problem> {
    params.only(&[])?;
    shared.catga.observe().await;
    log_lines::observe();
    shared.metrics.run_upkeep();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], shared.metrics.render()).into_response())
}

pub(crate) async fn openapi(
    State(shared): State<Arc<Shared>>,
    params: Params,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let kind = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, kind)], shared.domain.openapi.clone()).into_response())
}

/// A page to try the API, with nothing from another host.
pub(crate) async fn docs(params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    let policy = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
    let policy = HeaderValue::from_static(policy);
    let page = Html(include_str!("docs.html"));
    Ok(([(header::CONTENT_SECURITY_POLICY, policy)], page).into_response())
}

pub(crate) async fn cluster(
    State(shared): State<Arc<Shared>>,
    params: Params,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let health = shared.catga.health().await;
    let handlers: Vec<_> = health
        .handler_positions()
        .map(|(name, position)| {
            json!({ "handler": name, "lag": health.head.saturating_sub(position) })
        })
        .collect();
    let nodes: Vec<_> = match shared.catga.members() {
        Some(members) => members.iter().map(member_json).collect(),
        None => vec![json!({
            "node": shared.node.id,
            "address": shared.node.address,
            "version": shared.domain.version,
            "startedAt": shared.node.started_at,
            "lastSeen": now(),
            "leases": shared.catga.leases(),
        })],
    };
    Ok(json_response(StatusCode::OK, &json!({ "nodes": nodes, "handlers": handlers })))
}

fn member_json(member: &Member) -> Value {
    json!({
        "node": member.node,
        "address": member.address,
        "version": member.version,
        "startedAt": member.started_at,
        "lastSeen": member.last_seen,
        "leases": member.leases,
    })
}
