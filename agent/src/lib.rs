//! The agent: collect → fold → batch → spool → uplink, and receive → spool. `app` alone knows every stage.

pub mod app;
pub mod batch;
pub mod cli;
pub mod collect;
pub mod config;
pub mod entrance;
pub mod fail_disk;
pub mod fold;
pub mod keep;
pub mod meters;
pub mod receive;
pub mod status;
pub mod uplink;
