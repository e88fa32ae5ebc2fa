//! `/proc/diskstats`: I/O of each block device since boot.
//!
//! ```text
//!   254  0 vda 79161 25787 5235194 35136 12430 54296 3394752 24348 0 14020 61099 …
//!   maj min name reads merged sectors ms  writes merged sectors ms  now ms  weighted-ms
//! ```
//!
//! Partitions are left out, since their disk counts their I/O too, and so are RAM disks, floppies and loop devices:
//! what goes through a loop device is counted again by the disk below it. `/sys/class/block/NAME/partition` says what
//! is a partition; where sysfs does not show the device, its name has to tell.

use crate::collect::CollectError;
use crate::collect::devices::Devices;
use crate::collect::file::KeptFile;
use crate::collect::parse::{Flaw, fields, lines, next_whole};
use crate::collect::part::{Cells, Part};
use proto::catalog::{
    SYSTEM_DISK_IO_IN_PROGRESS, SYSTEM_DISK_IO_SECONDS_TOTAL, SYSTEM_DISK_IO_WEIGHTED_SECONDS_TOTAL,
    SYSTEM_DISK_READ_BYTES_TOTAL, SYSTEM_DISK_READ_SECONDS_TOTAL, SYSTEM_DISK_READS_TOTAL,
    SYSTEM_DISK_WRITE_SECONDS_TOTAL, SYSTEM_DISK_WRITES_TOTAL, SYSTEM_DISK_WRITTEN_BYTES_TOTAL,
    SYSTEM_DISKS_UNREPORTED,
};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// A sector of this file has 512 bytes, whatever the device's own sectors have.
const SECTORS_PER_BYTE: f64 = 1.0 / 512.0;
const MS_PER_SECOND: f64 = 1e3;

/// Fields after the name that every kernel since 2.6 has.
const FIELDS: usize = 11;

/// All reported block devices.
#[derive(Debug)]
pub struct Disks {
    file: KeptFile,
    choice: Choice,
    devices: Devices<9>,
}

/// Which devices are reported. Asked once for each, as long as the same stand in the same order; as long as the file.
#[derive(Debug)]
struct Choice {
    /// `/sys/class/block`.
    sysfs: PathBuf,
    asked: Vec<(Vec<u8>, bool)>,
    /// How many devices this pass has brought so far.
    seen: usize,
}

// === impl Disks ===

impl Disks {
    /// No devices until the first pass. `sysfs` is `/sys/class/block`, or a copy in tests.
    pub fn new(file: KeptFile, sysfs: PathBuf) -> Self {
        let columns = [
            (&SYSTEM_DISK_READS_TOTAL, 1.0),
            (&SYSTEM_DISK_READ_BYTES_TOTAL, SECTORS_PER_BYTE),
            (&SYSTEM_DISK_READ_SECONDS_TOTAL, MS_PER_SECOND),
            (&SYSTEM_DISK_WRITES_TOTAL, 1.0),
            (&SYSTEM_DISK_WRITTEN_BYTES_TOTAL, SECTORS_PER_BYTE),
            (&SYSTEM_DISK_WRITE_SECONDS_TOTAL, MS_PER_SECOND),
            (&SYSTEM_DISK_IO_IN_PROGRESS, 1.0),
            (&SYSTEM_DISK_IO_SECONDS_TOTAL, MS_PER_SECOND),
            (&SYSTEM_DISK_IO_WEIGHTED_SECONDS_TOTAL, MS_PER_SECOND),
        ];
        let choice = Choice { sysfs, asked: Vec::new(), seen: 0 };
        Self { file, choice, devices: Devices::new(columns, &SYSTEM_DISKS_UNREPORTED) }
    }
}

impl Part for Disks {
    fn read(&mut self, _elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError> {
        let Self { file, choice, devices } = self;
        file.parse(|text| {
            devices.begin();
            choice.seen = 0;
            lines(text).try_for_each(|line| put_line(line, choice, devices))
        })?;
        devices.end(cells);
        Ok(())
    }
}

// === impl Choice ===

impl Choice {
    /// Whether the next device of the file is neither a partition nor one that only passes on what another counts.
    fn takes(&mut self, name: &[u8]) -> bool {
        let place = self.seen;
        self.seen += 1;
        if let Some((known, takes)) = self.asked.get(place)
            && known == name
        {
            return *takes;
        }
        self.asked.truncate(place);
        let takes = !is_passing_on(name) && !self.is_partition(name);
        self.asked.push((name.to_vec(), takes));
        takes
    }

