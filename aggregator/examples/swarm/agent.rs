//! One simulated agent: no collectors and no disk, but the real stream, and a queue that it keeps across streams.
//!
//! It sends what a real one would: its schema once in each stream, then passes; after a break whatever was not acked
//! comes again, oldest first. The values are a function of the agent and the seq, so that a reader can tell whether what is
//! stored is what was sent.

// The swarm and the tests of the drain each use their part of it.
#![allow(dead_code, reason = "shared by an example and a test")]

use proto::convert::{RawBatch, RawHello, SchemaBytes, encode_record};
use proto::grpc::IngestClient;
use proto::limits::{MESSAGE_MAX_BYTES, WINDOW_BATCHES};
use proto::message::{FromAgent, Hello, Position, Refusal, ToAgent};
use proto::name::SeriesKey;
use proto::sample::{Kind, Pass, SchemaId, SeriesDef, Timestamp};
use std::collections::{HashSet, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;
use uuid::Uuid;

/// How long a connection, and then an answer to a hello, may take; as with the real one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// See [`CONNECT_TIMEOUT`].
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// A ping this often, an answer within that; as with the real one.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// See [`KEEPALIVE_INTERVAL`].
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// The epoch of every simulated agent: each run of a swarm has agents of its own.
pub const EPOCH: u128 = 0x5AA5;

/// What outlives a stream.
pub struct Agent {
    /// Its id.
    pub id: Uuid,
    number: u32,
    hello: Hello,
    schema: SchemaBytes,
    series: usize,
    next_seq: u64,
    unacked: VecDeque<Unacked>,
}

/// A batch that is not known to be stored.
struct Unacked {
    seq: u64,
    record: Vec<u8>,
    since: Instant,
}

/// An open stream of an agent.
pub struct Stream {
    out: mpsc::Sender<FromAgent>,
    inbound: Streaming<ToAgent>,
    known: HashSet<SchemaId>,
    /// The last seq that was sent in it.
    sent: u64,
}

/// Why there is no stream.
#[derive(Debug)]
pub enum Gone {
    /// Nobody answers, or the stream broke.
    Broken,
    /// We were turned away.
    Refused(Refusal),
}

// === impl Agent ===

impl Agent {
    /// Agent `number` of `run`; it reports so many series, every `interval`.
    pub fn new(run: u32, number: u32, series: usize, interval: Duration) -> Self {
        let id = Uuid::from_u128(u128::from(run) << 32 | u128::from(number));
        let hello = Hello {
            agent_id: id,
            service: "swarm".into(),
            instance: format!("swarm-{run}-{number}"),
            clinic_id: None,
            interval,
            wall: Timestamp::ZERO,
            monotonic: Duration::ZERO,
            boot_id: "swarm".into(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            run_id: Uuid::from_u128(u128::from(run)),
            last: Position { epoch: EPOCH, seq: 0 },
        };
        let def = |n| SeriesDef {
            key: SeriesKey::try_new(&format!("swarm_series_{n}"), []).expect("a legal name"),
            kind: Kind::Gauge,
        };
        let schema = SchemaBytes::encode("swarm", interval, &(0..series).map(def).collect::<Vec<_>>());
        Self { id, number, hello, schema, series, next_seq: 1, unacked: VecDeque::new() }
    }

    /// Connects and says hello; what was not acked before is sent again by [`Agent::flush`].
    pub async fn open(&self, url: &str, wall: Timestamp) -> Result<Stream, Gone> {
        let (out, outbound) = mpsc::channel(WINDOW_BATCHES + 2);
        let last = Position { epoch: EPOCH, seq: self.next_seq - 1 };
        let hello = Hello { wall, last, ..self.hello.clone() };
        out.send(FromAgent::Hello(RawHello::new(hello))).await.map_err(|_| Gone::Broken)?;
        let channel = Endpoint::from_shared(url.to_string())
            .map_err(|_| Gone::Broken)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect()
            .await
            .map_err(|_| Gone::Broken)?;
        let mut client = IngestClient::new(channel).max_encoding_message_size(MESSAGE_MAX_BYTES);
        let opening = client.stream(ReceiverStream::new(outbound));
        let response = timeout(WELCOME_TIMEOUT, opening).await.map_err(|_| Gone::Broken)?.map_err(|_| Gone::Broken)?;
        let mut stream = Stream { out, inbound: response.into_inner(), known: HashSet::new(), sent: 0 };
        match timeout(WELCOME_TIMEOUT, stream.hear()).await.map_err(|_| Gone::Broken)?? {
            ToAgent::Welcome(_) => Ok(stream),
            _ => Err(Gone::Broken),
        }
    }

    /// Makes the next batch: one pass at `at`. Returns its seq.
    pub fn take_pass(&mut self, at: Timestamp) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        let pass = Pass { at, values: vec![self.value(seq); self.series] };
        let record = encode_record(&[(&self.schema, &[pass])]).expect("it is within the limits");
        self.unacked.push_back(Unacked { seq, record, since: Instant::now() });
        seq
    }

    /// What every series has in the pass of `seq`.
    pub fn value(&self, seq: u64) -> f64 {
        f64::from(self.number) + seq as f64 / 1024.0
    }

    /// Batches that are not acked.
    pub fn waiting(&self) -> usize {
        self.unacked.len()
    }

    /// The last seq that it has made.
    pub fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// Sends what waits, as far as the window goes. Returns how many batches went out.
    pub async fn flush(&self, stream: &mut Stream) -> Result<usize, Gone> {
        let mut went = 0;
        let sent = stream.sent;
        for unacked in self.unacked.iter().take(WINDOW_BATCHES).filter(|unacked| unacked.seq > sent) {
            let position = Position { epoch: EPOCH, seq: unacked.seq };
            let mut batch = RawBatch::from_record(&unacked.record, position).expect("it is ours");
            batch.strip(&mut stream.known);
            stream.out.send(FromAgent::Batch(batch)).await.map_err(|_| Gone::Broken)?;
            stream.sent = unacked.seq;
            went += 1;
        }
        Ok(went)
    }

    /// Drops what is stored up to `position`; how long each waited for that goes to `each`.
    pub fn acked(&mut self, position: Position, mut each: impl FnMut(Duration)) {
        while let Some(unacked) = self.unacked.front().filter(|unacked| unacked.seq <= position.seq) {
            each(unacked.since.elapsed());
            self.unacked.pop_front();
        }
    }
}

// === impl Stream ===

impl Stream {
    /// What the aggregator says next; a refusal is the end. May be given up at any point.
    pub async fn hear(&mut self) -> Result<ToAgent, Gone> {
        match self.inbound.message().await {
            Ok(Some(ToAgent::Refusal(refusal))) => Err(Gone::Refused(refusal)),
            Ok(Some(message)) => Ok(message),
            Ok(None) | Err(_) => Err(Gone::Broken),
        }
    }
}
