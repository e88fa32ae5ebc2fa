//! Golden bytes of each message, beside the laws that they obey.

use super::batch::{POSITION_MAX_BYTES, gap_to_wire};
use super::*;
use crate::event::{Event, EventError};
use crate::limits::{
    BATCH_MAX_BYTES, EVENTS_PER_BATCH_MAX, FRAMES_PER_BATCH_MAX, GAPS_PER_BATCH_MAX, PASSES_PER_FRAME_MAX,
    SERIES_PER_SCHEMA_MAX,
};
use crate::message::Batch;
use crate::name::{NameError, SeriesKey};
use crate::sample::{Gap, Kind, Pass, STALE, SchemaId, SeriesDef};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap, HashSet};
use xxhash_rust::xxh3::xxh3_64;

fn hello() -> Hello {
    Hello {
        agent_id: Uuid::from_u128(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f),
        service: "agenda".into(),
        instance: "agenda-1".into(),
        clinic_id: Some(Uuid::from_u128(42)),
        interval: Duration::from_secs(1),
        wall: Timestamp::from_millis(1_795_442_590_123),
        monotonic: Duration::from_nanos(77),
        boot_id: "b00t".into(),
        agent_version: "0.1.0".into(),
        run_id: Uuid::from_u128(0x77),
        last: Position { epoch: 0xabcd, seq: 9 },
    }
}

fn gauge(name: &str, labels: &[(&str, &str)]) -> SeriesDef {
    let key = SeriesKey::try_new(name, labels.iter().copied()).expect("a legal series");
    SeriesDef { key, kind: Kind::Gauge }
}

fn schema() -> SchemaBytes {
    SchemaBytes::encode("host", Duration::ZERO, &[gauge("a", &[]), gauge("b_bytes", &[("device", "sda")])])
}

fn pass(at: i64, values: &[f64]) -> Pass {
    Pass { at: Timestamp::from_millis(at), values: values.to_vec() }
}

fn position(seq: u64) -> Position {
    Position { epoch: 0xabcd, seq }
}

fn raw(frames: &[(&SchemaBytes, &[Pass])]) -> RawBatch {
    let record = encode_record(frames).expect("within the limits");
    RawBatch::from_record(&record, position(7)).expect("what was encoded decodes")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn from_agent_bytes(message: FromAgent) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_from_agent(message, &mut bytes);
    bytes
}

fn to_agent_bytes(message: ToAgent) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_to_agent(message, &mut bytes);
    bytes
}

#[test]
fn golden_bytes_of_what_an_agent_says() {
    let batch = raw(&[(&schema(), &[pass(1000, &[1.5, STALE])])]);
    let gap = Gap { epoch: 1, first_seq: 2, last_seq: 3, reason: "spool_full".into() };
    insta::assert_snapshot!(hex(&from_agent_bytes(FromAgent::Hello(RawHello::new(hello())))));
    insta::assert_snapshot!(hex(&from_agent_bytes(FromAgent::Batch(batch))));
    insta::assert_snapshot!(hex(&from_agent_bytes(FromAgent::Batch(RawBatch::for_gap(&gap)))));
    insta::assert_snapshot!(hex(&from_agent_bytes(FromAgent::Goodbye { reason: "shutdown".into() })));
    insta::assert_snapshot!(hex(&from_agent_bytes(FromAgent::Clock(reading()))));
    let back = decode_from_agent(from_agent_bytes(FromAgent::Clock(reading())).as_slice());
    assert_eq!(back, FromAgent::Clock(reading()));
}

fn reading() -> ClockReading {
    ClockReading { wall: Timestamp::from_millis(-1_795), was_set: true }
}

#[test]
fn golden_bytes_of_what_the_aggregator_answers() {
    let refusal = Refusal {
        reason: RefusalReason::InvalidBatch,
        position: Some(position(7)),
        message: "no".into(),
        retry_after: Some(Duration::from_millis(1500)),
    };
    insta::assert_snapshot!(hex(&to_agent_bytes(ToAgent::Welcome(Welcome { stored_seq: 8 }))));
    insta::assert_snapshot!(hex(&to_agent_bytes(ToAgent::Ack(position(7)))));
    let of_the_stream = Refusal { position: None, retry_after: None, ..refusal.clone() };
    for refusal in [refusal, of_the_stream] {
        let bytes = to_agent_bytes(ToAgent::Refusal(refusal.clone()));
        insta::assert_snapshot!(hex(&bytes));
        assert_eq!(decode_to_agent(bytes.as_slice()), Ok(ToAgent::Refusal(refusal)));
    }
}

