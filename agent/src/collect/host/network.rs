//! `/proc/net/dev`: traffic of each network interface, after two lines of headings.
//!
//! ```text
//!     eth0: 206644014    7296    0    0    0     0          0         0   499479    4054    0 …
//!           bytes      packets errs drop fifo frame compressed multicast  bytes packets errs drop …
//! ```
//!
//! Left out are the node's ends of its pods' interfaces: they come and go with the pods, and each pod's own agent
//! reports the other end. Where there is no other interface but loopback, such a name is the way to the world and is
//! reported.

use crate::collect::CollectError;
use crate::collect::devices::Devices;
use crate::collect::file::KeptFile;
use crate::collect::parse::{Flaw, fields, lines, next_whole};
use crate::collect::part::{Cells, Part};
use proto::catalog::{
    SYSTEM_NETWORK_INTERFACES_UNREPORTED, SYSTEM_NETWORK_RECEIVE_BYTES_TOTAL, SYSTEM_NETWORK_RECEIVE_DROPPED_TOTAL,
    SYSTEM_NETWORK_RECEIVE_ERRORS_TOTAL, SYSTEM_NETWORK_RECEIVE_PACKETS_TOTAL, SYSTEM_NETWORK_TRANSMIT_BYTES_TOTAL,
    SYSTEM_NETWORK_TRANSMIT_DROPPED_TOTAL, SYSTEM_NETWORK_TRANSMIT_ERRORS_TOTAL, SYSTEM_NETWORK_TRANSMIT_PACKETS_TOTAL,
};
use std::time::Duration;

const HEADINGS: usize = 2;
/// Fields after the name that are looked at: eight received, four transmitted.
const FIELDS: usize = 12;
/// The node's ends of pods' interfaces: Docker, bridge and Flannel; Calico; Cilium and LXC.
const POD_PREFIXES: [&[u8]; 3] = [b"veth", b"cali", b"lxc"];
/// LXC's bridges, which are the node's own.
const BRIDGE_PREFIX: &[u8] = b"lxcbr";
const LOOPBACK: &[u8] = b"lo";

/// Whether the node's ends of pods' interfaces are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PodEnds {
    Skip,
    Report,
}

/// All reported interfaces.
#[derive(Debug)]
pub struct Interfaces {
    file: KeptFile,
    devices: Devices<8>,
}

// === impl Interfaces ===

impl Interfaces {
    /// No interfaces until the first pass.
    pub fn new(file: KeptFile) -> Self {
        let columns = [
            (&SYSTEM_NETWORK_RECEIVE_BYTES_TOTAL, 1.0),
            (&SYSTEM_NETWORK_RECEIVE_PACKETS_TOTAL, 1.0),
            (&SYSTEM_NETWORK_RECEIVE_ERRORS_TOTAL, 1.0),
            (&SYSTEM_NETWORK_RECEIVE_DROPPED_TOTAL, 1.0),
            (&SYSTEM_NETWORK_TRANSMIT_BYTES_TOTAL, 1.0),
            (&SYSTEM_NETWORK_TRANSMIT_PACKETS_TOTAL, 1.0),
            (&SYSTEM_NETWORK_TRANSMIT_ERRORS_TOTAL, 1.0),
            (&SYSTEM_NETWORK_TRANSMIT_DROPPED_TOTAL, 1.0),
        ];
        Self { file, devices: Devices::new(columns, &SYSTEM_NETWORK_INTERFACES_UNREPORTED) }
    }
}

impl Part for Interfaces {
    fn read(&mut self, _elapsed: Duration, cells: &mut Cells) -> Result<(), CollectError> {
        let Self { file, devices } = self;
        file.parse(|text| put_all(text, devices))?;
        devices.end(cells);
        Ok(())
    }
}

// === helpers ===

fn put_all(text: &[u8], devices: &mut Devices<8>) -> Result<(), Flaw> {
    devices.begin();
    let mut lines = lines(text);
    for _ in 0..HEADINGS {
        let heading = lines.next().unwrap_or_default();
        if !heading.contains(&b'|') {
            return Err(Flaw::new("two lines of headings with bars in them", heading));
        }
    }
    let is_own = |line| split(line).is_ok_and(|(name, _)| name != LOOPBACK && !is_pod_end(name));
    let pod_ends = if lines.clone().any(is_own) { PodEnds::Skip } else { PodEnds::Report };
    lines.try_for_each(|line| put_line(line, pod_ends, devices))
}

/// The name may hold colons itself (old aliases, `eth0:1`) and the first number may follow without a space.
fn split(line: &[u8]) -> Result<(&[u8], &[u8]), Flaw> {
    let colon = line.iter().rposition(|byte| *byte == b':');
    let colon = colon.ok_or_else(|| Flaw::new("an interface, a colon and its counters", line))?;
    Ok((line[..colon].trim_ascii(), &line[colon + 1..]))
}

fn is_pod_end(name: &[u8]) -> bool {
    POD_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !name.starts_with(BRIDGE_PREFIX)
}

