//! Peers that vanish without a word, at each point of a connection's life: every one gives its place back.
//!
//! There is one place only, so the next agent is welcomed when the place is free again, and not before. Settings are
//! short; what they are in service is tested without a socket (`watch`).

use super::fixture::until;
use super::house::{House, Setting, hello};
use super::wire;
use crate::ingest::server::Keepalive;
use crate::ingest::watch::Patience;
use proto::limits::WINDOW_BATCHES;
use proto::message::FromAgent;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Long enough for a peer that lives on a busy machine.
const SOON: Duration = Duration::from_millis(500);
const NEVER: Duration = Duration::from_secs(24 * 3600);
/// What begins every HTTP/2 connection, and an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The same, with a window of no bytes: nothing that we say in a stream may be sent.
const NO_WINDOW: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";
/// HEADERS that open the agents' stream: POST, http, the path, a host, `application/grpc`, as HPACK writes them.
const OPENS: &[u8] = b"\0\0\x47\x01\x04\0\0\0\x01\x83\x86\x04\x25/atendeai.monitoring.v1.Ingest/Stream\
    \x01\x09localhost\x0f\x10\x10application/grpc";
/// A PING, which must be answered.
const PING: &[u8; 17] = b"\0\0\x08\x06\0\0\0\0\0whoisit?";

/// A house for one connection.
async fn small(look_every: Duration, silent_looks: u32, ping_every: Duration) -> House {
    let patience = Patience { look_every, silent_looks, ending: NEVER };
    let keepalive = Keepalive { interval: ping_every, timeout: SOON };
    House::with(Setting { connections: 1, patience, keepalive, ..Setting::default() }).await
}

/// A message in a frame of the stream.
fn data(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("small");
    let frame = [&(length + 5).to_be_bytes()[1..], &[0, 0, 0, 0, 0, 1]];
    [&frame.concat()[..], &[0], &length.to_be_bytes(), message].concat()
}

async fn connected(house: &House, first_words: &[u8]) -> TcpStream {
    let mut peer = TcpStream::connect(house.socket).await.expect("it listens");
    peer.write_all(first_words).await.expect("it listens");
    peer
}

/// A way to `house` that hands bytes on until it is told to go silent; then it holds both ends and does nothing, as when
/// a cable is cut.
async fn way_that_goes_silent(to: SocketAddr) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (address, silent) = (listener.local_addr().expect("bound"), CancellationToken::new());
    let told = silent.clone();
    tokio::spawn(async move {
        let (mut here, _) = listener.accept().await.expect("one comes");
        let mut there = TcpStream::connect(to).await.expect("it listens");
        tokio::select! {
            _ = copy_bidirectional(&mut here, &mut there) => {}
            () = told.cancelled() => std::future::pending().await,
        }
    });
    (address, silent)
}

#[tokio::test]
async fn one_that_never_says_a_word() {
    let house = small(SOON, u32::MAX, NEVER).await;
    let _peer = connected(&house, b"").await;
    house.agent(1).await;
    assert_eq!(house.closed("unused"), 1);
}

#[tokio::test]
async fn one_that_speaks_http_2_and_opens_no_stream() {
    let house = small(SOON, u32::MAX, NEVER).await;
    let _peer = connected(&house, PREFACE).await;
    house.agent(1).await;
    assert_eq!(house.closed("unused"), 1);
}

#[tokio::test]
async fn one_whose_stream_is_over_and_whose_connection_stays() {
    let house = small(SOON, u32::MAX, NEVER).await;
    let mut first = house.agent(1).await;
    first.goodbye().await;
    assert_eq!(first.hear().await, None);
    house.agent(2).await;
    assert_eq!(house.closed("unused"), 1);
    drop(first);
}

#[tokio::test]
async fn one_that_stops_in_the_middle_of_a_frame() {
    let house = small(NEVER, u32::MAX, SOON).await;
    let mut words = PREFACE.to_vec();
    // A frame of 100 bytes, of which one comes.
    words.extend(b"\0\0\x64\x04\0\0\0\0\0x");
    let _peer = connected(&house, &words).await;
    house.agent(1).await;
    assert_eq!((house.closed("unused"), house.closed("silent")), (0, 0), "HTTP/2's own ping has found it");
}

#[tokio::test]
async fn one_that_is_cut_off_while_its_stream_stands() {
    let house = small(NEVER, u32::MAX, SOON).await;
    let (way, silent) = way_that_goes_silent(house.socket).await;
    let mut agent = house.stranger_at(way, 1).await;
    agent.say(FromAgent::Hello(hello(1))).await;
    assert!(agent.hear().await.is_some());
    until("its stream stands", || house.meters.ingest.streams.get() == 1.0).await;
    silent.cancel();
    until("its stream is ended", || house.meters.ingest.streams.get() == 0.0).await;
    house.agent(2).await;
}

#[tokio::test]
async fn one_that_takes_nothing_of_what_it_asked_for() {
    let house = small(SOON, 3, NEVER).await;
    let peer = connected(&house, &[PREFACE, OPENS].concat()).await;
    let (_unread, mut write) = peer.into_split();
    // Its buffers fill with our answers, then ours do, and we read no more of it: a ping could not be written either.
    let asks = tokio::spawn(async move { while write.write_all(&PING.repeat(1_000)).await.is_ok() {} });
    house.agent(1).await;
    asks.await.expect("it was told that nobody listens");
    assert_eq!((house.closed("silent"), house.closed("unused")), (1, 0));
}

#[tokio::test]
async fn one_that_answers_pings_and_lets_none_of_our_answers_through() {
    let house = small(NEVER, u32::MAX, NEVER).await;
    let mut words = NO_WINDOW.to_vec();
    words.extend(OPENS);
    words.extend(data(&wire::encoded(FromAgent::Hello(hello(1)))));
    for _ in 0..3 * WINDOW_BATCHES {
        words.extend(data(&wire::batch_with(1, &[])));
    }
    let _peer = connected(&house, &words).await;
    // The welcome and the acks fill the way out, and the next ack waits.
    let answered = || house.batches("stored") + house.batches("replayed");
    until("every place on the way out is taken", || answered() > 2 * WINDOW_BATCHES as u64 - 2).await;
    tokio::time::pause();
    while house.meters.ingest.streams.get() > 0.0 {
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
}
