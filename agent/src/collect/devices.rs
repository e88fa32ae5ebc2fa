//! The devices of a file that lists one per line: which there are, and their counters.
//!
//! The list is compared with the one of the pass before while it is parsed, so nothing is allocated as long as the same
//! devices stand in the same order, which is what the kernel does. Otherwise the series are declared anew.

use super::parse::Flaw;
use super::part::{Cell, Cells};
use proto::catalog::Metric;

/// Devices of one kind that are reported. A node has tens; one that has more is told by the `unreported` series.
pub const DEVICES_MAX: usize = 64;

/// Longest name of a device: the kernel's own limits are 16 (network) and 32 (disk).
const NAME_MAX_BYTES: usize = 128;

/// One of a device's series: its metric, and how many of the counted units make one of the metric's.
pub type Column = (&'static Metric, f64);

/// All devices of one kind, with `N` counters each.
#[derive(Debug)]
pub struct Devices<const N: usize> {
    columns: [Column; N],
    unreported_metric: &'static Metric,
    known: Vec<Device<N>>,
    unreported: Option<Cell>,
    /// How many devices this pass has brought so far.
    seen: usize,
    changed: bool,
}

#[derive(Debug)]
struct Device<const N: usize> {
    name: Vec<u8>,
    values: [u64; N],
    cells: [Cell; N],
}

// === impl Devices ===

impl<const N: usize> Devices<N> {
    /// No devices yet. `unreported_metric` counts those beyond [`DEVICES_MAX`].
    pub fn new(columns: [Column; N], unreported_metric: &'static Metric) -> Self {
        Self { columns, unreported_metric, known: Vec::new(), unreported: None, seen: 0, changed: true }
    }

    /// Begins a pass over the file.
    pub fn begin(&mut self) {
        self.seen = 0;
    }

    /// Takes the next device of the file.
    pub fn put(&mut self, name: &[u8], values: [u64; N]) -> Result<(), Flaw> {
        let place = self.seen;
        self.seen += 1;
        if place >= DEVICES_MAX {
            return Ok(());
        }
        if let Some(device) = self.known.get_mut(place)
            && device.name == name
        {
            device.values = values;
            return Ok(());
        }
        self.changed = true;
        self.known.truncate(place);
        let label = String::from_utf8_lossy(name);
        if name.is_empty() || name.len() > NAME_MAX_BYTES || name.contains(&0) {
            return Err(Flaw::new("a device name of 1 to 128 bytes without NUL", name));
        }
        if self.known.iter().any(|known| String::from_utf8_lossy(&known.name) == label) {
            return Err(Flaw::new("each device once", name));
        }
        self.known.push(Device { name: name.to_vec(), values, cells: [Cell::NONE; N] });
        Ok(())
    }

    /// Ends a pass: devices that did not come are gone, and the values go into `cells`.
    pub fn end(&mut self, cells: &mut Cells) {
        if self.seen < self.known.len() {
            self.known.truncate(self.seen);
            self.changed = true;
        }
        if self.changed {
            self.declare(cells);
            self.changed = false;
        }
        for device in &self.known {
            for (index, (_, units)) in self.columns.iter().enumerate() {
                cells.set(device.cells[index], device.values[index] as f64 / units);
            }
        }
        if let Some(cell) = self.unreported {
            cells.set(cell, self.seen.saturating_sub(DEVICES_MAX) as f64);
        }
    }

    fn declare(&mut self, cells: &mut Cells) {
        cells.clear();
        self.unreported = Some(cells.push(self.unreported_metric, &[]));
        for device in &mut self.known {
            let label = String::from_utf8_lossy(&device.name);
            device.cells = self.columns.map(|(metric, _)| cells.push(metric, &[("device", &label)]));
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::collect::tests::by_key;
    use proptest::prelude::*;
    use proto::catalog::{SYSTEM_DISK_READ_BYTES_TOTAL, SYSTEM_DISKS_UNREPORTED};
    use std::collections::BTreeMap;

    /// Ends the pass and returns all series as text with their values.
    pub fn reported<const N: usize>(devices: &mut Devices<N>) -> BTreeMap<String, f64> {
        let mut cells = Cells::default();
        devices.changed = true;
        devices.end(&mut cells);
        by_key(&cells.to_table())
    }

    fn devices() -> Devices<1> {
        Devices::new([(&SYSTEM_DISK_READ_BYTES_TOTAL, 0.5)], &SYSTEM_DISKS_UNREPORTED)
    }

    /// One pass over `names`, each with its place as the value; says whether the series changed.
    fn pass(devices: &mut Devices<1>, cells: &mut Cells, names: &[&str]) -> bool {
        devices.begin();
        for (index, name) in names.iter().enumerate() {
            devices.put(name.as_bytes(), [index as u64]).expect("well formed");
        }
        devices.end(cells);
        cells.take_changed()
    }

    fn names(cells: &Cells) -> Vec<String> {
        let table = cells.to_table();
        table.definitions().iter().filter_map(|def| def.key.labels.get("device").map(str::to_owned)).collect()
    }

    #[test]
    fn series_change_exactly_when_the_list_of_devices_does() {
        let (mut devices, mut cells) = (devices(), Cells::default());
        for (list, changes) in [
            (vec!["a", "b"], true),
            (vec!["a", "b"], false),
            (vec!["a", "b", "c"], true), // one appears at the end
            (vec!["a", "c"], true),      // one vanishes from the middle
            (vec!["a", "c"], false),
            (vec!["b", "a", "c"], true), // one appears at the beginning
            (vec!["b", "a"], true),      // one vanishes from the end
            (vec![], true),
            (vec![], false),
        ] {
            assert_eq!(pass(&mut devices, &mut cells, &list), changes, "{list:?}");
            assert_eq!(names(&cells), list);
        }
    }

    #[test]
    fn each_device_has_its_own_value_in_the_metrics_unit() {
        let (mut devices, mut cells) = (devices(), Cells::default());
        pass(&mut devices, &mut cells, &["a", "b", "c"]);
        let values = by_key(&cells.to_table());
        assert_eq!(values["system_disk_read_bytes_total{device=\"c\"}"], 4.0);
    }

    #[test]
    fn devices_beyond_the_limit_are_counted_and_not_reported() {
        let (mut devices, mut cells) = (devices(), Cells::default());
        let many: Vec<String> = (0..DEVICES_MAX + 3).map(|index| format!("d{index}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(pass(&mut devices, &mut cells, &many));
        assert!(!pass(&mut devices, &mut cells, &many), "what is not reported changes nothing");
        assert_eq!(names(&cells).len(), DEVICES_MAX);
        assert_eq!(by_key(&cells.to_table())["system_disks_unreported{}"], 3.0);
    }

    #[test]
    fn a_name_twice_or_too_long_or_with_nul_is_malformed_and_the_next_pass_recovers() {
        let (mut devices, mut cells) = (devices(), Cells::default());
        pass(&mut devices, &mut cells, &["a", "b"]);
        let long = [b'x'; NAME_MAX_BYTES + 1];
        let wrong: [&[u8]; 4] = [b"a", &long, b"a\0", b""];
        for name in wrong {
            devices.begin();
            devices.put(b"a", [0]).expect("well formed");
            assert!(devices.put(name, [0]).is_err());
        }
        assert!(pass(&mut devices, &mut cells, &["a", "b"]));
        assert_eq!(names(&cells), ["a", "b"]);
    }

    proptest! {
        #[test]
        fn whatever_came_before_the_last_pass_alone_decides_what_is_reported(
            passes in prop::collection::vec(prop::sample::subsequence(vec!["a", "b", "c", "d", "e"], 0..=5), 1..8),
            rotation in 0_usize..5,
        ) {
            let (mut devices, mut cells) = (devices(), Cells::default());
            let mut before: Option<Vec<&str>> = None;
            for (index, mut list) in passes.into_iter().enumerate() {
                if !list.is_empty() {
                    let places = (rotation * index) % list.len();
                    list.rotate_left(places);
                }
                let changed = pass(&mut devices, &mut cells, &list);
                prop_assert_eq!(changed, before.as_ref() != Some(&list));
                prop_assert_eq!(names(&cells), list.clone());
                let values = by_key(&cells.to_table());
                for (place, name) in list.iter().enumerate() {
                    let series = format!("system_disk_read_bytes_total{{device=\"{name}\"}}");
                    prop_assert_eq!(values[&series], place as f64 * 2.0);
                }
                before = Some(list);
            }
        }
    }

    #[test]
    fn two_names_that_print_alike_are_malformed() {
        let mut devices = devices();
        devices.begin();
        devices.put(b"\xff", [0]).expect("a name need not be UTF-8");
        assert!(devices.put(b"\xfe", [0]).is_err());
    }
}