#[test]
fn golden_bytes_of_the_other_kinds_and_of_a_packed_batch() {
    let total = SeriesDef { kind: Kind::Counter, ..gauge("a_total", &[]) };
    let bucket = SeriesDef { kind: Kind::Histogram, ..gauge("b_bucket", &[("le", "1.0")]) };
    let schema = SchemaBytes::encode("host", Duration::from_secs(1), &[total.clone(), bucket.clone()]);
    insta::assert_snapshot!(hex(&schema.bytes));
    assert_eq!(schema.decode().map(|schema| schema.series), Ok(vec![total, bucket]));
    let batch = raw(&[(&schema, &vec![pass(1000, &[1.5, 2.5]); 30])]);
    let bytes = from_agent_bytes(FromAgent::Batch(batch.clone()));
    insta::assert_snapshot!(hex(&bytes));
    assert_eq!(decode_from_agent(bytes.as_slice()), FromAgent::Batch(batch));
}

#[test]
fn an_aggregator_from_the_future_is_understood_as_far_as_it_can_be() {
    let answer = |kind| decode_to_agent(v1::AggregatorMessage { kind: Some(kind) }.encode_to_vec().as_slice());
    let refusal = v1::Refusal { reason: 99, ..v1::Refusal::default() };
    let Ok(ToAgent::Refusal(refusal)) = answer(v1::aggregator_message::Kind::Refusal(refusal)) else {
        panic!("a refusal")
    };
    assert_eq!(refusal.reason, RefusalReason::Unavailable, "to come back later loses nothing");
    let welcome = v1::Welcome { protocol_version: 2, stored_seq: 0 };
    assert_eq!(answer(v1::aggregator_message::Kind::Welcome(welcome)), Err(Refused::Version(2)));
}

