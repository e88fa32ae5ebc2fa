//! What the rules say now, for the pages: written by the rules' task after each step, read by anyone.
//!
//! A rule's state is shared, not copied: a step makes a new one, and whoever reads keeps the old one for that long.

use alerting::RuleState;
use proto::sample::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One rule as it stands.
#[derive(Clone, Debug)]
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
    /// `for`.
    pub hold: Duration,
    /// `ok`, `err` or `unknown`.
    pub health: &'static str,
    /// What was wrong with the last evaluation.
    pub last_error: Option<String>,
    /// Why it is unknown, where it was evaluated and is.
    pub doubt: Option<String>,
    /// When it was evaluated last.
    pub evaluated_at: Option<Timestamp>,
    /// Its instances, pending, firing and lately resolved.
    pub state: Arc<RuleState>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Board(Mutex<Vec<Arc<RuleView>>>);

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
