//! `monitoring-aggregator`: see `cli` for its commands.

use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

/// Many small series live for weeks beside short-lived pages: jemalloc gives memory back where the system's keeps it.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    monitoring_aggregator::cli::main()
}
