//! Observe: metrics, access log and program log.
//!
//! A worker counts in its own `metrics` and writes request lines to its own buffer (`access`); both
//! belong to its `worker_stats`. `counters` belong to the node and are for rare events; their
//! `log_limit` decides which events get a line in the log. `telemetry` prints both. `log`
//! writes events for operators.

pub mod access;
pub mod counters;
pub mod ending;
pub mod exposition;
pub mod histogram;
pub mod log;
pub mod log_limit;
pub mod metrics;
pub mod outcomes;
pub mod registry;
pub mod request_report;
pub mod telemetry;
pub mod timing;
pub mod worker_stats;
