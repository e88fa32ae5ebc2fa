//! Connections: how many there may be, and how long one may give us nothing to answer.
//!
//! One rule bounds idle clients, clients that send a header byte by byte, and clients that do not read: a connection on
//! which we wrote nothing for [`PATIENCE`] is closed; a new one for [`FIRST_PATIENCE`]. Every request is answered
//! sooner (`guard::REQUEST_MAX`), so no one who reads is cut off. (axum's server has no timeout of its own: it runs
//! hyper without a timer.)

use axum::serve::Listener;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Connections at a time; the next one waits in the kernel's queue. A quarter of the smallest usual limit of open files.
pub const CONNECTIONS_MAX: usize = 256;
/// How long a connection may stand without an answer of ours: longer than the longest usual scrape interval (60 s), so
/// that a scraper keeps its connection.
pub const PATIENCE: Duration = Duration::from_secs(75);
/// How long a new connection may: 5 s to send a header, and the time of a request.
pub const FIRST_PATIENCE: Duration = Duration::from_secs(35);

/// Accepts connections while there is a place.
pub(super) struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    abort: CancellationToken,
}

/// One connection.
pub(super) struct Connection {
    stream: TcpStream,
    patience: Pin<Box<Sleep>>,
    abort: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Given back when the connection is dropped.
    _place: Option<OwnedSemaphorePermit>,
}

// === impl Door ===

impl Door {
    /// Connections end when `abort` is cancelled.
    pub(super) fn new(listener: TcpListener, abort: CancellationToken) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)), abort }
    }
}

impl Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // It fails only when the semaphore is closed, which nobody does.
        let place = self.places.clone().acquire_owned().await.ok();
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        // Without it the last packet of a page waits for an ack; it is only slower.
        let _ = stream.set_nodelay(true);
        let abort = Box::pin(self.abort.clone().cancelled_owned());
        (Connection { stream, patience: Box::pin(sleep(FIRST_PATIENCE)), abort, _place: place }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

// === impl Connection ===

impl Connection {
    /// Whether it may go on.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.abort.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if self.patience.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// Something was written, or not.
    fn wrote(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.patience.set(sleep(PATIENCE));
            // hyper waits for a read that it began before: only this makes the new timer wake it.
            let _ = self.patience.as_mut().poll(cx);
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
        self.wrote(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(cx, written)
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

#[cfg(test)]
mod tests;
