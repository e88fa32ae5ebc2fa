//! What samples take, in bytes and in time: hosts that do not exist, and a recording of one that does.
//!
//! ```sh
//! cargo run --release -p monitoring-tsdb --example chunk_size [RECORDING]
//! ```
//! A recording is what `/metrics` of an aggregator said, pass after pass: a line `@MILLISECONDS`, then the page's lines.

#![allow(clippy::print_stdout, reason = "it prints figures")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "what is made up here is small and positive"
)]

mod hosts;

use rustix::time::{ClockId, clock_gettime};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tsdb::chunk::{
    Block, BlockWriter, OpenChunk, Scratch, Times, decode_times, decode_values, encode_times, encode_values, times_id,
};

/// A chunk's length.
const PERIOD_S: f64 = 2.0 * 3600.0;
/// What rules and the page's curves read most.
const LATEST_MS: i64 = 5 * 60 * 1000;
const START_MS: i64 = 1_795_860_000_000;

/// Bytes and samples of a class.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    series: usize,
    samples: usize,
    bytes: usize,
}

/// CPU time spent, and on how many samples.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    time: Duration,
    samples: usize,
}

impl Spent {
    fn add<T>(&mut self, samples: usize, work: impl FnOnce() -> T) -> T {
        let start = cpu_time();
        let done = work();
        self.time += cpu_time().saturating_sub(start);
        self.samples += samples;
        done
    }

    fn ns(&self) -> f64 {
        self.time.as_nanos() as f64 / self.samples.max(1) as f64
    }
}

/// Of this thread: what others do on the machine counts for less.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn main() {
    for (interval_s, duration_s, agents) in [(10.0, 86_400.0, 6), (1.0, 4.0 * 3600.0, 4)] {
        println!("\n== {interval_s} s, {} h, {agents} agents", duration_s / 3600.0);
        let agents: Vec<hosts::Agent> =
            (0..agents).map(|seed| hosts::agent(seed + 1, START_MS, interval_s, duration_s)).collect();
        let names: Vec<String> = hosts::CLASSES.iter().map(ToString::to_string).collect();
        figures(&agents, &names, (PERIOD_S / interval_s) as usize);
    }
    let mut one = OpenChunk::default();
    let empty = one.bytes();
    one.append(START_MS, 1234.5).expect("the first");
    println!("\nopen: empty {empty} bytes in memory, of one sample {}", one.bytes());
    if let Some(path) = std::env::args().nth(1) {
        let text = std::fs::read_to_string(&path).expect("the recording can be read");
        let (agent, names) = recorded(&text);
        println!("\n== recorded, {} passes, {} series", agent.times[0].len(), agent.series.len());
        figures(&[agent], &names, 7200);
    }
}

/// A chunk of one series, sealed, and when its samples were taken.
struct Sealed {
    metric: usize,
    period: usize,
    times: Times,
    values: Vec<u8>,
}

fn figures(agents: &[hosts::Agent], classes: &[String], per_chunk: usize) {
    let mut sums = vec![Sum::default(); classes.len()];
    let mut forms: BTreeMap<(usize, u8), usize> = BTreeMap::new();
    let (mut times_bytes, mut seal, mut decode) = (0, Spent::default(), Spent::default());
    let (mut scratch, mut out, mut out_times) = (Scratch::default(), Vec::new(), Vec::new());
    let (mut sealed, mut constant) = (Vec::new(), Sum::default());
    for agent in agents {
        let mut named: Vec<Vec<Times>> = Vec::new();
        for source in &agent.times {
            let mut of_source = Vec::new();
            for times in source.chunks(per_chunk) {
                let bytes = encode_times(times).expect("few enough");
                decode_times(&bytes, &mut scratch, &mut out_times).expect("what was encoded");
                assert_eq!(out_times, times);
                times_bytes += bytes.len();
                let (first_ms, last_ms) = (times[0], times[times.len() - 1]);
                of_source.push(Times { id: times_id(&bytes), count: times.len(), first_ms, last_ms });
            }
            named.push(of_source);
        }
        for series in &agent.series {
            let sum = &mut sums[series.class];
            sum.series += 1;
            for (period, chunk) in series.values.chunks(per_chunk).enumerate() {
                let bytes = seal.add(chunk.len(), || encode_values(chunk)).expect("few enough");
                let decoded = decode.add(chunk.len(), || decode_values(&bytes, chunk.len(), &mut scratch, &mut out));
                decoded.expect("what was encoded");
                assert!(chunk.iter().map(|value| value.to_bits()).eq(out.iter().map(|value| value.to_bits())));
                sum.samples += chunk.len();
                sum.bytes += bytes.len();
                if chunk.iter().all(|value| value.to_bits() == chunk[0].to_bits()) {
                    constant.samples += chunk.len();
                    constant.bytes += bytes.len();
                }
                *forms.entry((series.class, bytes[0])).or_default() += 1;
                let times = Times { count: chunk.len(), ..named[series.source][period] };
                sealed.push(Sealed { metric: series.metric, period, times, values: bytes });
            }
        }
    }
    println!("{:<52} {:>6} {:>9} {:>8}  forms × chunks", "class", "series", "samples", "B/sample");
    let mut all = Sum::default();
    for (class, sum) in sums.iter().enumerate() {
        let forms = forms.iter().filter(|((of, _), _)| *of == class);
        let forms: Vec<String> = forms.map(|((_, form), count)| format!("{form:02x}×{count}")).collect();
        let per_sample = sum.bytes as f64 / sum.samples.max(1) as f64;
        println!("{:<52} {:>6} {:>9} {per_sample:>8.3}  {}", classes[class], sum.series, sum.samples, forms.join(" "));
        all.series += sum.series;
        all.samples += sum.samples;
        all.bytes += sum.bytes;
    }
    let per = |bytes: usize| bytes as f64 / all.samples as f64;
    let directory = blocks(&sealed) - all.bytes;
    println!("in all: {} series, {} samples", all.series, all.samples);
    println!(
        "sealed: values {:.3} + times {:.4} + blocks' directories {:.4} = {:.3} B/sample",
        per(all.bytes),
        per(times_bytes),
        per(directory),
        per(all.bytes + times_bytes + directory)
    );
    let moving = (all.bytes - constant.bytes) as f64 / (all.samples - constant.samples).max(1) as f64;
    let share = 100.0 * constant.samples as f64 / all.samples as f64;
    println!(
        "sealed: {share:.0} % of the samples never move in their chunk; values of the others {moving:.3} B/sample"
    );
    println!("sealed: seal {:.1}, decode {:.1} ns/sample", seal.ns(), decode.ns());
    open_figures(agents, per_chunk);
}

