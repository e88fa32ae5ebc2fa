//! Accepts connections, also where the system gives none for a while.
//!
//! Where there is no file descriptor left, to try again at once, and again, costs a whole core and helps nobody:
//! accepting pauses.

use std::io::ErrorKind;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// How long accepting pauses where the system gives no connection: descriptors come free when others end.
const PAUSE: Duration = Duration::from_millis(500);

/// The next connection, which sends what it has at once. `paused` is called before each pause.
pub async fn accept(listener: &TcpListener, paused: impl Fn()) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true); // without it answers wait for company
                return stream;
            }
            Err(error) if is_of_the_peer(error.kind()) => {}
            Err(error) => {
                paused();
                tracing::warn!(%error, pause = ?PAUSE, "no connection accepted; is the limit of open files (ulimit -n) too low?");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Whether the peer was gone before it was accepted: nothing to pause for.
fn is_of_the_peer(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused)
}