#[test]
fn a_batch_that_comes_again_has_the_same_digest_whatever_its_events_have_beside_them() {
    let attributes = (0..20).map(|n| (format!("a{n}"), "x".to_string())).collect();
    let event = v1::Event { r#type: "a".into(), idempotency_key: "k".into(), attributes, ..v1::Event::default() };
    let bytes = v1::Batch { events: vec![event], ..v1::Batch::default() }.encode_to_vec();
    let digest = || RawBatch(v1::Batch::decode(&*bytes).expect("whole")).content().digest();
    assert_eq!(digest(), digest());
}

#[test]
fn golden_bytes_of_what_services_report() {
    let event = v1::Event {
        r#type: "appointment.created".into(),
        clinic_id: Uuid::from_u128(42).to_string(),
        occurred_at_ms: 1_795_442_590_123,
        idempotency_key: "k-1".into(),
        attributes: BTreeMap::from([("channel".to_string(), "web".to_string())]),
    };
    let events = v1::ReportEventsRequest { events: vec![event] };
    let answer = v1::ReportEventsResponse {
        durability: v1::report_events_response::Durability::Durable.into(),
        accepted: 1,
        refused: vec![v1::EventRefusal { index: 2, reason: "unknown_type".into(), message: "no".into() }],
    };
    let timing = v1::RequestTiming {
        method: "GET".into(),
        route: "/agenda/:id".into(),
        status_code: 200,
        duration_seconds: 0.25,
        clinic_id: String::new(),
    };
    let requests = v1::ReportRequestsRequest { requests: vec![timing] };
    let counted = v1::ReportRequestsResponse { accepted: 1, refused: 0 };
    insta::assert_snapshot!(hex(&events.encode_to_vec()));
    insta::assert_snapshot!(hex(&answer.encode_to_vec()));
    insta::assert_snapshot!(hex(&requests.encode_to_vec()));
    insta::assert_snapshot!(hex(&counted.encode_to_vec()));
    assert_eq!(v1::ReportEventsRequest::decode(events.encode_to_vec().as_slice()), Ok(events));
    assert_eq!(v1::ReportRequestsRequest::decode(requests.encode_to_vec().as_slice()), Ok(requests));
}

#[test]
fn a_hello_comes_back_as_it_was() {
    let bytes = from_agent_bytes(FromAgent::Hello(RawHello::new(hello())));
    let FromAgent::Hello(raw) = decode_from_agent(bytes.as_slice()) else { panic!("a hello") };
    assert_eq!(raw.check(), Ok(hello()));
}

#[test]
fn each_mistake_of_a_hello_is_named() {
    let broken = |change: fn(&mut v1::Hello)| {
        let RawHello(mut wire) = RawHello::new(hello());
        change(&mut wire);
        let why = RawHello(wire).check().unwrap_err();
        assert_eq!(why.wire_reason(), RefusalReason::UnacceptableAgent, "{why}");
        why
    };
    assert_eq!(broken(|h| h.protocol_version = 2), Refused::Version(2));
    assert_eq!(broken(|h| h.agent_id = Bytes::new()), Refused::AgentId(0));
    assert_eq!(broken(|h| h.agent_id = Bytes::from(vec![0; 16])), Refused::AgentId(16), "nil is the aggregator's own");
    assert_eq!(broken(|h| h.service = String::new()), Refused::Identity { field: "service" });
    assert_eq!(broken(|h| h.instance = "x\n".into()), Refused::Identity { field: "instance" });
    assert_eq!(broken(|h| h.service = "x".repeat(101)), Refused::Identity { field: "service" });
    assert_eq!(broken(|h| h.clinic_id = "42".into()), Refused::ClinicId);
    assert_eq!(broken(|h| h.run_id = Bytes::new()), Refused::RunId(0));
    assert_eq!(broken(|h| h.interval_ms = 0), Refused::Interval(0));
    assert_eq!(broken(|h| h.interval_ms = u64::MAX), Refused::Interval(u64::MAX));
}

#[test]
fn a_stream_carries_each_schema_once_and_the_receiver_still_knows_it() {
    let schema = schema();
    let mut first = raw(&[(&schema, &[pass(1, &[1.0, 2.0])])]);
    let mut second = raw(&[(&schema, &[pass(2, &[3.0, 4.0])])]);
    let mut sent = HashSet::new();
    first.strip(&mut sent);
    second.strip(&mut sent);
    assert_eq!(first.schemas().count(), 1);
    assert_eq!(second.schemas().count(), 0);

    let mut known = HashMap::new();
    assert_eq!(second.resolve(&mut known), Err(Refused::UnknownSchema(schema.id.0)));
    first.resolve(&mut known).expect("defines its schema");
    let batch = second.resolve(&mut known).expect("the schema is known now");
    assert_eq!(batch.frames[0].passes, [pass(2, &[3.0, 4.0])]);
    assert_eq!(batch.frames[0].schema.series.len(), 2);
}

#[test]
fn a_sealed_record_travels_byte_for_byte_and_arrives_as_the_batch_it_is() {
    let record = encode_record(&[(&schema(), &vec![pass(1000, &[1.5]); 30])]).expect("small");
    let bytes = from_agent_bytes(FromAgent::Batch(RawBatch::sealed(record.clone(), position(7))));
    assert!(bytes.windows(record.len()).any(|window| window == record), "nobody opened it");
    let FromAgent::Batch(arrived) = decode_from_agent(bytes.as_slice()) else { panic!("a batch") };
    assert_eq!(Ok(arrived), RawBatch::from_record(&record, position(7)));
}

#[test]
fn the_log_form_has_no_schemas_and_reads_back() {
    let batch = raw(&[(&schema(), &[pass(1, &[1.0, 2.0])])]);
    let mut known = HashMap::new();
    let before = batch.resolve(&mut known).expect("resolves");
    let log = batch.to_log().expect("within the limits");
    let read = RawBatch::from_record(&log, position(7)).expect("reads back");
    assert_eq!(read.schemas().count(), 0);
    assert_eq!(read.resolve(&mut known), Ok(before));
}

#[test]
fn a_gap_stands_at_the_last_lost_record_and_comes_back_as_it_was() {
    let gap = Gap { epoch: 9, first_seq: 2, last_seq: 5, reason: "corrupt".into() };
    let batch = RawBatch::for_gap(&gap).resolve(&mut HashMap::new()).expect("resolves");
    assert_eq!(batch.position, Position { epoch: 9, seq: 5 });
    assert_eq!((batch.frames, batch.gaps), (vec![], vec![gap]));
}

#[test]
fn passes_from_the_future_are_moved_to_their_arrival_together_and_counted() {
    let at = |millis| pass(millis, &[1.0, 2.0]);
    let mut batch = raw(&[(&schema(), &[at(10), at(9_997), at(9_999)])]);
    let (latest, now) = (Timestamp::from_millis(100), Timestamp::from_millis(50));
    assert_eq!(batch.restamp_future(latest, now), 2);
    assert_eq!(times(&batch), [10, 48, 50], "their distances are kept");
    assert_eq!(batch.restamp_future(latest, now), 0);
    let mut batch = raw(&[(&schema(), &[at(i64::MAX)])]);
    assert_eq!(batch.restamp_future(latest, now), 1);
    assert_eq!(times(&batch), [50]);
}

#[test]
fn a_clock_that_is_ahead_or_behind_is_corrected_and_no_clock_overflows() {
    let mut batch = raw(&[(&schema(), &[pass(10_000, &[1.0, 2.0])])]);
    batch.correct_clock(3_000);
    assert_eq!(times(&batch), [7_000]);
    batch.correct_clock(-5_000);
    assert_eq!(times(&batch), [12_000]);
    batch.correct_clock(i64::MIN);
    batch.correct_clock(i64::MAX);
}

/// When the passes of a batch's first frame were taken.
fn times(batch: &RawBatch) -> Vec<i64> {
    let batch = batch.resolve(&mut HashMap::new()).expect("resolves");
    batch.frames[0].passes.iter().map(|p| p.at.as_millis()).collect()
}

#[test]
fn a_source_says_how_often_it_takes_a_pass_and_not_too_seldom() {
    let every = |interval| SchemaBytes::encode("host", interval, &[gauge("a", &[])]).decode();
    assert_eq!(every(INTERVAL_MAX).map(|schema| schema.interval), Ok(INTERVAL_MAX));
    let too_seldom = every(INTERVAL_MAX + Duration::from_millis(1)).expect_err("over the limit");
    assert_eq!(too_seldom, Refused::SourceInterval { source_name: "host".into(), interval_ms: 120_001 });
}

/// What a receiver says of a batch of one frame whose schema and passes were changed on the wire.
fn tampered(change_schema: impl FnOnce(&mut v1::Schema), change_batch: impl FnOnce(&mut v1::Batch)) -> Refused {
    let mut wire = v1::Schema::decode(schema().bytes).expect("decodes");
    change_schema(&mut wire);
    let bytes = Bytes::from(wire.encode_to_vec());
    let schema = SchemaBytes { id: SchemaId(xxh3_64(&bytes)), bytes };
    let RawBatch(mut batch) = raw(&[(&schema, &[pass(1, &[1.0, 2.0])])]);
    change_batch(&mut batch);
    let why = match decode_from_agent(on_the_wire(batch).as_slice()) {
        FromAgent::Batch(batch) => batch.resolve(&mut HashMap::new()).unwrap_err(),
        FromAgent::Unreadable { why, .. } => why,
        other => panic!("a batch, not {other:?}"),
    };
    assert_ne!(why.wire_reason(), RefusalReason::UnacceptableAgent, "else the agent sends it for ever: {why}");
    why
}

/// The message of a batch, not packed.
fn on_the_wire(batch: v1::Batch) -> Vec<u8> {
    v1::AgentMessage { kind: Some(v1::agent_message::Kind::Batch(batch)) }.encode_to_vec()
}

/// What a receiver says of a batch at position 7 that cannot be read.
fn unreadable(batch: v1::Batch) -> (Option<Position>, Refused) {
    match decode_from_agent(on_the_wire(batch).as_slice()) {
        FromAgent::Unreadable { position, why } => (position, why),
        other => panic!("a batch that cannot be read, not {other:?}"),
    }
}

/// A batch at position 7 that holds `packed`.
fn packed(packed: Vec<u8>) -> v1::Batch {
    v1::Batch { epoch: epoch_bytes(position(7).epoch), seq: 7, packed: packed.into(), ..v1::Batch::default() }
}

fn zipped(plain: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(plain, 1).expect("compresses")
}

#[test]
fn each_mistake_of_a_batch_is_named() {
    let same = |_: &mut v1::Schema| {};
    let fine = |_: &mut v1::Batch| {};
    assert_eq!(tampered(same, |b| b.seq = 0), Refused::SeqZero);
    assert_eq!(tampered(same, |b| b.seq = 1 << 63), Refused::SeqTooLarge(1 << 63));
    assert_eq!(tampered(same, |b| b.epoch = Bytes::new()), Refused::Epoch(0));
    let gap = v1::Gap { epoch: epoch_bytes(1), first_seq: 1, last_seq: 2, reason: String::new() };
    assert_eq!(tampered(same, |b| b.gaps = vec![gap.clone()]), Refused::GapReason);
    let strange = v1::Gap { epoch: Bytes::from_static(b"123"), ..gap };
    assert_eq!(tampered(same, |b| b.gaps = vec![strange]), Refused::Epoch(3));
    assert_eq!(
        tampered(same, |b| b.frames = vec![v1::Frame::default(); FRAMES_PER_BATCH_MAX + 1]),
        Refused::TooManyFrames(FRAMES_PER_BATCH_MAX + 1)
    );
    assert_eq!(
        tampered(same, |b| b.gaps = vec![v1::Gap::default(); GAPS_PER_BATCH_MAX + 1]),
        Refused::TooManyGaps(GAPS_PER_BATCH_MAX + 1)
    );
    assert_eq!(
        tampered(same, |b| b.frames[0].passes = vec![v1::Pass::default(); PASSES_PER_FRAME_MAX + 1]),
        Refused::TooManyPasses(PASSES_PER_FRAME_MAX + 1)
    );
    assert!(matches!(
        tampered(same, |b| b.frames[0].passes[0].values = vec![0.0; BATCH_MAX_BYTES / 8 + 1]),
        Refused::TooLarge(_)
    ));
    assert_eq!(
        tampered(same, |b| b.frames[0].passes[0].values.push(1.0)),
        Refused::PassWidth { source_name: "host".into(), values: 3, series: 2 }
    );
    assert!(matches!(tampered(same, |b| b.frames[0].schema_id = 1), Refused::SchemaHash { said: 1, .. }));
    assert_eq!(tampered(|s| s.source = "Host".into(), fine), Refused::SourceName);
    assert_eq!(
        tampered(|s| s.series[0].name = "9".into(), fine),
        Refused::Name { source_name: "host".into(), problem: NameError::Metric("9".into()) }
    );
    assert!(matches!(tampered(|s| s.series[0].kind = 99, fine), Refused::Kind { kind: 99, .. }));
    assert_eq!(tampered(|s| s.series[1] = s.series[0].clone(), fine), Refused::DuplicateSeries("a{}".into()));
    let label = v1::Label { name: "x".into(), value: "y".into() };
    assert!(matches!(
        tampered(|s| s.series[0].labels = vec![label; 31], fine),
        Refused::Name { problem: NameError::TooMany(31), .. }
    ));
    assert_eq!(
        tampered(|s| s.series = vec![s.series[0].clone(); SERIES_PER_SCHEMA_MAX + 1], fine),
        Refused::TooManySeries { source_name: "host".into(), series: SERIES_PER_SCHEMA_MAX + 1 }
    );
}

#[test]
fn a_batch_larger_than_the_limit_is_refused_before_it_reaches_the_spool() {
    let wide: Vec<SeriesDef> = (0..1000).map(|i| gauge(&format!("m{i}"), &[])).collect();
    let schema = SchemaBytes::encode("host", Duration::ZERO, &wide);
    let passes: Vec<Pass> = (0..500).map(|at| pass(at, &vec![1.0; 1000])).collect();
    assert!(matches!(encode_record(&[(&schema, &passes)]), Err(Refused::TooLarge(_))));
}

/// A record of `bytes` bytes before compression, of noise.
fn noise(bytes: usize) -> Result<Vec<u8>, Refused> {
    let mut random = 1_u64;
    let mut filler = |_| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        random.to_be_bytes()[0]
    };
    // A frame's tag and length, its id, the schema's tag and length, and the schema.
    let head = 1 + 4 + 9 + 1 + 4;
    let schema = SchemaBytes { id: SchemaId(1), bytes: (0..bytes - head).map(&mut filler).collect() };
    encode_record(&[(&schema, &[])])
}

