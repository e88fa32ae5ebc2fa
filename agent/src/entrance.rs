//! Connections to the agent's own doors (its pages, and what services hand in): few, and none that gives us nothing to
//! answer.
//!
//! A connection on which we write nothing is closed ([`runtime::patience`]).

use runtime::accept::accept;
use runtime::patience::Patience;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Accepts connections while there is a place; beyond that the next one waits in the kernel's queue.
pub struct Entrance {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

/// One connection.
pub struct Connection {
    stream: TcpStream,
    patience: Patience,
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
        Connection { stream, patience: Patience::default(), _place: place }
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
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.patience.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.patience.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.patience.note(&written, cx);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.patience.check(cx)?;
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
