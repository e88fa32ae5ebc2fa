//! `/proc/meminfo` and `/proc/vmstat`: memory and swap space, and what moves between them and the disk.
//!
//! Memory in use is total − available: free memory leaves out the page cache, which is given back when it is needed.
//! Where the kernel does not tell what is available (before 3.14, and some sandboxes), it is taken as free + buffers +
//! cached − shared memory: shared memory stands in the page cache and cannot be given back. Any other line that is not
//! there costs its own series.

use crate::collect::CollectError;
use crate::collect::file::KeptFile;
use crate::collect::parse::{Flaw, keyed};
use crate::collect::part::{Cell, Cells, Part};
use proto::catalog::{
    SYSTEM_MEMORY_AVAILABLE_BYTES, SYSTEM_MEMORY_BUFFERS_BYTES, SYSTEM_MEMORY_CACHED_BYTES, SYSTEM_MEMORY_FREE_BYTES,
    SYSTEM_MEMORY_TOTAL_BYTES, SYSTEM_MEMORY_USAGE_BYTES, SYSTEM_OOM_KILLS_TOTAL, SYSTEM_PAGE_FAULTS_MAJOR_TOTAL,
    SYSTEM_SWAP_FREE_BYTES, SYSTEM_SWAP_IN_BYTES_TOTAL, SYSTEM_SWAP_OUT_BYTES_TOTAL, SYSTEM_SWAP_TOTAL_BYTES,
    SYSTEM_SWAP_USAGE_BYTES,
};
use std::time::Duration;

/// The `kB` of `/proc/meminfo` are units of 1,024 bytes.
const BYTES_PER_KB: f64 = 1024.0;

const KEYS: [&str; 7] = ["MemTotal:", "MemFree:", "MemAvailable:", "Buffers:", "Cached:", "SwapTotal:", "SwapFree:"];

/// Where `MemAvailable` stands among [`KEYS`].
const AVAILABLE: usize = 2;

/// Memory and swap space.
#[derive(Debug)]
pub struct Memory {
    file: KeptFile,
    total: Cell,
    free: Cell,
    available: Cell,
    usage: Cell,
    buffers: Cell,
    cached: Cell,
    swap_total: Cell,
    swap_free: Cell,
    swap_usage: Cell,
}

/// Swapping, major faults and OOM kills.
#[derive(Debug)]
pub struct Paging {
    file: KeptFile,
    page_bytes: f64,
    swap_in: Cell,
    swap_out: Cell,
    faults: Cell,
    oom_kills: Cell,
}

// === impl Memory ===

impl Memory {
    /// Declares the series.
    pub fn new(file: KeptFile, cells: &mut Cells) -> Self {
        Self {
            file,
            total: cells.push(&SYSTEM_MEMORY_TOTAL_BYTES, &[]),
            free: cells.push(&SYSTEM_MEMORY_FREE_BYTES, &[]),
            available: cells.push(&SYSTEM_MEMORY_AVAILABLE_BYTES, &[]),
            usage: cells.push(&SYSTEM_MEMORY_USAGE_BYTES, &[]),
            buffers: cells.push(&SYSTEM_MEMORY_BUFFERS_BYTES, &[]),
            cached: cells.push(&SYSTEM_MEMORY_CACHED_BYTES, &[]),
            swap_total: cells.push(&SYSTEM_SWAP_TOTAL_BYTES, &[]),
            swap_free: cells.push(&SYSTEM_SWAP_FREE_BYTES, &[]),
            swap_usage: cells.push(&SYSTEM_SWAP_USAGE_BYTES, &[]),
        }
    }
}