    fn is_partition(&self, name: &[u8]) -> bool {
        // sysfs writes the slash of old RAID controllers' disks (cciss/c0d0) as an exclamation mark.
        let file: Vec<u8> = name.iter().map(|byte| if *byte == b'/' { b'!' } else { *byte }).collect();
        let dir = self.sysfs.join(OsStr::from_bytes(&file));
        if dir.exists() { dir.join("partition").exists() } else { is_partitions_name(name) }
    }
}

// === helpers ===

fn put_line(line: &[u8], choice: &mut Choice, devices: &mut Devices<9>) -> Result<(), Flaw> {
    let mut fields = fields(line).skip(2);
    let Some(name) = fields.next() else { return Err(Flaw::new("major, minor and name of a device", line)) };
    if !choice.takes(name) {
        return Ok(());
    }
    let mut counters = [0; FIELDS];
    for counter in &mut counters {
        *counter = next_whole(&mut fields, "11 counters of a device")?;
    }
    let [reads, _, read_sectors, read_ms, writes, _, written_sectors, write_ms, now, io_ms, weighted_ms] = counters;
    devices.put(name, [reads, read_sectors, read_ms, writes, written_sectors, write_ms, now, io_ms, weighted_ms])
}

/// Whether a device only passes on what another counts, or keeps it in memory.
fn is_passing_on(name: &[u8]) -> bool {
    let of_numbers: [&[u8]; 4] = [b"ram", b"zram", b"loop", b"fd"];
    let stem = without_number(name);
    stem.len() < name.len() && of_numbers.contains(&stem)
}

fn is_partitions_name(name: &[u8]) -> bool {
    let stem = without_number(name);
    let has_number = stem.len() < name.len();
    // sda1, hda1, vda1, xvda1: letters and a number are a partition. nvme0n1p1, mmcblk0p1, md0p1: so is pN after a digit.
    let of_letters: [&[u8]; 4] = [b"sd", b"hd", b"vd", b"xvd"];
    let is_lettered = of_letters.iter().any(|prefix| {
        stem.strip_prefix(*prefix).is_some_and(|rest| !rest.is_empty() && rest.iter().all(u8::is_ascii_lowercase))
    });
    let before_p = stem.strip_suffix(b"p").and_then(|disk| disk.last());
    has_number && (is_lettered || before_p.is_some_and(u8::is_ascii_digit))
}

fn without_number(name: &[u8]) -> &[u8] {
    let end = name.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |last| last + 1);
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::devices::tests::reported;
    use crate::collect::tests::Tree;
    use proptest::prelude::*;

    const VDA: &str =
        "   8       0 vda 79161 25787 5235194 35136 12430 54296 3394752 24348 7 14020 61099 9937 56 1 2 3 4\n";

    fn disks() -> Disks {
        Disks::new(KeptFile::new("/nonexistent/diskstats"), "/nonexistent/sys".into())
    }

    fn devices() -> Devices<9> {
        disks().devices
    }

    fn put_line(line: &[u8], devices: &mut Devices<9>) -> Result<(), Flaw> {
        super::put_line(line, &mut disks().choice, devices)
    }

    fn is_whole_disk(name: &[u8]) -> bool {
        disks().choice.takes(name)
    }

    /// Old EC2 machines have a whole disk that is called like a partition.
    #[test]
    fn sysfs_says_what_is_a_partition_where_it_shows_the_device() {
        let sys = Tree::new(&[("xvda1/size", "1"), ("odd/partition", "1"), ("cciss!c0d0p1/partition", "1")]);
        let mut choice = Choice { sysfs: sys.path().into(), asked: Vec::new(), seen: 0 };
        let names: [&[u8]; 5] = [b"xvda1", b"odd", b"cciss/c0d0p1", b"sda1", b"sda"];
        assert_eq!(names.map(|name| choice.takes(name)), [true, false, false, false, true]);
        sys.remove("xvda1");
        choice.seen = 0;
        assert_eq!(names.map(|name| choice.takes(name)), [true, false, false, false, true], "asked once");
        choice.seen = 0;
        assert!(!choice.takes(b"vda1"), "a list that changed is asked anew");
    }

