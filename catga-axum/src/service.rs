//! All requests: what each goes through, whichever route takes it.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use axum::{
    BoxError, Router,
    body::{Body, HttpBody},
    http::{HeaderValue, Request, header},
    response::{IntoResponse, Response},
    routing::{delete, future::RouteFuture, get, post},
};
use bytes::Bytes;
use catga::{Catga, Timestamp};
use futures_util::FutureExt;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use crate::{
    app::Domain,
    body, dead_letters, feed,
    problem::Problem,
    refusals::REQUESTS,
    routes::{self, Route},
    system,
};

/// What request handlers share.
#[derive(Debug)]
pub struct Shared {
    /// The running program.
    pub(crate) catga: Catga,
    /// What this node is.
    pub(crate) node: Node,
    /// The metrics, ready to be rendered.
    pub(crate) metrics: PrometheusHandle,
    /// Cancelled first thing in a shutdown: not ready any more, and streams end.
    pub(crate) draining: CancellationToken,
    /// What the service is about.
    pub(crate) domain: Domain,
    /// A place for each feed that can be open.
    pub(crate) feeds: Arc<Semaphore>,
}

/// What a node says about itself.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its id.
    pub(crate) id: String,
    /// Where it listens.
    pub(crate) address: String,
    /// The value of `--transport`.
    pub(crate) transport: &'static str,
    /// The value of `--persistence`.
    pub(crate) persistence: &'static str,
    /// When it started.
    pub(crate) started_at: Timestamp,
}

/// The routes that every service has.
pub(crate) fn own_routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(system::info))
        .route("/health", get(system::health))
        .route("/health/live", get(system::live))
        .route("/health/ready", get(system::ready))
        .route("/metrics", get(system::metrics))
        .route("/openapi.json", get(system::openapi))
        .route("/docs", get(system::docs))
        .route("/cluster", get(system::cluster))
        .route("/events", get(feed::events))
        .route("/dead-letters", get(dead_letters::list))
        .route("/dead-letters/retry", post(dead_letters::retry_all))
        .route("/dead-letters/{id}", delete(dead_letters::remove))
        .route("/dead-letters/{id}/retry", post(dead_letters::retry))
}

/// How many requests about the domain are worked on at once. More than this mostly wait longer: half as many come close to
/// what a store can do.
const IN_FLIGHT: usize = 512;

/// The routes, with what all requests go through. It is around the router and not a layer of it: a layer costs every
/// request several allocations and copies.
#[derive(Debug)]
pub(crate) struct Service {
    router: Router,
    routes: Vec<Route>,
    permits: Permits,
}

impl Service {
    /// Serves `router`, of which the routes at `paths` are bounded and told apart in the metrics.
    pub(crate) fn new(router: Router, paths: &[&'static str]) -> Self {
        let router = router
            .fallback(|| async { Problem::not_found() })
            .method_not_allowed_fallback(|| async { Problem::method_not_allowed() });
        Self { router, routes: routes::table(paths), permits: Permits::new(IN_FLIGHT) }
    }

    /// Turns away what is too much, counts and times every request by its route, and tells browsers not to guess content
    /// types.
    ///
    /// A bounded route gets a request when all of it is here, and only then does it take a place: those whose clients are
    /// slow to send them keep nobody waiting.
    ///
    /// The router has a request that is here already before the answer is waited for: a request is some hundred bytes, and
    /// each future that keeps it copies it once more.
    pub(crate) fn answer<B>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Response> + use<'_, B>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let start = Instant::now();
        let route = routes::find(&self.routes, request.uri().path());
        let method = request.method().clone();
        let has_body = !request.body().is_end_stream();
        let arrival = match route.is_bounded && has_body {
            true => Err(request),
            false => Ok(self.begin(
                route,
                request.map(|body| match has_body {
                    true => Body::new(body),
                    false => Body::empty(),
                }),
            )),
        };
        async move {
            // What is kept of a body counts until there is an answer.
            let mut arrived = None;
            let begun = match arrival {
                Ok(begun) => begun,
                Err(request) => {
                    let (parts, body) = request.into_parts();
                    let body = body::read(&parts.headers, arrived.insert(body)).await;
                    body.and_then(|body| self.begin(route, Request::from_parts(parts, body.into())))
                }
            };
            let mut response = match begun {
                Err(problem) => problem.into_response(),
                Ok((place, call)) => {
                    let outcome = AssertUnwindSafe(call).catch_unwind().await;
                    // It is kept until there is an answer.
                    drop(place);
                    match outcome {
                        Ok(answer) => answer.unwrap_or_else(|never| match never {}),
                        Err(_) => Problem::internal().into_response(),
                    }
                }
            };
            route.record(&method, response.status(), start.elapsed());
            let no_sniff = HeaderValue::from_static("nosniff");
            response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, no_sniff);
            response
        }
    }

    /// Gives a request to the router, with a place if its route is bounded.
    ///
    /// # Errors
    /// When there is none.
    fn begin(
        &self,
        route: &Route,
        request: Request<Body>,
    ) -> Result<(Option<Permit<'_>>, RouteFuture<Infallible>), Problem> {
        let place = match route.is_bounded {
            false => None,
            true => Some(self.permits.take().ok_or_else(|| {
                REQUESTS.count();
                Problem::overloaded()
            })?),
        };
        Ok((place, self.router.clone().call(request)))
    }
}

/// Permits for requests. Nobody waits for one, so they are only counted: a semaphore locks its queue for each that is
/// given back.
#[derive(Debug)]
struct Permits {
    free: AtomicUsize,
}

/// One that is taken.
struct Permit<'a>(&'a Permits);

impl Permits {
    fn new(free: usize) -> Self {
        Self { free: free.into() }
    }

    fn take(&self) -> Option<Permit<'_>> {
        let less = |free: usize| free.checked_sub(1);
        self.free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .ok()
            .map(|_| Permit(self))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::ready, pin::pin};

    use axum::{body::to_bytes, http::StatusCode};
    use futures_util::{StreamExt, stream};

    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_problem_and_keeps_no_place() {
        let panics = || async {
            if true {
                panic!("a bug")
            }
        };
        let router = Router::new().route("/stats", get(panics));
        let routes = routes::table(&["/stats"]);
        let service = Service { router, routes, permits: Permits::new(1) };
        for _ in 0..2 {
            let request = Request::get("/stats").body(Body::empty()).unwrap();
            let answer = service.answer(request).await;
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
        }
    }

    #[tokio::test]
    async fn a_request_takes_a_place_when_all_of_it_is_here() {
        let router = Router::new().route("/orders", post(|body: String| async { body }));
        let service =
            Service { router, routes: routes::table(&["/orders"]), permits: Permits::new(1) };
        let ask = |body| service.answer(Request::post("/orders").body(body).unwrap());
        let half = stream::once(ready(Ok::<_, Infallible>("half"))).chain(stream::pending());
        let (mut slow, mut quick) =
            (pin!(ask(Body::from_stream(half))), pin!(ask(Body::from("whole"))));
        assert!(slow.as_mut().now_or_never().is_none());
        let answer = quick.as_mut().now_or_never().expect("it waits for nothing");
        assert_eq!(to_bytes(answer.into_body(), 99).await.unwrap(), "whole");
        let _permit = service.permits.take();
        assert_eq!(ask(Body::from("whole")).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn places_are_given_back() {
        let permits = Permits::new(2);
        let (first, second) = (permits.take(), permits.take());
        assert!(first.is_some() && second.is_some() && permits.take().is_none());
        drop(first);
        assert!(permits.take().is_some() && permits.take().is_some());
    }
}
