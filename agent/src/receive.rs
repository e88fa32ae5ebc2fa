//! What services hand in: a gRPC server on loopback.
//!
//! An event that is answered with OK is in the spool, as the spool's mode promises; everything else is an error that names
//! the thing, or a refusal of that one event. Nothing is answered before: whoever got no answer sends it again, and the
//! event's key makes it one.
//!
//! ```text
//!  call ─► read (few at a time) ─► check each event ─► one record, class critical ─► keeper ─► answer
//!                                    └─ refused by index                          └─ not kept: an error
//! ```
//! It listens on loopback alone: whoever can connect is believed. It ends before the keeper does, so that who waits is
//! answered; a client that never finishes its request is given up at once, one that does not read at the deadline.
//!
//! Limits: [`CONNECTIONS_MAX`], [`CALLS_PER_CONNECTION`], [`report::READS_MAX`], [`report::READ_MAX`],
//! [`report::STREAMS_MAX`], [`report::AHEAD_MAX`]; `REPORT_MAX_BYTES` and `EVENTS_PER_BATCH_MAX` of a request; the keeper's
//! `HANDED_MAX` and `HANDED_MAX_BYTES` of those that wait for the disk.

mod report;

use crate::entrance::{Connection, Entrance};
use crate::keep::Door;
use crate::meters::ReceiveMeters;
use proto::grpc::ReportServer;
use proto::limits::{PING_EVERY, PONG_WITHIN, REPORT_MAX_BYTES};
use proto::report::Durability;
use report::Desk;
use runtime::log::chain;
use std::io;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Connections at a time: one for each process of a service, many times over.
const CONNECTIONS_MAX: usize = 64;
/// Calls of one connection at a time; a client's library holds back the others.
const CALLS_PER_CONNECTION: u32 = 128;
/// HTTP/2 flow control: what one call and one connection may send ahead of our reading.
const CALL_WINDOW_BYTES: u32 = 64 * 1024;
/// See [`CALL_WINDOW_BYTES`].
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// Headers of a request.
const HEADERS_MAX_BYTES: u32 = 16 * 1024;
/// How long those who wait may take to hear their answer once we end: a sync on a slow disk, and the way back.
const FAREWELL_MAX: Duration = Duration::from_millis(1500);

/// Serves until `stop`, then until everybody who waits is answered, or for [`FAREWELL_MAX`].
pub async fn serve(
    listener: TcpListener,
    door: Door,
    durability: Durability,
    meters: ReceiveMeters,
    stop: CancellationToken,
) {
    let desk = Desk::new(door, durability, meters, stop.clone());
    let service = ReportServer::new(desk).max_decoding_message_size(REPORT_MAX_BYTES);
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PONG_WITHIN))
        .max_concurrent_streams(CALLS_PER_CONNECTION)
        .initial_stream_window_size(CALL_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(HEADERS_MAX_BYTES);
    let (accepted, incoming) = mpsc::channel(1);
    let served = server
        .add_service(service)
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), stop.clone().cancelled_owned());
    let end = async {
        accept(Entrance::new(listener, CONNECTIONS_MAX), accepted, &stop).await;
        tokio::time::sleep(FAREWELL_MAX).await;
    };
    tokio::select! {
        served = served => {
            if let Err(error) = served {
                tracing::error!(error = chain(&error), "the services' door failed");
            }
        }
        () = end => tracing::warn!("a service did not read its answer in time; the agent ends without it"),
    }
}

/// Accepts connections until `stop`.
async fn accept(mut entrance: Entrance, accepted: mpsc::Sender<io::Result<Connection>>, stop: &CancellationToken) {
    loop {
        tokio::select! {
            connection = entrance.next() => {
                if accepted.send(Ok(connection)).await.is_err() {
                    return;
                }
            }
            () = stop.cancelled() => return,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream().connect_info()
    }
}

#[cfg(test)]
mod tests;
