//! The agent: collect → fold → batch → spool → uplink. `app` alone knows every stage.

pub mod app;
pub mod batch;
pub mod cli;
pub mod collect;
pub mod config;
pub mod fail_disk;
pub mod fold;
pub mod keep;
pub mod meters;
pub mod status;
pub mod uplink;
