//! A TCP proxy in the test's own process that plays a bad network between a client and a server.
//!
//! Its [`Mode`] can be changed at any time, for new and for open connections. The fault that
//! matters most is the lost answer ([`Proxy::cut_replies`]): the server has done what it was asked,
//! and the client can't know.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::AbortHandle,
    time::sleep,
};

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// It works.
    #[default]
    Pass,
    /// Open connections are closed, and new ones at once.
    Refuse,
    /// No byte passes either way, and nobody is told. What was held passes when it is over, as TCP
    /// sends again what was not received.
    BlackHole,
    /// Each piece is delayed by this much, each way.
    Latency(Duration),
}

/// Which requests get no reply.
#[derive(Debug)]
struct Cuts {
    /// What a request must contain.
    pattern: Vec<u8>,
    /// How many of the next ones are let through.
    skip: usize,
    /// How many after those lose their reply.
    left: usize,
    /// How many have lost it.
    done: usize,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<SocketAddr>,
    mode: watch::Sender<Mode>,
    cuts: Mutex<Cuts>,
}

/// A running proxy. It is gone, with its connections, when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

impl Proxy {
    /// Starts one on a free port of 127.0.0.1, in front of `target`.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let cuts = Cuts { pattern: Vec::new(), skip: 0, left: 0, done: 0 };
        let (target, cuts) = (Mutex::new(target), Mutex::new(cuts));
        let shared = Arc::new(Shared { target, mode: watch::Sender::default(), cuts });
        let accepting = tokio::spawn(accept(listener, shared.clone())).abort_handle();
        Self { address, shared, accepting }
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the network.
    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Sends new connections to another server, as after a restart on another port.
    pub fn set_target(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Lets `skip` requests that contain `pattern` through, and takes the reply from the `n` after
    /// them: each reaches the server, and when the first bytes of a reply are there, so that the server
    /// has done it, the connection is closed on both sides and nothing is passed on.
    ///
    /// Requests that share a connection share its end too; among several under way at once, the
    /// reply that ends it may be an earlier one's, and then nobody knows what the server has done.
    /// An empty pattern is in every piece that is read.
    pub fn cut_replies(&self, pattern: impl Into<Vec<u8>>, skip: usize, n: usize) {
        *self.shared.cuts() = Cuts { pattern: pattern.into(), skip, left: n, done: 0 };
    }

    /// How many replies were taken since the last [`cut_replies`](Self::cut_replies).
    pub fn cuts(&self) -> usize {
        self.shared.cuts().done
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.set(Mode::Refuse);
    }
}

impl Shared {
    fn cuts(&self) -> MutexGuard<'_, Cuts> {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the reply to what was just read is to be cut. `tail` is the end of what was read before.
    fn is_cut(&self, tail: &mut Vec<u8>, read: &[u8]) -> bool {
        let mut cuts = self.cuts();
        tail.extend_from_slice(read);
        let pattern = cuts.pattern.as_slice();
        let found = match pattern.len() {
            0 => 1,
            len => tail.windows(len).filter(|window| *window == pattern).count(),
        };
        // A pattern that was found is not to be found again with the next read.
        tail.drain(..tail.len().saturating_sub(pattern.len().saturating_sub(1)));
        let skipped = found.min(cuts.skip);
        cuts.skip -= skipped;
        let is_cut = found > skipped && cuts.left > 0;
        if is_cut {
            cuts.left -= 1;
        }
        is_cut
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(serve(client, shared.clone()));
    }
}

/// One connection. It ends when either side does, when the network refuses, or at a cut.
async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let mut mode = shared.mode.subscribe();
    if *mode.borrow() == Mode::Refuse {
        return;
    }
    through(&shared).await;
    let target = *shared.target.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let is_cut = AtomicBool::new(false);
    tokio::select! {
        () = requests(client_in, server_out, &shared, &is_cut) => {}
        () = replies(server_in, client_out, &shared, &is_cut) => {}
        // An error means that the proxy is gone.
        _ = mode.wait_for(|mode| *mode == Mode::Refuse) => {}
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    is_cut: &AtomicBool,
) {
    let (mut buffer, mut tail) = (vec![0; 64 << 10], Vec::new());
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        through(shared).await;
        let cuts_reply = shared.is_cut(&mut tail, &buffer[..n]);
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
        // Both directions are one task, so no reply slips through between the write and this.
        if cuts_reply {
            is_cut.store(true, Ordering::SeqCst);
        }
    }
    // The client has no more to say; what the server still answers passes.
    let _ = to.shutdown().await;
    std::future::pending::<()>().await;
}

async fn replies(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    is_cut: &AtomicBool,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        if is_cut.load(Ordering::SeqCst) {
            shared.cuts().done += 1;
            return;
        }
        through(shared).await;
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

/// Returns when the network lets a piece through.
async fn through(shared: &Shared) {
    let mut mode = shared.mode.subscribe();
    let delay = match mode.wait_for(|mode| *mode != Mode::BlackHole).await.as_deref() {
        Ok(Mode::Latency(delay)) => *delay,
        _ => return,
    };
    sleep(delay).await;
}
