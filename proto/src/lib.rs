//! What agent and aggregator share: the wire format, the domain types it becomes, and the catalog of metrics.
//!
//! Bytes become domain types in `convert`, the only file that sees generated protobuf types; from there on everything
//! is known to be well formed and within `limits`. The crate does no I/O; the feature `grpc` adds the stubs.

pub mod catalog;
pub mod convert;
pub mod document;
pub mod duration;
pub mod event;
pub mod exposition;
#[cfg(feature = "grpc")]
pub mod grpc;
pub mod limits;
pub mod message;
pub mod name;
pub mod refused;
pub mod report;
pub mod sample;
pub mod telemetry;
pub mod yaml;
