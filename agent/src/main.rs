//! `monitoring-agent`: see `cli` for its commands.

use std::process::ExitCode;

fn main() -> ExitCode {
    monitoring_agent::cli::main()
}
