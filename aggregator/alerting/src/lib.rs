//! Alerting: rule files, the state of every alert instance, and the notifications that they become.
//!
//! Why a crate: this is the part that must never be wrong, so it is the part without a clock, a database or a task.
//! Time is an argument, rows come in and go out as plain data, and a test is a timetable.
//!
//! ```text
//! text ─ rule_file::parse ─► RuleFile ─► AlertRule ─┐   (RecordingRule ─► series)
//! points of its expression ─────────────────────────┴─► RuleState::step ─► transitions ─► notification::Webhook
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `rule_file` | YAML to rules; every mistake at once, each with line and column |
//! | `rule` | a rule as it is after every check |
//! | `template`, `number` | `{{ $value \| humanize }}` and its functions, how Go prints numbers |
//! | `instance` | one alert instance and its next state |
//! | `evaluation` | what goes into an evaluation and what comes out |
//! | `rule_state` | all instances of one rule: step, restore, deletion |
//! | `fingerprint` | Alertmanager's identity of a label set |
//! | `notification` | webhook JSON, version 4 |
//!
//! The specification is Prometheus's own behaviour; where we differ the item says so and why.

pub mod evaluation;
pub mod fingerprint;
pub mod instance;
pub mod notification;
mod number;
pub mod rule;
pub mod rule_file;
pub mod rule_state;
pub mod template;

pub use evaluation::{Evaluation, Health, Point, Reason, Step, Transition, Unheard};
pub use fingerprint::Fingerprint;
pub use instance::{Instance, InstanceState};
pub use rule::{AlertRule, Group, RecordingRule, Rule, RuleFile};
pub use rule_file::{ExprProblem, Problem};
pub use rule_state::{Certainty, RuleState};
pub use template::Template;
