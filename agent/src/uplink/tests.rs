//! The uplink against an aggregator of the test's own: a real gRPC server that says what the script has.

use super::*;
use crate::keep::Keeper;
use crate::keep::tests::until;
use crate::meters::Meters;
use proto::convert::{SchemaBytes, encode_record};
use proto::grpc::{Ingest, IngestServer};
use proto::limits::MESSAGE_MAX_BYTES;
use proto::message::{Batch, FromAgent, Position, Refusal, RefusalReason, ToAgent, Welcome};
use proto::name::SeriesKey;
use proto::sample::{Kind, Pass, Schema, SchemaId, SeriesDef, Timestamp};
use proto::telemetry::Telemetry;
use runtime::clock::SystemClock;
use spool::memory::MemoryDisk;
use spool::{Class, Mode, Options, Spool};
use std::collections::HashMap;
use std::path::Path;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

mod ending;

/// A stream as the aggregator has it.
struct Stream {
    inbound: Streaming<FromAgent>,
    out: mpsc::Sender<Result<ToAgent, Status>>,
    schemas: HashMap<SchemaId, Arc<Schema>>,
}

/// Hands each stream to the test.
struct Front(mpsc::Sender<Stream>);

#[tonic::async_trait]
impl Ingest for Front {
    type StreamStream = ReceiverStream<Result<ToAgent, Status>>;

    async fn stream(&self, request: Request<Streaming<FromAgent>>) -> Result<Response<Self::StreamStream>, Status> {
        let (out, outbound) = mpsc::channel(64);
        let stream = Stream { inbound: request.into_inner(), out, schemas: HashMap::new() };
        self.0.send(stream).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(outbound)))
    }
}

/// An uplink over a spool of so many records, and what it streams to.
struct Bench {
    streams: mpsc::Receiver<Stream>,
    disk: MemoryDisk,
    door: Door,
    meters: Meters,
    standing: Arc<Standing>,
    epoch: u128,
    stop: CancellationToken,
    uplink: tokio::task::JoinHandle<()>,
}

async fn listen() -> (String, mpsc::Receiver<Stream>) {
    let (sender, streams) = mpsc::channel(8);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let server = IngestServer::new(Front(sender)).max_decoding_message_size(MESSAGE_MAX_BYTES);
    tokio::spawn(Server::builder().add_service(server).serve_with_incoming(TcpListenerStream::new(listener)));
    (url, streams)
}

fn record(at: i64) -> Vec<u8> {
    let key = SeriesKey::try_new("m", []).expect("legal");
    let schema = SchemaBytes::encode("host", Duration::ZERO, &[SeriesDef { key, kind: Kind::Gauge }]);
    let pass = Pass { at: Timestamp::from_millis(at), values: vec![1.0] };
    encode_record(&[(&schema, &[pass])]).expect("small")
}

impl Bench {
    async fn new(records: &[Vec<u8>]) -> Self {
        let (url, streams) = listen().await;
        Self::at(url, streams, records, Duration::from_millis(10))
    }

    fn at(url: String, streams: mpsc::Receiver<Stream>, records: &[Vec<u8>], backoff: Duration) -> Self {
        Self::with(url, streams, records, backoff, Patience::default())
    }

    fn with(
        url: String,
        streams: mpsc::Receiver<Stream>,
        records: &[Vec<u8>],
        backoff: Duration,
        patience: Patience,
    ) -> Self {
        let disk = MemoryDisk::default();
        let options = Options::new(Mode::Durable, 64 << 20, "boot");
        let (mut spool, report) = Spool::open(Arc::new(disk.clone()), Path::new("/spool"), options).expect("it opens");
        for record in records {
            spool.append(Class::Ordinary, record).expect("there is room");
        }
        spool.sync().expect("the disk syncs");
        let (meters, clock) = (Meters::new(&Telemetry::default()), Arc::new(SystemClock));
        let (keeper, door) = Keeper::new(spool, 64 << 20, clock.clone(), meters.keep.clone());
        std::thread::spawn(move || keeper.run());
        let (standing, stop) = (Arc::<Standing>::default(), CancellationToken::new());
        let hello = Hello {
            agent_id: Uuid::from_u128(7),
            service: "agenda".into(),
            instance: "pod-1".into(),
            clinic_id: None,
            interval: Duration::from_secs(1),
            wall: Timestamp::ZERO,
            monotonic: Duration::ZERO,
            boot_id: "boot".into(),
            agent_version: "1".into(),
            run_id: Uuid::from_u128(1),
            last: Position { epoch: 1, seq: 0 },
        };
        let uplink = Uplink {
            url,
            hello,
            backoff: Backoff::new(backoff, backoff),
            patience,
            door: door.clone(),
            clock,
            meters: meters.uplink.clone(),
            standing: standing.clone(),
        };
        let uplink = tokio::spawn(uplink.run(stop.clone()));
        Self { streams, disk, door, meters, standing, epoch: report.epoch, stop, uplink }
    }

