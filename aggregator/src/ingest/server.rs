//! The agents' gRPC server: the transport's settings and limits.

use super::Gate;
use super::accept::{Terms, incoming};
use proto::grpc::IngestServer;
use proto::limits::{MESSAGE_MAX_BYTES, PING_EVERY, PONG_WITHIN};
use runtime::drain::Phase;
use runtime::log::chain;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::transport::Server;

/// gRPC streams of one connection; an agent opens one.
const STREAMS_PER_CONNECTION: u32 = 16;
/// HTTP/2 flow control: what one stream and one connection may send ahead.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// See [`STREAM_WINDOW_BYTES`].
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Headers of a request.
const HEADERS_MAX_BYTES: u32 = 16 * 1024;

/// HTTP/2's own sign of life. What it does not see is `watch`'s.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// Between two pings.
    pub interval: Duration,
    /// For the answer.
    pub timeout: Duration,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { interval: PING_EVERY, timeout: PONG_WITHIN }
    }
}

/// Serves agents until the phase ends, on these terms.
pub fn spawn(phase: &Phase, listener: TcpListener, terms: Terms, keepalive: Keepalive, gate: Gate) {
    let ingest = IngestServer::new(gate)
        .max_decoding_message_size(MESSAGE_MAX_BYTES)
        .max_encoding_message_size(MESSAGE_MAX_BYTES);
    let server = Server::builder()
        .http2_keepalive_interval(Some(keepalive.interval))
        .http2_keepalive_timeout(Some(keepalive.timeout))
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(HEADERS_MAX_BYTES)
        .add_service(ingest);
    let stop = phase.token();
    phase.spawn("grpc", async move {
        let incoming = incoming(listener, terms);
        if let Err(error) = server.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await {
            tracing::error!(error = chain(&error), "gRPC server failed");
        }
    });
}