#[test]
fn the_largest_record_can_be_sent_wherever_it_stands_and_one_byte_more_is_refused() {
    let last = Position { epoch: u128::MAX, seq: u64::MAX };
    let largest = noise(BATCH_MAX_BYTES - POSITION_MAX_BYTES).expect("at the limit");
    let batch = RawBatch::from_record(&largest, last).expect("what was encoded decodes");
    assert_eq!(batch.encoded_bytes(), BATCH_MAX_BYTES);
    let bytes = from_agent_bytes(FromAgent::Batch(batch.clone()));
    assert!(bytes.len() > BATCH_MAX_BYTES, "noise is not packed");
    assert_eq!(decode_from_agent(bytes.as_slice()), FromAgent::Batch(batch));
    assert_eq!(noise(BATCH_MAX_BYTES - POSITION_MAX_BYTES + 1), Err(Refused::TooLarge(BATCH_MAX_BYTES + 1)));
}

#[test]
fn a_record_of_more_parts_than_a_batch_may_have_is_refused_before_it_reaches_the_spool() {
    let schema = schema();
    let frames = vec![(&schema, [].as_slice()); FRAMES_PER_BATCH_MAX + 1];
    assert_eq!(encode_record(&frames), Err(Refused::TooManyFrames(FRAMES_PER_BATCH_MAX + 1)));
}