    /// The next stream, without an answer to its hello.
    async fn stranger(&mut self) -> Stream {
        let mut stream = self.streams.recv().await.expect("the server runs");
        assert!(matches!(stream.hear().await, Some(FromAgent::Hello(_))));
        stream
    }

    /// The next stream, welcomed.
    async fn stream(&mut self) -> Stream {
        let stream = self.stranger().await;
        stream.say(ToAgent::Welcome(Welcome::default())).await;
        stream
    }

    fn position(&self, seq: u64) -> Position {
        Position { epoch: self.epoch, seq }
    }

    fn refusal(&self, reason: RefusalReason, seq: u64) -> ToAgent {
        let position = Some(self.position(seq)).filter(|position| position.seq > 0);
        ToAgent::Refusal(Refusal { reason, position, message: "on purpose".into(), retry_after: None })
    }

    fn end(self) {
        self.uplink.abort();
        self.door.stop();
    }
}

impl Stream {
    async fn say(&self, message: ToAgent) {
        self.out.send(Ok(message)).await.expect("the agent listens");
    }

    async fn hear(&mut self) -> Option<FromAgent> {
        loop {
            match self.inbound.next().await {
                Some(Ok(FromAgent::Clock(_))) => {}
                other => return other.and_then(Result::ok),
            }
        }
    }

