//! A cheap load generator over HTTP/1.1: keep-alive connections that each send one request after the other, and
//! read no more of an answer than they must. It takes as little as it can of the processor that it shares with the
//! server.

use std::{
    net::SocketAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What came of a load.
#[derive(Debug, Clone)]
pub struct Load {
    /// Answers a second.
    pub rate: f64,
    /// How long each took, shortest first.
    pub latencies: Vec<Duration>,
    /// How many were answered with each status.
    pub statuses: Vec<(u16, usize)>,
}

impl Load {
    /// What all but one in a hundred took, in nanoseconds.
    pub fn p99(&self) -> f64 {
        self.latencies[self.latencies.len() * 99 / 100].as_secs_f64() * 1e9
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
) -> std::io::Result<Load> {
    let latencies = Mutex::new(Vec::with_capacity(requests.len()));
    let statuses = Mutex::new(std::collections::BTreeMap::<u16, usize>::new());
    let mut streams = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let begin = Instant::now();
    try_join_all(streams.into_iter().enumerate().map(|(connection, mut stream)| {
        let (latencies, statuses, seen) = (&latencies, &statuses, &seen);
        async move {
            let mut buffer = Vec::with_capacity(8192);
            let mut own = Vec::new();
            for (n, request) in requests.iter().enumerate().skip(connection).step_by(connections) {
                let begin = Instant::now();
                stream.write_all(request).await?;
                let (status, body) = answer(&mut stream, &mut buffer).await?;
                own.push((begin.elapsed(), status));
                seen(n, status, body);
            }
            for (latency, status) in own {
                latencies.lock().expect("no panics").push(latency);
                *statuses.lock().expect("no panics").entry(status).or_default() += 1;
            }
            Ok::<_, std::io::Error>(())
        }
    }))
    .await?;
    let rate = crate::float(requests.len()) / begin.elapsed().as_secs_f64();
    let mut latencies = latencies.into_inner().expect("no panics");
    latencies.sort_unstable();
    let statuses = statuses.into_inner().expect("no panics").into_iter().collect();
    Ok(Load { rate, latencies, statuses })
}

/// Reads one answer, which says how long it is.
async fn answer<'a>(
    stream: &mut TcpStream,
    buffer: &'a mut Vec<u8>,
) -> std::io::Result<(u16, &'a [u8])> {
    let broken = |what: &str| std::io::Error::other(what.to_owned());
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
