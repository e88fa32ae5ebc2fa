//! Connections to our own pages: few, and none that gives us nothing to answer.
//!
//! One rule bounds idle clients, clients that send a header byte by byte and clients that do not read: a connection on
//! which we wrote nothing for [`PATIENCE`] is closed. (axum's server has no timeout of its own.)

use axum::serve::Listener;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// Connections at a time; the next one waits in the kernel's queue. A probe, a scraper and a person, ten times over.
pub const CONNECTIONS_MAX: usize = 32;
/// How long a connection may stand without an answer of ours: longer than the usual interval of a scrape (60 s), so that
/// a scraper keeps its connection.
pub const PATIENCE: Duration = Duration::from_secs(75);

/// Accepts connections while there is a place.
pub(super) struct Entrance {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

/// One connection.
pub(super) struct Connection {
    stream: TcpStream,
    patience: Pin<Box<Sleep>>,
    /// Given back when the connection is dropped.
    _place: Option<OwnedSemaphorePermit>,
}

// === impl Entrance ===

impl Entrance {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl Listener for Entrance {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // It fails only when the semaphore is closed, which nobody does.
        let place = self.places.clone().acquire_owned().await.ok();
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (Connection { stream, patience: Box::pin(sleep(PATIENCE)), _place: place }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

// === impl Connection ===

impl Connection {
    /// Whether it may go on; when it may not, its task is woken.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.patience.as_mut().poll(cx).is_ready() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
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
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.patience.set(sleep(PATIENCE));
            // hyper waits for a read that it began before: only this makes the new timer wake it.
            self.check(cx)?;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
