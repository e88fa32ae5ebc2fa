//! With tokio's clock standing still: it moves on to the next timer by itself when everybody waits.

use super::*;
use axum::Router;
use axum::routing::get;
use runtime::patience::{AGAIN, FIRST};
use std::future::IntoFuture;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// A server, and what ends its connections.
async fn server() -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let abort = CancellationToken::new();
    let door = Door::new(listener, abort.clone());
    tokio::spawn(axum::serve(door, Router::new().route("/", get(async || "ok"))).into_future());
    (address, abort)
}

/// Reads until the server closes; `true` where it did so in order or by a reset.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read).await;
    String::from_utf8_lossy(&read).into_owned()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_finishes_its_header_is_let_go() {
    let (address, _abort) = server().await;
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.write_all(&REQUEST[..10]).await.expect("sent");
    assert_eq!(until_closed(&mut stream).await, "");
    assert_eq!(began.elapsed().as_secs(), FIRST.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_its_answer_keeps_its_connection_for_a_while() {
    let (address, _abort) = server().await;
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    let began = Instant::now();
    stream.write_all(REQUEST).await.expect("sent");
    let answer = until_closed(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
    assert_eq!(began.elapsed().as_secs(), AGAIN.as_secs());
}

#[tokio::test(start_paused = true)]
async fn an_abort_closes_every_connection_at_once() {
    let (address, abort) = server().await;
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.write_all(REQUEST).await.expect("sent");
    let mut first = [0; 15];
    stream.read_exact(&mut first).await.expect("an answer begins");
    let began = Instant::now();
    abort.cancel();
    until_closed(&mut stream).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_connection_beyond_the_limit_waits_until_one_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let mut door = Door::new(listener, CancellationToken::new());
    let (mut clients, mut held) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS_MAX {
        clients.push(TcpStream::connect(address).await.expect("the server listens"));
        held.push(door.accept().await);
    }
    clients.push(TcpStream::connect(address).await.expect("it waits in the kernel's queue"));
    let next = tokio::time::timeout(Duration::from_secs(1), door.accept()).await;
    assert!(next.is_err(), "there is no place");
    held.pop();
    door.accept().await;
}

#[test]
fn who_reads_is_answered_before_our_patience_ends() {
    let header = Duration::from_secs(5);
    assert!(crate::http::guard::REQUEST_MAX + header <= FIRST && FIRST < AGAIN);
}
