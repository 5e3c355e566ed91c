//! Spill: bytes for a slow reader, in memory first, then in an unnamed file, so that the source can
//! finish and go.
//!
//! In:    bytes as fast as the source gives them, until a budget says no.
//! Out:   the same bytes in order, as fast as the reader takes them.
//! Never: blocks a worker, names a file, reorders, or loses a byte to a full disk.

mod budget;
mod directory;
mod file;
mod pipe;
mod pool;
mod queue;

pub use budget::SpillBudget;
pub use directory::{SpillDirError, prepare, warn_if_memory};
pub(super) use pipe::Spill;
pub use pipe::{SpillError, SpillOptions};
pub use pool::SpillPool;
