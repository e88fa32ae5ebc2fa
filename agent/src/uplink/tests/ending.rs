//! How an uplink ends: what it still delivers, whom it waits for, and for how long.

use super::*;

/// A limit that is reached in a test.
const SOON: Duration = Duration::from_millis(50);

/// Limits that no test reaches, so that only those count which it sets.
fn endless() -> Patience {
    let hour = Duration::from_secs(3600);
    Patience { connect: hour, welcome: hour, ping_every: hour, pong_within: hour, drain: hour, goodbye: hour }
}

/// An uplink with one record.
async fn patient(patience: Patience) -> Bench {
    let (url, streams) = listen().await;
    Bench::with(url, streams, &[record(1)], Duration::from_millis(10), patience)
}

#[tokio::test]
async fn the_end_does_not_wait_for_an_aggregator_that_never_answers() {
    let mut bench = patient(Patience { drain: SOON, ..endless() }).await;
    let stream = bench.stranger().await; // connected, no welcome
    bench.stop.cancel();
    until("the uplink ends", || bench.uplink.is_finished()).await;
    assert_eq!(bench.door.waiting(), 1, "the spool keeps it");
    drop(stream);
    bench.end();
}

/// The rest is delivered on this stream, and the uplink says goodbye and ends.
async fn ends_well(bench: Bench, mut stream: Stream) {
    assert_eq!(stream.batch().await.0.position, bench.position(1));
    stream.say(ToAgent::Ack(bench.position(1))).await;
    assert!(matches!(stream.hear().await, Some(FromAgent::Goodbye { .. })));
    drop(stream);
    until("the uplink ends", || bench.uplink.is_finished()).await;
    assert_eq!(bench.door.waiting(), 0);
    bench.end();
}

#[tokio::test]
async fn a_stop_while_a_stream_opens_delivers_the_rest_on_it_and_says_goodbye() {
    let mut bench = Bench::new(&[record(1)]).await;
    let stream = bench.stranger().await;
    bench.stop.cancel();
    tokio::task::yield_now().await; // the uplink has seen it
    stream.say(ToAgent::Welcome(Welcome::default())).await;
    ends_well(bench, stream).await;
}

#[tokio::test]
async fn a_stop_while_the_uplink_waits_for_its_next_attempt_makes_one_at_once() {
    let (url, streams) = listen().await;
    let mut bench = Bench::at(url, streams, &[record(1)], Duration::from_secs(3600));
    let stream = bench.stranger().await;
    stream.say(bench.refusal(RefusalReason::Unavailable, 0)).await;
    until("the refusal is heard", || bench.standing.now().last_error.is_some()).await;
    bench.stop.cancel();
    let stream = bench.stream().await;
    ends_well(bench, stream).await;
}

#[tokio::test]
async fn a_stop_makes_one_attempt_and_no_second() {
    let (url, streams) = listen().await;
    let mut bench = Bench::at(url, streams, &[record(1)], Duration::from_secs(3600));
    for _ in 0..2 {
        let stream = bench.stranger().await;
        stream.say(bench.refusal(RefusalReason::Unavailable, 0)).await;
        until("the refusal is heard", || bench.standing.now().last_error.is_some()).await;
        bench.stop.cancel();
    }
    until("the uplink ends", || bench.uplink.is_finished()).await;
    assert_eq!(bench.door.waiting(), 1, "the spool keeps it");
    bench.end();
}

#[tokio::test]
async fn while_the_aggregator_is_away_the_spool_keeps_all_and_the_end_does_not_wait_for_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let nobody = format!("http://{}", listener.local_addr().expect("it is bound"));
    drop(listener);
    let (_, streams) = mpsc::channel(1);
    let bench = Bench::at(nobody, streams, &[record(1)], Duration::from_secs(3600));
    until("it failed", || bench.standing.now().last_error.is_some()).await;
    assert_eq!(bench.meters.uplink.failures.with_label_values(&["connect"]).get(), 1);
    bench.stop.cancel();
    until("the uplink ends within its hour of waiting", || bench.uplink.is_finished()).await;
    until("the spool has been looked at", || bench.door.waiting() == 1).await;
    bench.end();
}

#[tokio::test]
async fn the_end_does_not_wait_for_acks_that_never_come_and_goodbye_is_said_all_the_same() {
    let mut bench = patient(Patience { drain: SOON, ..endless() }).await;
    let mut stream = bench.stream().await;
    stream.batch().await;
    bench.stop.cancel();
    let listener = tokio::spawn(async move { (stream.hear().await, stream).0 });
    until("goodbye is said", || listener.is_finished()).await;
    let heard = listener.await.expect("it does not panic");
    assert!(matches!(heard, Some(FromAgent::Goodbye { .. })), "{heard:?}");
    until("the uplink ends", || bench.uplink.is_finished()).await;
    assert_eq!(bench.door.waiting(), 1, "the spool keeps it");
    bench.end();
}

#[tokio::test]
async fn the_end_does_not_wait_for_an_aggregator_that_takes_the_goodbye_and_never_closes() {
    let mut bench = patient(Patience { goodbye: SOON, ..endless() }).await;
    let mut stream = bench.stream().await;
    stream.batch().await;
    bench.stop.cancel();
    stream.say(ToAgent::Ack(bench.position(1))).await;
    assert!(matches!(stream.hear().await, Some(FromAgent::Goodbye { .. })));
    until("the uplink ends", || bench.uplink.is_finished()).await;
    drop(stream);
    bench.end();
}