/// All blocks, a metric and a period each; gives their bytes.
fn blocks(sealed: &[Sealed]) -> usize {
    let mut rows: BTreeMap<(usize, usize), Vec<&Sealed>> = BTreeMap::new();
    for chunk in sealed {
        rows.entry((chunk.metric, chunk.period)).or_default().push(chunk);
    }
    let (mut bytes, mut opened) = (0, Spent::default());
    for ((metric, period), chunks) in &rows {
        let mut writer = BlockWriter::new(START_MS + *period as i64 * PERIOD_S as i64 * 1000);
        for (at, chunk) in chunks.iter().enumerate() {
            let series_id = 1_000_000 + at as u64 * 101 + *metric as u64;
            writer.push(series_id, chunk.times, &chunk.values).expect("ascending");
        }
        let block = writer.finish();
        let read = opened.add(chunks.len(), || Block::open(&block).map(|block| block.entries().len()));
        assert_eq!(read, Ok(chunks.len()));
        bytes += block.len();
    }
    println!("blocks: {}, of {} chunks; opening one {:.0} ns/chunk", rows.len(), sealed.len(), opened.ns());
    bytes
}

/// Appends all chunks of one period beside each other, a sample of each series after the other, as passes come.
fn open_figures(agents: &[hosts::Agent], per_chunk: usize) {
    let (mut append, mut decode, mut latest) = (Spent::default(), Spent::default(), Spent::default());
    let (mut samples, mut stream, mut memory) = (0, 0, 0);
    let (mut times, mut values) = (Vec::new(), Vec::new());
    for agent in agents {
        let mut chunks: Vec<OpenChunk> = agent.series.iter().map(|_| OpenChunk::default()).collect();
        let passes = per_chunk.min(agent.times[0].len());
        append.add(passes * chunks.len(), || {
            for pass in 0..passes {
                for (chunk, series) in chunks.iter_mut().zip(&agent.series) {
                    if let Some(value) = series.values.get(pass) {
                        chunk.append(agent.times[series.source][pass], *value).expect("in order");
                    }
                }
            }
        });
        for (chunk, series) in chunks.iter().zip(&agent.series) {
            decode.add(chunk.len(), || chunk.decode(&mut times, &mut values));
            assert!(values.iter().zip(&series.values).all(|(a, b)| a.to_bits() == b.to_bits()));
            let from_ms = chunk.last_time().unwrap_or_default() - LATEST_MS;
            latest.add(1, || chunk.decode_from(from_ms, &mut times, &mut values));
            samples += chunk.len();
            stream += chunk.sample_bytes();
            memory += chunk.bytes();
        }
    }
    let per = |bytes: usize| bytes as f64 / samples as f64;
    println!("open: {:.3} B/sample, in memory {:.3} with the room to grow", per(stream), per(memory));
    println!(
        "open: append {:.1}, decode {:.1} ns/sample; the last five minutes {:.2} µs a chunk",
        append.ns(),
        decode.ns(),
        latest.ns() / 1000.0
    );
}

/// A recording as one agent; a class is a metric's name.
fn recorded(text: &str) -> (hosts::Agent, Vec<String>) {
    let mut agent = hosts::Agent { times: vec![Vec::new()], series: Vec::new() };
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut names: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some(at) = line.strip_prefix('@') {
            agent.times[0].push(at.parse().expect("milliseconds"));
            continue;
        }
        let (key, value) = line.rsplit_once(' ').expect("a series and its value");
        let Ok(value) = value.parse() else { continue };
        let name = key.split('{').next().unwrap_or(key).to_owned();
        let place = *places.entry(key.to_owned()).or_insert_with(|| {
            let class = names.iter().position(|known| *known == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            });
            agent.series.push(hosts::Series { class, metric: class, source: 0, values: Vec::new() });
            agent.series.len() - 1
        });
        agent.series[place].values.push(value);
    }
    // A series that came or went meanwhile has other times.
    let passes = agent.times[0].len();
    agent.series.retain(|series| series.values.len() == passes);
    (agent, names)
}
