//! What both programs need to run for months: a clock, a backoff, connections, an orderly end, logs
//! without secrets.

pub mod accept;
pub mod backoff;
pub mod clock;
pub mod config;
pub mod drain;
pub mod fail_point;
pub mod log;
pub mod patience;
pub mod secret;
