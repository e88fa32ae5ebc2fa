//! Connections to the agent's own doors (its pages, and what services hand in): few, and none that gives us nothing to
//! answer.
//!
//! One rule bounds idle clients, clients that send a header byte by byte and clients that do not read: a connection on
//! which we wrote nothing for [`PATIENCE`] is closed. (The servers have no timeout of their own. An HTTP/2 connection
//! that is idle on purpose is written to all the same: its keepalive pings are ours.)

use runtime::accept::accept;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// How long a connection may stand without an answer of ours: longer than the usual interval of a scrape (60 s), so that
/// a scraper keeps its connection.
pub const PATIENCE: Duration = Duration::from_secs(75);

/// Accepts connections while there is a place; beyond that the next one waits in the kernel's queue.
pub struct Entrance {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

/// One connection.
pub struct Connection {
    stream: TcpStream,
    patience: Pin<Box<Sleep>>,
    /// Given back when the connection is dropped.
    _place: Option<OwnedSemaphorePermit>,
}

// === impl Entrance ===

impl Entrance {
    /// Accepts from `listener`, `most` at a time.
    pub fn new(listener: TcpListener, most: usize) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(most)) }
    }

    /// The next connection, as soon as there is one and a place for it.
    pub async fn next(&mut self) -> Connection {
        // It fails only when the semaphore is closed, which nobody does.
        let place = self.places.clone().acquire_owned().await.ok();
        let stream = accept(&self.listener, || {}).await;
        Connection { stream, patience: Box::pin(sleep(PATIENCE)), _place: place }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.listener.local_addr()
    }
}

// === impl Connection ===

impl Connection {
    /// The socket itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether it may go on; when it may not, its task is woken.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.patience.as_mut().poll(cx).is_ready() { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    /// Takes note of what was written: the connection has our patience again.
    fn note(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.patience.set(sleep(PATIENCE));
            // hyper waits for a read that it began before: only this makes the new timer wake it.
            self.check(cx)?;
        }
        written
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
