//! The aggregator: ingest → store → head → rules → notify → people; head → http. `app` alone knows every part.

pub mod app;
pub mod cli;
pub mod config;
pub mod descriptors;
pub mod http;
pub mod ingest;
pub mod live;
pub mod meters;
pub mod notify;
pub mod query;
pub mod restore;
pub mod rules;
pub mod store;
pub mod upkeep;
