//! One stream: hello, welcome, then batches out and outcomes in.

use super::clock_watch::ClockWatch;
use super::flight::Flight;
use super::{SessionError, Uplink};
use crate::keep::{Item, Outcome, Rewound, Wake, gap_of_refused};
use prometheus::IntCounter;
use proto::convert::{RawBatch, RawHello};
use proto::grpc::IngestClient;
use proto::limits::{MESSAGE_MAX_BYTES, PING_EVERY, PONG_WITHIN};
use proto::message::{FromAgent, Hello, Position, RefusalReason, ToAgent, Welcome};
use proto::sample::Gap;
use runtime::fail_point;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// How often a draining session looks whether everything is delivered.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// How long after the stop a session opens and waits for acks; what is left stays in the spool.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// How long a goodbye may take; without it the aggregator counts our silence, which is worse than a short wait.
const GOODBYE_MAX: Duration = Duration::from_secs(2);
/// How long after the stop a session ends at the latest, whatever the aggregator does.
pub const END_MAX: Duration = DRAIN_MAX.saturating_add(GOODBYE_MAX);
/// Messages between us and the transport, which takes them in one go; the window bounds them already.
const OUTBOUND: usize = 64;
/// While so many batches are in flight, the keeper is woken once for so many acks: it has sent enough for now, and to wake
/// it costs more than to ack.
const ACKS_PER_WAKE: u64 = 64;

/// How long the aggregator may leave us without a sign of life.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the answer to a hello.
    pub welcome: Duration,
    /// HTTP/2's ping is sent this often, also while nothing else is said.
    pub ping_every: Duration,
    /// For the answer to a ping. One that is gone without a word is noticed after these two, within a minute.
    pub pong_within: Duration,
    /// After the stop, for a stream to open and for the acks of what is left, which then stays in the spool.
    pub drain: Duration,
    /// After that, to close its side when it has our goodbye.
    pub goodbye: Duration,
}

/// One stream.
pub struct Session<'a> {
    uplink: &'a Uplink,
    flight: Flight,
    /// Acked since the keeper was woken.
    acked: u64,
    clock: ClockWatch,
}

/// Whether an aggregator answers at `url`: by a stream that ends before its hello, which changes nothing over there.
pub async fn probe(url: &str) -> Result<(), SessionError> {
    let patience = Patience::default();
    let silent = |_| SessionError::Silent { what: "an empty stream", limit: patience.welcome };
    let mut client = IngestClient::new(connect(url, patience).await?);
    let opening = client.stream(tokio_stream::empty());
    let mut inbound = timeout(patience.welcome, opening).await.map_err(silent)?.map_err(broken)?.into_inner();
    match timeout(patience.welcome, inbound.next()).await.map_err(silent)? {
        None | Some(Ok(ToAgent::Refusal(_))) => Ok(()),
        Some(Ok(_)) => Err(SessionError::Broken("an empty stream was answered with something else".into())),
        Some(Err(status)) => Err(broken(status)),
    }
}

/// Connects to `url`.
async fn connect(url: &str, patience: Patience) -> Result<Channel, SessionError> {
    let failed = |source| SessionError::Connect { url: url.into(), source };
    Endpoint::from_shared(url.to_string())
        .map_err(failed)?
        .connect_timeout(patience.connect)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(patience.ping_every)
        .keep_alive_timeout(patience.pong_within)
        .keep_alive_while_idle(true)
        .connect()
        .await
        .map_err(failed)
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            welcome: Duration::from_secs(10),
            ping_every: PING_EVERY,
            pong_within: PONG_WITHIN,
            drain: DRAIN_MAX,
            goodbye: GOODBYE_MAX,
        }
    }
}

impl<'a> Session<'a> {
    /// A session of `uplink`, not yet connected.
    pub fn new(uplink: &'a Uplink) -> Self {
        let clock = ClockWatch::new(uplink.clock.wall(), uplink.clock.monotonic());
        Self { uplink, flight: Flight::default(), acked: 0, clock }
    }

    /// Runs until the stream fails, or until `stop` and everything is delivered. A stream that is not open at the stop may
    /// still open, in the time that it would have had to deliver.
    pub async fn run(mut self, stop: &CancellationToken) -> Result<(), SessionError> {
        let limit = self.uplink.patience.drain;
        let time_is_up = async {
            stop.cancelled().await;
            tokio::time::sleep(limit).await;
        };
        tokio::pin!(time_is_up);
        let (out, outbound) = mpsc::channel(OUTBOUND);
        let (mut inbound, rewound) = tokio::select! {
            opened = self.open(&out, outbound) => opened?,
            () = &mut time_is_up => return Err(SessionError::Silent { what: "the last attempt", limit }),
        };
        self.uplink.note_connected();

        let mut items = self.uplink.door.open_session(rewound);
        loop {
            tokio::select! {
                message = inbound.next() => self.hear(message)?,
                next = next_item(&mut items, &out) => {
                    let (item, places) = next?;
                    self.send(item, items.len(), places);
                }
                () = stop.cancelled() => break,
            }
        }
        self.drain(&mut items, &mut inbound, &out, time_is_up).await
    }

