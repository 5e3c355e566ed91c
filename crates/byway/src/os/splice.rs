//! Splice: pages that move from one socket to another through a kernel pipe, without passing
//! through this program.
//!
//! In:    two sockets and a pipe.
//! Out:   how many bytes went into the pipe or out of it.
//! Never: blocks, and never raises SIGPIPE (the runtime ignores it).
//!
//! Linux only (splice(2)). Elsewhere no pipe can be made, and whoever asks copies instead.

#[cfg(target_os = "linux")]
pub use linux::{KernelPipe, moved_in, moved_out};
#[cfg(not(target_os = "linux"))]
pub use portable::{KernelPipe, moved_in, moved_out};

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};

    use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

    /// A kernel pipe, both ends.
    #[derive(Debug)]
    pub struct KernelPipe {
        out: OwnedFd,
        into: OwnedFd,
    }

    impl KernelPipe {
        /// A pipe with room for about `bytes`. An unprivileged user may own only so many large
        /// pipes; beyond that it has the size that the system gives.
        ///
        /// # Errors
        /// When descriptors have run out.
        pub fn new(bytes: usize) -> io::Result<Self> {
            let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
            let _ = fcntl_setpipe_size(&into, bytes);
            Ok(Self { out, into })
        }
    }

    /// Moves at most `most` bytes from a socket into the pipe. 0 is the socket's end. `WouldBlock`
    /// means that the socket has nothing, if the pipe was empty; if it was not, nobody can say.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn moved_in(socket: impl AsFd, kernel_pipe: &KernelPipe, most: usize) -> io::Result<usize> {
        Ok(splice(
            socket,
            None,
            &kernel_pipe.into,
            None,
            most,
            SpliceFlags::NONBLOCK | SpliceFlags::MOVE,
        )?)
    }

    /// Moves at most `most` bytes from the pipe, which holds some, to a socket. `WouldBlock` means
    /// that the socket is full.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn moved_out(
        kernel_pipe: &KernelPipe,
        socket: impl AsFd,
        most: usize,
    ) -> io::Result<usize> {
        Ok(splice(
            &kernel_pipe.out,
            None,
            socket,
            None,
            most,
            SpliceFlags::NONBLOCK | SpliceFlags::MOVE,
        )?)
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use std::io;

    /// No such thing here.
    #[derive(Debug)]
    pub enum KernelPipe {}

    impl KernelPipe {
        /// Always fails.
        ///
        /// # Errors
        /// `Unsupported`.
        pub fn new(_bytes: usize) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// Cannot be called, as there is no [`KernelPipe`].
    ///
    /// # Errors
    /// None.
    pub fn moved_in<S>(_socket: S, kernel_pipe: &KernelPipe, _most: usize) -> io::Result<usize> {
        match *kernel_pipe {}
    }

    /// Cannot be called, as there is no [`KernelPipe`].
    ///
    /// # Errors
    /// None.
    pub fn moved_out<S>(kernel_pipe: &KernelPipe, _socket: S, _most: usize) -> io::Result<usize> {
        match *kernel_pipe {}
    }
}
