//! Time series: the recent samples of every series in memory.
//!
//! Pure: no tokio, no SQL, no clock. What is durable lies in the aggregator's log; a restart feeds it through the same
//! [`Head::append`].
//!
//! Beside the head, and not yet used by it: [`chunk`] gives samples the form in which they are kept; [`Index`], with [`Caps`]
//! at its door, finds series by their labels. The head is to be built on both, with a storage trait behind it.

mod caps;
pub mod chunk;
mod dictionary;
mod head;
mod index;
mod labels;
mod matcher;
mod pattern;
mod postings;
mod refusals;
mod series;
mod symbols;
mod table;
mod values;

pub use caps::{Caps, Claim, OwnerId, Refused, SeriesLimits};
pub use dictionary::IndexLimits;
pub use head::{Appended, Head, Limits, Origin, SeriesId as HeadSeriesId, is_own};
pub use index::{Added, Counted, Index, IndexStats, SeriesId};
pub use labels::{CLINIC_LABEL, LabelsError, METRIC_NAME, SERIES_LABELS_MAX, SeriesLabels};
pub use matcher::{MatchOp, Matcher, Passes};
pub use refusals::{REFUSED_METRICS_MAX, Refusals, RefusedMetric};
pub use series::{Sample, Series};
pub use symbols::{Symbol, SymbolLimits, Symbols, SymbolsFull};
