//! The accept loop: bounded in connections, header size and time, and drained at shutdown.
//!
//! `axum::serve` sets no timer, so that a client that sends half a header holds its connection for
//! ever; this loop sets every limit.

use std::{
    convert::Infallible,
    io,
    panic::AssertUnwindSafe,
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
use catga::store::TASK_PANICS;
use futures_util::FutureExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use rustix::io::Errno;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    body::TimedBody,
    connections::Connections,
    refusals::{NOT_ACCEPTED, Refusals},
    request,
    room::{self, Room},
    service::Service,
    stream::ClientStream,
    timer::RequestTimer,
};

/// The largest request head, in bytes.
const HEAD_BYTES: usize = 32 << 10;

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
///
/// # Errors
/// When the listener has ended.
pub(crate) async fn serve(
    listener: TcpListener,
    service: Service,
    stop: CancellationToken,
    most: usize,
    Times { keep_alive, drain }: Times,
) -> io::Result<()> {
    let open = Arc::new(Connections::new(most));
    let (is_stopping, room) = (AtomicBool::new(false), Arc::default());
    let served = Arc::new(Served { service, keep_alive, is_stopping, room });
    let server = Server { listener, open, served };
    let (connections, late) = (GracefulShutdown::new(), GracefulShutdown::new());
    tokio::select! {
        () = stop.cancelled() => server.served.is_stopping.store(true, Ordering::Relaxed),
        error = server.accept(&connections) => return Err(error),
    }
    let end = Instant::now() + drain;
    let finished = async {
        sleep(GRACE.min(drain)).await;
        timeout_at(end, connections.shutdown()).await
    };
    let outcome = tokio::select! {
        outcome = finished => outcome,
        error = server.accept(&late) => return Err(error),
    };
    drop(server);
    if outcome.and(timeout_at(end, late.shutdown()).await).is_err() {
        tracing::warn!("some requests did not finish in time and are cut off");
    }
    Ok(())
}

struct Server {
    listener: TcpListener,
    open: Arc<Connections>,
    served: Arc<Served>,
}

/// What all connections share.
struct Served {
    service: Service,
    keep_alive: Duration,
    /// For what is kept for all clients.
    room: Arc<Room>,
    /// Asked for each answer, so it is no token, which has a lock.
    is_stopping: AtomicBool,
}

impl Server {
    /// Takes connections until it is dropped, or until the listener has ended, and answers why.
    async fn accept(&self, connections: &GracefulShutdown) -> io::Error {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) if has_ended(&error) => return error,
                Err(error) => {
                    // Out of file descriptors, mostly: the connections that end make room.
                    NOT_ACCEPTED.count();
                    tracing::debug!(%error, "a connection can't be accepted");
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let timer = RequestTimer::new(self.served.keep_alive, self.served.room.clone());
            let place = self.open.enter(timer.clone()).await;
            let connection = self.served.clone().connection(stream, timer, connections);
            tokio::spawn(async move {
                match AssertUnwindSafe(connection).catch_unwind().await {
                    Ok(Ok(Ok(()))) => {}
                    Ok(Ok(Err(error))) => tracing::debug!(%error, "a connection ended badly"),
                    Ok(Err(cut_off)) => cut_off.count(),
                    // The panic itself is a line of the log.
                    Err(_) => metrics::counter!(TASK_PANICS, "task" => "connection").increment(1),
                }
                drop(place);
            });
        }
    }
}

/// Whether no connection will come any more.
fn has_ended(error: &io::Error) -> bool {
    let ends = [Errno::BADF, Errno::INVAL, Errno::NOTSOCK, Errno::OPNOTSUPP];
    Errno::from_io_error(error).is_some_and(|error| ends.contains(&error))
}

impl Served {
    fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        timer: RequestTimer,
        connections: &GracefulShutdown,
    ) -> impl Future<Output = Result<hyper::Result<()>, &'static Refusals>> + use<> {
        // Answers are small and written whole: waiting to fill a packet only adds latency.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY can't be set");
        }
        let keep_alive = self.keep_alive;
        // With a count of its own: that of all connections would go from one processor to the other with each request.
        let (own, body_timer) = (Arc::new(self), timer.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (served, timer) = (own.clone(), body_timer.clone());
            async move {
                let timed = |body| TimedBody::new(body, timer.clone());
                let method = request.method().clone();
                let response = match request::check_host(&request) {
                    Ok(()) => served.service.answer(request.map(timed)).await,
                    Err(problem) => problem.into_response(),
                };
                let mut response = room::counted(response, &method, &timer);
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

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use axum::{Router, routing::get};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);
    const TIMES: Times = Times { keep_alive: SOON, drain: SOON };

    /// Serves up to `most` connections.
    async fn served(router: Router, most: usize) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Service::new(router, &[]);
        tokio::spawn(serve(listener, service, CancellationToken::new(), most, TIMES));
        address
    }

    async fn ask(stream: &mut TcpStream, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
    }

    async fn answer(stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        let end = Instant::now() + SOON;
        while !answer.ends_with(b"done") {
            let read = timeout_at(end, stream.read_buf(&mut answer)).await.expect("it answers");
            if read.unwrap() == 0 {
                break;
            }
        }
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn whose_client_is_waited_for_longest_leaves_when_others_have_no_room() {
        let go_on = Arc::new(tokio::sync::Notify::new());
        let wait = go_on.clone();
        let slow = get(move || async move {
            wait.notified().await;
            "done"
        });
        let router = Router::new().route("/slow", slow).route("/", get(|| async { "done" }));
        let address = served(router, 3).await;
        let connect = || async { TcpStream::connect(address).await.unwrap() };
        let (mut working, mut oldest, mut idle) =
            (connect().await, connect().await, connect().await);
        ask(&mut working, "/slow").await;
        for client in [&mut oldest, &mut idle] {
            ask(client, "/").await;
            answer(client).await;
        }
        let mut new = connect().await;
        ask(&mut new, "/").await;
        assert!(answer(&mut new).await.ends_with("done"));
        assert_eq!(answer(&mut oldest).await, "", "it is closed");
        ask(&mut idle, "/").await;
        assert!(answer(&mut idle).await.ends_with("done"));
        go_on.notify_one();
        assert!(answer(&mut working).await.ends_with("done"));
    }

    #[tokio::test]
    async fn a_panic_in_a_connection_ends_no_other_and_leaves_its_place() {
        let panics = get(|| async {
            let parts = futures_util::stream::poll_fn(|_| -> Poll<Option<io::Result<&str>>> {
                panic!("a bug in what writes an answer")
            });
            axum::body::Body::from_stream(parts)
        });
        let router = Router::new().route("/bug", panics).route("/", get(|| async { "done" }));
        let address = served(router, 1).await;
        for _ in 0..3 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            ask(&mut stream, "/bug").await;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.ok();
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask(&mut stream, "/").await;
        assert!(answer(&mut stream).await.ends_with("done"));
    }

    #[tokio::test]
    async fn the_end_of_the_listener_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        let service = Service::new(Router::new(), &[]);
        let serving = serve(listener, service, CancellationToken::new(), 9, TIMES);
        let end = timeout_at(Instant::now() + SOON, serving).await;
        end.expect("it does not go on").unwrap_err();
    }
}
