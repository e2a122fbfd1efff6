//! A cheap load generator over HTTP/1.1: keep-alive connections that each send one request after the other, and
//! read no more of an answer than they must. It takes as little as it can of the processor that it shares with the
//! server.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

/// What came of a load.
#[derive(Debug, Clone)]
pub struct Load {
    /// Answers a second, without those that turned a client away.
    pub rate: f64,
    /// How long each took that was not turned away, shortest first.
    pub latencies: Vec<Duration>,
    /// How long each took that was, shortest first.
    pub refusals: Vec<Duration>,
    /// How many were answered with each status.
    pub statuses: Vec<(u16, usize)>,
}

impl Load {
    fn new(answers: Vec<(Duration, u16)>, time: Duration) -> Self {
        let mut statuses = BTreeMap::<u16, usize>::new();
        for (_, status) in &answers {
            *statuses.entry(*status).or_default() += 1;
        }
        let (refusals, latencies): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|(_, status)| *status == 503);
        let [latencies, refusals] = [latencies, refusals].map(|answers| {
            let mut times: Vec<_> = answers.into_iter().map(|(time, _)| time).collect();
            times.sort_unstable();
            times
        });
        let rate = crate::float(latencies.len()) / time.as_secs_f64();
        Self { rate, latencies, refusals, statuses: statuses.into_iter().collect() }
    }

    /// What all but one in a hundred took, in nanoseconds.
    pub fn p99(&self) -> f64 {
        crate::p99(&self.latencies)
    }

    /// How many were answered with `status`.
    pub fn count(&self, status: u16) -> usize {
        self.statuses.iter().find(|(found, _)| *found == status).map_or(0, |(_, n)| *n)
    }
}

/// A request, as its bytes.
pub fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: bench\r\n");
    if !body.is_empty() {
        let length = body.len();
        head.push_str(&format!("content-type: application/json\r\ncontent-length: {length}\r\n"));
    }
    format!("{head}\r\n{body}").into_bytes()
}

/// Sends each of `requests` once over `connections` connections, each of which takes its share in turn, and hands
/// every answer's status and body to `seen`, with the number of its request.
///
/// # Errors
/// When a connection is lost, or an answer can't be understood.
pub async fn send(
    address: SocketAddr,
    connections: usize,
    requests: &[Vec<u8>],
    seen: impl Fn(usize, u16, &[u8]) + Sync,
) -> io::Result<Load> {
    let begin = Instant::now();
    let clients = (0..connections).map(|connection| {
        let seen = &seen;
        async move {
            let mut client = Client::connect(address).await?;
            for (n, request) in requests.iter().enumerate().skip(connection).step_by(connections) {
                let (status, body) = client.ask(request).await?;
                seen(n, status, body);
            }
            Ok::<_, io::Error>(client.answers)
        }
    });
    let answers = try_join_all(clients).await?.concat();
    Ok(Load::new(answers, begin.elapsed()))
}

/// Sends `request` again and again over `connections` connections for `time`. One that is turned away (503) waits as long
/// as `Retry-After` says, a second, and up to another one, so that not all come again at once.
///
/// # Errors
/// As [`send`].
pub async fn flood(
    address: SocketAddr,
    connections: usize,
    request: &[u8],
    time: Duration,
) -> io::Result<Load> {
    // Those who connect are not served yet, and are not waited for either.
    let clients = try_join_all((0..connections).map(|_| Client::connect(address))).await?;
    let begin = Instant::now();
    let clients = clients.into_iter().enumerate().map(|(mut turn, mut client)| async move {
        while begin.elapsed() < time {
            if client.ask(request).await?.0 == 503 {
                turn = turn * 31 + 7;
                sleep(Duration::from_millis(1000 + turn as u64 % 1000)).await;
            }
        }
        Ok::<_, io::Error>(client.answers)
    });
    let answers = try_join_all(clients).await?.concat();
    // Who waits when the time is over does nothing any more.
    Ok(Load::new(answers, time))
}

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    answers: Vec<(Duration, u16)>,
}

impl Client {
    async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(8192), answers: Vec::new() })
    }

    async fn ask(&mut self, request: &[u8]) -> io::Result<(u16, &[u8])> {
        let begin = Instant::now();
        self.stream.write_all(request).await?;
        let (status, body) = answer(&mut self.stream, &mut self.buffer).await?;
        self.answers.push((begin.elapsed(), status));
        Ok((status, body))
    }
}

/// Reads one answer, which says how long it is.
async fn answer<'a>(
    stream: &mut TcpStream,
    buffer: &'a mut Vec<u8>,
) -> io::Result<(u16, &'a [u8])> {
    let broken = |what: &str| io::Error::other(what.to_owned());
    buffer.clear();
    let (mut end, mut length) = (None, 0);
    loop {
        if let Some(end) = end
            && buffer.len() >= end + length
        {
            let status = std::str::from_utf8(&buffer[9..12]).ok().and_then(|s| s.parse().ok());
            return Ok((status.ok_or_else(|| broken("no status"))?, &buffer[end..end + length]));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(broken("the connection was closed"));
        }
        if end.is_none()
            && let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n")
        {
            end = Some(at + 4);
            let head = std::str::from_utf8(&buffer[..at]).map_err(|_| broken("not text"))?;
            let line = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: "));
            length = line.and_then(|n| n.parse().ok()).ok_or_else(|| broken("no length"))?;
        }
    }
}
