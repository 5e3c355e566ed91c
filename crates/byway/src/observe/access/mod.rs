//! Access: the access log: a line for each request and each tunnel.
//!
//! ```text
//! worker ─▶ its buffer (at most 1 MiB) ─▶ one writer thread ─▶ sink (standard output, or a file)
//! ```
//!
//! A worker formats its `line`s straight into its `log_buffer`, under a lock that only the writer
//! contends for, once in 100 ms. The writer takes whole buffers and gives empty ones back. A sink
//! that is stuck or full costs lines, which are counted, and never a worker's time.

pub mod clock;
pub mod escape;
pub mod line;
mod log;
pub mod log_buffer;
pub(super) mod log_waker;
pub(super) mod sink;
pub(super) mod writer;

#[cfg(test)]
mod tests;

pub use log::{AccessLog, AccessLogError};
