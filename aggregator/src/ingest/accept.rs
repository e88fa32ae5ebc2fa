//! Agents' connections: how many there may be, and what happens when the system gives no more.
//!
//! Beyond the limit the next connection waits in the kernel's queue. Where the system has no file descriptor left,
//! accepting pauses; tonic alone would try again at once, and again, on a whole core.

use futures::Stream;
use futures::stream::unfold;
use prometheus::IntCounterVec;
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepidle};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Connections at a time: one for each stream there may be, and some whose agents are being sent away.
pub const CONNECTIONS_MAX: usize = super::STREAMS_MAX + 256;
/// How long accepting pauses where the system gives no connection: descriptors come free when others end.
const PAUSE: Duration = Duration::from_millis(500);
/// TCP's own probe, for peers that never got to HTTP/2.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// One agent's connection.
pub struct Connection {
    stream: TcpStream,
    /// Given back when the connection is dropped.
    _place: OwnedSemaphorePermit,
}

/// What accepting needs from one connection to the next.
struct Accept {
    listener: TcpListener,
    places: Arc<Semaphore>,
    pauses: IntCounterVec,
}

/// Connections as they come, `most` at a time; pauses are counted in `pauses`. It never ends.
pub fn incoming(
    listener: TcpListener,
    most: usize,
    pauses: IntCounterVec,
) -> impl Stream<Item = io::Result<Connection>> + Send {
    let accept = Accept { listener, places: Arc::new(Semaphore::new(most)), pauses };
    unfold(accept, |accept: Accept| async move { Some((Ok(accept.next().await?), accept)) })
}

impl Accept {
    /// `None` would be a closed semaphore, and nobody closes it.
    async fn next(&self) -> Option<Connection> {
        if self.places.available_permits() == 0 {
            self.pauses.with_label_values(&["connections"]).inc();
            tracing::warn!("as many agents are connected as there may be; the next ones wait");
        }
        let place = self.places.clone().acquire_owned().await.ok()?;
        let stream = self.accept().await;
        // Without these it is only slower: an ack waits for company, a dead peer is noticed by HTTP/2 alone.
        let _ = stream.set_nodelay(true);
        let _ = set_socket_keepalive(&stream, true).and_then(|()| set_tcp_keepidle(&stream, TCP_KEEPALIVE));
        Some(Connection { stream, _place: place })
    }

    async fn accept(&self) -> TcpStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) if is_of_the_peer(error.kind()) => {}
                Err(error) => {
                    self.pauses.with_label_values(&["error"]).inc();
                    tracing::warn!(%error, pause = ?PAUSE, "no connection accepted; is the limit of open files (ulimit -n) too low?");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Whether the peer was gone before it was accepted: nothing to pause for.
fn is_of_the_peer(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused)
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
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
    use proto::telemetry::Telemetry;
    use std::pin::pin;

    #[tokio::test]
    async fn beyond_the_limit_a_connection_waits_until_another_ends_and_that_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let pauses = Meters::new(&Telemetry::default(), "sqlite").ingest.accept_pauses;
        let mut incoming = pin!(incoming(listener, 1, pauses.clone()));
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
