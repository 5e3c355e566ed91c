//! Splice: moves bulk bytes of plain TCP through a kernel pipe, without a copy or a user-space
//! buffer.
//!
//! In:    bytes from one TCP stream, while the pipe is empty.
//! Out:   the same bytes to another one.
//! Never: fills a pipe that still holds bytes (so that "would block" always has one meaning),
//!        reuses a pipe that holds bytes (another flow would receive them), or makes more pipes
//!        than [`PIPES`] for a thread.
//!
//! The caller decides when it pays: a pipe costs two system calls per transfer, as a copy does, so
//! it pays for bodies of about 32 KiB and more. Without a pipe (descriptors ran out, all are in
//! use) the caller copies.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use byway_dial::{Broken, Read, Stream};
use tokio::io::Interest;

mod kernel_pipe;

use kernel_pipe::{KernelPipe, moved_in, moved_out};

/// The most pipes that one thread has, in use and idle.
pub const PIPES: usize = 256;

/// The most pipes that each thread of this process may have if descriptors are scarce.
static ALLOWED: AtomicUsize = AtomicUsize::new(PIPES);

/// Limits the pipes of each thread of the process, in use and idle, to `most`, and in any case to
/// [`PIPES`], the default. A pipe takes two descriptors. Flows without a pipe are copied.
pub fn allow(most: usize) {
    ALLOWED.store(most.min(PIPES), Ordering::Relaxed);
}

/// The capacity of one pipe, if the system allows it.
pub const PIPE_BYTES: usize = 256 * 1024;

/// The most idle pipes that one thread keeps.
const KEPT: usize = 32;

/// A kernel pipe on loan from its thread, and the number of bytes in it. Dropping it returns it, or
/// closes it if it holds bytes.
#[derive(Debug)]
pub struct Splice {
    /// `None` only during the drop.
    kernel_pipe: Option<KernelPipe>,
    held: usize,
}

impl Splice {
    /// An empty pipe; `None` if no pipe is available.
    pub fn take() -> Option<Self> {
        let kernel_pipe = FREE
            .try_with(|free| free.borrow_mut().take())
            .ok()
            .flatten()?;
        Some(Self {
            kernel_pipe: Some(kernel_pipe),
            held: 0,
        })
    }

    /// Bytes in the pipe.
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Whether the pipe is empty.
    pub const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Moves at most `most` bytes in from `source`; the pipe must be empty. Like
    /// [`byway_dial::Pipe::poll_read`]: cancel safe, and `Fin` is the peer's. A stream that is no
    /// longer plain TCP reads as broken.
    ///
    /// # Errors
    /// The error that broke the source.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Stream,
        most: usize,
    ) -> Poll<Result<Read, Broken>> {
        debug_assert!(self.is_empty());
        let (Some(kernel_pipe), Some(socket)) = (&self.kernel_pipe, source.tcp_to_read()) else {
            return Poll::Ready(Err(not_plain()));
        };
        loop {
            ready!(socket.poll_read_ready(cx))?;
            match socket.try_io(Interest::READABLE, || {
                moved_in(socket, kernel_pipe, most.min(PIPE_BYTES))
            }) {
                Ok(0) => return Poll::Ready(Ok(Read::Fin)),
                Ok(n) => {
                    self.held = n;
                    return Poll::Ready(Ok(Read::Data(n)));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Moves some of the bytes to `sink`, and returns how many. Cancel safe.
    ///
    /// # Errors
    /// The error that broke the sink.
    pub fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut Stream,
    ) -> Poll<Result<usize, Broken>> {
        let (Some(kernel_pipe), Some(socket)) = (&self.kernel_pipe, sink.as_tcp()) else {
            return Poll::Ready(Err(not_plain()));
        };
        loop {
            ready!(socket.poll_write_ready(cx))?;
            match socket.try_io(Interest::WRITABLE, || {
                moved_out(kernel_pipe, socket, self.held)
            }) {
                Ok(0) => return Poll::Ready(Err(Broken::Io(std::io::ErrorKind::WriteZero.into()))),
                Ok(n) => {
                    self.held -= n.min(self.held);
                    return Poll::Ready(Ok(n));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl Drop for Splice {
    fn drop(&mut self) {
        let Some(kernel_pipe) = self.kernel_pipe.take() else {
            return;
        };
        let clean = self.is_empty();
        let _ = FREE.try_with(|free| free.borrow_mut().give(kernel_pipe, clean));
    }
}

fn not_plain() -> Broken {
    Broken::Io(std::io::Error::other(
        "a spliced stream is no longer plain TCP",
    ))
}

thread_local! {
    static FREE: RefCell<FreePipes> = const { RefCell::new(FreePipes { waiting: Vec::new(), on_loan: 0 }) };
}

/// Pipes that the calling thread has on loan and keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accounting {
    /// Pipes on loan.
    pub on_loan: usize,
    /// Pipes kept for reuse.
    pub waiting: usize,
}

/// The current numbers of the calling thread.
pub fn accounting() -> Accounting {
    let now = FREE.try_with(|free| {
        let free = free.borrow();
        Accounting {
            on_loan: free.on_loan,
            waiting: free.waiting.len(),
        }
    });
    now.unwrap_or(Accounting {
        on_loan: 0,
        waiting: 0,
    })
}

/// The pipes of one thread.
struct FreePipes {
    waiting: Vec<KernelPipe>,
    on_loan: usize,
}

impl FreePipes {
    fn take(&mut self) -> Option<KernelPipe> {
        // A pipe is made only while none is idle, so this bounds both together.
        if self.on_loan >= ALLOWED.load(Ordering::Relaxed) {
            return None;
        }
        let kernel_pipe = match self.waiting.pop() {
            Some(kernel_pipe) => kernel_pipe,
            None => KernelPipe::new(PIPE_BYTES).ok()?,
        };
        self.on_loan += 1;
        Some(kernel_pipe)
    }

    fn give(&mut self, kernel_pipe: KernelPipe, clean: bool) {
        self.on_loan = self.on_loan.saturating_sub(1);
        if clean && self.waiting.len() < KEPT {
            self.waiting.push(kernel_pipe);
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
