//! Damage: every truncation, every flipped byte, every lost sector and file of a spool of twenty records. Each time it
//! opens, terminates, delivers every record that is intact, and counts and names the rest.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::fs::Fs;
use crate::lane::PLAUSIBLE_SPAN;
use crate::record::{FRAME_BYTES, Step, Walker};
use crate::segment::HEADER_BYTES;
use crate::{NewEpoch, OpenError, Reason, verify};

const COUNT: u64 = 20;

/// A spool of twenty records and where each lies.
struct Victim {
    disk: MemoryDisk,
    epoch: u128,
    frames: Vec<(PathBuf, std::ops::Range<u64>, u64)>,
}

impl Victim {
    fn new() -> Self {
        let disk = MemoryDisk::default();
        let spool = filled(&disk, Mode::Durable, COUNT);
        let epoch = spool.epoch();
        spool.close().unwrap();
        let mut frames = Vec::new();
        for path in segments(&disk) {
            let end = disk.read(&path).unwrap().len() as u64;
            let mut walker = Walker::new(path.clone(), HEADER_BYTES as u64);
            while let Step::Record(found) = walker.step(&disk, end, &(0..=PLAUSIBLE_SPAN)).unwrap() {
                frames.push((path.clone(), found.at..found.end(), found.seq));
            }
        }
        assert_eq!(frames.len() as u64, COUNT);
        assert!(segments(&disk).len() >= 4, "several segments in each lane");
        Self { disk, epoch, frames }
    }

    /// The seqs whose bytes in this file meet the predicate.
    fn touched(&self, path: &Path, hit: impl Fn(&std::ops::Range<u64>) -> bool) -> BTreeSet<u64> {
        self.frames.iter().filter(|(file, range, _)| file == path && hit(range)).map(|(.., seq)| *seq).collect()
    }

    /// Opens a damaged copy and checks that it has lost exactly these.
    fn judge(&self, disk: &MemoryDisk, lost: &BTreeSet<u64>, what: &str) {
        let checked = verify(disk, dir()).expect("it can be looked at");
        assert_eq!(checked.records, COUNT - lost.len() as u64, "{what}: verify");
        let (mut spool, report) = open(disk);
        let seen = drain(&mut spool);
        let expected: Vec<u64> = (1..=COUNT).filter(|seq| !lost.contains(seq)).collect();
        assert_eq!(seqs(&seen), expected, "{what}: {report:?}");
        let mut next = 1;
        for seen in &seen {
            match seen {
                Seen::Record(position, _, bytes) => {
                    assert_eq!((position.epoch, position.seq), (self.epoch, next), "{what}");
                    assert_eq!(*bytes, payload(next), "{what}");
                    next += 1;
                }
                Seen::Gap(gap) => {
                    assert_eq!((gap.epoch, gap.first_seq, gap.reason), (self.epoch, next, Reason::Corrupt), "{what}");
                    next = gap.last_seq + 1;
                }
            }
        }
        assert_eq!(next, COUNT + 1, "{what}: each seq is a record or in a gap");
        let stats = spool.stats();
        assert_eq!(stats.dropped.corrupt, lost.len() as u64, "{what}: {report:?} {stats:?}");
        self.judge_life_after(spool, disk, what);
    }

    /// Acks everything and goes on, in a place that was never taken.
    fn judge_life_after(&self, mut spool: Spool, disk: &MemoryDisk, what: &str) {
        let position = spool.append(Class::Ordinary, b"afterwards").expect(what);
        assert!(position.epoch != self.epoch || position.seq == COUNT + 1, "{what}: {position:?} was taken");
        spool.sync().expect(what);
        assert_eq!(seqs(&drain(&mut spool)), [position.seq], "{what}");
        spool.ack(position).expect(what);
        assert_eq!(spool.stats().waiting, 0, "{what}");
        spool.close().expect(what);
        let (spool, report) = open(disk);
        assert_eq!(
            (report.new_epoch, report.records, spool.stats().segments <= 2),
            (None, 0, true),
            "{what}: {report:?}"
        );
    }
}

fn segments(disk: &MemoryDisk) -> Vec<PathBuf> {
    disk.files(dir()).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "seg")).collect()
}

fn others(disk: &MemoryDisk) -> Vec<PathBuf> {
    disk.files(dir()).into_iter().filter(|path| path.extension().is_none_or(|extension| extension != "seg")).collect()
}

#[test]
fn every_flipped_byte_of_every_segment_costs_at_most_its_own_record() {
    let victim = Victim::new();
    for path in segments(&victim.disk) {
        let bytes = victim.disk.read(&path).unwrap();
        for at in 0..bytes.len() {
            let disk = victim.disk.copy();
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x41;
            disk.write(&path, &bytes);
            let lost = victim.touched(&path, |range| range.contains(&(at as u64)));
            assert!(lost.len() <= 1 && (at < HEADER_BYTES || lost.len() == 1));
            victim.judge(&disk, &lost, &format!("byte {at} of {}", path.display()));
        }
    }
}

