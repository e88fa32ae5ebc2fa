//! The services' door over a real connection, with a disk that hangs, fails and fills.

use super::*;
use crate::keep::tests::{until, wait_for};
use crate::keep::{Item, Keeper};
use crate::meters::Meters;
use proto::convert::{RawBatch, RawEvents};
use proto::event::Event;
use proto::grpc::{Codec, ReportClient};
use proto::limits::EVENTS_PER_BATCH_MAX;
use proto::report::{EventsAnswer, Unread};
use proto::sample::Timestamp;
use proto::telemetry::Telemetry;
use runtime::clock::SystemClock;
use spool::memory::{EIO, MemoryDisk, Operation};
use spool::{Mode, Options, Spool};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use uuid::Uuid;

/// A door over a spool on a disk in memory.
struct Bench {
    disk: MemoryDisk,
    door: Door,
    meters: Meters,
    client: ReportClient<Channel>,
    channel: Channel,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Bench {
    async fn new(mode: Mode, durability: Durability) -> Self {
        let disk = MemoryDisk::default();
        let options = Options::new(mode, 64 << 20, "boot");
        let (spool, _) = Spool::open(Arc::new(disk.clone()), Path::new("/spool"), options).expect("it opens");
        let meters = Meters::new(&Telemetry::default());
        let (keeper, door) = Keeper::new(spool, 64 << 20, Arc::new(SystemClock), meters.keep.clone());
        std::thread::spawn(move || keeper.run());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(listener, door.clone(), durability, meters.receive.clone(), stop.clone()));
        let channel = Endpoint::from_shared(url).expect("a URL").connect().await.expect("it listens");
        let client = ReportClient::new(channel.clone());
        Self { disk, door, meters, client, channel, stop, served }
    }

    async fn durable() -> Self {
        Self::new(Mode::Durable, Durability::Durable).await
    }

    fn requests_refused(&self, reason: &str) -> u64 {
        self.meters.receive.requests_refused.with_label_values(&[reason]).get()
    }

    fn events_refused(&self, reason: &str) -> u64 {
        self.meters.receive.events.refused.with_label_values(&[reason]).get()
    }

    /// Hands in one event and leaves it waiting for the disk, which hangs.
    async fn waiter(&self, key: &str) -> JoinHandle<Result<EventsAnswer, Status>> {
        let (mut client, event) = (self.client.clone(), event(key));
        let waiting = self.meters.receive.events.waiting.get();
        let call = tokio::spawn(async move { client.report(&[event]).await });
        until("it waits", || self.meters.receive.events.waiting.get() > waiting).await;
        call
    }

    /// Ends the door and the keeper.
    async fn end(self) {
        self.stop.cancel();
        self.served.await.expect("it does not panic");
        self.door.stop();
    }
}

fn event(key: &str) -> Event {
    Event {
        kind: "appointment.created".into(),
        clinic_id: Uuid::from_u128(42),
        occurred_at: Timestamp::from_millis(1_795_000_000_000),
        idempotency_key: key.into(),
    }
}

#[tokio::test]
async fn an_event_that_is_answered_is_in_the_spool_and_the_answer_says_how_safe_it_is() {
    for (mode, durability) in [(Mode::Durable, Durability::Durable), (Mode::Fast, Durability::Fast)] {
        let mut bench = Bench::new(mode, durability).await;
        let events = [event("a"), event("b")];
        let answer = bench.client.report(&events).await.expect("the disk works");
        assert_eq!(answer, EventsAnswer { durability, accepted: 2, refused: vec![] });
        let Some(Item::Record { position, bytes }) = bench.door.open_session(None).recv().await else {
            panic!("one record")
        };
        let batch = RawBatch::from_record(&bytes, position).expect("our own").resolve(&mut HashMap::new());
        assert_eq!(batch.expect("resolves").events, events);
        bench.end().await;
    }
}

/// Other languages make the call as `report.proto` has it: with one request, not with a stream of them.
#[tokio::test]
async fn a_call_with_one_request_is_served() {
    let bench = Bench::durable().await;
    let mut plain = tonic::client::Grpc::new(bench.channel.clone());
    plain.ready().await.expect("it is connected");
    let path = "/atendeai.monitoring.v1.Report/ReportEvents".parse().expect("a path");
    let codec: Codec<RawEvents, EventsAnswer> = Codec::default();
    let answer = plain.unary(Request::new(RawEvents::new(&[event("a")])), path, codec).await;
    assert_eq!(answer.expect("it is served").into_inner().accepted, 1);
    bench.end().await;
}

