//! The sums of `docs/conservation.md`, read from the page, while the disk fails, hangs and fills.

use super::*;
use crate::keep::INBOX_PASSES;
use crate::receive;
use proto::event::Event;
use proto::grpc::ReportClient;
use proto::report::Durability;
use runtime::clock::SystemClock;
use spool::memory::EIO;
use std::collections::HashMap;
use std::net::SocketAddr;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use uuid::Uuid;

/// What goes in, and where it may be.
const SUMS: [(&str, &[&str]); 3] = [
    (
        "monitoring_agent_passes_in_total",
        &[
            "monitoring_agent_passes_out_total",
            "monitoring_agent_passes_dropped_total",
            "monitoring_agent_passes_waiting",
        ],
    ),
    (
        "monitoring_receive_events_in_total",
        &[
            "monitoring_receive_events_out_total",
            "monitoring_receive_events_refused_total",
            "monitoring_receive_events_waiting",
        ],
    ),
    (
        "monitoring_spool_records_in_total",
        &[
            "monitoring_spool_records_out_total",
            "monitoring_spool_records_moved_total",
            "monitoring_spool_records_dropped_total",
            "monitoring_spool_records_waiting",
        ],
    ),
];

/// Keeper, services' door and pages, on a disk in memory.
struct House {
    disk: MemoryDisk,
    door: Door,
    client: ReportClient<Channel>,
    pages: SocketAddr,
    stop: CancellationToken,
}

async fn bound() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

impl House {
    async fn new(max_bytes: u64) -> Self {
        let (disk, clock, telemetry) = (MemoryDisk::default(), Arc::new(SystemClock), Telemetry::default());
        let options = spool::Options::new(spool::Mode::Durable, max_bytes, "boot");
        let (spool, report) = Spool::open(Arc::new(disk.clone()), Path::new("/spool"), options).expect("it opens");
        let meters = Meters::new(&telemetry);
        let (keeper, door) = Keeper::new(spool, max_bytes, clock.clone(), meters.keep.clone());
        std::thread::spawn(move || keeper.run());
        let stop = CancellationToken::new();
        let (listener, services) = bound().await;
        let serving = receive::serve(listener, door.clone(), Durability::Durable, meters.receive, stop.clone());
        tokio::spawn(serving);
        let (listener, pages) = bound().await;
        let status = Status {
            config: Config::read("service: agenda", &Overrides::default(), "pod-1").expect("valid"),
            report,
            telemetry,
            watches: Vec::new(),
            door: door.clone(),
            clock,
            standing: Arc::default(),
            report_address: Some(services),
        };
        tokio::spawn(serve(listener, Arc::new(status), stop.clone()));
        let client = ReportClient::connect(format!("http://{services}")).await.expect("it listens");
        Self { disk, door, client, pages, stop }
    }

    /// Hands in so many events in one request.
    fn report(&self, events: usize) -> JoinHandle<bool> {
        let mut client = self.client.clone();
        let events: Vec<Event> = (0..events).map(|_| event("appointment.created")).collect();
        tokio::spawn(async move { client.report(&events).await.is_ok() })
    }

    fn deliver(&self, values: usize) {
        let key = SeriesKey::try_new("m", []).expect("legal");
        let schema = SchemaBytes::encode("host", Duration::ZERO, &[SeriesDef { key, kind: Kind::Gauge }]);
        let values = (0..values).map(|_| f64::from_bits(u64::from_le_bytes(*noise().first_chunk().expect("16"))));
        self.door.deliver(Folded { schema, pass: Pass { at: Timestamp::ZERO, values: values.collect() } });
    }

    /// Each name on the page with its sum over all labels.
    async fn page(&self) -> HashMap<String, f64> {
        let mut stream = TcpStream::connect(self.pages).await.expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.expect("it is read");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("it is answered");
        let mut sums = HashMap::new();
        for line in text.lines().filter(|line| line.starts_with("monitoring_")) {
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            let name = series.split('{').next().unwrap_or(series);
            *sums.entry(name.to_owned()).or_insert(0.0) += value.parse::<f64>().expect("a number");
        }
        sums
    }

