//! Runtime: threads, owners of tasks, and the signals that end them.
//!
//! `worker` is a thread with a runtime of its own, `scope` owns the tasks that run there, `signal`
//! happens once, `reactor_tick` counts how often a thread has waited for events.

pub mod reactor_tick;
pub mod scope;
pub mod signal;
pub mod worker;