#[tokio::test]
async fn an_event_that_is_wrong_is_refused_by_its_index_and_the_others_are_taken() {
    let mut bench = Bench::durable().await;
    let events = [
        Event { kind: "appointment.moved".into(), ..event("a") },
        event("b"),
        Event { occurred_at: Timestamp::from_millis(1_795_000_000), ..event("c") },
        Event { idempotency_key: "maria silva".into(), ..event("d") },
    ];
    let answer = bench.client.report(&events).await.expect("the disk works");
    let refused: Vec<(u32, &str)> =
        answer.refused.iter().map(|refusal| (refusal.index, refusal.reason.as_str())).collect();
    assert_eq!(refused, [(0, "unknown_type"), (2, "bad_time"), (3, "bad_key")]);
    assert!(answer.refused.iter().all(|refusal| !refusal.message.contains("maria")), "{answer:?}");
    assert_eq!((answer.accepted, bench.events_refused("unknown_type")), (1, 1));

    let none = bench.client.report(&[Event { kind: "x".into(), ..event("e") }]).await.expect("nothing to write");
    assert_eq!((none.accepted, none.refused.len()), (0, 1));
    until("the one is shown", || bench.door.stats().appended == 1).await;
    bench.end().await;
}

#[tokio::test]
async fn a_failing_disk_is_an_error_that_names_the_spool() {
    let mut bench = Bench::durable().await;
    bench.disk.fail(Operation::Sync, 0, u32::MAX, EIO);
    let status = bench.client.report(&[event("a")]).await.expect_err("nothing is durable");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("spool /spool"), "{}", status.message());
    assert_eq!((bench.events_refused("disk_error"), bench.requests_refused("not_kept")), (1, 1));
    bench.disk.heal();
    bench.client.report(&[event("a")]).await.expect("the disk works again");
    bench.end().await;
}

#[tokio::test]
async fn a_full_disk_is_a_shortage() {
    let mut bench = Bench::durable().await;
    bench.disk.limit_bytes(0);
    let many: Vec<Event> = (0..1000).map(|_| event(&Uuid::new_v4().to_string())).collect();
    let status = loop {
        if let Err(status) = bench.client.report(&many).await {
            break status; // not the first time: the spool has set some room aside
        }
    };
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("no space left"), "{}", status.message());
    bench.end().await;
}

#[tokio::test]
async fn a_request_beyond_its_limits_is_refused_and_counted() {
    let mut bench = Bench::durable().await;
    let many: Vec<Event> = (0..=EVENTS_PER_BATCH_MAX).map(|key| event(&key.to_string())).collect();
    let status = bench.client.report(&many).await.expect_err("one too many");
    assert_eq!((status.code(), bench.requests_refused("too_many_events")), (Code::InvalidArgument, 1));
    let huge = Event { kind: "x".repeat(REPORT_MAX_BYTES), ..event("a") };
    let status = bench.client.report(&[huge]).await.expect_err("too large");
    assert_eq!((status.code(), bench.requests_refused("too_large")), (Code::OutOfRange, 1));
    let status = bench.client.report_events(tokio_stream::empty()).await.expect_err("no request");
    assert_eq!((status.code(), bench.requests_refused("broken")), (Code::InvalidArgument, 1));
    assert_eq!(bench.meters.receive.events.taken_in.get(), 0, "nothing of it was believed");
    bench.end().await;
}

#[tokio::test]
async fn request_timings_are_not_taken_and_the_answer_says_so() {
    let mut bench = Bench::durable().await;
    let status = bench.client.report_requests(tokio_stream::once(Unread)).await.expect_err("not yet");
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("request timings are not taken yet"));
    bench.end().await;
}

