//! Observe: what the program tells about itself.

pub mod counters;
pub mod log;
