//! What the pages say, with a disk that hangs or fails, a collector that hangs, and clients that say nothing.

mod conservation;

use super::*;
use crate::batch::LINGER;
use crate::collect::watch::Runner;
use crate::collect::{CollectError, Collector, Table};
use crate::config::{Overrides, Schedule};
use crate::fold::Folded;
use crate::keep::tests::wait_for;
use crate::keep::{Item, Keeper, Outcome, Wake};
use crate::meters::Meters;
use proto::catalog::SYSTEM_CPU_USAGE_PERCENT;
use proto::convert::SchemaBytes;
use proto::name::SeriesKey;
use proto::sample::{Kind, Pass, SeriesDef, Timestamp};
use runtime::clock::ManualClock;
use spool::Spool;
use spool::memory::{EIO, MemoryDisk, Operation};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Bench {
    disk: MemoryDisk,
    clock: ManualClock,
    meters: Meters,
    status: Status,
}

impl Bench {
    fn new() -> Self {
        Self::on(MemoryDisk::default())
    }

    fn on(disk: MemoryDisk) -> Self {
        let (clock, telemetry) = (ManualClock::at(Timestamp::ZERO), Telemetry::default());
        let options = spool::Options::new(spool::Mode::Durable, 64 << 20, "boot");
        let (spool, report) = Spool::open(Arc::new(disk.clone()), Path::new("/spool"), options).expect("it opens");
        let meters = Meters::new(&telemetry);
        let (keeper, door) = Keeper::new(spool, 64 << 20, Arc::new(clock.clone()), meters.keep.clone());
        std::thread::spawn(move || keeper.run());
        let config = Config::read("service: agenda", &Overrides::default(), "pod-1").expect("valid");
        let (watches, standing) = (Vec::new(), Arc::default());
        let (shared, report_address) = (Arc::new(clock.clone()), None);
        let status = Status { config, report, telemetry, watches, door, clock: shared, standing, report_address };
        Self { disk, clock, meters, status }
    }

    /// Hands in a pass and lets time pass until `reached`.
    fn deliver_until(&self, reached: impl Fn() -> bool) {
        let key = SeriesKey::try_new("m", []).expect("legal");
        let schema = SchemaBytes::encode("host", Duration::ZERO, &[SeriesDef { key, kind: Kind::Gauge }]);
        let pass = Pass { at: Timestamp::ZERO, values: vec![1.0] };
        assert!(self.status.door.deliver(Folded { schema, pass }));
        wait_for(|| {
            self.clock.advance(LINGER);
            reached()
        });
    }

    /// A collector of this name that hangs in its first pass until the sender is dropped.
    fn hang(&mut self, name: &'static str) -> SyncSender<()> {
        let (release, held) = sync_channel(0);
        let schedule =
            Schedule { enabled: true, interval: Duration::from_secs(1), deadline: Duration::from_millis(500) };
        let watch = Arc::new(Watch::new(name, schedule, self.meters.collect.clone()));
        let (_, stop) = sync_channel(0);
        let runner = Runner {
            watch: watch.clone(),
            all: Arc::from([watch.clone()]),
            clock: Arc::new(self.clock.clone()),
            start: Duration::ZERO,
            stop,
            deliver: |_| {},
        };
        let mut made = Some(Box::new(Hanging { name, held }) as Box<dyn Collector>);
        std::thread::spawn(move || runner.run(|_| made.take()));
        wait_for(|| watch.health().running_since.is_some());
        self.status.watches.push(watch);
        release
    }
}

struct Hanging {
    name: &'static str,
    held: Receiver<()>,
}

impl Collector for Hanging {
    fn name(&self) -> &'static str {
        self.name
    }

    fn collect(&mut self, _: Duration, table: &mut Table) -> Result<(), CollectError> {
        table.series(&SYSTEM_CPU_USAGE_PERCENT, &[])?;
        let _ = self.held.recv();
        Ok(())
    }
}

async fn health(status: &Arc<Status>) -> StatusCode {
    healthz(State(status.clone())).await.status()
}

#[tokio::test]
async fn a_disk_that_hangs_beyond_patience_makes_the_agent_unhealthy_and_the_page_says_for_how_long() {
    let bench = Bench::new();
    bench.disk.hang();
    bench.deliver_until(|| bench.disk.waiting_syncs() == 1);
    let (disk, clock, status) = (bench.disk.clone(), bench.clock.clone(), Arc::new(bench.status));
    assert_eq!(health(&status).await, StatusCode::OK, "a slow disk is no dead one");
    clock.advance(KEEPER_PATIENCE + Duration::from_secs(1));
    assert_eq!(health(&status).await, StatusCode::SERVICE_UNAVAILABLE);
    assert!(status.to_json()["spool"]["busy_seconds"].as_f64().is_some_and(|busy| busy > 30.0));
    disk.heal();
    wait_for(|| status.stuck().is_none());
    assert!(status.to_json()["spool"]["last_write_seconds_ago"].is_f64());
    status.door.stop();
}