    /// Connects, says hello and waits for the welcome; it may show that our spool was set back.
    async fn open(
        &mut self,
        out: &mpsc::Sender<FromAgent>,
        outbound: mpsc::Receiver<FromAgent>,
    ) -> Result<(Streaming<ToAgent>, Option<Rewound>), SessionError> {
        let patience = self.uplink.patience;
        let channel = connect(&self.uplink.url, patience).await?;
        let clock = &self.uplink.clock;
        let last = self.uplink.door.last();
        let hello = Hello { wall: clock.wall(), monotonic: clock.monotonic(), last, ..self.uplink.hello.clone() };
        self.clock = ClockWatch::new(hello.wall, hello.monotonic);
        out.send(FromAgent::Hello(RawHello::new(hello))).await.map_err(|_| gone())?;
        let mut client = IngestClient::new(channel)
            .max_decoding_message_size(MESSAGE_MAX_BYTES)
            .max_encoding_message_size(MESSAGE_MAX_BYTES);
        let silent = |_| SessionError::Silent { what: "a hello", limit: patience.welcome };
        let opening = client.stream(ReceiverStream::new(outbound));
        let response = timeout(patience.welcome, opening).await.map_err(silent)?.map_err(broken)?;
        let mut inbound = response.into_inner();
        match timeout(patience.welcome, inbound.next()).await.map_err(silent)? {
            Some(Ok(ToAgent::Welcome(Welcome { stored_seq }))) => {
                let rewound = (stored_seq > last.seq).then_some(Rewound { last, stored_seq });
                Ok((inbound, rewound))
            }
            Some(Ok(ToAgent::Refusal(refusal))) => {
                Err(SessionError::Refused { message: refusal.message, retry_after: refusal.retry_after })
            }
            Some(Ok(_)) => Err(SessionError::Broken("the aggregator answered a hello with something else".into())),
            Some(Err(status)) => Err(broken(status)),
            None => Err(SessionError::Closed),
        }
    }

    /// Sends an item, behind which so many wait. A record that is alone is sent without the schemas that are known over
    /// there; in a backlog it goes as it lies in the spool, since unpacking and packing is most of what a record costs.
    fn send(&mut self, item: Item, behind: usize, mut places: Places<'_>) {
        self.tell_clock(&mut places);
        let batch = match item {
            Item::Gap(gap) => self.gap(&gap),
            Item::Record { position, bytes } if behind > 0 => {
                self.flight.sent(position);
                RawBatch::sealed(bytes, position)
            }
            Item::Record { position, bytes } => match RawBatch::from_record(&bytes, position) {
                Ok(mut batch) => {
                    self.flight.strip(&mut batch, position);
                    batch
                }
                Err(error) => {
                    // The spool's checksum held, so a program of another version wrote it.
                    self.heard(Outcome::Refused(position, error.to_string()), Wake::Now);
                    self.gap(&gap_of_refused(position))
                }
            },
        };
        say(&mut places, FromAgent::Batch(batch));
        self.uplink.meters.sent.inc();
        self.show_flight();
        fail_point::hit("agent.sent");
    }

    fn gap(&mut self, gap: &Gap) -> RawBatch {
        self.flight.sent(Position { epoch: gap.epoch, seq: gap.last_seq });
        RawBatch::for_gap(gap)
    }

    fn show_flight(&self) {
        self.uplink.meters.in_flight.set(self.flight.len() as f64);
    }

    /// Says what our wall clock shows where that is due: before a batch, so that its times are understood.
    fn tell_clock(&mut self, places: &mut Places<'_>) {
        let clock = &self.uplink.clock;
        let Some((reading, moved_ms)) = self.clock.due(clock.wall(), clock.monotonic()) else { return };
        if reading.was_set {
            self.uplink.meters.clock_steps.inc();
            tracing::warn!(moved_ms, "the wall clock was set, or the machine slept; the aggregator is told");
        }
        say(places, FromAgent::Clock(reading));
    }