#[tokio::test]
async fn a_stream_is_answered_in_order_and_its_requests_share_syncs() {
    let mut bench = Bench::durable().await;
    bench.disk.hang();
    let first = bench.waiter("first").await;
    let requests = (0..32).map(|index: usize| {
        let events: Vec<Event> = (0..=index).map(|key| event(&format!("{index}-{key}"))).collect();
        RawEvents::new(&events)
    });
    let answers = bench.client.stream_events(tokio_stream::iter(requests.collect::<Vec<_>>())).await;
    let mut answers = answers.expect("there is a place").into_inner();
    until("all wait", || bench.meters.receive.events.waiting.get() == 1.0 + 528.0).await;
    bench.disk.heal();
    for index in 0..32 {
        let answer = answers.next().await.expect("each is answered").expect("the disk works");
        assert_eq!(answer.accepted, index + 1);
    }
    assert!(answers.next().await.is_none());
    assert!(first.await.expect("no panic").is_ok());
    wait_for(|| bench.door.stats().appended == 33);
    assert_eq!(bench.door.stats().syncs, 2, "the first alone, the others together");
    bench.end().await;
}

#[tokio::test]
async fn a_stream_ends_with_the_error_of_the_request_that_was_not_kept() {
    let mut bench = Bench::durable().await;
    bench.disk.fail(Operation::Sync, 0, u32::MAX, EIO);
    let requests = [RawEvents::new(&[event("a")]), RawEvents::new(&[event("b")])];
    let answers = bench.client.stream_events(tokio_stream::iter(requests)).await;
    let mut answers = answers.expect("there is a place").into_inner();
    let status = answers.next().await.expect("an answer").expect_err("nothing is durable");
    assert_eq!(status.code(), Code::Unavailable);
    bench.disk.heal();
    bench.end().await;
}

#[tokio::test]
async fn beyond_the_streams_there_may_be_another_is_turned_away_until_one_ends() {
    let mut bench = Bench::durable().await;
    let mut open = Vec::new();
    for _ in 0..report::STREAMS_MAX {
        let (sender, requests) = mpsc::channel::<RawEvents>(1);
        let answers = bench.client.stream_events(ReceiverStream::new(requests)).await.expect("there is a place");
        open.push((sender, answers));
    }
    let status = bench.client.stream_events(tokio_stream::pending()).await.expect_err("one too many");
    assert_eq!((status.code(), bench.requests_refused("busy")), (Code::ResourceExhausted, 1));
    open.pop();
    while bench.client.stream_events(tokio_stream::pending()).await.is_err() {} // its place becomes free
    bench.end().await;
}

#[tokio::test]
async fn clients_that_never_finish_do_not_hold_the_end_and_hear_of_it() {
    let mut bench = Bench::durable().await;
    let mut client = bench.client.clone();
    let unfinished = tokio::spawn(async move { client.report_events(tokio_stream::pending()).await });
    let stream = bench.client.stream_events(tokio_stream::pending()).await.expect("there is a place");
    bench.stop.cancel();
    bench.served.await.expect("it does not panic");
    let status = unfinished.await.expect("no panic").expect_err("it had no request");
    assert_eq!(status.code(), Code::Unavailable);
    let status = stream.into_inner().next().await.expect("an answer").expect_err("no request");
    assert!(status.message().contains("the agent is ending"), "{}", status.message());
    bench.door.stop();
}

#[tokio::test]
async fn at_the_end_64_who_wait_hear_their_answers_and_each_ok_is_true() {
    let bench = Bench::durable().await;
    bench.disk.hang();
    let mut calls = Vec::new();
    for key in 0..64 {
        calls.push(bench.waiter(&key.to_string()).await);
    }
    bench.stop.cancel();
    bench.disk.heal();
    for call in calls {
        assert_eq!(call.await.expect("no panic").expect("the disk answered in time").accepted, 1);
    }
    bench.served.await.expect("it does not panic");
    wait_for(|| bench.door.stats().waiting == 64);
    bench.door.stop();
}

#[tokio::test]
async fn a_disk_that_hangs_does_not_hold_the_end_and_nobody_hears_ok() {
    let bench = Bench::durable().await;
    bench.disk.hang();
    let call = bench.waiter("a").await;
    bench.stop.cancel();
    bench.served.await.expect("it does not panic");
    assert!(!call.is_finished());
    bench.disk.heal();
    bench.door.stop();
}