#[test]
fn every_truncation_of_every_segment_costs_what_is_cut_off() {
    let victim = Victim::new();
    for path in segments(&victim.disk) {
        let bytes = victim.disk.read(&path).unwrap();
        for len in 0..bytes.len() {
            let disk = victim.disk.copy();
            disk.write(&path, &bytes[..len]);
            let lost = victim.touched(&path, |range| range.end > len as u64);
            victim.judge(&disk, &lost, &format!("{} cut at {len}", path.display()));
        }
    }
}

#[test]
fn every_lost_sector_costs_the_records_in_it() {
    let victim = Victim::new();
    for path in segments(&victim.disk) {
        let bytes = victim.disk.read(&path).unwrap();
        for start in (0..bytes.len()).step_by(128) {
            let (disk, end) = (victim.disk.copy(), (start + 128).min(bytes.len()));
            let mut bytes = bytes.clone();
            bytes[start..end].fill(0);
            disk.write(&path, &bytes);
            let lost = victim.touched(&path, |range| range.start < end as u64 && range.end > start as u64);
            victim.judge(&disk, &lost, &format!("sector at {start} of {}", path.display()));
        }
    }
}

#[test]
fn every_lost_segment_costs_its_records_and_a_few_foreign_files_cost_nothing() {
    let victim = Victim::new();
    for path in segments(&victim.disk) {
        let disk = victim.disk.copy();
        disk.remove(&path).unwrap();
        disk.write(&dir().join("notes.txt"), b"not ours");
        disk.write(&dir().join("1-2-3.ordinary.seg"), b"not ours either");
        let lost = victim.touched(&path, |_| true);
        victim.judge(&disk, &lost, &format!("{} removed", path.display()));
        assert_eq!(disk.read(&dir().join("notes.txt")).unwrap(), b"not ours", "foreign files are left alone");
    }
}

#[test]
fn any_two_segments_with_exchanged_names_cost_nothing() {
    let victim = Victim::new();
    let paths = segments(&victim.disk);
    for (index, one) in paths.iter().enumerate() {
        for other in &paths[index + 1..] {
            let disk = victim.disk.copy();
            let (a, b) = (disk.read(one).unwrap(), disk.read(other).unwrap());
            disk.write(one, &b);
            disk.write(other, &a);
            victim.judge(&disk, &BTreeSet::new(), &format!("{} and {}", one.display(), other.display()));
        }
    }
}

#[test]
fn every_flipped_byte_and_truncation_of_the_identity_and_the_cursor_costs_nothing() {
    let victim = Victim::new();
    let (_, clean) = open(&victim.disk.copy());
    for path in others(&victim.disk) {
        let bytes = victim.disk.read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x41;
            for damaged in [&flipped[..], &bytes[..at]] {
                let disk = victim.disk.copy();
                disk.write(&path, damaged);
                let (_, report) = open(&disk.copy());
                assert_eq!((report.owner, report.epoch), (clean.owner, clean.epoch), "{}", path.display());
                victim.judge(&disk, &BTreeSet::new(), &format!("byte {at} of {}", path.display()));
            }
        }
    }
}

#[test]
fn a_lost_identity_is_put_together_from_the_segments_or_else_from_the_cursor() {
    let victim = Victim::new();
    let (_, before) = open(&victim.disk.copy());
    let disk = victim.disk.copy();
    disk.remove(&dir().join("identity")).unwrap();
    let (_, report) = open(&disk);
    assert_eq!((report.owner, report.epoch, report.new_epoch), (before.owner, before.epoch, None));
    assert!(verify(&disk, dir()).unwrap().is_identity_whole, "it is written again");

    for path in segments(&disk) {
        disk.remove(&path).unwrap();
    }
    disk.remove(&dir().join("identity")).unwrap();
    let (_, report) = open(&disk);
    assert_eq!((report.owner, report.new_epoch), (before.owner, Some(NewEpoch::Fresh)));
    assert_ne!(report.epoch, before.epoch, "nobody knows how far the old one had come");
    assert_eq!(report.lost_records, COUNT, "and what is gone is counted");
}

#[test]
fn without_a_cursor_everything_is_replayed_and_a_new_epoch_begins() {
    let victim = Victim::new();
    for name in ["cursor.0", "cursor.1"] {
        victim.disk.remove(&dir().join(name)).unwrap();
    }
    let (mut spool, report) = open(&victim.disk);
    assert_eq!((report.new_epoch, report.records), (Some(NewEpoch::CursorLost), COUNT));
    assert_eq!(seqs(&drain(&mut spool)), (1..=COUNT).collect::<Vec<_>>());
}

#[test]
fn nothing_but_rubbish_is_a_new_spool() {
    let disk = MemoryDisk::default();
    filled(&disk, Mode::Durable, COUNT).close().unwrap();
    for path in disk.files(dir()) {
        disk.write(&path, &[0xA5; 3000]);
    }
    let (mut spool, report) = open(&disk);
    assert_eq!((report.new_epoch, report.records), (Some(NewEpoch::Fresh), 0));
    assert!(spool.stats().quarantine_bytes > 0, "what it was can be looked at");
    spool.append(Class::Ordinary, b"x").unwrap();
    spool.sync().unwrap();
    assert_eq!(seqs(&drain(&mut spool)), [1]);
}

