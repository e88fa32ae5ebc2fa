//! `/proc/loadavg` and `/proc/uptime`: a line of numbers each.

use crate::collect::CollectError;
use crate::collect::file::KeptFile;
use crate::collect::parse::{Flaw, fields, next_decimal};
use crate::collect::part::{Cell, Cells, Part};
use proto::catalog::{SYSTEM_LOAD1, SYSTEM_LOAD5, SYSTEM_LOAD15, SYSTEM_UPTIME_SECONDS};
use std::time::Duration;

/// The load averages.
#[derive(Debug)]
pub struct Load {
    file: KeptFile,
    cells: [Cell; 3],
}

/// Time since the host booted.
#[derive(Debug)]
pub struct Uptime {
    file: KeptFile,
    cell: Cell,
}

// === impl Load ===

impl Load {
    /// Declares the series.
    pub fn new(file: KeptFile, cells: &mut Cells) -> Self {
        Self { file, cells: [&SYSTEM_LOAD1, &SYSTEM_LOAD5, &SYSTEM_LOAD15].map(|metric| cells.push(metric, &[])) }
    }
}

impl Part for Load {
    fn read(&mut self, _elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError> {
        let averages = self.file.parse(parse_loadavg)?;
        for (cell, average) in self.cells.iter().zip(averages) {
            cells.set(*cell, average);
        }
        Ok(())
    }
}

// === impl Uptime ===

impl Uptime {
    /// Declares the series.
    pub fn new(file: KeptFile, cells: &mut Cells) -> Self {
        Self { file, cell: cells.push(&SYSTEM_UPTIME_SECONDS, &[]) }
    }
}

impl Part for Uptime {
    fn read(&mut self, _elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError> {
        let seconds = self.file.parse(parse_uptime)?;
        cells.set(self.cell, seconds);
        Ok(())
    }
}

// === helpers ===

/// `0.00 0.44 0.49 1/84 11583`: over 1, 5 and 15 minutes.
fn parse_loadavg(text: &[u8]) -> Result<[f64; 3], Flaw> {
    let mut fields = fields(text);
    let mut next = || next_decimal(&mut fields, "three load averages");
    Ok([next()?, next()?, next()?])
}

/// `1115.04 1442.33`: up and idle.
fn parse_uptime(text: &[u8]) -> Result<f64, Flaw> {
    next_decimal(&mut fields(text), "seconds since boot")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_files_of_a_real_kernel_are_understood() {
        assert_eq!(parse_loadavg(b"0.25 0.44 12.49 1/84 11583\n"), Ok([0.25, 0.44, 12.49]));
        assert_eq!(parse_uptime(b"1115.04 1442.33\n"), Ok(1115.04));
    }

    #[test]
    fn what_is_not_a_number_is_named() {
        let flaw = parse_loadavg(b"0.25 0.44 x 1/84 11583\n").expect_err("refused").to_string();
        assert_eq!(flaw, r#"expected three load averages, found "x""#);
        assert!(parse_loadavg(b"0.25 0.44").is_err());
        assert!(parse_loadavg(b"-1 0.44 0.1").is_err());
        assert!(parse_uptime(b"").is_err());
        assert!(parse_uptime(b"inf").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse_loadavg(&bytes);
            let _ = parse_uptime(&bytes);
        }
    }
}
