//! The HTTP contract: the only place that knows JSON and status codes.

mod dead_letters;
mod feed;
mod json;
mod orders;
mod problem;
mod request;
mod routes;
mod system;
mod write;

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use catga::{Catga, Timestamp};
use futures_util::FutureExt;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use self::{problem::Problem, routes::Route};

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
fn router(app: App) -> Router {
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
        .with_state(Arc::new(app))
}

/// How many requests about orders are worked on at once. More than this mostly wait longer: half as many come close to
/// what a store can do.
const IN_FLIGHT: usize = 512;

/// The routes, with what all requests go through. It is around the router and not a layer of it: a layer costs every
/// request several allocations and copies.
#[derive(Debug)]
pub struct Service {
    router: Router,
    routes: Vec<Route>,
    places: Places,
}

impl Service {
    /// Serves `app`.
    pub fn new(app: App) -> Self {
        let routes = routes::NAMES.into_iter().map(Route::new).collect();
        Self { router: router(app), routes, places: Places::new(IN_FLIGHT) }
    }

    /// Turns away what is too much, counts and times every request by its route, and tells browsers not to guess content
    /// types.
    ///
    /// The router has the request before the answer is waited for: a request is some hundred bytes, and each future that
    /// keeps it copies it once more.
    pub fn answer(&self, request: Request) -> impl Future<Output = Response> + use<'_> {
        let start = Instant::now();
        let route = routes::find(&self.routes, request.uri().path());
        let method = request.method().clone();
        let place = route.is_bounded.then(|| self.places.take());
        let is_too_much = matches!(place, Some(None));
        let call = (!is_too_much).then(|| self.router.clone().call(request));
        async move {
            let mut response = match call {
                None => Problem::overloaded().into_response(),
                Some(call) => match AssertUnwindSafe(call).catch_unwind().await {
                    Ok(answer) => answer.unwrap_or_else(|never| match never {}),
                    Err(_) => Problem::internal().into_response(),
                },
            };
            // It is kept until there is an answer.
            drop(place);
            route.record(&method, response.status(), start.elapsed());
            let no_sniff = HeaderValue::from_static("nosniff");
            response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, no_sniff);
            response
        }
    }
}

/// Places for requests. Nobody waits for one, so they are only counted: a semaphore locks its queue for each that is
/// given back.
#[derive(Debug)]
struct Places {
    free: AtomicUsize,
}

/// A place that is taken.
struct Place<'a>(&'a Places);

impl Places {
    fn new(free: usize) -> Self {
        Self { free: free.into() }
    }

    fn take(&self) -> Option<Place<'_>> {
        let less = |free: usize| free.checked_sub(1);
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok().map(|_| Place(self))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::Relaxed);
    }
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

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_problem_and_keeps_no_place() {
        let panics = || async {
            if true {
                panic!("a bug")
            }
        };
        let router = Router::new().route("/stats", get(panics));
        let routes = routes::NAMES.into_iter().map(Route::new).collect();
        let service = Service { router, routes, places: Places::new(1) };
        for _ in 0..2 {
            let request = Request::get("/stats").body(Body::empty()).unwrap();
            let answer = service.answer(request).await;
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
        }
    }

    #[test]
    fn places_are_given_back() {
        let places = Places::new(2);
        let (first, second) = (places.take(), places.take());
        assert!(first.is_some() && second.is_some() && places.take().is_none());
        drop(first);
        assert!(places.take().is_some() && places.take().is_some());
    }
}
