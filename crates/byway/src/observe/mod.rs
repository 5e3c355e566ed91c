//! Observe: what the program tells about itself.
//!
//! A worker counts in its own `ledger` and writes request lines on its own page (`access`); both
//! hang on its `station`. `counters` are the node's, for what is rare; its `repeats` say which
//! events get a line in the log. `prometheus` prints all of it. `log` is for events, told to
//! people.

pub mod access;
pub mod carriers;
pub mod counters;
pub mod course;
pub mod ending;
pub mod ends;
pub mod exposition;
pub mod histogram;
pub mod ledger;
pub mod log;
pub mod prometheus;
pub mod repeats;
pub mod station;
