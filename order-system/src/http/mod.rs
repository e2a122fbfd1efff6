//! The HTTP contract: the only place that knows JSON and status codes.

mod dead_letters;
mod feed;
mod json;
mod orders;
mod problem;
mod request;
mod system;
mod write;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use catga::{Catga, Timestamp};
use metrics::Histogram;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use self::problem::Problem;

/// The OpenAPI 3.1 document of everything that is served.
pub const OPENAPI: &str = include_str!("openapi.json");

/// What request handlers share.
#[derive(Debug)]
pub struct App {
    /// The running program.
    pub catga: Catga,
    /// What this node is.
    pub node: Arc<Node>,
    /// The metrics, ready to be rendered.
    pub metrics: PrometheusHandle,
    /// Cancelled first thing in a shutdown: not ready any more, and streams end.
    pub draining: CancellationToken,
}

/// What a node says about itself.
#[derive(Debug)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Where it listens.
    pub address: String,
    /// The value of `--transport`.
    pub transport: &'static str,
    /// The value of `--persistence`.
    pub persistence: &'static str,
    /// When it started.
    pub started_at: Timestamp,
}

/// All routes.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/", get(system::info))
        .route("/health", get(system::health))
        .route("/health/live", get(system::live))
        .route("/health/ready", get(system::ready))
        .route("/stats", get(system::stats))
        .route("/metrics", get(system::metrics))
        .route("/openapi.json", get(system::openapi))
        .route("/docs", get(system::docs))
        .route("/cluster", get(system::cluster))
        .route("/events", get(feed::events))
        .route("/dead-letters", get(dead_letters::list))
        .route("/dead-letters/{id}", axum::routing::delete(dead_letters::remove))
        .route("/dead-letters/{id}/retry", post(dead_letters::retry))
        .route("/orders", get(orders::list).post(orders::create))
        .route("/orders/{id}", get(orders::get))
        .route("/orders/{id}/history", get(orders::history))
        .route("/orders/{id}/pay", post(orders::pay))
        .route("/orders/{id}/ship", post(orders::ship))
        .route("/orders/{id}/deliver", post(orders::deliver))
        .route("/orders/{id}/cancel", post(orders::cancel))
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async {
            let detail = "this path does not take this method; the header Allow says which";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        })
        // As one layer: each that is added by itself costs every request an allocation and a copy.
        .layer((
            CatchPanicLayer::custom(problem::panicked),
            middleware::from_fn_with_state(Arc::new(Gate::new()), pass),
        ))
        .with_state(Arc::new(app))
}

/// How many requests about orders are worked on at once. More than this mostly wait longer: half as many come close to
/// what a store can do.
const IN_FLIGHT: usize = 512;

/// What all requests go through.
struct Gate {
    timers: Timers,
    places: Semaphore,
}

impl Gate {
    fn new() -> Self {
        Self { timers: Timers::default(), places: Semaphore::new(IN_FLIGHT) }
    }
}

/// The histograms of requests. They are made as they are needed, and kept: to find one by its labels costs more than
/// all else that a request needs here.
#[derive(Default)]
struct Timers {
    by_route: RwLock<HashMap<Box<str>, Vec<Timer>>>,
}

/// That of one route's requests with this method and this answer.
struct Timer {
    method: &'static str,
    status: StatusCode,
    histogram: Histogram,
}

impl Timers {
    fn get(&self, route: &str, method: &Method, status: StatusCode) -> Histogram {
        let method = known(method);
        if let Some(timers) =
            self.by_route.read().unwrap_or_else(PoisonError::into_inner).get(route)
            && let Some(timer) = timers.iter().find(|t| (t.method, t.status) == (method, status))
        {
            return timer.histogram.clone();
        }
        let labels = [
            ("method", method.to_owned()),
            ("route", route.to_owned()),
            ("status", status.as_u16().to_string()),
        ];
        let histogram = metrics::histogram!("http_request_seconds", &labels);
        let timer = Timer { method, status, histogram: histogram.clone() };
        let mut by_route = self.by_route.write().unwrap_or_else(PoisonError::into_inner);
        by_route.entry(route.into()).or_default().push(timer);
        histogram
    }
}

/// The method, if it is one that clients use: anything is well-formed as a method, and each label lives for ever.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Whether requests to this route can pile up behind a slow store. Health, metrics and the cluster's state are asked for
/// most when they do.
fn is_bounded(route: &str) -> bool {
    ["/orders", "/stats", "/dead-letters"].iter().any(|bounded| route.starts_with(bounded))
}

/// Turns away what is too much, counts and times every request by its route, and tells browsers not to guess content
/// types.
async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let method = request.method().clone();
    let place = is_bounded(route).then(|| gate.places.try_acquire());
    let mut response = match &place {
        Some(Err(_)) => Problem::overloaded().into_response(),
        // The place is kept until there is an answer.
        Some(Ok(_)) | None => next.run(request).await,
    };
    drop(place);
    gate.timers.get(route, &method, response.status()).record(start.elapsed());
    let no_sniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, no_sniff);
    response
}

/// How many bytes most answers fit in.
const TYPICAL_BODY: usize = 512;

/// `body` as JSON.
fn json_response(status: StatusCode, body: &impl serde::Serialize) -> Response {
    let mut bytes = Vec::with_capacity(TYPICAL_BODY);
    serde_json::to_writer(&mut bytes, body).expect("answers are plain structs");
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes)
        .into_response()
}
