//! Hands events in to an agent, as services do: so many callers at a time, one event in a call, for some seconds.
//!
//! `cargo run --release --example produce -p monitoring-agent -- URL CALLERS SECONDS` prints the calls that were answered
//! with OK and the quantiles of their times in milliseconds.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use anyhow::Context;
use proto::event::Event;
use proto::grpc::ReportClient;
use runtime::clock::{Clock, SystemClock};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

/// Connections that the callers share: a few processes of a service.
const CONNECTIONS: usize = 4;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let usage = "URL CALLERS SECONDS";
    let mut args = std::env::args().skip(1);
    let url = args.next().context(usage)?;
    let (callers, seconds) = (args.next().context(usage)?.parse()?, args.next().context(usage)?.parse()?);
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(Endpoint::from_shared(url.clone())?.connect().await?);
    }
    let until = SystemClock.monotonic() + Duration::from_secs(seconds);
    let all: Vec<_> =
        (0..callers).map(|caller: usize| tokio::spawn(call(channels[caller % CONNECTIONS].clone(), until))).collect();
    let mut times = Vec::new();
    for caller in all {
        times.extend(caller.await??);
    }
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    println!("{} {} {}", times.len(), at(50), at(99));
    Ok(())
}

/// One call after the other; how long each took.
async fn call(channel: Channel, until: Duration) -> anyhow::Result<Vec<Duration>> {
    let (mut client, mut times) = (ReportClient::new(channel), Vec::new());
    loop {
        let began = SystemClock.monotonic();
        if began >= until {
            return Ok(times);
        }
        let event = Event {
            kind: "conversation.message".into(),
            clinic_id: Uuid::from_u128(42),
            occurred_at: SystemClock.wall(),
            idempotency_key: Uuid::new_v4().to_string(),
        };
        client.report(&[event]).await?;
        times.push(SystemClock.monotonic().saturating_sub(began));
    }
}
