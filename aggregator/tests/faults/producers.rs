//! Producers: services that hand events in at the agent's door, steadily, and do what a service must: after an error or a
//! broken connection the same event is handed in again, until the agent answers that it is safe.

use crate::oracle::Oracle;
use proto::event::Event;
use proto::grpc::ReportClient;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

/// Services at the door at a time.
pub const PRODUCERS: u64 = 4;
/// Pause of a producer between two requests, at the most.
const PAUSE_MAX_MS: u64 = 20;
/// One request in so many carries [`BURST`] events.
const BURST_EVERY: u64 = 16;
/// Events of a large request.
const BURST: u64 = 20;
/// How long an answer may take before the event is handed in again.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Pause before it is.
const AGAIN: Duration = Duration::from_millis(5);
/// How often at the most. Beyond it the door is shut for good, not for a fault.
const REPEATS_MAX: u64 = 20_000;

/// See the module.
pub struct Producers {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    repeats: Arc<AtomicU64>,
}

/// One service.
struct Producer {
    client: ReportClient<Channel>,
    oracle: Arc<Oracle>,
    repeats: Arc<AtomicU64>,
}

// === impl Producers ===

impl Producers {
    /// Lets them begin at the door of the agent. `seed` orders their pauses.
    pub fn start(oracle: &Arc<Oracle>, door: SocketAddr, seed: u64) -> Self {
        let (mut tasks, stop, repeats) = (JoinSet::new(), CancellationToken::new(), Arc::default());
        for number in 0..PRODUCERS {
            let producer = Producer::new(oracle, door, &repeats);
            tasks.spawn(producer.run(fastrand::Rng::with_seed(seed ^ number), stop.clone()));
        }
        Self { tasks, stop, repeats }
    }

    /// Lets each have its last event answered, and ends them. Returns how often something was handed in again.
    pub async fn finish(mut self) -> u64 {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a producer does not panic");
        }
        self.repeats.load(Ordering::Relaxed)
    }
}

/// Hands in one fresh event at `door`, until it is answered: whether the way is open.
pub async fn hand_in_fresh(oracle: &Arc<Oracle>, door: SocketAddr) {
    hand_in(oracle, door, 1).await;
}

/// Hands in one request of fresh events at `door`, until it is answered.
pub async fn hand_in(oracle: &Arc<Oracle>, door: SocketAddr, events: u64) {
    let mut producer = Producer::new(oracle, door, &Arc::default());
    let ids: Vec<u64> = (0..events).map(|_| oracle.issue()).collect();
    producer.report(&ids).await;
}

// === impl Producer ===

impl Producer {
    fn new(oracle: &Arc<Oracle>, door: SocketAddr, repeats: &Arc<AtomicU64>) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{door}")).expect("an address makes a URL");
        let client = ReportClient::new(endpoint.tcp_nodelay(true).connect_lazy());
        Self { client, oracle: oracle.clone(), repeats: repeats.clone() }
    }

    async fn run(mut self, mut random: fastrand::Rng, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let events = if random.u64(0..BURST_EVERY) == 0 { BURST } else { 1 };
            let ids: Vec<u64> = (0..events).map(|_| self.oracle.issue()).collect();
            self.report(&ids).await;
            // Steady, not as fast as it goes: the faults are what is tested.
            tokio::time::sleep(Duration::from_millis(random.u64(0..=PAUSE_MAX_MS))).await;
        }
    }

    /// Hands in the events of `ids` until all of them are answered for.
    async fn report(&mut self, ids: &[u64]) {
        let events: Vec<Event> = ids.iter().map(|id| self.oracle.event(*id)).collect();
        let mut last = None;
        for _ in 0..REPEATS_MAX {
            let answer = match timeout(ANSWER_MAX, self.client.report(&events)).await {
                Ok(Ok(answer)) => answer,
                other => {
                    last = Some(other);
                    self.repeats.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            };
            assert_eq!(answer.refused, [], "the oracle's events are legal");
            assert_eq!(answer.accepted as usize, events.len());
            self.oracle.promise(ids);
            return;
        }
        panic!("the agent's door takes nothing: {last:?}");
    }
}
