//! Access: the access log, with a line for each request and each tunnel.
//!
//! ```text
//! worker ─▶ its buffer (at most 1 MiB) ─▶ one writer thread ─▶ sink (standard output, or a file)
//! ```
//!
//! A worker formats each `line` (`fields` lists what it can say) straight into its `log_buffer`,
//! under a lock for which only the writer contends, once in 100 ms. The writer swaps full buffers
//! for empty ones. A sink that blocks or is full loses lines, which are counted, and never delays a
//! worker.

pub mod clock;
pub mod escape;
pub mod fields;
pub mod line;
mod log;
pub mod log_buffer;
pub(super) mod log_waker;
pub(super) mod sink;
pub(super) mod writer;

#[cfg(test)]
mod tests;

pub use log::{AccessLog, AccessLogError};
