//! Connections: how many there may be, and how long one may give us nothing to answer.
//!
//! A connection on which we write nothing is closed ([`runtime::patience`]). Every request is answered sooner
//! (`guard::REQUEST_MAX`), so no one who reads is cut off.

use axum::serve::Listener;
use runtime::accept::accept;
use runtime::patience::Patience;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Connections at a time; the next one waits in the kernel's queue. A quarter of the smallest usual limit of open files.
pub const CONNECTIONS_MAX: usize = 256;

/// Accepts connections while there is a place.
pub(super) struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    abort: CancellationToken,
}

/// One connection.
pub(super) struct Connection {
    stream: TcpStream,
    patience: Patience,
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
        let stream = accept(&self.listener, || {}).await;
        // Where it has none it is gone already, and nobody asks for it.
        let peer = stream.peer_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
        let abort = Box::pin(self.abort.clone().cancelled_owned());
        (Connection { stream, patience: Patience::default(), abort, _place: place }, peer)
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
        self.patience.check(cx)
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
        self.patience.note(&written, cx);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.patience.note(&written, cx);
        written
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
