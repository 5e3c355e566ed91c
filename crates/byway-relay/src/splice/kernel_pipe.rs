//! Kernel pipe: moves bytes from one socket to another without copying them through this program.
//!
//! In:    two sockets and a pipe.
//! Out:   how many bytes went into the pipe or out of it.
//! Never: blocks, or raises SIGPIPE (the runtime ignores it).
//!
//! Linux only (splice(2)). On other platforms no pipe can be created, and the caller copies
//! instead.

#[cfg(target_os = "linux")]
pub(super) use linux::{KernelPipe, moved_in, moved_out};
#[cfg(not(target_os = "linux"))]
pub(super) use portable::{KernelPipe, moved_in, moved_out};

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};

    use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

    /// A kernel pipe, both ends.
    #[derive(Debug)]
    pub(crate) struct KernelPipe {
        out: OwnedFd,
        into: OwnedFd,
    }

    impl KernelPipe {
        /// A pipe with room for about `bytes`. The number of large pipes of an unprivileged user is
        /// limited; beyond that it has the default size.
        ///
        /// # Errors
        /// When descriptors have run out.
        pub(crate) fn new(bytes: usize) -> io::Result<Self> {
            let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
            let _ = fcntl_setpipe_size(&into, bytes);
            Ok(Self { out, into })
        }
    }

    /// Moves at most `most` bytes from a socket into the pipe. 0 is the socket's end. `WouldBlock`
    /// means that the socket has no data if the pipe was empty; otherwise either may be the cause.
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) fn moved_in(
        socket: impl AsFd,
        kernel_pipe: &KernelPipe,
        most: usize,
    ) -> io::Result<usize> {
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
    pub(crate) fn moved_out(
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

    /// Not available on this platform.
    #[derive(Debug)]
    pub(crate) enum KernelPipe {}

    impl KernelPipe {
        /// Always fails.
        ///
        /// # Errors
        /// `Unsupported`.
        pub(crate) fn new(_bytes: usize) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// Cannot be called, as there is no [`KernelPipe`].
    ///
    /// # Errors
    /// None.
    pub(crate) fn moved_in<S>(
        _socket: S,
        kernel_pipe: &KernelPipe,
        _most: usize,
    ) -> io::Result<usize> {
        match *kernel_pipe {}
    }

    /// Cannot be called, as there is no [`KernelPipe`].
    ///
    /// # Errors
    /// None.
    pub(crate) fn moved_out<S>(
        kernel_pipe: &KernelPipe,
        _socket: S,
        _most: usize,
    ) -> io::Result<usize> {
        match *kernel_pipe {}
    }
}