#[test]
fn a_large_batch_is_packed_on_the_wire_and_comes_back_as_it_was() {
    let wide: Vec<SeriesDef> = (0..100).map(|i| gauge(&format!("m{i}"), &[("device", "sda")])).collect();
    let schema = SchemaBytes::encode("host", Duration::ZERO, &wide);
    let batch = raw(&[(&schema, &[pass(1, &vec![1.0; 100])])]);
    let bytes = from_agent_bytes(FromAgent::Batch(batch.clone()));
    assert!(bytes.len() < batch.encoded_bytes() / 2, "{} of {}", bytes.len(), batch.encoded_bytes());
    assert_eq!(decode_from_agent(bytes.as_slice()), FromAgent::Batch(batch));
}

#[test]
fn a_packed_batch_that_cannot_be_unpacked_is_refused_at_its_position() {
    let bomb = zipped(&vec![0; BATCH_MAX_BYTES + 1]);
    assert_eq!(unreadable(packed(bomb)), (Some(position(7)), Refused::TooLarge(BATCH_MAX_BYTES + 1)));
    let whole = encode_record(&[(&schema(), &[pass(1, &[1.0, 2.0])])]).expect("small");
    let torn = whole[..whole.len() - 3].to_vec();
    assert!(matches!(unreadable(packed(torn)), (Some(at), Refused::Damaged(_)) if at == position(7)));
    assert!(matches!(unreadable(packed(vec![7; 40])), (Some(at), Refused::Damaged(_)) if at == position(7)));
    let garbage = zipped(&[0xff; 40]);
    assert!(matches!(unreadable(packed(garbage)), (Some(at), Refused::Undecodable(_)) if at == position(7)));
}

