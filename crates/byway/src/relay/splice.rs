//! Splice: bulk bytes of plain TCP on their way through a kernel pipe, which costs no copy and no
//! buffer of ours.
//!
//! In:    bytes from one TCP stream, while the pipe is empty.
//! Out:   the same bytes to another one.
//! Never: fills a pipe that still holds bytes (so that "would block" always has one meaning), gives
//!        a pipe back that does (its bytes would reach somebody else), or makes more pipes than
//!        [`PIPES`] a worker.
//!
//! Whoever moves bytes decides when this is worth it: a pipe costs two system calls a turn where
//! copying costs two too, so it pays for bodies of some 32 KiB and more. Without a pipe
//! (descriptors ran out, all are in use) one copies.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use byway_dial::{Broken, Read, Stream};
use tokio::io::Interest;

use crate::os::splice::{KernelPipe, moved_in, moved_out};

/// Pipes that one worker has at most, in use and waiting.
pub const PIPES: usize = 256;

/// The pipes that each worker may have in this process, where descriptors are short.
static ALLOWED: AtomicUsize = AtomicUsize::new(PIPES);

/// Bounds the pipes of each worker, waiting ones included, to `most`, and to [`PIPES`] in any case.
pub fn allow(most: usize) {
    ALLOWED.store(most.min(PIPES), Ordering::Relaxed);
}

/// What one pipe may hold, where the system allows it.
pub const PIPE_BYTES: usize = 256 * 1024;

/// Waiting pipes that one worker keeps.
const KEPT: usize = 32;

/// A pipe on loan from its worker, and what it holds.
#[derive(Debug)]
pub struct Splice {
    /// Taken out only by the drop.
    kernel_pipe: Option<KernelPipe>,
    held: usize,
}

impl Splice {
    /// An empty pipe; none if there is none to be had.
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

    /// Bytes inside.
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Whether nothing is inside.
    pub const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Moves at most `most` bytes in from `source`; the pipe must be empty. As
    /// [`byway_dial::Pipe::poll_read`]: cancel safe, `Fin` is the peer's. A stream that is no plain
    /// TCP any more reads as broken.
    ///
    /// # Errors
    /// What broke the source.
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

    /// Moves some of what is inside out to `sink`, and says how much. Cancel safe.
    ///
    /// # Errors
    /// What broke the sink.
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
        "a stream that is spliced is no plain TCP any more",
    ))
}

thread_local! {
    static FREE: RefCell<FreePipes> = const { RefCell::new(FreePipes { waiting: Vec::new(), on_loan: 0 }) };
}

/// What the calling thread has lent and keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accounting {
    /// Pipes on loan.
    pub on_loan: usize,
    /// Pipes kept for reuse.
    pub waiting: usize,
}

/// The accounts of the calling thread's pipes.
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

/// The pipes of one worker.
struct FreePipes {
    waiting: Vec<KernelPipe>,
    on_loan: usize,
}

impl FreePipes {
    fn take(&mut self) -> Option<KernelPipe> {
        // One is made only while none waits, so this bounds both together.
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