    fn hear(&mut self, message: Option<Result<ToAgent, Status>>) -> Result<(), SessionError> {
        match message {
            Some(Ok(ToAgent::Ack(position))) => {
                self.acked(position);
                Ok(())
            }
            Some(Ok(ToAgent::Refusal(refusal))) => match (refusal.reason, refusal.position) {
                (RefusalReason::InvalidBatch, Some(position)) => {
                    if self.not_taken(position, &self.uplink.meters.refused) {
                        self.heard(Outcome::Refused(position, refusal.message), Wake::Now);
                        // The aggregator has stored a gap in its place: this stands for everything before it, as an ack.
                        self.heard(Outcome::Acked(position), Wake::Now);
                    }
                    Ok(())
                }
                (RefusalReason::PositionTaken, Some(position)) => {
                    if self.not_taken(position, &self.uplink.meters.moved) {
                        self.heard(Outcome::Taken(position), Wake::Now);
                    }
                    Ok(())
                }
                (RefusalReason::UnknownSchema, _) => Err(SessionError::Broken(refusal.message)),
                _ => Err(SessionError::Refused { message: refusal.message, retry_after: refusal.retry_after }),
            },
            Some(Ok(ToAgent::Welcome(_) | ToAgent::Unknown)) => Ok(()),
            Some(Err(status)) => Err(broken(status)),
            None => Err(SessionError::Closed),
        }
    }

    fn acked(&mut self, position: Position) {
        let taken = self.flight.acked(position);
        self.uplink.meters.acked.inc_by(taken);
        self.show_flight();
        self.acked += taken;
        let may_wait = self.flight.len() >= ACKS_PER_WAKE && self.acked < ACKS_PER_WAKE;
        self.heard(Outcome::Acked(position), if may_wait { Wake::Later } else { Wake::Now });
    }

    fn heard(&mut self, outcome: Outcome, wake: Wake) {
        if wake == Wake::Now {
            self.acked = 0;
        }
        self.uplink.door.heard(outcome, wake);
    }

    /// The batch at this position is not taken, for which `count` counts; everything before it is. Whether it is in flight:
    /// of what is not, the keeper need not hear, and so hears of each batch once.
    fn not_taken(&mut self, position: Position, count: &IntCounter) -> bool {
        let Some(taken) = self.flight.refused(position) else { return false };
        count.inc();
        self.uplink.meters.acked.inc_by(taken);
        self.show_flight();
        true
    }

    /// Delivers what is left until the time is up, then says goodbye.
    async fn drain(
        mut self,
        items: &mut mpsc::Receiver<Item>,
        inbound: &mut Streaming<ToAgent>,
        out: &mpsc::Sender<FromAgent>,
        time_is_up: impl Future<Output = ()>,
    ) -> Result<(), SessionError> {
        let delivered = async {
            while self.uplink.door.waiting() > 0 {
                tokio::select! {
                    message = inbound.next() => self.hear(message)?,
                    next = next_item(items, out) => {
                        let (item, places) = next?;
                        self.send(item, items.len(), places);
                    }
                    () = tokio::time::sleep(DRAIN_LOOK) => {}
                }
            }
            Ok(())
        };
        let in_time: Option<Result<(), SessionError>> = tokio::select! {
            delivered = delivered => Some(delivered),
            () = time_is_up => None,
        };
        if let Some(delivered) = in_time {
            delivered?;
        } else {
            let waiting = self.uplink.door.waiting();
            tracing::warn!(waiting, "not everything was delivered; the spool keeps it");
        }
        // The aggregator closes its side once it has noted the goodbye.
        let goodbye = async {
            out.send(FromAgent::Goodbye { reason: "shutdown".into() }).await.map_err(|_| gone())?;
            while let Some(Ok(_)) = inbound.next().await {}
            Ok(())
        };
        timeout(self.uplink.patience.goodbye, goodbye).await.unwrap_or(Ok(()))
    }
}

impl Drop for Session<'_> {
    /// What is in flight now is sent again by another session.
    fn drop(&mut self) {
        self.uplink.meters.unanswered.inc_by(self.flight.len());
        self.uplink.meters.in_flight.set(0.0);
    }
}

/// Room for what is said next.
type Places<'a> = mpsc::PermitIterator<'a, FromAgent>;

/// The next item, and places for it and a word before it. Nothing is taken before there is room for it, so that this
/// may be given up at any point.
async fn next_item<'o>(
    items: &mut mpsc::Receiver<Item>,
    out: &'o mpsc::Sender<FromAgent>,
) -> Result<(Item, Places<'o>), SessionError> {
    let places = out.reserve_many(2).await.map_err(|_| gone())?;
    match items.recv().await {
        Some(item) => Ok((item, places)),
        // The keeper ended, or gave the session up: nothing more will come.
        None => Err(SessionError::Broken("the spool's keeper gave the session up".into())),
    }
}

fn say(places: &mut Places<'_>, message: FromAgent) {
    if let Some(place) = places.next() {
        place.send(message);
    }
}

fn gone() -> SessionError {
    SessionError::Broken("the transport is gone".into())
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn broken(status: Status) -> SessionError {
    SessionError::Broken(format!("{:?}: {}", status.code(), status.message()))
}