#[test]
fn a_batch_that_is_packed_twice_or_half_is_refused_and_not_taken_for_an_empty_one() {
    let body = || encode_record(&[(&schema(), &[pass(1, &[1.0, 2.0])])]).expect("small");
    let RawBatch(v1::Batch { frames, .. }) = raw(&[(&schema(), &[pass(1, &[1.0, 2.0])])]);
    let beside = v1::Batch { frames, ..packed(body()) };
    assert_eq!(unreadable(beside), (Some(position(7)), Refused::Packing));
    let gaps = vec![gap_to_wire(&Gap { epoch: 1, first_seq: 1, last_seq: 1, reason: "corrupt".into() })];
    assert_eq!(unreadable(v1::Batch { gaps, ..packed(body()) }), (Some(position(7)), Refused::Packing));
    let twice = zipped(&v1::Batch { packed: body().into(), ..v1::Batch::default() }.encode_to_vec());
    assert_eq!(unreadable(packed(twice.clone())), (Some(position(7)), Refused::Packing));
    assert_eq!(RawBatch::from_record(&twice, position(7)), Err(Refused::Packing));
}

#[test]
fn a_few_hundred_bytes_that_unpack_to_a_million_parts_are_refused_before_any_is_built() {
    const PARTS: usize = 1_000_000;
    let many = |part: &[u8]| part.repeat(PARTS);
    let inside = |tag: u8, body: &[u8]| {
        let mut bytes = vec![tag << 3 | 2];
        prost::encoding::encode_varint(body.len() as u64, &mut bytes);
        [&bytes, body].concat()
    };
    for (plain, why) in [
        (many(&[0x1a, 0]), Refused::TooManyFrames(PARTS)),
        (many(&[0x22, 0]), Refused::TooManyGaps(PARTS)),
        (inside(3, &many(&[0x1a, 0])), Refused::TooManyPasses(PARTS)),
    ] {
        let small = zipped(&plain);
        assert!(small.len() < 400, "{}", small.len());
        assert_eq!(unreadable(packed(small.clone())), (Some(position(7)), why.clone()));
        assert_eq!(RawBatch::from_record(&small, position(7)), Err(why.clone()));
        let bare = inside(2, &[on_the_wire(packed(vec![]))[2..].to_vec(), plain].concat());
        assert_eq!(decode_from_agent(bare.as_slice()), FromAgent::Unreadable { position: Some(position(7)), why });
    }
    let schema = |bytes: Vec<u8>| SchemaBytes { id: SchemaId(xxh3_64(&bytes)), bytes: bytes.into() }.decode();
    let source_name = "host".to_string();
    let series = [inside(1, b"host"), many(&[0x12, 0])].concat();
    assert_eq!(schema(series), Err(Refused::TooManySeries { source_name: source_name.clone(), series: PARTS }));
    let labels = [inside(1, b"host"), inside(2, &many(&[0x12, 0]))].concat();
    assert_eq!(schema(labels), Err(Refused::Name { source_name, problem: NameError::TooMany(PARTS) }));
}

