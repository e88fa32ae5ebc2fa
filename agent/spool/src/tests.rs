//! The tests of the whole spool, on the disk in memory. The model judges: it knows what was promised.
//!
//! What has gone wrong in queues of others, and the test that holds it here:
//!
//! | what went wrong                                     | here |
//! | --------------------------------------------------- | ---- |
//! | a damaged tail and opening never ends               | `damage`: every flipped byte, every truncation, rubbish |
//! | a damaged tail costs the whole queue                | `damage`: each costs the records that it touches |
//! | a segment unlinked before the cursor is durable     | `crash`: every crash state; `faults`: a cursor that cannot be written |
//! | the check is content, the start fails               | `life`: looking does not touch; `damage` verifies each victim first |
//! | a hiccup of the disk, and it does not start         | `every_call`: each call fails, restarts included |
//! | what lies in memory before the queue is lost        | law 5 of the model: `append` and `sync` are the door |
//! | nobody can say which hours are missing              | law 2: each seq is a record or in a gap; `room` names the reasons |
//! | synced or not, nobody knows                         | `life`: each mode and what it survives; `Stats::mode` |
//! | orphans that are never deleted                      | `room`: after each drain the disk holds the same bytes |
//! | more lies there than the bound, and it does not start | `room`: opening with a smaller bound |
//! | the size begins at zero after a restart             | `room`: the bound holds over restarts |
//! | a backlog takes all memory and descriptors at start | `tests/disk.rs`: a backlog opens without being read |

#![allow(clippy::unwrap_used, reason = "a test that unwraps an error has failed, and says where")]

mod crash;
mod damage;
mod every_call;
mod faults;
mod leftovers;
mod life;
mod model;
mod names;
mod refusal;
mod reserve;
mod room;

use std::path::Path;
use std::sync::Arc;

use crate::memory::MemoryDisk;
use crate::{Class, Gap, Mode, Next, OpenReport, Options, Position, Spool};

const DIR: &str = "/var/spool";

/// An item as the reader yields it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Record(Position, Class, Vec<u8>),
    Gap(Gap),
}

fn dir() -> &'static Path {
    Path::new(DIR)
}

/// Small segments, so that a few records fill several; room for all.
fn options(mode: Mode) -> Options {
    Options { segment_bytes: 512, ..Options::new(mode, 1 << 20, "boot-1") }
}

fn open_with(disk: &MemoryDisk, options: Options) -> (Spool, OpenReport) {
    Spool::open(Arc::new(disk.clone()), dir(), options).expect("a spool opens whatever lies there")
}

fn open(disk: &MemoryDisk) -> (Spool, OpenReport) {
    open_with(disk, options(Mode::Durable))
}

/// Everything up to the end, nothing acked.
fn drain(spool: &mut Spool) -> Vec<Seen> {
    let mut seen = Vec::new();
    loop {
        match spool.read_next().expect("the disk reads") {
            Next::Record(record) => seen.push(Seen::Record(record.position, record.class, record.payload.to_vec())),
            Next::Gap(gap) => seen.push(Seen::Gap(gap)),
            Next::Empty | Next::WindowFull => return seen,
        }
    }
}

/// The seqs of the records among them.
fn seqs(seen: &[Seen]) -> Vec<u64> {
    seen.iter()
        .filter_map(|seen| if let Seen::Record(position, ..) = seen { Some(position.seq) } else { None })
        .collect()
}

fn gaps(seen: &[Seen]) -> Vec<Gap> {
    seen.iter().filter_map(|seen| if let Seen::Gap(gap) = seen { Some(*gap) } else { None }).collect()
}

/// Payloads that tell their number, of about 60 bytes.
fn payload(number: u64) -> Vec<u8> {
    format!("record {number:04} ").repeat(5).into_bytes()
}

/// A spool with records 1..=count, every fifth critical, synced.
fn filled(disk: &MemoryDisk, mode: Mode, count: u64) -> Spool {
    let (mut spool, _) = open_with(disk, options(mode));
    for number in 1..=count {
        let class = if number % 5 == 0 { Class::Critical } else { Class::Ordinary };
        spool.append(class, &payload(number)).expect("there is room");
    }
    spool.sync().expect("the disk syncs");
    spool
}
