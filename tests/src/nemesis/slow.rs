//! Clients that are slow, or don't read: half-sent bodies, and feeds and pages that nobody takes in.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    time::sleep,
};

/// What each of them sends, in turn.
const REQUESTS: [&str; 3] = [
    "POST /orders HTTP/1.1\r\nHost: slow\r\nContent-Type: application/json\r\nContent-Length: 200\r\n\r\n{\"customerId\"",
    "GET /events?from=0 HTTP/1.1\r\nHost: slow\r\n\r\n",
    "GET /orders?limit=1000 HTTP/1.1\r\nHost: slow\r\n\r\n",
];

/// Has `clients` of them on `address`, for `time`. Answers how many got through to it.
pub async fn clients(address: SocketAddr, clients: usize, time: Duration) -> usize {
    let mut streams = Vec::new();
    for request in REQUESTS.iter().cycle().take(clients) {
        streams.extend(send(address, request).await);
    }
    sleep(time).await;
    streams.len()
}

/// A connection with room for hardly anything that is not read.
async fn send(address: SocketAddr, request: &str) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.set_recv_buffer_size(4096).ok()?;
    let mut stream = socket.connect(address).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    Some(stream)
}
