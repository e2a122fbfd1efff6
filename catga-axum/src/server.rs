//! The accept loop: bounded in connections, header size and time, and drained at shutdown.
//!
//! `axum::serve` sets no timer, so that a client that sends half a header holds its connection for
//! ever; this loop sets every limit.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    http::{HeaderValue, Request, header::CONNECTION},
    response::IntoResponse,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    body::TimedBody, refusals::UNREAD, request, service::Service, stream::ClientStream,
    timer::RequestTimer,
};

/// The largest request head, in bytes.
const HEAD_BYTES: usize = 32 << 10;

/// How many connections are served at once; more wait in the listener's backlog.
const CONNECTIONS: usize = 10_000;

/// How long a shutdown goes on as before, but for closing each connection with its next answer, so that whoever asks
/// sees that this node is not ready, and no request meets a connection that is just being closed.
const GRACE: Duration = Duration::from_secs(1);

/// How long a server waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// For the next request on a connection.
    pub(crate) keep_alive: Duration,
    /// At a shutdown, for requests in flight.
    pub(crate) drain: Duration,
}

/// Serves `service` until `stop`, then waits up to the drain time for requests in flight.
///
/// While it waits, connections are served too, one request more each: a load balancer that has not noticed yet
/// is answered, and its probe is told 503 rather than turned away.
pub(crate) async fn serve(
    listener: TcpListener,
    service: Service,
    stop: CancellationToken,
    Times { keep_alive, drain }: Times,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let served = Arc::new(Served { service, keep_alive, is_stopping: AtomicBool::new(false) });
    let server = Server { listener, places, served };
    let (connections, late) = (GracefulShutdown::new(), GracefulShutdown::new());
    tokio::select! {
        () = stop.cancelled() => server.served.is_stopping.store(true, Ordering::Relaxed),
        never = server.accept(&connections) => match never {},
    }
    let end = Instant::now() + drain;
    let finished = async {
        sleep(GRACE.min(drain)).await;
        timeout_at(end, connections.shutdown()).await
    };
    let outcome = tokio::select! {
        outcome = finished => outcome,
        never = server.accept(&late) => match never {},
    };
    drop(server);
    if outcome.and(timeout_at(end, late.shutdown()).await).is_err() {
        tracing::warn!("some requests did not finish in time and are cut off");
    }
}

struct Server {
    listener: TcpListener,
    places: Arc<Semaphore>,
    served: Arc<Served>,
}

/// What all connections share.
struct Served {
    service: Service,
    keep_alive: Duration,
    /// Asked for each answer, so it is no token, which has a lock.
    is_stopping: AtomicBool,
}

impl Server {
    /// Takes connections until it is dropped.
    async fn accept(&self, connections: &GracefulShutdown) -> Infallible {
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
            let connection = self.served.clone().connection(stream, connections);
            tokio::spawn(async move {
                match connection.await {
                    Some(Ok(())) => {}
                    Some(Err(error)) => tracing::debug!(%error, "a connection ended badly"),
                    None => UNREAD.count(),
                }
                drop(place);
            });
        }
    }
}

impl Served {
    fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        connections: &GracefulShutdown,
    ) -> impl Future<Output = Option<hyper::Result<()>>> + use<> {
        // Answers are small and written whole: waiting to fill a packet only adds latency.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY can't be set");
        }
        let keep_alive = self.keep_alive;
        let timer = RequestTimer::new(keep_alive);
        // With a count of its own: that of all connections would go from one processor to the other with each request.
        let (own, body_timer) = (Arc::new(self), timer.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (served, timer) = (own.clone(), body_timer.clone());
            async move {
                let timed = |body| TimedBody::new(body, timer);
                let mut response = match request::check_host(&request) {
                    Ok(()) => served.service.answer(request.map(timed)).await,
                    Err(problem) => problem.into_response(),
                };
                if served.is_stopping.load(Ordering::Relaxed) {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(CONNECTION, close);
                }
                Ok::<_, Infallible>(response)
            }
        });
        let mut http = http1::Builder::new();
        http.timer(timer.clone()).header_read_timeout(keep_alive).max_buf_size(HEAD_BYTES);
        let stream = TokioIo::new(ClientStream::new(stream, timer.clone()));
        timer.run(connections.watch(http.serve_connection(stream, service)))
    }
}