    /// The next batch, and whether it carries its schema.
    async fn batch(&mut self) -> (Batch, bool) {
        match self.hear().await {
            Some(FromAgent::Batch(raw)) => {
                let carries = raw.schemas().count() > 0;
                (raw.resolve(&mut self.schemas).expect("it is fine"), carries)
            }
            other => panic!("a batch was expected, not {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_acked_leaves_the_spool_and_goodbye_is_said_when_all_is_delivered() {
    let mut bench = Bench::new(&[record(1), record(2)]).await;
    let mut stream = bench.stream().await;
    assert_eq!(stream.batch().await.0.position, bench.position(1));
    assert_eq!(stream.batch().await.0.position, bench.position(2));
    bench.stop.cancel();
    stream.say(ToAgent::Ack(bench.position(2))).await;
    assert!(matches!(stream.hear().await, Some(FromAgent::Goodbye { .. })));
    drop(stream);
    until("the uplink ends", || bench.uplink.is_finished()).await;
    assert_eq!(bench.door.waiting(), 0);
    assert!(!bench.standing.now().connected);
    bench.end();
}

#[tokio::test]
async fn a_refused_batch_is_settled_by_its_refusal_and_is_not_sent_again() {
    let mut bench = Bench::new(&[record(1), record(2)]).await;
    let mut stream = bench.stream().await;
    stream.batch().await;
    stream.batch().await;
    stream.say(bench.refusal(RefusalReason::InvalidBatch, 1)).await;
    until("the refusal is heard", || bench.door.waiting() == 1).await;
    drop(stream); // it breaks right after the refusal
    let mut stream = bench.stream().await;
    assert_eq!(stream.batch().await.0.position, bench.position(2));
    assert_eq!(bench.meters.keep.spool.dropped.with_label_values(&["refused"]).get(), 1);
    bench.end();
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_told_as_a_gap_in_its_place_until_that_is_acked() {
    let mut bench = Bench::new(&[b"not a batch".to_vec()]).await;
    for _ in 0..2 {
        let mut stream = bench.stream().await;
        let (batch, _) = stream.batch().await;
        assert_eq!((batch.position, batch.gaps.len()), (bench.position(1), 1));
        let gap = &batch.gaps[0];
        assert_eq!((gap.first_seq, gap.last_seq, gap.reason.as_str()), (1, 1, "refused"));
        // The stream breaks before the ack.
    }
    let mut stream = bench.stream().await;
    stream.batch().await;
    stream.say(ToAgent::Ack(bench.position(1))).await;
    until("the gap is acked", || bench.door.waiting() == 0).await;
    assert_eq!(bench.meters.keep.spool.dropped.with_label_values(&["refused"]).get(), 1);
    bench.end();
}

#[tokio::test]
async fn in_a_backlog_records_go_as_they_lie_and_one_that_cannot_be_read_is_the_aggregators_to_refuse() {
    // Where the first is sent before the second is handed over it is alone, and looked at here: then once more.
    let mut tries = 0;
    let (bench, mut stream, position) = loop {
        let mut bench = Bench::new(&[b"not a batch".to_vec(), record(2), record(3)]).await;
        let mut stream = bench.stream().await;
        if let Some(FromAgent::Unreadable { position, .. }) = stream.hear().await {
            break (bench, stream, position);
        }
        tries += 1;
        assert!(tries < 20, "nobody looked at it");
        bench.end();
    };
    assert_eq!(position, Some(bench.position(1)));
    stream.say(bench.refusal(RefusalReason::InvalidBatch, 1)).await;
    let (batch, carries) = stream.batch().await;
    assert_eq!((batch.position, batch.frames[0].passes[0].at), (bench.position(2), Timestamp::from_millis(2)));
    assert!(carries, "it stands alone");
    stream.batch().await;
    stream.say(ToAgent::Ack(bench.position(3))).await;
    until("all are settled", || bench.door.waiting() == 0).await;
    assert_eq!(bench.meters.keep.spool.dropped.with_label_values(&["refused"]).get(), 1);
    bench.end();
}

/// What of `sent` has become of what: acked, refused, moved, unanswered, in flight.
fn books(bench: &Bench) -> [u64; 6] {
    let meters = &bench.meters.uplink;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    let in_flight = meters.in_flight.get() as u64;
    let [acked, refused, moved, unanswered] =
        [&meters.acked, &meters.refused, &meters.moved, &meters.unanswered].map(prometheus::IntCounter::get);
    [meters.sent.get(), acked, refused, moved, unanswered, in_flight]
}

#[tokio::test]
async fn each_batch_that_is_sent_is_acked_refused_moved_unanswered_or_in_flight() {
    let records: Vec<Vec<u8>> = (1..=6).map(record).collect();
    let mut bench = Bench::new(&records).await;
    let mut stream = bench.stream().await;
    for _ in 1..=6 {
        stream.batch().await;
    }
    assert_eq!(books(&bench), [6, 0, 0, 0, 0, 6]);
    stream.say(ToAgent::Ack(bench.position(2))).await;
    stream.say(bench.refusal(RefusalReason::InvalidBatch, 4)).await;
    stream.say(bench.refusal(RefusalReason::PositionTaken, 5)).await;
    let (moved, _) = loop {
        let (batch, carries) = stream.batch().await;
        if batch.position.epoch != bench.epoch {
            break (batch, carries);
        }
    };
    assert_eq!(moved.frames[0].passes[0].at, Timestamp::from_millis(5), "it comes again in a new epoch");
    assert_eq!(books(&bench), [7, 3, 1, 1, 0, 2]);
    drop(stream);
    let mut stream = bench.stream().await;
    assert_eq!(stream.batch().await.0.position, bench.position(6));
    assert_eq!(stream.batch().await.0.position, moved.position);
    assert_eq!(books(&bench), [9, 3, 1, 1, 2, 2]);
    stream.say(ToAgent::Ack(moved.position)).await;
    until("all are settled", || bench.door.waiting() == 0).await;
    assert_eq!(books(&bench), [9, 5, 1, 1, 2, 0]);
    bench.end();
}

#[tokio::test]
async fn a_refusal_of_what_is_not_in_flight_is_not_passed_on_however_often_it_comes() {
    let mut bench = Bench::new(&[record(1), record(2)]).await;
    let mut stream = bench.stream().await;
    stream.batch().await;
    stream.batch().await;
    bench.disk.hang();
    let _receipt = bench.door.hand_in(b"event".to_vec(), 1).expect("there is room");
    until("the keeper waits for the disk", || bench.disk.waiting_syncs() == 1).await;
    for _ in 0..20 {
        stream.say(bench.refusal(RefusalReason::InvalidBatch, 1)).await;
        stream.say(bench.refusal(RefusalReason::PositionTaken, 1)).await;
        stream.say(bench.refusal(RefusalReason::InvalidBatch, 9)).await;
    }
    stream.say(ToAgent::Ack(bench.position(2))).await;
    until("all of them were heard", || books(&bench)[1] == 1).await;
    assert_eq!(bench.door.unheard(), 2, "the first refusal, and the acks");
    bench.disk.heal();
    until("both are settled", || bench.meters.keep.spool.records_out.get() == 1).await;
    assert_eq!(bench.meters.keep.spool.dropped.with_label_values(&["refused"]).get(), 1);
    bench.end();
}

#[tokio::test]
async fn an_aggregator_that_has_more_of_the_epoch_than_the_spool_gets_the_next_records_in_a_new_one() {
    let mut bench = Bench::new(&[record(1), record(2)]).await;
    let mut stream = bench.streams.recv().await.expect("the server runs");
    let Some(FromAgent::Hello(hello)) = stream.hear().await else { panic!("a hello") };
    assert_eq!(hello.check().expect("fine").last, bench.position(2));
    stream.say(ToAgent::Welcome(Welcome { stored_seq: 9 })).await;
    stream.batch().await;
    stream.batch().await;
    stream.say(bench.refusal(RefusalReason::PositionTaken, 1)).await;
    let (moved, _) = stream.batch().await;
    assert_eq!((moved.position.seq, moved.frames[0].passes[0].at), (1, Timestamp::from_millis(1)));
    assert_ne!(moved.position.epoch, bench.epoch);
    stream.say(ToAgent::Ack(bench.position(2))).await; // that one it had: a replay
    stream.say(ToAgent::Ack(moved.position)).await;
    until("all are settled", || bench.door.waiting() == 0).await;
    let epochs = |reason: &str| bench.meters.keep.spool.epochs.with_label_values(&[reason]).get();
    assert_eq!((epochs("rewound"), epochs("position_taken")), (1, 0), "the new epoch serves both");
    drop(stream);
    let mut stream = bench.streams.recv().await.expect("the server runs");
    let Some(FromAgent::Hello(hello)) = stream.hear().await else { panic!("a hello") };
    assert_eq!(hello.check().expect("fine").last, moved.position);
    bench.end();
}

#[tokio::test]
async fn a_schema_is_repeated_until_it_is_acked_so_that_a_refused_one_blocks_nobody() {
    let mut bench = Bench::new(&[record(1), record(2)]).await;
    let mut stream = bench.stream().await;
    assert!(stream.batch().await.1 && stream.batch().await.1, "nothing is acked yet");
    stream.say(bench.refusal(RefusalReason::InvalidBatch, 1)).await;
    stream.say(ToAgent::Ack(bench.position(2))).await;
    until("both are answered", || bench.door.waiting() == 0).await;
    drop(stream);
    bench.end();
}

#[tokio::test]
async fn after_an_unknown_schema_the_next_stream_sends_everything_again_with_its_schemas() {
    let mut bench = Bench::new(&[record(1), record(2)]).await;
    let mut stream = bench.stream().await;
    stream.batch().await;
    stream.say(bench.refusal(RefusalReason::UnknownSchema, 1)).await;
    let mut stream = bench.stream().await;
    let (batch, carries) = stream.batch().await;
    assert_eq!((batch.position, carries), (bench.position(1), true));
    assert_eq!(bench.meters.uplink.failures.with_label_values(&["broken"]).get(), 1);
    bench.end();
}

#[tokio::test]
async fn the_last_error_is_shown_and_how_long_it_lasts_until_the_stream_stands_again() {
    let mut bench = Bench::new(&[]).await;
    let stream = bench.stranger().await;
    stream.say(bench.refusal(RefusalReason::UnacceptableAgent, 0)).await;
    until("the refusal is heard", || bench.standing.now().last_error.is_some()).await;
    let stands = bench.standing.now();
    assert!(!stands.connected && stands.last_error.is_some_and(|error| error.contains("on purpose")));
    let _stream = bench.stream().await;
    until("it stands", || bench.standing.now().connected).await;
    assert!(bench.standing.now().last_error.is_some(), "why it did not is still to be seen");
    bench.end();
}

#[tokio::test]
async fn an_aggregator_that_asks_for_time_gets_it() {
    let mut bench = Bench::new(&[]).await;
    let stream = bench.stranger().await;
    let retry_after = Some(Duration::from_secs(3600));
    let refusal = Refusal { reason: RefusalReason::Unavailable, position: None, message: "later".into(), retry_after };
    stream.say(ToAgent::Refusal(refusal)).await;
    until("the refusal is heard", || bench.standing.now().last_error.is_some()).await;
    // Without the hour, the wait would be 10 ms at the most.
    let next = tokio::time::timeout(Duration::from_millis(200), bench.streams.recv()).await;
    assert!(next.is_err(), "it came back at once");
    bench.end();
}

#[tokio::test]
async fn a_probe_tells_an_aggregator_from_something_else_and_says_no_hello() {
    let (url, mut streams) = listen().await;
    let answer = tokio::spawn(async move {
        let mut stream = streams.recv().await.expect("the probe comes");
        stream.hear().await
    });
    probe(&url).await.expect("it is one");
    assert_eq!(answer.await.expect("it does not panic"), None);

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let page = format!("http://{}", listener.local_addr().expect("it is bound"));
    let router = axum::Router::new().route("/metrics", axum::routing::get(|| async { "up 1" }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    assert!(!matches!(probe(&page).await, Ok(()) | Err(SessionError::Connect { .. })), "pages are no aggregator");
    let nobody = probe("http://127.0.0.1:1").await;
    assert!(matches!(nobody, Err(SessionError::Connect { .. })), "{nobody:?}");
}

/// A way to `to` whose first connection goes silent when it is told to: both ends are held, nothing is handed on, as when a
/// cable is cut. Those that come after it pass.
async fn way_that_goes_silent(to: String) -> (String, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (url, silent) = (format!("http://{}", listener.local_addr().expect("it is bound")), CancellationToken::new());
    let mut first = Some(silent.clone());
    tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            let (to, cut) = (to.trim_start_matches("http://").to_string(), first.take());
            tokio::spawn(async move {
                let mut there = TcpStream::connect(to).await.expect("it listens");
                tokio::select! {
                    _ = copy_bidirectional(&mut here, &mut there) => {}
                    () = async { cut.expect("it is the first").cancelled().await }, if cut.is_some() => {
                        std::future::pending::<()>().await;
                    }
                }
            });
        }
    });
    (url, silent)
}

/// Times for a test, long enough for a peer that lives on a busy machine.
fn short() -> Patience {
    Patience { ping_every: Duration::from_millis(50), pong_within: Duration::from_secs(1), ..Patience::default() }
}

#[tokio::test]
async fn an_aggregator_that_is_gone_without_a_word_is_left_and_what_it_did_not_ack_is_sent_again() {
    let (url, streams) = listen().await;
    let (way, silent) = way_that_goes_silent(url).await;
    let mut bench = Bench::with(way, streams, &[record(1)], Duration::from_millis(10), short());
    let mut cut_off = bench.stream().await;
    cut_off.batch().await;
    silent.cancel();
    let mut stream = bench.stream().await;
    assert_eq!(stream.batch().await.0.position, bench.position(1));
    assert_eq!(bench.meters.uplink.failures.with_label_values(&["broken"]).get(), 1);
    bench.end();
}

#[tokio::test]
async fn an_aggregator_that_takes_connections_and_never_speaks_is_called_silent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let (_, streams) = mpsc::channel(1);
    let patience = Patience { welcome: Duration::from_millis(50), ..Patience::default() };
    let bench = Bench::with(url, streams, &[record(1)], Duration::from_millis(10), patience);
    let silences = || bench.meters.uplink.failures.with_label_values(&["silent"]).get();
    until("it was tried again", || silences() >= 2).await;
    assert_eq!(bench.door.waiting(), 1);
    bench.end();
}
