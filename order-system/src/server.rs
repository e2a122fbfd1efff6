//! The accept loop: bounded in connections, header size and time, and drained at shutdown.
//!
//! `axum::serve` sets no timer, so that a client that sends half a header holds its connection for
//! ever; this loop sets every limit.

use std::{convert::Infallible, future::ready, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderValue, header::CONNECTION},
    middleware::map_response,
    response::Response,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// How long a request's head may take to arrive, and how long a connection may be idle.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// The largest request head, in bytes.
const HEAD_BYTES: usize = 32 << 10;

/// How many connections are served at once; more wait in the listener's backlog.
const CONNECTIONS: usize = 10_000;

/// How long a shutdown goes on as before, but for closing each connection with its next answer, so that whoever asks
/// sees that this node is not ready, and no request meets a connection that is just being closed.
const GRACE: Duration = Duration::from_secs(1);

/// Serves `router` until `stop`, then waits up to `drain` for requests in flight.
///
/// While it waits, connections are served too, one request more each: a load balancer that has not noticed yet
/// is answered, and its probe is told 503 rather than turned away.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    drain: Duration,
) {
    let stopping = stop.clone();
    let router = router.layer(map_response(move |mut response: Response| {
        if stopping.is_cancelled() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        ready(response)
    }));
    let server = Server { listener, router, places: Arc::new(Semaphore::new(CONNECTIONS)) };
    let (connections, late) = (GracefulShutdown::new(), GracefulShutdown::new());
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD_BYTES);
    tokio::select! {
        () = stop.cancelled() => {}
        never = server.accept(&http, &connections) => match never {},
    }
    let end = Instant::now() + drain;
    let finished = async {
        sleep(GRACE.min(drain)).await;
        timeout_at(end, connections.shutdown()).await
    };
    let outcome = tokio::select! {
        outcome = finished => outcome,
        never = server.accept(&http, &late) => match never {},
    };
    drop(server);
    if outcome.and(timeout_at(end, late.shutdown()).await).is_err() {
        tracing::warn!("some requests did not finish in time and are cut off");
    }
}

struct Server {
    listener: TcpListener,
    router: Router,
    places: Arc<Semaphore>,
}

impl Server {
    /// Takes connections until it is dropped.
    async fn accept(&self, http: &http1::Builder, connections: &GracefulShutdown) -> Infallible {
        loop {
            let place = self.places.clone().acquire_owned().await.expect("never closed");
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, mostly: the connections that end make room.
                    tracing::warn!(%error, "a connection can't be accepted");
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            // Answers are small and written whole: waiting to fill a packet only adds latency.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY can't be set");
            }
            let service = TowerToHyperService::new(self.router.clone());
            let connection =
                connections.watch(http.serve_connection(TokioIo::new(stream), service));
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection ended badly");
                }
                drop(place);
            });
        }
    }
}