    /// The page, once every sum holds on it and `reached` does too.
    async fn balanced(&self, reached: impl Fn(&HashMap<String, f64>) -> bool) -> HashMap<String, f64> {
        let mut page = HashMap::new();
        for _ in 0..2_000 {
            page = self.page().await;
            let holds = |(taken_in, parts): &(&str, &[&str])| {
                page[*taken_in] == parts.iter().map(|part| page[*part]).sum::<f64>()
            };
            if SUMS.iter().all(holds) && reached(&page) {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the sums do not hold, or what should be never is: {page:#?}");
    }

    fn end(self) {
        self.stop.cancel();
        self.door.stop();
    }
}

fn noise() -> [u8; 16] {
    *Uuid::new_v4().as_bytes()
}

fn event(kind: &str) -> Event {
    Event {
        kind: kind.into(),
        clinic_id: Uuid::from_u128(42),
        occurred_at: Timestamp::from_millis(1_795_000_000_000),
        idempotency_key: format!("{0}{0}{0}", Uuid::new_v4().simple()),
    }
}

#[tokio::test]
async fn with_a_disk_that_fails_and_comes_back_everything_is_somewhere() {
    let mut house = House::new(64 << 20).await;
    house.deliver(1);
    assert!(house.report(3).await.expect("no panic"));
    house.client.report(&[event("nonsense")]).await.expect("an answer");
    let page = house.balanced(|page| page["monitoring_agent_passes_out_total"] == 1.0).await;
    assert_eq!(page["monitoring_receive_events_refused_total"], 1.0);

    house.disk.fail(Operation::Write, 0, u32::MAX, EIO);
    house.deliver(1);
    assert!(!house.report(2).await.expect("no panic"), "nothing can be written");
    house.balanced(|page| page["monitoring_agent_passes_dropped_total"] == 1.0).await;
    house.disk.heal();

    house.disk.fail(Operation::Sync, 0, u32::MAX, EIO);
    assert!(!house.report(5).await.expect("no panic"), "nothing is durable");
    house.balanced(|page| page["monitoring_receive_events_refused_total"] == 8.0).await;
    house.disk.heal();
    house.deliver(1);
    assert!(house.report(1).await.expect("no panic"));
    let page = house.balanced(|page| page["monitoring_agent_passes_out_total"] == 2.0).await;
    assert_eq!(page["monitoring_receive_events_out_total"], 4.0);
    house.end();
}

#[tokio::test]
async fn while_the_disk_hangs_what_came_in_waits_or_is_dropped_by_name() {
    let house = House::new(64 << 20).await;
    house.disk.hang();
    let mut calls = vec![house.report(1)];
    while house.disk.waiting_syncs() == 0 {
        tokio::task::yield_now().await;
    }
    calls.extend((0..5).map(|_| house.report(10)));
    (0..INBOX_PASSES + 20).for_each(|_| house.deliver(1));
    let page = house.balanced(|page| page["monitoring_receive_events_waiting"] == 51.0).await;
    assert_eq!(page["monitoring_agent_passes_in_total"], (INBOX_PASSES + 20) as f64);
    assert!(page["monitoring_agent_passes_dropped_total"] >= 20.0, "the inbox is full");
    house.disk.heal();
    for call in calls {
        assert!(call.await.expect("no panic"));
    }
    let is_over = |page: &HashMap<String, f64>| page["monitoring_agent_passes_waiting"] == 0.0;
    assert_eq!(house.balanced(is_over).await["monitoring_receive_events_out_total"], 51.0);
    house.end();
}

#[tokio::test]
async fn in_a_full_spool_the_oldest_passes_go_and_events_are_turned_away() {
    let house = House::new(1 << 20).await;
    for taken in 1..=20 {
        house.deliver(12_000);
        house.balanced(|page| page["monitoring_agent_passes_out_total"] == f64::from(taken)).await;
    }
    let page = house.balanced(|_| true).await;
    assert!(page["monitoring_spool_records_dropped_total"] > 5.0, "20 records of 94 KiB do not fit: {page:#?}");
    let mut kept = 0.0;
    while house.report(1_000).await.expect("no panic") {
        kept += 1_000.0;
    }
    let page = house.balanced(|page| page["monitoring_receive_events_refused_total"] == 1_000.0).await;
    assert_eq!(page["monitoring_receive_events_out_total"], kept);
    assert!(kept > 0.0 && page["monitoring_spool_records_turned_away_total"] >= 1.0);
    house.end();
}