#[test]
fn several_batches_in_one_message_are_refused_since_protobuf_would_add_them_up() {
    let one = on_the_wire(packed(vec![]));
    let FromAgent::Unreadable { position: Some(_), why } = decode_from_agent([one.clone(), one].concat().as_slice())
    else {
        panic!("two batches")
    };
    assert!(matches!(why, Refused::Undecodable(_)), "{why}");
}

#[test]
fn bytes_that_are_no_message_are_unreadable_and_stand_nowhere() {
    let garbage = decode_from_agent([0xff; 40].as_slice());
    assert!(matches!(garbage, FromAgent::Unreadable { position: None, why: Refused::Undecodable(_) }), "{garbage:?}");
}

#[test]
fn a_refusal_shows_no_more_than_a_line_of_what_it_refuses() {
    let long = |index: usize| v1::Label { name: format!("l{index:02}"), value: "x".repeat(1024) };
    let labels: Vec<v1::Label> = (0..30).map(long).collect();
    let twice = tampered(
        |s| {
            s.series[0].labels.clone_from(&labels);
            s.series[1] = s.series[0].clone();
        },
        |_| {},
    );
    assert!(matches!(twice, Refused::DuplicateSeries(_)) && twice.to_string().len() < 256, "{twice}");
    let kind = tampered(
        |s| {
            s.series[0].labels.clone_from(&labels);
            s.series[0].kind = 99;
        },
        |_| {},
    );
    assert!(matches!(kind, Refused::Kind { .. }) && kind.to_string().len() < 256, "{kind}");
    let message = "é".repeat(100_000);
    let refusal = Refusal { reason: RefusalReason::InvalidBatch, position: None, message, retry_after: None };
    let heard = decode_to_agent(to_agent_bytes(ToAgent::Refusal(refusal)).as_slice());
    let Ok(ToAgent::Refusal(heard)) = heard else { panic!("{heard:?}") };
    assert_eq!(heard.message.chars().count(), REFUSAL_MAX_CHARS);
}

#[test]
fn a_record_that_expands_beyond_the_limit_is_refused() {
    let bomb = zstd::bulk::compress(&vec![0; BATCH_MAX_BYTES + 1], 1).expect("compresses");
    assert!(bomb.len() < 1024);
    assert_eq!(RawBatch::from_record(&bomb, position(1)), Err(Refused::TooLarge(BATCH_MAX_BYTES + 1)));
    // One that does not say its size is stopped at the limit.
    let silent = zstd::stream::encode_all(vec![0; BATCH_MAX_BYTES + 1].as_slice(), 1).expect("compresses");
    assert!(RawBatch::from_record(&silent, position(1)).is_err());
}

proptest! {
    #[test]
    fn random_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_from_agent(bytes.as_slice());
        let _ = decode_to_agent(bytes.as_slice());
        let _ = RawBatch::from_record(&bytes, position(1));
        let id = SchemaId(xxh3_64(&bytes));
        let _ = SchemaBytes { id, bytes: Bytes::from(bytes) }.decode();
    }

    #[test]
    fn a_batch_with_one_byte_changed_never_panics(at in 0_usize..400, bit in 0_u8..8) {
        let batch = raw(&[(&schema(), &[pass(1000, &[1.5, 2.5])])]);
        let mut bytes = from_agent_bytes(FromAgent::Batch(batch));
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let FromAgent::Batch(batch) = decode_from_agent(bytes.as_slice()) {
            let _ = batch.resolve(&mut HashMap::new());
        }
    }

    #[test]
    fn what_an_agent_records_is_what_the_aggregator_reads(
        values in proptest::collection::vec(any::<u64>(), 1..20),
        times in proptest::collection::vec(any::<i64>(), 1..5),
    ) {
        let series: Vec<SeriesDef> = (0..values.len()).map(|i| gauge(&format!("m{i}"), &[("i", "x")])).collect();
        let schema = SchemaBytes::encode("host", Duration::ZERO, &series);
        let floats: Vec<f64> = values.iter().map(|bits| f64::from_bits(*bits)).collect();
        let passes: Vec<Pass> = times.iter().map(|at| pass(*at, &floats)).collect();
        let batch = raw(&[(&schema, &passes)]).resolve(&mut HashMap::new()).expect("resolves");
        prop_assert_eq!(&batch.frames[0].schema.series, &series);
        for (read, at) in batch.frames[0].passes.iter().zip(times) {
            prop_assert_eq!(read.at.as_millis(), at);
            prop_assert!(read.values.iter().map(|v| v.to_bits()).eq(values.iter().copied()));
        }
    }
}

