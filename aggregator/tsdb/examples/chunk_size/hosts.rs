//! Hosts that do not exist, and what their agents would report: about a hundred series each, from a fixed seed.
//!
//! Each kind of series moves as the real one does, because it comes from the same counting: CPU time in whole ticks that
//! add up to the time that passed, a percentage computed from them as a double, memory in pages, traffic in packets that
//! come in bursts, load averages by the kernel's own formula and rounding, sums of durations added up in floating point.

use fastrand::Rng;

/// Series of one class, in one row of the figures.
pub const CLASSES: [&str; 14] = [
    "cpu seconds",
    "cpu percent",
    "cpu ratio",
    "memory",
    "disk",
    "network",
    "kernel counters",
    "pressure",
    "load",
    "temperature",
    "connections, processes",
    "filesystems",
    "requests",
    "constants, booleans",
];

/// A series: where it belongs and what was read.
#[derive(Debug)]
pub struct Series {
    /// An index of [`CLASSES`].
    pub class: usize,
    /// Metric, the same at every agent.
    pub metric: usize,
    /// Which of its agent's sources reads it.
    pub source: usize,
    /// One for each time of its source.
    pub values: Vec<f64>,
}

/// An agent: the times of its sources and its series.
#[derive(Debug)]
pub struct Agent {
    /// In milliseconds, by source.
    pub times: Vec<Vec<i64>>,
    pub series: Vec<Series>,
}

/// Sources of an agent: host, process, services.
const SOURCES: usize = 3;
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE: f64 = 4096.0;

/// A source of traffic that is on or off, and of another strength each time that it is on.
#[derive(Debug, Default)]
struct Bursts {
    strength: f64,
    left_s: f64,
}

#[derive(Debug)]
struct Host {
    rng: Rng,
    interval_s: f64,
    cpus: f64,
    usual_load: f64,
    noise: f64,
    bursts: Bursts,
    jobs: Bursts,
    ticks: [f64; 8],
    part_ticks: [f64; 8],
    memory_pages: f64,
    used_pages: f64,
    cached_pages: f64,
    buffers_pages: f64,
    rss_pages: f64,
    network: [f64; 8],
    disk: [f64; 6],
    kernel: [f64; 3],
    pressure_us: [f64; 4],
    load: [f64; 3],
    temperature: [f64; 4],
    connections: [f64; 8],
    filesystem_blocks: [f64; 6],
    requests: [Requests; 2],
    process_ticks: [f64; 2],
}

#[derive(Clone, Debug, Default)]
struct Requests {
    buckets: [f64; 12],
    sum_s: f64,
    count: f64,
    errors: f64,
}

/// Upper bounds of the buckets, in seconds.
const BUCKETS_S: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, f64::INFINITY];

/// One agent's `duration_s` at `interval_s`.
pub fn agent(seed: u64, start_ms: i64, interval_s: f64, duration_s: f64) -> Agent {
    let mut host = Host::new(seed, interval_s);
    let passes = (duration_s / interval_s) as usize;
    let mut agent = Agent { times: vec![Vec::new(); SOURCES], series: Vec::new() };
    for pass in 0..passes {
        let at_s = pass as f64 * interval_s;
        let at_ms = start_ms + (at_s * 1000.0) as i64;
        if host.rng.f64() < 0.0005 {
            continue; // a pass that its deadline ended
        }
        for times in &mut agent.times {
            // A timer wakes late, seldom by much.
            let late_ms = -(host.rng.f64().max(1e-9).ln()) * 0.6;
            times.push(at_ms + late_ms.min(40.0) as i64);
        }
        host.step(at_s);
        let mut cells = Cells { agent: &mut agent, next: 0, is_first: pass == 0 };
        host.show(&mut cells);
    }
    agent
}

struct Cells<'a> {
    agent: &'a mut Agent,
    next: usize,
    is_first: bool,
}

impl Cells<'_> {
    fn push(&mut self, class: &str, source: usize, value: f64) {
        if self.next == self.agent.series.len() {
            let class = CLASSES.iter().position(|known| *known == class).expect("a class of the table");
            self.agent.series.push(Series { class, metric: self.next, source, values: Vec::new() });
        }
        self.agent.series[self.next].values.push(value);
        self.next += 1;
        debug_assert!(self.is_first || self.next <= self.agent.series.len());
    }
}

