//! A swarm: thousands of simulated agents in one process, each with a connection and a stream of its own.
//!
//! `cargo run --release --example swarm -p monitoring-aggregator -- --agents 5000 --idle` connects them and keeps them
//! connected as real agents would: with full jitter, and never sooner than they were told. It answers each line of its
//! input with one line of JSON, see [`answer`]; `bench/swarm` asks. At the end of its input it ends.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

mod agent;

use agent::{Agent, Gone};
use clap::Parser;
use proto::message::ToAgent;
use runtime::backoff::Backoff;
use runtime::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use std::io::BufRead;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// What the swarm is like.
#[derive(Clone, Debug, Parser)]
struct Flags {
    /// URL of the aggregator
    #[arg(long)]
    aggregator: String,
    /// How many agents
    #[arg(long, default_value_t = 100)]
    agents: u32,
    /// Between two batches of an agent
    #[arg(long, default_value_t = 1_000)]
    interval_ms: u64,
    /// Series of each batch
    #[arg(long, default_value_t = 100)]
    series: usize,
    /// No batches: the streams stand, and that is all
    #[arg(long)]
    idle: bool,
    /// Agents that connect in a second, at first; 0 is all at once
    #[arg(long, default_value_t = 0)]
    connect_rate: u32,
}

/// What all agents count together. Locked for a few additions, and while a question is answered.
#[derive(Debug, Default)]
struct Counts {
    connected: u32,
    sent: u64,
    acked: u64,
    refused: u64,
    /// Since the last `mark`: when a stream stood, when one broke, and how long a batch waited for its ack, in seconds.
    connects_s: Vec<f64>,
    breaks_s: Vec<f64>,
    acks_s: Vec<f64>,
    mark: Option<Instant>,
}

type Shared = Arc<Mutex<Counts>>;

fn main() {
    let flags = Flags::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let shared = Shared::default();
    lock(&shared).mark = Some(Instant::now());
    let run = fastrand::u32(1..);
    let start = Instant::now();
    for number in 0..flags.agents {
        let (flags, shared) = (flags.clone(), shared.clone());
        runtime.spawn(async move {
            let turn = f64::from(number) / f64::from(flags.connect_rate);
            if turn.is_finite() {
                tokio::time::sleep_until(start + Duration::from_secs_f64(turn)).await;
            }
            live(Agent::new(run, number, flags.series, interval(&flags)), &flags, &shared).await;
        });
    }
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        println!("{}", answer(&mut lock(&shared), line.trim()));
    }
    runtime.shutdown_background();
}

/// Answers a line: `status` is how it stands, `times` also everything since the last `mark`, `mark` begins anew.
fn answer(counts: &mut Counts, question: &str) -> Value {
    let status =
        json!({"connected": counts.connected, "sent": counts.sent, "acked": counts.acked, "refused": counts.refused});
    match question {
        "status" => status,
        "times" => json!({
            "status": status, "connects_s": counts.connects_s, "breaks_s": counts.breaks_s, "acks_s": counts.acks_s,
        }),
        "mark" => {
            let Counts { connected, .. } = *counts;
            *counts = Counts { connected, mark: Some(Instant::now()), ..Counts::default() };
            json!("ok")
        }
        other => json!({"error": format!("no such question: {other}")}),
    }
}

/// The life of an agent: streams, one after the other.
async fn live(mut agent: Agent, flags: &Flags, shared: &Shared) {
    let clock = SystemClock;
    let mut backoff = Backoff::default();
    loop {
        let began = Instant::now();
        let gone = match agent.open(&flags.aggregator, clock.wall()).await {
            Ok(stream) => {
                note(shared, |counts, at| {
                    counts.connected += 1;
                    counts.connects_s.push(at);
                });
                let gone = run(&mut agent, stream, flags, shared).await;
                note(shared, |counts, at| {
                    counts.connected -= 1;
                    counts.breaks_s.push(at);
                });
                gone
            }
            Err(gone) => gone,
        };
        backoff.stood_for(began.elapsed());
        let told = match gone {
            Gone::Broken => None,
            Gone::Refused(refusal) => {
                lock(shared).refused += 1;
                refusal.retry_after
            }
        };
        tokio::time::sleep(backoff.next_delay(told)).await;
    }
}

/// One stream, until it ends.
async fn run(agent: &mut Agent, mut stream: agent::Stream, flags: &Flags, shared: &Shared) -> Gone {
    let clock = SystemClock;
    let mut passes = tokio::time::interval_at(Instant::now() + phase(flags), interval(flags));
    passes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        match agent.flush(&mut stream).await {
            Ok(went) => lock(shared).sent += went as u64,
            Err(gone) => return gone,
        }
        tokio::select! {
            heard = stream.hear() => match heard {
                Ok(ToAgent::Ack(position)) => {
                    let mut counts = lock(shared);
                    agent.acked(position, |waited| {
                        counts.acked += 1;
                        counts.acks_s.push(waited.as_secs_f64());
                    });
                }
                Ok(_) => {}
                Err(gone) => return gone,
            },
            _ = passes.tick(), if !flags.idle => {
                agent.take_pass(clock.wall());
            }
        }
    }
}

fn interval(flags: &Flags) -> Duration {
    Duration::from_millis(flags.interval_ms.max(1))
}

/// When an agent's first batch comes: they are not in step.
fn phase(flags: &Flags) -> Duration {
    interval(flags).mul_f64(fastrand::f64())
}

/// Notes something that happened now, in seconds since the last mark.
fn note(shared: &Shared, what: impl FnOnce(&mut Counts, f64)) {
    let mut counts = lock(shared);
    let at = counts.mark.map_or(0.0, |mark| mark.elapsed().as_secs_f64());
    what(&mut counts, at);
}

fn lock(shared: &Shared) -> MutexGuard<'_, Counts> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