fn event(key: &str) -> Event {
    let clinic = Uuid::from_u128(42).to_string();
    Event::try_new("appointment.created", &clinic, Timestamp::from_millis(1_795), key).expect("fine")
}

fn events(count: usize) -> Vec<Event> {
    (0..count).map(|number| event(&format!("k-{number}"))).collect()
}

#[test]
fn events_come_back_from_the_record_the_wire_and_the_log() {
    let record = encode_events(&events(100)).expect("within the limits");
    let sent = RawBatch::from_record(&record, position(7)).expect("reads back");
    let bytes = from_agent_bytes(FromAgent::Batch(sent.clone()));
    assert!(bytes.len() < 2_000, "they travel packed: {}", bytes.len());
    let FromAgent::Batch(came) = decode_from_agent(bytes.as_slice()) else { panic!("a batch") };
    let logged = RawBatch::from_record(&came.to_log().expect("fits"), position(7)).expect("reads back");
    for batch in [sent, came, logged] {
        let Batch { frames, gaps, events: found, .. } = batch.resolve(&mut HashMap::new()).expect("resolves");
        assert_eq!((frames, gaps, found), (vec![], vec![], events(100)));
    }
}

#[test]
fn golden_bytes_of_a_batch_with_an_event() {
    let record = encode_events(&events(1)).expect("within the limits");
    let batch = RawBatch::from_record(&record, position(7)).expect("reads back");
    insta::assert_snapshot!(hex(&from_agent_bytes(FromAgent::Batch(batch))));
}

#[test]
fn too_many_events_are_counted_before_they_are_read_and_a_bad_one_refuses_its_batch() {
    assert_eq!(encode_events(&events(EVENTS_PER_BATCH_MAX + 1)), Err(Refused::TooManyEvents(EVENTS_PER_BATCH_MAX + 1)));
    let many = vec![v1::Event::default(); EVENTS_PER_BATCH_MAX + 1];
    let batch = v1::Batch { seq: 1, events: many, ..v1::Batch::default() };
    let bytes = v1::AgentMessage { kind: Some(v1::agent_message::Kind::Batch(batch)) }.encode_to_vec();
    let FromAgent::Unreadable { why, .. } = decode_from_agent(bytes.as_slice()) else { panic!("too many") };
    assert_eq!(why, Refused::TooManyEvents(EVENTS_PER_BATCH_MAX + 1));

    let bad = v1::Event { r#type: "a".into(), clinic_id: "42".into(), ..v1::Event::default() };
    let epoch = epoch_bytes(1);
    let raw = RawBatch(v1::Batch { epoch, seq: 1, events: vec![bad], ..v1::Batch::default() });
    assert_eq!(raw.resolve(&mut HashMap::new()), Err(Refused::Event(EventError::ClinicId)));
}

#[test]
fn a_digest_is_the_same_each_time_that_a_batch_is_sent_and_differs_where_the_content_does() {
    let schema = schema();
    let whole = raw(&[(&schema, &[pass(1, &[1.0, 2.0])])]);
    let mut stripped = whole.clone();
    stripped.strip(&mut HashSet::from([schema.id]));
    assert_eq!(whole.content().digest(), stripped.content().digest());
    let other = raw(&[(&schema, &[pass(1, &[1.0, 3.0])])]);
    assert_ne!(whole.content().digest(), other.content().digest());
    let mut moved = whole.clone();
    moved.correct_clock(5_000);
    assert_ne!(whole.content().digest(), moved.content().digest(), "so it is taken before the clock is corrected");
    let record =
        |key| RawBatch::from_record(&encode_events(&[event(key)]).expect("small"), position(1)).expect("reads");
    assert_ne!(record("a").content().digest(), record("b").content().digest());
}
