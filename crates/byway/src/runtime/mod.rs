//! Runtime: threads, owners of tasks, and the signals that end them.
//!
//! `worker` is a thread with a runtime of its own, `scope` owns the tasks that run there, `signal`
//! happens once.

pub mod scope;
pub mod signal;
pub mod worker;
