//! What the rules say now, for the pages: written by the rules' task after each step, read by anyone.

use alerting::Instance;
use proto::sample::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One rule as it stands.
#[derive(Clone, Debug)]
pub struct RuleView {
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
    /// When it was evaluated last.
    pub evaluated_at: Option<Timestamp>,
    /// Its instances, pending, firing and lately resolved.
    pub instances: Vec<Instance>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Board(Mutex<Arc<Vec<RuleView>>>);

impl Board {
    /// Shows `rules`.
    pub fn set(&self, rules: Vec<RuleView>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// What is shown.
    pub fn get(&self) -> Arc<Vec<RuleView>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