#[test]
fn a_disk_that_takes_nothing_is_told_at_once_and_is_unhealthy_only_when_it_lasts() {
    let bench = Bench::new();
    bench.disk.fail(Operation::Create, 0, u32::MAX, EIO);
    bench.deliver_until(|| bench.status.door.progress().failing_since.is_some());
    assert_eq!(bench.status.to_json()["spool"]["writable"], false);
    assert_eq!(bench.status.stuck(), None);
    bench.clock.advance(KEEPER_PATIENCE + Duration::from_secs(1));
    assert!(bench.status.stuck().is_some_and(|why| why.contains("has not taken")));
    assert_eq!(bench.status.to_json()["spool"]["turned_away"]["disk"], 1);
    bench.status.door.stop();
}

#[test]
fn the_page_says_whether_room_for_events_is_set_aside() {
    let bench = Bench::new();
    let shown = || (bench.status.to_json()["spool"]["reserve"].clone(), bench.meters.keep.spool.reserve_held.get());
    wait_for(|| shown() == (json!("held"), 1.0));
    bench.disk.limit_bytes(0);
    let _receipt = bench.status.door.hand_in(b"event".to_vec(), 1).expect("there is room in the queue");
    wait_for(|| shown() == (json!("missing"), 0.0));
    bench.disk.heal();
    wait_for(|| {
        bench.deliver_until(|| true);
        bench.clock.advance(Duration::from_secs(10));
        shown() == (json!("held"), 1.0)
    });
    bench.status.door.stop();
}

#[test]
fn the_pages_say_of_how_much_refused_and_damaged_nothing_is_kept() {
    let (disk, dir) = (MemoryDisk::default(), Path::new("/spool"));
    let options = spool::Options::new(spool::Mode::Durable, 64 << 20, "boot");
    let (mut spool, _) = Spool::open(Arc::new(disk.clone()), dir, options).expect("it opens");
    for record in [b"refused", b"damaged"] {
        spool.append(spool::Class::Ordinary, record).expect("there is room");
    }
    spool.close().expect("the disk works");
    let segment = disk.files(dir).into_iter().find(|path| path.to_string_lossy().ends_with(".seg")).expect("one");
    let mut bytes = disk.read(&segment).expect("it is there");
    *bytes.last_mut().expect("it holds records") ^= 1;
    disk.write(&segment, &bytes);
    for shelf in ["quarantine", "dead"] {
        disk.write(&dir.join(shelf), b"a file, where a folder should be");
    }
    let bench = Bench::on(disk);
    let mut items = bench.status.door.open_session(None);
    let Some(Item::Record { position, .. }) = items.blocking_recv() else { panic!("the first is whole") };
    bench.status.door.heard(Outcome::Refused(position, "too wide".into()), Wake::Later);
    bench.status.door.heard(Outcome::Acked(position), Wake::Now);
    wait_for(|| bench.status.door.stats().not_shelved == 1);
    let page = bench.status.to_json()["spool"].clone();
    assert_eq!((&page["not_shelved"], &page["not_quarantined"]), (&json!(1), &json!(1)));
    assert_eq!((&page["dropped"]["refused"], &page["segments_not_removed"]), (&json!(1), &json!(0)));
    let meters = &bench.meters.keep.spool;
    assert_eq!((meters.not_shelved.get(), meters.not_quarantined.get()), (1, 1));
    bench.status.door.stop();
}

#[test]
fn a_dead_mount_does_not_make_the_agent_unhealthy_and_a_hanging_host_collector_does() {
    let mut bench = Bench::new();
    let _mount = bench.hang("filesystem");
    bench.clock.advance(Duration::from_secs(3600));
    assert_eq!(bench.status.stuck(), None, "a restart would hang again");
    assert_eq!(bench.status.to_json()["collectors"][0]["healthy"], false, "it is shown");
    let _host = bench.hang("host");
    bench.clock.advance(Duration::from_secs(3600));
    assert!(bench.status.stuck().is_some_and(|why| why.contains("collector host")));
    bench.status.door.stop();
}

#[test]
fn the_page_says_how_the_stream_stands() {
    let bench = Bench::new();
    bench.clock.advance(Duration::from_secs(10));
    bench.status.standing.failed(Duration::from_secs(4), "no route".into());
    let page = bench.status.to_json()["aggregator"].clone();
    assert_eq!((&page["connected"], &page["last_error"]), (&json!(false), &json!("no route")));
    assert_eq!((&page["for_seconds"], &page["last_ack_seconds_ago"]), (&json!(6.0), &json!(null)));
    bench.status.door.stop();
}

#[tokio::test(start_paused = true)]
async fn clients_that_say_nothing_are_let_go_and_do_not_keep_others_out() {
    let status = Arc::new(Bench::new().status);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, status.clone(), stop.clone()));
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut client = TcpStream::connect(address).await.expect("there is a place");
        client.write_all(b"GET /healthz HT").await.expect("it is read");
        silent.push(client);
    }
    let mut client = TcpStream::connect(address).await.expect("the kernel takes it");
    client.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("it is sent");
    let mut page = String::new();
    client.read_to_string(&mut page).await.expect("it is answered when a place is free");
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    status.door.stop();
    stop.cancel();
}
