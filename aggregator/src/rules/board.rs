//! What the rules say now, for the pages: written by the rules' task after each step, read by anyone.
//!
//! A rule's state is shared, not copied: a step makes a new one, and whoever reads keeps the old one for that long.

use alerting::{Rule, RuleState, Template};
use proto::sample::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One rule as it stands.
#[derive(Clone, Debug, Default)]
pub struct RuleView {
    /// Names it in the database, and in the metadata of its alerts.
    pub key: String,
    /// The file it comes from.
    pub file: String,
    /// Its group.
    pub group: String,
    /// Its name.
    pub name: String,
    /// Its expression.
    pub query: String,
    /// How often at least it is evaluated.
    pub interval: Duration,
    /// What it makes of its result.
    pub kind: Shown,
    /// `ok`, `err` or `unknown`.
    pub health: &'static str,
    /// What was wrong with the last evaluation.
    pub last_error: Option<String>,
    /// Why it is unknown, where it was evaluated and is.
    pub doubt: Option<String>,
    /// When it was evaluated last.
    pub evaluated_at: Option<Timestamp>,
    /// How long that took.
    pub took: Duration,
    /// Its instances, pending, firing and lately resolved.
    pub state: Arc<RuleState>,
}

/// What a rule makes of its result, and what it says to that.
#[derive(Clone, Debug)]
pub enum Shown {
    /// Alerts.
    Alert {
        /// `for`.
        hold: Duration,
        /// `keep_firing_for`.
        keep_firing: Duration,
        /// Its labels, as written.
        labels: Vec<(String, String)>,
        /// Its annotations, as written.
        annotations: Vec<(String, String)>,
    },
    /// Series.
    Record {
        /// Their labels.
        labels: Vec<(String, String)>,
    },
}

/// See the module.
#[derive(Debug, Default)]
pub struct Board(Mutex<Vec<Arc<RuleView>>>);

impl Shown {
    /// Of a rule.
    pub fn of(rule: &Rule) -> Self {
        let texts = |templates: &[(String, Template)]| {
            templates.iter().map(|(name, template)| (name.clone(), template.as_str().to_owned())).collect()
        };
        match rule {
            Rule::Alert(rule) => Self::Alert {
                hold: rule.hold_for,
                keep_firing: rule.keep_firing_for,
                labels: texts(&rule.labels),
                annotations: texts(&rule.annotations),
            },
            Rule::Record(rule) => {
                let labels = rule.labels.iter().map(|label| (label.name().to_owned(), label.value().to_owned()));
                Self::Record { labels: labels.collect() }
            }
        }
    }

    /// The rule's labels.
    pub fn labels(&self) -> &[(String, String)] {
        match self {
            Self::Alert { labels, .. } | Self::Record { labels } => labels,
        }
    }

    /// `for`; none where nothing is held.
    pub fn hold(&self) -> Duration {
        match self {
            Self::Alert { hold, .. } => *hold,
            Self::Record { .. } => Duration::ZERO,
        }
    }
}

impl Default for Shown {
    fn default() -> Self {
        Self::Alert { hold: Duration::ZERO, keep_firing: Duration::ZERO, labels: Vec::new(), annotations: Vec::new() }
    }
}

impl Board {
    /// Shows `rules`.
    pub fn set(&self, rules: Vec<RuleView>) {
        *self.lock() = rules.into_iter().map(Arc::new).collect();
    }

    /// Shows how one of them stands now.
    pub fn update(&self, index: usize, rule: RuleView) {
        if let Some(shown) = self.lock().get_mut(index) {
            *shown = Arc::new(rule);
        }
    }

    /// What is shown.
    pub fn get(&self) -> Vec<Arc<RuleView>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<RuleView>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, health: &'static str) -> RuleView {
        RuleView {
            key: format!("g/{name}/0"),
            file: "rules.yml".into(),
            group: "g".into(),
            name: name.into(),
            query: "up == 0".into(),
            health,
            ..RuleView::default()
        }
    }

    fn shown(rules: &[Arc<RuleView>]) -> Vec<(&str, &str)> {
        rules.iter().map(|rule| (rule.name.as_str(), rule.health)).collect()
    }

    #[test]
    fn an_update_changes_its_rule_alone_and_who_reads_keeps_what_was_shown_then() {
        let board = Board::default();
        board.set(vec![rule("A", "unknown"), rule("B", "unknown")]);
        let before = board.get();
        board.update(1, rule("B", "ok"));
        assert_eq!(shown(&board.get()), [("A", "unknown"), ("B", "ok")]);
        assert_eq!(shown(&before), [("A", "unknown"), ("B", "unknown")]);
        assert!(Arc::ptr_eq(&before[0], &board.get()[0]), "what did not change is not copied");
    }

    #[test]
    fn a_new_file_replaces_all_and_an_update_of_a_rule_that_is_gone_is_nothing() {
        let board = Board::default();
        board.set(vec![rule("A", "ok"), rule("B", "ok")]);
        board.set(vec![rule("C", "unknown")]);
        board.update(1, rule("B", "err"));
        assert_eq!(shown(&board.get()), [("C", "unknown")]);
    }
}
