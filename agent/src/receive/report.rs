//! The calls of `Report`: read a request, check its events, hand them to the keeper, wait, answer.

use crate::keep::{Door, NotKept, Receipt};
use crate::meters::ReceiveMeters;
use proto::convert::{RawEvents, encode_events};
use proto::event::Event;
use proto::grpc::Report;
use proto::refused::Refused;
use proto::report::{Durability, EventRefusal, EventsAnswer, Unread};
use proto::sample::Timestamp;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

/// The types of events that are known; another is refused, so that a slip of the pen is noticed where it is made.
const TYPES: [&str; 8] = [
    "appointment.created",
    "appointment.confirmed",
    "appointment.cancelled",
    "appointment.no_show",
    "conversation.started",
    "conversation.message",
    "conversation.handed_over",
    "conversation.closed",
];
/// When an event may have happened. Not measured by our own clock, which may be wrong: what lies outside is no time of an
/// appointment, but seconds for milliseconds, or zero.
const EARLIEST: Timestamp = Timestamp::from_millis(946_684_800_000); // 2000-01-01
/// See [`EARLIEST`].
const LATEST: Timestamp = Timestamp::from_millis(4_102_444_800_000); // 2100-01-01

/// Requests that are being read at a time, each of at most `REPORT_MAX_BYTES`: 16 MiB.
pub(super) const READS_MAX: usize = 32;
/// How long a request may wait for a place to be read, and how long it may then take to come: it needs milliseconds.
pub(super) const READ_MAX: Duration = Duration::from_secs(5);
/// Open streams: one for each process of a service. Each may hold a part of a request.
pub(super) const STREAMS_MAX: usize = 32;
/// Requests of one stream that wait for their answers.
pub(super) const AHEAD_MAX: usize = 64;

/// Takes what services hand in.
pub(super) struct Desk(Arc<Inner>);

struct Inner {
    door: Door,
    durability: Durability,
    meters: ReceiveMeters,
    reads: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    stop: CancellationToken,
}

/// A request whose events are on their way to the disk.
struct Pending {
    /// None of its events may be acceptable; then there is nothing to wait for.
    receipt: Option<Receipt>,
    answer: EventsAnswer,
}

/// Why a request is answered with an error.
#[derive(Debug, thiserror::Error)]
enum Turned {
    /// There is no place to read it.
    #[error("{READS_MAX} requests are being read already; send it again later")]
    Busy,
    /// There is no place for another stream.
    #[error("{STREAMS_MAX} streams are open already; use one for each process")]
    TooManyStreams,
    /// It did not come.
    #[error("the request did not arrive within {READ_MAX:?}")]
    TooSlow,
    /// The transport did not give it.
    #[error("{}", .0.message())]
    Transport(Status),
    /// It cannot be read.
    #[error(transparent)]
    Refused(Refused),
    /// It is not in the spool.
    #[error(transparent)]
    NotKept(#[from] NotKept),
    /// The keeper is gone without an answer.
    #[error("the agent ended before the disk answered; send it again when it is back")]
    Unanswered,
    /// There is no such call yet.
    #[error("request timings are not taken yet; this version takes events")]
    NotServed,
}

// === impl Desk ===

impl Desk {
    pub(super) fn new(door: Door, durability: Durability, meters: ReceiveMeters, stop: CancellationToken) -> Self {
        let (reads, streams) = (Arc::new(Semaphore::new(READS_MAX)), Arc::new(Semaphore::new(STREAMS_MAX)));
        Self(Arc::new(Inner { door, durability, meters, reads, streams, stop }))
    }
}

#[tonic::async_trait]
impl Report for Desk {
    type StreamEventsStream = Pin<Box<dyn Stream<Item = Result<EventsAnswer, Status>> + Send>>;

    async fn report_events(&self, request: Request<Streaming<RawEvents>>) -> Result<Response<EventsAnswer>, Status> {
        let desk = &self.0;
        let answered = async {
            let events = desk.read_one(request.into_inner()).await?;
            desk.take(events)?.answered().await
        };
        answered.await.map(Response::new).map_err(|why| desk.turn_away(&why))
    }

