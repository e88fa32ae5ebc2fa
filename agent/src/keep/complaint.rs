//! A fault that may come back with every record: worth a log line when it begins or changes, and once a minute while it
//! lasts. Everything is counted meanwhile.

use std::time::Duration;

/// Between two lines about the same fault.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// What was said last, and when; nothing while all is well.
#[derive(Debug, Default)]
pub(super) struct Complaint(Option<(&'static str, Duration)>);

impl Complaint {
    /// Whether a fault of this kind is worth a line at the monotonic time `now`; then it has been said.
    pub fn is_news(&mut self, kind: &'static str, now: Duration) -> bool {
        let is_news = self.0.is_none_or(|(said, at)| said != kind || now.saturating_sub(at) >= AGAIN_AFTER);
        if is_news {
            self.0 = Some((kind, now));
        }
        is_news
    }

    /// All is well. Whether it was not before.
    pub fn is_over(&mut self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_said_when_it_begins_when_it_changes_and_once_a_minute() {
        let mut complaint = Complaint::default();
        assert!(!complaint.is_over());
        let said: Vec<u64> =
            (0..150).filter(|&second| complaint.is_news("disk_full", Duration::from_secs(second))).collect();
        assert_eq!(said, [0, 60, 120]);
        assert!(complaint.is_news("disk_error", Duration::from_secs(150)));
        assert!(complaint.is_over() && !complaint.is_over());
        assert!(complaint.is_news("disk_error", Duration::from_secs(151)), "it begins anew");
    }
}
