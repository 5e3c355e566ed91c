//! Spill: a queue for a slow reader, in memory first, then in an unnamed file, so that the source
//! can finish and close.
//!
//! In:    bytes as fast as the source sends them, until a budget is used up.
//! Out:   the same bytes in order, as fast as the reader takes them.
//! Never: blocks the thread of a task, names a file, reorders, or loses a byte because the disk is full.

mod budget;
mod directory;
mod file;
mod pipe;
mod pool;
mod queue;
mod unnamed_file;

pub use budget::SpillBudget;
pub use directory::{SpillDirError, prepare, warn_if_memory};
pub(super) use pipe::Spill;
pub use pipe::{SpillError, SpillOptions};
pub use pool::{SpillEvent, SpillPool};
