//! The bytes of a connection.

use std::{
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use crate::timer::RequestTimer;

/// How much of a request that was answered before all of it was read is read and dropped.
const LINGER: Bounds =
    Bounds { bytes: 64 << 20, time: Duration::from_secs(30), pause: Duration::from_secs(5) };

/// How long a client is read from whose request is not wanted any more.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    bytes: usize,
    /// In all.
    time: Duration,
    /// Between two of its packets.
    pause: Duration,
}

/// A client's connection.
///
/// One that is closed while the client is still sending is reset by the system, and then the client may lose the answer
/// that it has not read yet. So what it sends is read and dropped for a while, as nginx does (`lingering_close`).
pub(crate) struct ClientStream {
    stream: TcpStream,
    timer: RequestTimer,
    bounds: Bounds,
    has_ended: bool,
    linger: Option<Box<Linger>>,
}

/// What comes after the last answer.
struct Linger {
    left: usize,
    end: Instant,
    pause: Pin<Box<Sleep>>,
    dropped: [u8; 8 << 10],
}

impl ClientStream {
    pub(crate) fn new(stream: TcpStream, timer: RequestTimer) -> Self {
        Self { stream, timer, bounds: LINGER, has_ended: false, linger: None }
    }

    /// Lets the timer know how writing goes on.
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Pending => self.timer.has_stalled(),
            Poll::Ready(Ok(bytes)) => self.timer.has_written(*bytes),
            Poll::Ready(Err(_)) => {}
        }
        written
    }

    /// Reads and drops what still comes, until the client closes the connection, too, or it is enough.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let bounds = self.bounds;
        let linger = self.linger.get_or_insert_with(|| {
            let end = Instant::now() + bounds.time;
            let pause = Box::pin(sleep_until(end.min(Instant::now() + bounds.pause)));
            Box::new(Linger { left: bounds.bytes, end, pause, dropped: [0; 8 << 10] })
        });
        loop {
            let mut buffer = ReadBuf::new(&mut linger.dropped);
            match pin!(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return linger.pause.as_mut().poll(cx),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {}
            }
            let read = buffer.filled().len();
            linger.left = linger.left.saturating_sub(read);
            let now = Instant::now();
            if read == 0 || linger.left == 0 || now >= linger.end {
                return Poll::Ready(());
            }
            linger.pause.as_mut().reset(linger.end.min(now + bounds.pause));
        }
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        // Else the system goes on trying for minutes to send what nobody reads, and keeps it.
        if self.timer.is_cut_off() {
            self.stream.set_zero_linger().ok();
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        match buffer.filled().len() == before {
            true => self.has_ended = true,
            false => self.timer.has_read(),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.timer.has_flushed();
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        match self.timer.is_request_unread() && !self.has_ended {
            true => self.poll_linger(cx).map(Ok),
            false => Poll::Ready(Ok(())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::timeout,
    };

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// A connection whose server has an answer for a request that it does not read, and the client's end of it.
    async fn refused(bounds: Bounds) -> (TcpStream, tokio::task::JoinHandle<io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let timer = RequestTimer::new(SOON, std::sync::Arc::default());
        timer.leave_unread();
        let mut server = ClientStream::new(stream, timer);
        server.bounds = bounds;
        let answer = tokio::spawn(async move {
            server.write_all(b"no").await?;
            server.shutdown().await
        });
        (client, answer)
    }

    #[tokio::test]
    async fn a_client_that_still_sends_gets_the_answer() {
        let (mut client, answer) = refused(LINGER).await;
        // More than all buffers between the two hold.
        let sent = timeout(SOON, client.write_all(&vec![0; 16 << 20])).await;
        sent.expect("it is read").unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "no");
        drop(client);
        timeout(SOON, answer).await.expect("it ends with the client").unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_goes_on_for_ever_is_left() {
        let short = Duration::from_millis(50);
        for bounds in [
            Bounds { bytes: 1 << 20, ..LINGER },
            Bounds { time: short, ..LINGER },
            Bounds { pause: short, ..LINGER },
        ] {
            let (mut client, answer) = refused(bounds).await;
            let is_silent = bounds.pause == short;
            let sending = async {
                while !is_silent && client.write_all(&[0; 1 << 10]).await.is_ok() {}
                client
            };
            let (ended, _client) = tokio::join!(timeout(SOON, answer), sending);
            ended.expect("it ends").unwrap().unwrap();
        }
    }
}
