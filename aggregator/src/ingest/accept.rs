//! Agents' connections: how many there may be, and what happens when the system gives no more.
//!
//! Beyond the limit the next connection waits in the kernel's queue. Where the system has no file descriptor left,
//! accepting pauses; tonic alone would try again at once, and again, on a whole core. Each connection is watched
//! ([`super::watch`]), so that nobody keeps a place without using it.

use super::lines::{Lines, LogLine};
use super::watch::{Patience, Uses, Watch};
use futures::Stream;
use futures::stream::unfold;
use prometheus::IntCounterVec;
use runtime::accept::accept;
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepidle};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

/// Connections at a time: one for each stream there may be, and some whose agents are being sent away.
pub const CONNECTIONS_MAX: usize = super::STREAMS_MAX + 256;
/// TCP's own probe, beside the watch: it keeps the way open through a network that forgets quiet connections.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// One agent's connection.
pub struct Connection {
    stream: TcpStream,
    watch: Watch,
    /// Given back when the connection is dropped.
    _place: OwnedSemaphorePermit,
}

/// How connections are taken.
#[derive(Clone)]
pub struct Terms {
    /// How many at a time.
    pub most: usize,
    /// How long each may be of no use.
    pub patience: Patience,
    /// Cancelled when we end.
    pub stop: CancellationToken,
    /// Counts the times that others were left waiting, by reason.
    pub pauses: IntCounterVec,
    /// Counts the connections that we closed, by reason.
    pub closed: IntCounterVec,
    /// How much of it is logged.
    pub lines: Lines,
}

/// What accepting needs from one connection to the next.
struct Accept {
    listener: TcpListener,
    places: Arc<Semaphore>,
    terms: Terms,
}

/// Connections as they come. It never ends.
pub fn incoming(listener: TcpListener, terms: Terms) -> impl Stream<Item = io::Result<Connection>> + Send {
    let accept = Accept { listener, places: Arc::new(Semaphore::new(terms.most)), terms };
    unfold(accept, |accept: Accept| async move { Some((Ok(accept.next().await?), accept)) })
}

impl Accept {
    /// `None` would be a closed semaphore, and nobody closes it.
    async fn next(&self) -> Option<Connection> {
        if self.places.available_permits() == 0 {
            self.terms.pauses.with_label_values(&["connections"]).inc();
            if self.terms.lines.has_room(LogLine::Full) {
                tracing::warn!("as many agents are connected as there may be; the next ones wait");
            }
        }
        let place = self.places.clone().acquire_owned().await.ok()?;
        let stream = accept(&self.listener, || self.terms.pauses.with_label_values(&["error"]).inc()).await;
        // Without it a quiet way through the network is forgotten.
        let _ = set_socket_keepalive(&stream, true).and_then(|()| set_tcp_keepidle(&stream, TCP_KEEPALIVE));
        let watch = Watch::new(self.terms.patience, self.terms.stop.clone(), self.terms.closed.clone());
        Some(Connection { stream, watch, _place: place })
    }
}

impl Connected for Connection {
    type ConnectInfo = Uses;

    fn connect_info(&self) -> Uses {
        self.watch.uses()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.watch.check(cx)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.watch.heard();
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.watch.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watch.check(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
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
mod tests {
    use super::*;
    use crate::ingest::tests::fixture::until;
    use crate::meters::Meters;
    use futures::{FutureExt, StreamExt};
    use proto::sample::Timestamp;
    use proto::telemetry::Telemetry;
    use runtime::clock::ManualClock;
    use std::pin::pin;

    #[tokio::test]
    async fn beyond_the_limit_a_connection_waits_until_another_ends_and_that_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let meters = Meters::new(&Telemetry::default(), "sqlite").ingest;
        let (pauses, closed) = (meters.accept_pauses, meters.closed);
        let (patience, stop) = (Patience::default(), CancellationToken::new());
        let lines = Lines::new(Arc::new(ManualClock::at(Timestamp::ZERO)), meters.unsaid);
        let terms = Terms { most: 1, patience, stop, pauses: pauses.clone(), closed, lines };
        let mut incoming = pin!(incoming(listener, terms));
        let (_one, _two) =
            (TcpStream::connect(address).await.expect("queued"), TcpStream::connect(address).await.expect("queued"));
        let first = incoming.next().await.expect("it never ends").expect("accepted");
        assert!(incoming.next().now_or_never().is_none());
        assert_eq!(pauses.with_label_values(&["connections"]).get(), 1);
        drop(first);
        let mut second = None;
        until("the next one has its place", || {
            second = second.take().or_else(|| incoming.next().now_or_never());
            second.is_some()
        })
        .await;
    }
}