    #[test]
    fn the_line_of_a_real_kernel_is_understood_in_bytes_and_seconds() {
        let mut devices = devices();
        devices.begin();
        put_line(VDA.as_bytes(), &mut devices).expect("a real line");
        let values = reported(&mut devices);
        let value = |metric: &str| values[&format!("{metric}{{device=\"vda\"}}")];
        assert_eq!(value("system_disk_reads_total"), 79_161.0);
        assert_eq!(value("system_disk_read_bytes_total"), 5_235_194.0 * 512.0);
        assert_eq!(value("system_disk_read_seconds_total"), 35.136);
        assert_eq!(value("system_disk_writes_total"), 12_430.0);
        assert_eq!(value("system_disk_written_bytes_total"), 3_394_752.0 * 512.0);
        assert_eq!(value("system_disk_write_seconds_total"), 24.348);
        assert_eq!(value("system_disk_io_in_progress"), 7.0);
        assert_eq!(value("system_disk_io_seconds_total"), 14.02);
        assert_eq!(value("system_disk_io_weighted_seconds_total"), 61.099);
    }

    #[test]
    fn partitions_and_devices_that_pass_on_are_left_out() {
        for disk in
            ["sda", "vda", "xvda", "hdb", "sdaa", "nvme0n1", "mmcblk0", "md0", "dm-0", "sr0", "nbd3", "drbd1", "vd"]
        {
            assert!(is_whole_disk(disk.as_bytes()), "{disk}");
        }
        for other in [
            "sda1",
            "vda15",
            "xvda1",
            "hdb2",
            "sdaa1",
            "nvme0n1p1",
            "mmcblk0p2",
            "md0p1",
            "ram0",
            "zram0",
            "loop7",
            "fd0",
        ] {
            assert!(!is_whole_disk(other.as_bytes()), "{other}");
        }
    }

    /// 2.6 to 4.17 wrote 11 counters, 4.18 added 4 of discards, 5.5 two of flushes.
    #[test]
    fn the_lines_of_all_kernels_are_understood() {
        let old = "   8       0 sda 1 2 3 4 5 6 7 8 9 10 11\n";
        for text in [old, &old.replace("11\n", "11 12 13 14 15\n"), &old.replace("11\n", "11 12 13 14 15 16 17\n")] {
            let mut devices = devices();
            devices.begin();
            put_line(text.as_bytes(), &mut devices).expect("a real line");
            assert_eq!(reported(&mut devices)["system_disk_io_weighted_seconds_total{device=\"sda\"}"], 0.011);
        }
    }

    #[test]
    fn a_whole_node_is_reduced_to_its_disks() {
        let names = ["loop0", "nvme0n1", "nvme0n1p1", "nvme0n1p2", "dm-0", "sda", "sda1", "sr0", "zram0", "md127"];
        let mut devices = devices();
        devices.begin();
        for name in names {
            put_line(format!("1 2 {name} 1 2 3 4 5 6 7 8 9 10 11").as_bytes(), &mut devices).expect("a real line");
        }
        let reads = |key: &String| Some(key.strip_prefix("system_disk_reads_total")?.to_owned());
        let disks: Vec<String> = reported(&mut devices).keys().filter_map(reads).collect();
        let expected = ["dm-0", "md127", "nvme0n1", "sda", "sr0"].map(|name| format!("{{device=\"{name}\"}}"));
        assert_eq!(disks, expected);
    }

    #[test]
    fn each_mistake_is_named() {
        let mut devices = devices();
        let mut flaw = |line: &str| put_line(line.as_bytes(), &mut devices).expect_err("refused").to_string();
        assert!(flaw("8 0").contains("major, minor and name"));
        assert!(flaw("8 0 vda 1 2 3").contains("11 counters"));
        assert!(flaw(&VDA.replace("5235194", "-3")).contains(r#"found "-3""#));
        assert!(flaw(&VDA.replace("5235194", "99999999999999999999")).contains("11 counters"));
    }

    #[test]
    fn cut_at_any_byte_it_is_an_error_or_a_value_and_never_a_panic() {
        for end in 0..VDA.len() {
            let _ = put_line(&VDA.as_bytes()[..end], &mut devices());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = is_whole_disk(&bytes);
            for line in lines(&bytes) {
                let _ = put_line(line, &mut devices());
            }
        }
    }
}