fn put_line(line: &[u8], pod_ends: PodEnds, devices: &mut Devices<8>) -> Result<(), Flaw> {
    let (name, counted) = split(line)?;
    if pod_ends == PodEnds::Skip && is_pod_end(name) {
        return Ok(());
    }
    let mut fields = fields(counted);
    let mut counters = [0; FIELDS];
    for counter in &mut counters {
        *counter = next_whole(&mut fields, "16 counters of an interface")?;
    }
    let [bytes_in, packets_in, errors_in, dropped_in, _, _, _, _, bytes_out, packets_out, errors_out, dropped_out] =
        counters;
    devices.put(name, [bytes_in, packets_in, errors_in, dropped_in, bytes_out, packets_out, errors_out, dropped_out])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::devices::tests::reported;
    use proptest::prelude::*;

    const ETH0: &str = "  eth0: 206644014    7296    1    2    3     4          5         6   499479    4054    7    8    0     0       0          0";

    fn devices() -> Devices<8> {
        Interfaces::new(KeptFile::new("/nonexistent/net/dev")).devices
    }

    fn values_of(line: &str) -> std::collections::BTreeMap<String, f64> {
        let mut devices = devices();
        devices.begin();
        put_line(line.as_bytes(), PodEnds::Skip, &mut devices).expect("a real line");
        reported(&mut devices)
    }

    #[test]
    fn the_line_of_a_real_kernel_is_understood() {
        let values = values_of(ETH0);
        let value = |metric: &str| values[&format!("system_network_{metric}_total{{device=\"eth0\"}}")];
        assert_eq!(value("receive_bytes"), 206_644_014.0);
        assert_eq!(value("receive_packets"), 7296.0);
        assert_eq!(value("receive_errors"), 1.0);
        assert_eq!(value("receive_dropped"), 2.0);
        assert_eq!(value("transmit_bytes"), 499_479.0);
        assert_eq!(value("transmit_packets"), 4054.0);
        assert_eq!(value("transmit_errors"), 7.0);
        assert_eq!(value("transmit_dropped"), 8.0);
    }

    #[test]
    fn a_number_right_behind_the_colon_and_a_colon_in_the_name_are_understood() {
        let values = values_of(&ETH0.replace("eth0: ", "eth0:1:"));
        assert_eq!(values["system_network_receive_bytes_total{device=\"eth0:1\"}"], 206_644_014.0);
    }

    #[test]
    fn the_ends_of_pods_are_left_out() {
        for name in ["veth1a2b", "cali0123", "lxc_health"] {
            assert_eq!(values_of(&ETH0.replace("eth0", name)).len(), 1, "only the count of unreported interfaces");
        }
    }

    #[test]
    fn the_only_way_to_the_world_is_reported_whatever_its_name() {
        let text = |names: &[&str]| {
            let interfaces = names.iter().map(|name| ETH0.replace("eth0", name) + "\n").collect::<String>();
            format!("Inter-| Receive | Transmit\n face |bytes | bytes\n{interfaces}")
        };
        let told = |names: &[&str]| {
            let mut devices = devices();
            put_all(text(names).as_bytes(), &mut devices).expect("well formed");
            reported(&mut devices).keys().filter(|key| key.contains("receive_bytes")).cloned().collect::<Vec<_>>()
        };
        let of = |name: &str| format!("system_network_receive_bytes_total{{device=\"{name}\"}}");
        assert_eq!(told(&["lo", "veth7"]), [of("lo"), of("veth7")]);
        assert_eq!(told(&["lo", "veth7", "eth0"]), [of("eth0"), of("lo")]);
        assert_eq!(told(&["lo", "lxcbr0", "lxc12ab"]), [of("lo"), of("lxcbr0")], "a bridge is the node's own");
    }

    #[test]
    fn a_file_without_its_headings_is_malformed() {
        for text in ["", "garbage\n", "garbage\nInter-|\n face |\n", "Inter-|\neth0: 1 2 3\n"] {
            let flaw = put_all(text.as_bytes(), &mut devices()).expect_err("refused").to_string();
            assert!(flaw.contains("two lines of headings"), "{text:?}: {flaw}");
        }
    }

    #[test]
    fn each_mistake_is_named() {
        let mut devices = devices();
        let mut flaw =
            |line: &str| put_line(line.as_bytes(), PodEnds::Skip, &mut devices).expect_err("refused").to_string();
        assert!(flaw("eth0 1 2").contains("a colon"));
        assert!(flaw("eth0: 1 2").contains("16 counters"));
        assert!(flaw(&ETH0.replace("499479", "-1")).contains(r#"found "-1""#));
    }

    #[test]
    fn cut_at_any_byte_it_is_an_error_or_a_value_and_never_a_panic() {
        for end in 0..ETH0.len() {
            let _ = put_line(&ETH0.as_bytes()[..end], PodEnds::Skip, &mut devices());
        }
    }

    /// A pod's interfaces under Cilium, a node's under Docker, a tunnel: each stands for itself.
    #[test]
    fn a_whole_node_is_reduced_to_its_own_interfaces() {
        let mut devices = devices();
        devices.begin();
        for name in ["lo", "eth0", "docker0", "veth0a1b", "cilium_host", "lxc12ab", "cali77", "wg0", "br-12ab", "bond0"]
        {
            put_line(ETH0.replace("eth0", name).as_bytes(), PodEnds::Skip, &mut devices).expect("a real line");
        }
        let received = |key: &String| Some(key.strip_prefix("system_network_receive_bytes_total")?.to_owned());
        let told: Vec<String> = reported(&mut devices).keys().filter_map(received).collect();
        let expected = ["bond0", "br-12ab", "cilium_host", "docker0", "eth0", "lo", "wg0"];
        assert_eq!(told, expected.map(|name| format!("{{device=\"{name}\"}}")));
    }

    #[test]
    fn an_interface_without_a_name_is_malformed() {
        let flaw = put_line(ETH0.replace("eth0", "").as_bytes(), PodEnds::Skip, &mut devices()).expect_err("refused");
        assert!(flaw.to_string().contains("a device name of 1 to 128 bytes"), "{flaw}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = put_line(&bytes, PodEnds::Skip, &mut devices());
            let _ = put_line(&[b"e:", bytes.as_slice()].concat(), PodEnds::Skip, &mut devices());
        }
    }
}