impl Part for Memory {
    fn read(&mut self, _elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError> {
        let [total, free, available, buffers, cached, swap_total, swap_free] = self.file.parse(parse_meminfo)?;
        let mut set = |cell, kb: Option<u64>| cells.set_some(cell, kb.map(|kb| kb as f64 * BYTES_PER_KB));
        let difference = |all: Option<u64>, rest: Option<u64>| Some(all?.saturating_sub(rest?));
        set(self.total, total);
        set(self.free, free);
        set(self.available, available);
        set(self.usage, difference(total, available));
        set(self.buffers, buffers);
        set(self.cached, cached);
        set(self.swap_total, swap_total);
        set(self.swap_free, swap_free);
        set(self.swap_usage, difference(swap_total, swap_free));
        Ok(())
    }
}

// === impl Paging ===

impl Paging {
    /// Declares the series.
    pub fn new(file: KeptFile, cells: &mut Cells) -> Self {
        Self {
            file,
            page_bytes: rustix::param::page_size() as f64,
            swap_in: cells.push(&SYSTEM_SWAP_IN_BYTES_TOTAL, &[]),
            swap_out: cells.push(&SYSTEM_SWAP_OUT_BYTES_TOTAL, &[]),
            faults: cells.push(&SYSTEM_PAGE_FAULTS_MAJOR_TOTAL, &[]),
            oom_kills: cells.push(&SYSTEM_OOM_KILLS_TOTAL, &[]),
        }
    }
}

impl Part for Paging {
    fn read(&mut self, _elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError> {
        let [swap_in, swap_out, faults, oom_kills] = self.file.parse(parse_vmstat)?;
        let bytes = |pages: u64| pages as f64 * self.page_bytes;
        cells.set_some(self.swap_in, swap_in.map(bytes));
        cells.set_some(self.swap_out, swap_out.map(bytes));
        cells.set_some(self.faults, faults.map(|count| count as f64));
        cells.set_some(self.oom_kills, oom_kills.map(|count| count as f64));
        Ok(())
    }
}

// === helpers ===

/// The values of [`KEYS`], in kB; what is available is reckoned where it is not told. Without a total it is no such file.
fn parse_meminfo(text: &[u8]) -> Result<[Option<u64>; 7], Flaw> {
    let mut values = keyed(text, KEYS)?;
    let [total, free, available, buffers, cached, ..] = values;
    total.ok_or_else(|| Flaw::missing("a line MemTotal:"))?;
    if available.is_none() {
        let [shared] = keyed(text, ["Shmem:"])?;
        let cache = buffers.unwrap_or(0).saturating_add(cached.unwrap_or(0)).saturating_sub(shared.unwrap_or(0));
        values[AVAILABLE] = free.map(|free| free.saturating_add(cache));
    }
    Ok(values)
}

/// Pages swapped in and out, major faults, OOM kills; a kernel built without swap lacks the first two.
fn parse_vmstat(text: &[u8]) -> Result<[Option<u64>; 4], Flaw> {
    keyed(text, ["pswpin", "pswpout", "pgmajfault", "oom_kill"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MEMINFO: &str = "MemTotal:       24684092 kB\nMemFree:        24006200 kB\nMemAvailable:   24266996 kB\n\
        Buffers:            6712 kB\nCached:           389648 kB\nSwapCached:            0 kB\nActive:  43124 kB\n\
        SwapTotal:       1048576 kB\nSwapFree:        1000000 kB\nHugePages_Total:       0\n";

    #[test]
    fn the_file_of_a_real_kernel_is_understood() {
        let expected = [24_684_092, 24_006_200, 24_266_996, 6712, 389_648, 1_048_576, 1_000_000].map(Some);
        assert_eq!(parse_meminfo(MEMINFO.as_bytes()), Ok(expected));
    }

    #[test]
    fn each_mistake_is_named() {
        let flaw = |from: &str, to: &str| {
            parse_meminfo(MEMINFO.replacen(from, to, 1).as_bytes()).expect_err("refused").to_string()
        };
        assert!(flaw("MemTotal:", "MemWanted:").contains("a line MemTotal:"));
        assert!(flaw("24684092", "-1").contains("a whole number after MemTotal:"));
        assert!(flaw("1000000 kB", "1.5 GB").contains("a whole number after SwapFree:"));
    }

    #[test]
    fn what_is_available_is_reckoned_where_the_kernel_does_not_tell_it() {
        let text = MEMINFO.replacen("MemAvailable:", "MemWanted:", 1) + "Shmem:  9648 kB\n";
        let values = parse_meminfo(text.as_bytes()).expect("it has a total");
        assert_eq!(values[AVAILABLE], Some(24_006_200 + 6712 + 389_648 - 9648));
        assert_eq!(values[6], Some(1_000_000), "swap is told all the same");
        let least = parse_meminfo(b"MemTotal: 9 kB\n").expect("it has a total");
        assert_eq!(least, [Some(9), None, None, None, None, None, None]);
    }

    #[test]
    fn a_kernel_without_swap_still_tells_faults_and_oom_kills() {
        let text = b"nr_free_pages 1\npgmajfault 2627\noom_kill 4\n";
        assert_eq!(parse_vmstat(text), Ok([None, None, Some(2627), Some(4)]));
    }

    #[test]
    fn cut_at_any_byte_it_is_an_error_or_a_value_and_never_a_panic() {
        for end in 0..MEMINFO.len() {
            let _ = parse_meminfo(&MEMINFO.as_bytes()[..end]);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse_meminfo(&bytes);
            let _ = parse_vmstat(&bytes);
            let _ = parse_vmstat(&[b"pswpin ", bytes.as_slice()].concat());
        }
    }
}
