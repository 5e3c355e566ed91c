//! Observe: what the program tells about itself.
//!
//! A worker counts in its own `metrics` and writes request lines on its own page (`access`); both
//! hang on its `worker_stats`. `counters` are the node's, for what is rare; its `log_limit` say
//! which events get a line in the log. `prometheus` prints all of it. `log` is for events, told to
//! people.

pub mod access;
pub mod carriers;
pub mod counters;
pub mod ending;
pub mod exposition;
pub mod histogram;
pub mod log;
pub mod log_limit;
pub mod metrics;
pub mod outcomes;
pub mod prometheus;
pub mod timing;
pub mod worker_stats;
