//! The server of an effect: it takes down each letter that a node sends it, unless it is away.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
    time::Instant,
};

/// A letter about an event.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The node that sent it.
    pub node: String,
    /// The order that changed.
    pub order: String,
    /// The event's version.
    pub version: u64,
    /// When it came.
    pub at: Instant,
}

/// How the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Service {
    /// It takes letters.
    #[default]
    Works,
    /// It closes connections.
    Refuses,
    /// It never answers.
    Hangs,
}

#[derive(Debug, Default)]
struct Shared {
    letters: Mutex<Vec<Letter>>,
    service: watch::Sender<Service>,
}

/// A running server, gone when dropped.
#[derive(Debug)]
pub struct Mail {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

impl Mail {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        let accepting = tokio::spawn(accept(listener, shared.clone())).abort_handle();
        Self { address, shared, accepting }
    }

    /// Changes how it is.
    pub fn set(&self, service: Service) {
        self.shared.service.send_replace(service);
    }

    /// The letters that came so far.
    pub fn letters(&self) -> Vec<Letter> {
        self.shared.letters().clone()
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn letters(&self) -> MutexGuard<'_, Vec<Letter>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(take(stream, shared.clone()));
    }
}

async fn take(mut stream: TcpStream, shared: Arc<Shared>) {
    let (reader, mut writer) = stream.split();
    let mut line = String::new();
    if BufReader::new(reader).read_line(&mut line).await.is_err() {
        return;
    }
    let service = *shared.service.borrow();
    match service {
        Service::Refuses => return,
        Service::Hangs => {
            // An error means that the server is gone.
            let _ = shared.service.subscribe().wait_for(|now| *now != Service::Hangs).await;
            return;
        }
        Service::Works => {}
    }
    let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    // A node that was killed may have sent half a line.
    let ([node, order, version], true) = (&words[..], line.ends_with('\n')) else { return };
    let (node, order) = (node.clone(), order.clone());
    let version = version.parse().expect("a version");
    shared.letters().push(Letter { node, order, version, at: Instant::now() });
    // Who sent it may be gone.
    let _ = writer.write_all(b"+").await;
}