impl Bursts {
    fn step(&mut self, rng: &mut Rng, interval_s: f64, every_s: f64, length_s: f64) -> f64 {
        self.left_s -= interval_s;
        if self.left_s < 0.0 && rng.f64() < interval_s / every_s {
            self.left_s = length_s * (0.2 + 2.0 * rng.f64());
            self.strength = 0.2 + rng.f64() * rng.f64() * 3.0;
        }
        if self.left_s >= 0.0 { self.strength } else { 0.0 }
    }
}

/// How many events where `mean` are expected.
fn poisson(rng: &mut Rng, mean: f64) -> f64 {
    if mean > 50.0 {
        return (mean + mean.sqrt() * normal(rng)).round().max(0.0);
    }
    let (limit, mut product, mut count) = ((-mean).exp(), rng.f64(), 0.0);
    while product > limit {
        product *= rng.f64();
        count += 1.0;
    }
    count
}

fn normal(rng: &mut Rng) -> f64 {
    (-2.0 * rng.f64().max(1e-12).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos()
}

impl Host {
    fn new(seed: u64, interval_s: f64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let cpus = [2.0, 4.0, 8.0][rng.usize(..3)];
        let memory_pages = cpus * 1_048_576.0 - 12_345.0;
        let mut ticks = [0.0; 8];
        for (mode, share) in [0.2, 0.0, 0.08, 0.7, 0.01, 0.0, 0.005, 0.002].into_iter().enumerate() {
            ticks[mode] = (share * cpus * TICKS_PER_SECOND * 86_400.0 * 20.0 * (0.9 + 0.2 * rng.f64())).round();
        }
        let start = |rng: &mut Rng, most: f64| (most * rng.f64()).round();
        Self {
            usual_load: 0.03 + 0.3 * rng.f64(),
            ticks,
            memory_pages,
            used_pages: (memory_pages * 0.4).round(),
            cached_pages: (memory_pages * 0.3).round(),
            buffers_pages: 20_000.0,
            rss_pages: 40_000.0,
            network: std::array::from_fn(|_| start(&mut rng, 1e11)),
            disk: std::array::from_fn(|_| start(&mut rng, 1e8)),
            kernel: std::array::from_fn(|_| start(&mut rng, 1e9)),
            pressure_us: std::array::from_fn(|_| start(&mut rng, 1e10)),
            temperature: [45.0, 47.0, 38.0, 41.0],
            connections: [40.0, 5.0, 12.0, 180.0, 64.0, 33.0, 900.0, 2.0],
            filesystem_blocks: std::array::from_fn(|_| start(&mut rng, 1e7)),
            process_ticks: [start(&mut rng, 1e6), start(&mut rng, 1e5)],
            noise: 0.0,
            bursts: Bursts::default(),
            jobs: Bursts::default(),
            part_ticks: [0.0; 8],
            load: [0.3; 3],
            requests: Default::default(),
            interval_s,
            cpus,
            rng,
        }
    }

    fn step(&mut self, at_s: f64) {
        let interval_s = self.interval_s;
        let day = 0.6 + 0.4 * (std::f64::consts::TAU * at_s / 86_400.0).sin();
        self.noise =
            self.noise * (-interval_s / 60.0).exp() + 0.15 * (interval_s / 60.0).sqrt() * normal(&mut self.rng);
        let burst = self.bursts.step(&mut self.rng, interval_s, 90.0, 15.0);
        let job = self.jobs.step(&mut self.rng, interval_s, 900.0, 60.0);
        let activity = (self.usual_load * day * (1.0 + self.noise) + 0.15 * burst + 0.25 * job).clamp(0.004, 0.98);
        self.step_cpu(activity);
        self.step_memory(activity, job);
        self.step_io(activity, burst, job);
        self.step_kernel(activity, job);
        self.step_requests(activity);
        self.step_slow(activity);
    }

    fn step_cpu(&mut self, activity: f64) {
        let all = self.cpus * TICKS_PER_SECOND * self.interval_s;
        let shares = [0.68, 0.0, 0.24, 0.0, 0.05, 0.0, 0.02, 0.01];
        self.part_ticks = [0.0; 8];
        for (mode, share) in shares.into_iter().enumerate() {
            self.part_ticks[mode] = poisson(&mut self.rng, all * activity * share * 0.98).min(all);
        }
        let spent: f64 = self.part_ticks.iter().sum();
        // A tick more or less lies at each border, on each CPU.
        let slip = normal(&mut self.rng) * (self.cpus / 2.0).sqrt();
        self.part_ticks[3] = (all - spent + slip).round().max(0.0);
        for mode in 0..8 {
            self.ticks[mode] += self.part_ticks[mode];
        }
        self.process_ticks[0] += poisson(&mut self.rng, all * activity * 0.2);
        self.process_ticks[1] += poisson(&mut self.rng, all * activity * 0.05);
        let waiting = self.load[0];
        let running = poisson(&mut self.rng, activity * self.cpus);
        for (at, minutes) in [1.0, 5.0, 15.0].into_iter().enumerate() {
            let keep = (-self.interval_s / (60.0 * minutes)).exp();
            self.load[at] = self.load[at] * keep + running * (1.0 - keep);
        }
        self.connections[7] = if waiting > 0.0 { running + 1.0 } else { 1.0 };
    }

    fn step_memory(&mut self, activity: f64, job: f64) {
        let rng = &mut self.rng;
        if rng.f64() < 0.35 + activity {
            let walk = normal(rng) * 300.0 * (1.0 + 10.0 * job) * self.interval_s.sqrt();
            self.used_pages = (self.used_pages + walk).round().clamp(0.1 * self.memory_pages, 0.6 * self.memory_pages);
        }
        if rng.f64() < 0.2 + activity {
            let grown = poisson(rng, 30.0 * activity * self.interval_s);
            self.cached_pages = (self.cached_pages + grown).min(0.38 * self.memory_pages).round();
        }
        if rng.f64() < 0.3 {
            self.buffers_pages += poisson(rng, 0.8);
        }
        if rng.f64() < 0.05 * self.interval_s.min(5.0) {
            self.rss_pages = (self.rss_pages + normal(rng) * 60.0).round().max(10_000.0);
        }
    }

    fn step_io(&mut self, activity: f64, burst: f64, job: f64) {
        let (rng, interval_s) = (&mut self.rng, self.interval_s);
        for interface in 0..2 {
            let idle = if interface == 0 { 6.0 } else { 0.5 };
            let packets_in = poisson(rng, interval_s * (idle + 900.0 * burst + 200.0 * activity));
            let packets_out = poisson(rng, interval_s * (idle + 500.0 * burst + 180.0 * activity));
            for (at, packets, size) in [(0, packets_in, 400.0), (1, packets_out, 300.0)] {
                let bytes = packets * (size + 500.0 * burst.min(1.0)) + normal(rng).abs() * 300.0 * packets.sqrt();
                self.network[interface * 4 + at] += bytes.round();
                self.network[interface * 4 + 2 + at] += packets;
            }
        }
        let reads = poisson(rng, interval_s * (0.02 + 40.0 * job));
        let flushes = if rng.f64() < interval_s / 5.0 { 1.0 } else { 0.0 };
        let writes = flushes * poisson(rng, 3.0 + interval_s * (10.0 * activity + 60.0 * job));
        self.disk[0] += reads * 8.0 * (1.0 + poisson(rng, 3.0));
        self.disk[1] += writes * 8.0 * (1.0 + poisson(rng, 2.0));
        self.disk[2] += reads;
        self.disk[3] += writes;
        self.disk[4] += poisson(rng, 1.2 * (reads + writes)).min(1000.0 * interval_s);
        self.disk[5] += poisson(rng, 0.9 * writes);
    }

    fn step_kernel(&mut self, activity: f64, job: f64) {
        let (rng, interval_s) = (&mut self.rng, self.interval_s);
        self.kernel[0] +=
            poisson(rng, interval_s * self.cpus * (300.0 + 6000.0 * activity)) + normal(rng).abs().round();
        self.kernel[1] += poisson(rng, interval_s * self.cpus * (200.0 + 2500.0 * activity));
        self.kernel[2] += poisson(rng, interval_s * (0.2 + 4.0 * activity));
        let stalls = [activity * activity * 2e5, job * 3e4, job * 1e4, 0.0];
        for (total, rate) in self.pressure_us.iter_mut().zip(stalls) {
            *total += (rate * interval_s * (0.5 + rng.f64())).round();
        }
    }

    fn step_requests(&mut self, activity: f64) {
        for (route, per_s) in [(0, 60.0), (1, 3.0)] {
            let requests = &mut self.requests[route];
            let count = poisson(&mut self.rng, self.interval_s * per_s * activity);
            for _ in 0..count as usize {
                let duration_us = (6000.0 * (1.1 * normal(&mut self.rng)).exp()).round();
                let duration_s = duration_us / 1e6;
                let bucket = BUCKETS_S.iter().position(|bound| duration_s <= *bound).expect("the last is infinite");
                requests.buckets[bucket..].iter_mut().for_each(|total| *total += 1.0);
                requests.sum_s += duration_s;
                requests.count += 1.0;
            }
            if self.rng.f64() < 0.01 * self.interval_s.min(10.0) {
                requests.errors += 1.0;
            }
        }
    }

    fn step_slow(&mut self, activity: f64) {
        let (rng, interval_s) = (&mut self.rng, self.interval_s);
        for (at, temperature) in self.temperature.iter_mut().enumerate() {
            let wanted = 38.0 + 3.0 * at as f64 + 30.0 * activity;
            *temperature += (wanted - *temperature) * (1.0 - (-interval_s / 40.0).exp()) + 0.2 * normal(rng);
        }
        for (at, likely) in [(0, 0.3), (1, 0.05), (2, 0.1), (3, 0.03), (4, 0.02), (5, 0.1), (6, 0.02)] {
            if rng.f64() < likely * interval_s.min(3.0) {
                self.connections[at] = (self.connections[at] + normal(rng) * 2.0).round().max(0.0);
            }
        }
        for (at, likely) in [(0, 0.15), (1, 0.02), (2, 0.0), (3, 0.1), (4, 0.01), (5, 0.0)] {
            if rng.f64() < likely * interval_s.min(5.0) {
                self.filesystem_blocks[at] += poisson(rng, 6.0) - 2.0;
            }
        }
    }

    fn show(&mut self, cells: &mut Cells<'_>) {
        let all: f64 = self.part_ticks.iter().sum();
        self.ticks.iter().for_each(|ticks| cells.push("cpu seconds", 0, ticks / TICKS_PER_SECOND));
        cells.push("cpu percent", 0, (100.0 * (all - self.part_ticks[3] - self.part_ticks[4]) / all).clamp(0.0, 100.0));
        self.process_ticks.iter().for_each(|ticks| cells.push("cpu seconds", 1, ticks / TICKS_PER_SECOND));
        // The time that passed is known to the nanosecond, so this fills the fraction of a double.
        let window_s = self.interval_s + 1e-9 * (self.rng.f64() * 3e6).round();
        cells.push("cpu ratio", 1, self.part_ticks[0] / TICKS_PER_SECOND / window_s);
        let free = self.memory_pages - self.used_pages - self.cached_pages - self.buffers_pages;
        for pages in [self.used_pages, free, free + self.cached_pages, self.cached_pages, self.buffers_pages] {
            cells.push("memory", 0, pages * PAGE);
        }
        cells.push("memory", 1, self.rss_pages * PAGE);
        cells.push("memory", 1, (self.rss_pages * 3.0 + 70_000.0) * PAGE);
        self.disk[..2].iter().for_each(|sectors| cells.push("disk", 0, sectors * 512.0));
        self.disk[2..4].iter().for_each(|operations| cells.push("disk", 0, *operations));
        self.disk[4..].iter().for_each(|ms| cells.push("disk", 0, ms / 1000.0));
        self.network.iter().for_each(|total| cells.push("network", 0, *total));
        (0..8).for_each(|_| cells.push("constants, booleans", 0, 0.0)); // errors and drops of the interfaces
        self.kernel.iter().for_each(|total| cells.push("kernel counters", 0, *total));
        self.pressure_us.iter().for_each(|us| cells.push("pressure", 0, us / 1e6));
        self.load.iter().for_each(|load| cells.push("load", 0, (load * 100.0).round() / 100.0));
        self.temperature[..2].iter().for_each(|degrees| cells.push("temperature", 0, degrees.round()));
        self.temperature[2..].iter().for_each(|degrees| cells.push("temperature", 0, (degrees * 10.0).round() / 10.0));
        self.connections.iter().for_each(|count| cells.push("connections, processes", 1, *count));
        self.filesystem_blocks.iter().for_each(|blocks| cells.push("filesystems", 0, blocks * PAGE));
        for requests in &self.requests {
            requests.buckets.iter().for_each(|total| cells.push("requests", 2, *total));
            for total in [requests.sum_s, requests.count, requests.errors] {
                cells.push("requests", 2, total);
            }
        }
        for constant in
            [self.cpus, self.memory_pages * PAGE, 0.0, 0.0, 1_795_859_535.0, 1.0, 1_048_576.0, 2.684_354_56e8]
        {
            cells.push("constants, booleans", 0, constant);
        }
        (0..4).for_each(|_| cells.push("constants, booleans", 2, 1.0)); // up, healthy, leader, ready
    }
}