#[test]
fn damaged_bytes_can_be_looked_at_and_a_second_reading_adds_nothing() {
    let victim = Victim::new();
    let path = segments(&victim.disk).remove(1);
    let mut bytes = victim.disk.read(&path).unwrap();
    bytes[HEADER_BYTES + FRAME_BYTES + 3] ^= 1;
    victim.disk.write(&path, &bytes);
    let (mut spool, _) = open(&victim.disk);
    let first = drain(&mut spool);
    let stats = spool.stats();
    spool.rewind();
    assert_eq!(drain(&mut spool), first, "the gap is yielded again, until it is acked");
    assert_eq!(spool.stats(), stats, "and counted once");
    let kept = victim.disk.files(&dir().join("quarantine"));
    let frame = victim.frames.iter().find(|(file, ..)| *file == path).unwrap();
    let range = usize::try_from(frame.1.start).unwrap()..usize::try_from(frame.1.end).unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(victim.disk.read(&kept[0]).unwrap(), bytes[range]);
}

#[test]
fn a_torn_tail_is_cut_and_begins_a_new_epoch() {
    let disk = MemoryDisk::default();
    drop(filled(&disk, Mode::Durable, COUNT));
    let path = segments(&disk).into_iter().rfind(|path| path.to_string_lossy().contains("ordinary")).unwrap();
    let mut bytes = disk.read(&path).unwrap();
    let whole = bytes.len();
    bytes.extend_from_slice(b"\x40\0\0\0half of a frame");
    disk.write(&path, &bytes);
    let (mut spool, report) = open(&disk);
    assert_eq!((report.torn_bytes, report.records), (19, COUNT));
    assert_eq!(report.new_epoch, Some(NewEpoch::TornTail), "the half may have been a whole that was sent");
    assert_eq!(disk.read(&path).unwrap().len(), whole);
    assert_eq!(seqs(&drain(&mut spool)).len() as u64, COUNT);
}

#[test]
fn a_tail_that_is_gone_begins_a_new_epoch_because_nobody_knows_how_long_it_was() {
    let disk = MemoryDisk::default();
    let mut spool = filled(&disk, Mode::Durable, 9);
    spool.checkpoint().unwrap();
    let epoch = spool.epoch();
    spool.append(Class::Ordinary, b"sent after the last cursor").unwrap();
    spool.sync().unwrap();
    assert_eq!(seqs(&drain(&mut spool)).len(), 10);
    drop(spool);
    let last = segments(&disk).into_iter().rfind(|path| path.to_string_lossy().contains("ordinary")).unwrap();
    disk.remove(&last).unwrap();
    let (mut spool, report) = open(&disk);
    assert_eq!(report.new_epoch, Some(NewEpoch::TailMissing));
    let lost = gaps(&drain(&mut spool)).pop().unwrap();
    assert_eq!((lost.epoch, lost.last_seq, lost.reason), (epoch, 9, Reason::Corrupt), "as far as the cursor knew");
}

#[test]
fn a_spool_of_another_format_version_is_refused_with_the_way_out_and_nothing_in_it_changes() {
    for name in ["identity", "cursor.0", "cursor.1"] {
        let victim = Victim::new();
        let disk = victim.disk.copy();
        let path = dir().join(name);
        let mut bytes = disk.read(&path).unwrap();
        bytes.truncate(bytes.len() - 4);
        bytes[4] = 2;
        bytes.extend_from_slice(b"and more that the other version has");
        let crc = crate::crc::crc32c(&[&bytes]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        disk.write(&path, &bytes);
        let before: Vec<_> = disk.files(dir()).iter().map(|path| disk.read(path)).collect();
        let refused = Spool::open(Arc::new(disk.clone()), dir(), options(Mode::Durable));
        let Err(error @ OpenError::OtherVersion { .. }) = refused else { panic!("{name}: it opened") };
        assert!(
            error.to_string().contains("move the spool's directory away") && error.to_string().contains(name),
            "{error}"
        );
        assert_eq!(disk.files(dir()).iter().map(|path| disk.read(path)).collect::<Vec<_>>(), before, "{name}");
        assert!(verify(&disk, dir()).unwrap().is_other_version);
    }
}

#[test]
fn a_segment_of_another_format_or_owner_is_left_alone() {
    let victim = Victim::new();
    let stranger = MemoryDisk::default();
    drop(filled(&stranger, Mode::Durable, 3));
    let theirs = segments(&stranger).remove(0);
    let bytes = stranger.read(&theirs).unwrap();
    let path = dir().join("00000009-00000000000000000001-00000000000000000000.ordinary.seg");
    victim.disk.write(&path, &bytes);
    let (spool, report) = open(&victim.disk);
    assert_eq!((&report.foreign, report.records), (&vec![path.clone()], COUNT), "and named");
    drop(spool);
    victim.disk.write(&dir().join("notes.txt"), b"not ours");
    assert_eq!(verify(&victim.disk, dir()).unwrap().foreign, [dir().join("notes.txt"), path.clone()]);
    assert_eq!(victim.disk.read(&path).unwrap(), bytes);
}
