//! The identity of a label set, as Alertmanager computes it.
//!
//! FNV-1a over 64 bits of `name 0xFF value 0xFF` for each label in order of names, printed as 16 hex digits; source:
//! prometheus/common `model/fingerprinting.go`. Equal to what a real Alertmanager shows, so that a person can follow an
//! alert through both. It is an identity within one rule and no protection against somebody who wants a collision.

use proto::name::Labels;
use std::fmt;
use std::str::FromStr;

/// Fingerprint of a label set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub u64);

/// The text is not 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint has 16 hexadecimal digits")]
pub struct FingerprintError;

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;
/// Ends each name and each value. No UTF-8 text holds this byte, so no two label sets read alike.
const SEPARATOR: u8 = 0xff;
/// Printed length.
const DIGITS: usize = 16;

// === impl Fingerprint ===

impl Fingerprint {
    /// The fingerprint of `labels`, the metric's name not among them.
    pub fn of(labels: &Labels) -> Self {
        let mut hash = OFFSET_BASIS;
        let mut add = |text: &str| {
            for byte in text.bytes().chain([SEPARATOR]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
            }
        };
        for label in labels.iter() {
            add(label.name());
            add(label.value());
        }
        Self(hash)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !well_formed {
            return Err(FingerprintError);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| FingerprintError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(pairs: &[(&str, &str)]) -> String {
        Fingerprint::of(&Labels::try_new(pairs.iter().copied()).expect("well formed")).to_string()
    }

    #[test]
    fn it_equals_what_alertmanager_prints() {
        // The first is from a real notification (alertmanager#2447), the second from the same function.
        assert_eq!(of(&[("alertname", "DemoAlert"), ("server", "ni3"), ("severity", "critical")]), "8a07086b74f3ba78");
        assert_eq!(
            of(&[
                ("severity", "critical"),
                ("alertname", "FilaWhatsAppParada"),
                ("tenant", "clinica-17"),
                ("service", "mensageria"),
            ]),
            "8a3f60bd68a33ea6"
        );
        assert_eq!(of(&[]), "cbf29ce484222325");
    }

    #[test]
    fn where_a_name_ends_and_a_value_begins_matters() {
        assert_ne!(of(&[("a", "bc")]), of(&[("ab", "c")]));
        assert_ne!(of(&[("a", "b"), ("c", "d")]), of(&[("a", "bc"), ("d", "")]));
    }

    #[test]
    fn what_is_not_sixteen_digits_is_refused() {
        for text in ["", "8a07086b74f3ba7", "8a07086b74f3ba78f", "+a07086b74f3ba78", "ga07086b74f3ba78"] {
            assert_eq!(text.parse::<Fingerprint>(), Err(FingerprintError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(bits: u64) {
            prop_assert_eq!(Fingerprint(bits).to_string().parse(), Ok(Fingerprint(bits)));
        }
    }
}