    async fn stream_events(
        &self,
        request: Request<Streaming<RawEvents>>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let place = self.0.streams.clone().try_acquire_owned();
        let place = place.map_err(|_| self.0.turn_away(&Turned::TooManyStreams))?;
        let (taken, pending) = mpsc::channel(AHEAD_MAX);
        tokio::spawn(self.0.clone().read_all(request.into_inner(), taken, place));
        let desk = self.0.clone();
        let answers = ReceiverStream::new(pending).then(move |taken: Result<Pending, Turned>| {
            let desk = desk.clone();
            async move {
                let answered = match taken {
                    Ok(pending) => pending.answered().await,
                    Err(why) => Err(why),
                };
                answered.map_err(|why| desk.turn_away(&why))
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn report_requests(&self, _: Request<Streaming<Unread>>) -> Result<Response<Unread>, Status> {
        Err(self.0.turn_away(&Turned::NotServed))
    }
}

impl Inner {
    /// Reads the one request of a call.
    async fn read_one(&self, mut requests: Streaming<RawEvents>) -> Result<RawEvents, Turned> {
        let read = async {
            let _place = timeout(READ_MAX, self.reads.acquire()).await.map_err(|_| Turned::Busy)?;
            let read = timeout(READ_MAX, requests.message()).await.map_err(|_| Turned::TooSlow)?;
            let nothing = || Turned::Transport(Status::invalid_argument("the call has no request"));
            read.map_err(Turned::Transport)?.ok_or_else(nothing)
        };
        tokio::select! {
            read = read => read,
            () = self.stop.cancelled() => Err(Turned::NotKept(NotKept::Stopping)),
        }
    }

    /// Reads the requests of a stream and hands their events on, until it ends or one cannot be taken.
    async fn read_all(
        self: Arc<Self>,
        mut requests: Streaming<RawEvents>,
        taken: mpsc::Sender<Result<Pending, Turned>>,
        _place: OwnedSemaphorePermit,
    ) {
        loop {
            // Room for the answer first: what is read is answered.
            let Ok(room) = taken.reserve().await else { return };
            let read = tokio::select! {
                read = requests.message() => read.map_err(Turned::Transport),
                () = self.stop.cancelled() => Err(Turned::NotKept(NotKept::Stopping)),
            };
            let took = match read {
                Ok(None) => return,
                Ok(Some(events)) => self.take(events),
                Err(why) => Err(why),
            };
            let ends = took.is_err();
            room.send(took);
            if ends {
                return;
            }
        }
    }

    /// Checks the events of a request and hands those that are fine to the keeper, in one record.
    fn take(&self, request: RawEvents) -> Result<Pending, Turned> {
        let reported = request.check().map_err(Turned::Refused)?;
        self.meters.attributes_dropped.inc_by(reported.attributes);
        self.meters.events.taken_in.inc_by(reported.events.len() as u64);
        let (mut events, mut refused) = (Vec::with_capacity(reported.events.len()), Vec::new());
        for (index, event) in (0..).zip(reported.events) {
            match event.map_err(|error| (error.reason(), error.to_string())).and_then(check) {
                Ok(event) => events.push(event),
                Err((reason, message)) => {
                    self.meters.events.refused.with_label_values(&[reason]).inc();
                    refused.push(EventRefusal { index, reason: reason.into(), message });
                }
            }
        }
        let accepted = u32::try_from(events.len()).unwrap_or(u32::MAX);
        let answer = EventsAnswer { durability: self.durability, accepted, refused };
        let receipt = if events.is_empty() { None } else { Some(self.hand_in(&events)?) };
        Ok(Pending { receipt, answer })
    }

    fn hand_in(&self, events: &[Event]) -> Result<Receipt, Turned> {
        let record = encode_events(events).map_err(|why| {
            self.meters.events.refused.with_label_values(&["too_large"]).inc_by(events.len() as u64);
            Turned::Refused(why)
        })?;
        Ok(self.door.hand_in(record, events.len() as u64)?)
    }

    /// Counts what is answered with an error.
    fn turn_away(&self, why: &Turned) -> Status {
        self.meters.requests_refused.with_label_values(&[why.reason()]).inc();
        Status::new(why.code(), why.to_string())
    }
}

/// What the wire's own rules leave open.
fn check(event: Event) -> Result<Event, (&'static str, String)> {
    if !TYPES.contains(&event.kind.as_str()) {
        return Err(("unknown_type", format!("the type is not known; known are {}", TYPES.join(", "))));
    }
    if !(EARLIEST..LATEST).contains(&event.occurred_at) {
        return Err(("bad_time", "occurred_at_ms must be milliseconds since 1970, between 2000 and 2100".into()));
    }
    Ok(event)
}

// === impl Pending ===

impl Pending {
    /// Waits for the disk.
    async fn answered(self) -> Result<EventsAnswer, Turned> {
        if let Some(receipt) = self.receipt {
            receipt.await.map_err(|_| Turned::Unanswered)??;
        }
        Ok(self.answer)
    }
}

// === impl Turned ===

impl Turned {
    /// The word under which it is counted.
    fn reason(&self) -> &'static str {
        match self {
            Self::Busy | Self::TooManyStreams => "busy",
            Self::TooSlow => "too_slow",
            Self::Transport(status) if status.code() == Code::OutOfRange => "too_large",
            Self::Transport(_) => "broken",
            Self::Refused(Refused::TooManyEvents(_)) => "too_many_events",
            Self::Refused(_) => "unreadable",
            Self::NotKept(NotKept::Stopping) | Self::Unanswered => "stopping",
            Self::NotKept(_) => "not_kept",
            Self::NotServed => "not_served",
        }
    }

    /// What a client is to make of it: RESOURCE_EXHAUSTED and UNAVAILABLE are worth another attempt, the others not.
    fn code(&self) -> Code {
        match self {
            Self::Busy | Self::TooManyStreams => Code::ResourceExhausted,
            Self::NotKept(why) if why.is_shortage() => Code::ResourceExhausted,
            Self::NotKept(_) | Self::Unanswered => Code::Unavailable,
            Self::TooSlow => Code::DeadlineExceeded,
            Self::Transport(status) => status.code(),
            Self::Refused(_) => Code::InvalidArgument,
            Self::NotServed => Code::Unimplemented,
        }
    }
}
