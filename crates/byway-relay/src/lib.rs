//! Relay: moves bytes between two open streams until both directions have ended.
//!
//! In:    two streams, the bytes that a handshake had already read from them, and limits.
//! Out:   the bytes, in order, and one [`End`]: which side ended it, how, and after how many bytes.
//! Never: turns a reset or a lost session into a FIN, and never holds a buffer for an idle
//!        direction.

pub mod buffer;
mod counters;
mod direction;
mod end;
mod fair_permits;
mod options;
pub mod outflow;
mod relay;
mod ring;
pub mod shape;
pub mod spill;
pub mod splice;

pub use buffer::{Buffer, Size};
pub use counters::RelayCounters;
pub use end::{End, EndKind, RelayError, RelayedBytes, Side};
pub use fair_permits::{FairPermit, FairPermits, NoPermit};
pub use options::{Early, RelayOptions};
pub use outflow::{DrainError, Drained, Outflow};
pub use relay::{Relay, relay};
pub use shape::{Rate, StreamShaper, Take, TokenBucket};
pub use spill::{SpillBudget, SpillError, SpillEvent, SpillOptions, SpillPool};
pub use splice::Splice;
