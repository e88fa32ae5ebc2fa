//! A business event: something that happened at a clinic. Which, where, when and under which key; never a patient's data.
//!
//! The key makes it one event, however often it is handed in.

use crate::limits::{EVENT_KEY_MAX_BYTES, EVENT_KIND_MAX_BYTES};
use crate::sample::Timestamp;
use uuid::Uuid;

/// A checked event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened, e.g. `appointment.created`: 1 to 64 bytes in `[a-z0-9_.]`.
    pub kind: String,
    /// At which clinic.
    pub clinic_id: Uuid,
    /// When, by the clock of whoever handed it in.
    pub occurred_at: Timestamp,
    /// Names it within its clinic: 1 to 128 visible ASCII characters. The same key means the same event.
    pub idempotency_key: String,
}

/// What is wrong with an event. The event's words are not repeated: they may be what must not be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The type is none.
    #[error("an event's type must have 1 to {EVENT_KIND_MAX_BYTES} bytes in [a-z0-9_.]")]
    Kind,
    /// The clinic's id is no uuid.
    #[error("an event's clinic_id must be a uuid in its usual text form")]
    ClinicId,
    /// The key is none.
    #[error("an event's idempotency_key must have 1 to {EVENT_KEY_MAX_BYTES} visible ASCII characters")]
    Key,
}

// === impl Event ===

impl Event {
    /// Checks what was handed in.
    pub fn try_new(kind: &str, clinic_id: &str, occurred_at: Timestamp, key: &str) -> Result<Self, EventError> {
        let is_named = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'.';
        if !(1..=EVENT_KIND_MAX_BYTES).contains(&kind.len()) || !kind.bytes().all(is_named) {
            return Err(EventError::Kind);
        }
        let clinic_id = Uuid::try_parse(clinic_id).map_err(|_| EventError::ClinicId)?;
        if !(1..=EVENT_KEY_MAX_BYTES).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(EventError::Key);
        }
        Ok(Self { kind: kind.into(), clinic_id, occurred_at, idempotency_key: key.into() })
    }
}

// === impl EventError ===

impl EventError {
    /// The word under which it is counted.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Kind => "bad_type",
            Self::ClinicId => "bad_clinic",
            Self::Key => "bad_key",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLINIC: &str = "00000000-0000-0000-0000-00000000002a";

    fn made(kind: &str, clinic: &str, key: &str) -> Result<Event, EventError> {
        Event::try_new(kind, clinic, Timestamp::ZERO, key)
    }

    #[test]
    fn an_event_keeps_what_it_was_made_of() {
        let event = made("appointment.no_show", CLINIC, "k-1").expect("fine");
        assert_eq!((event.kind.as_str(), event.clinic_id), ("appointment.no_show", Uuid::from_u128(42)));
        assert_eq!(event.idempotency_key, "k-1");
    }

    #[test]
    fn each_mistake_has_its_name_and_repeats_nothing_of_the_event() {
        let long = |bytes| "x".repeat(bytes);
        for kind in ["", "Appointment", "a b", "ação", &long(65)] {
            assert_eq!(made(kind, CLINIC, "k"), Err(EventError::Kind), "{kind}");
        }
        assert_eq!(made("a", "42", "k"), Err(EventError::ClinicId));
        for key in ["", "maria silva", "ção", "a\n", &long(129)] {
            assert_eq!(made("a", CLINIC, key), Err(EventError::Key), "{key}");
        }
        assert!(made(&long(64), CLINIC, &long(128)).is_ok());
        assert!(!EventError::Key.to_string().contains("maria"));
    }
}
