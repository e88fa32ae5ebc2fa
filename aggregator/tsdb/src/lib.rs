//! Time series: the recent samples of every series in memory.
//!
//! Pure: no tokio, no SQL, no clock. What is durable lies in the aggregator's log; a restart feeds it through the same
//! [`Head::append`]. [`chunk`] gives samples the form in which they are kept; the storage trait that keeps them comes with the
//! query engine.

pub mod chunk;
mod head;
mod series;

pub use head::{Appended, Head, Limits, Origin, SeriesId, is_own};
pub use series::{Sample, Series};
