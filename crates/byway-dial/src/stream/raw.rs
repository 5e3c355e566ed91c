//! Raw: reads and writes of a TCP socket by direct system calls.
//!
//! In:    a socket registered with tokio, and buffers.
//! Out:   the bytes that the kernel read or wrote.
//! Never: calls the kernel when tokio knows that the socket is not ready, or repeats a call whose
//!        result is already known.
//!
//! The C library's `recv` and `send` are cancellation points in a program with threads, which makes
//! every call slower; `writev` goes through the file layer. On small messages that is a twentieth
//! of a proxy's time.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::{Broken, Read};

/// Reads once.
pub(super) fn poll_read(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<Result<Read, Broken>> {
    if buf.is_empty() {
        return Poll::Ready(Ok(Read::Data(0)));
    }
    loop {
        ready!(socket.poll_read_ready(cx))?;
        match calls::read(socket, buf) {
            Ok(0) => return Poll::Ready(Ok(Read::Fin)),
            Ok(n) => return Poll::Ready(Ok(Read::Data(n))),
            Err(error) if is_would_block(&error) => {}
            Err(error) => return Poll::Ready(Err(error.into())),
        }
    }
}

/// Writes once: as much of `bufs` as the socket accepts.
pub(super) fn poll_write(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        let written = match bufs {
            [first, rest] if rest.is_empty() => calls::write(socket, first),
            [first, rest] if first.is_empty() => calls::write(socket, rest),
            [one] => calls::write(socket, one),
            _ => calls::write_gathered(socket, bufs),
        };
        match written {
            Err(error) if is_would_block(&error) => {}
            written => return Poll::Ready(written),
        }
    }
}

/// Whether the reactor has reported readable data, an end or an error since the socket was last
/// found empty.
pub(super) fn is_announced(socket: &TcpStream) -> bool {
    socket.try_io(Interest::READABLE, || Ok(())).is_ok()
}

fn is_would_block(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

#[cfg(target_os = "linux")]
mod calls {
    use std::io::{self, IoSlice};

    use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
    use tokio::io::Interest;
    use tokio::net::TcpStream;

    /// A read shorter than the buffer means that the socket is empty. The closure returns "would
    /// block" to clear tokio's readiness, which saves the read that would return the same.
    /// Readiness reported meanwhile is kept.
    pub(super) fn read(socket: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
        let mut short = None;
        let read = socket.try_io(Interest::READABLE, || {
            let (n, _) = recv(socket, &mut *buf, RecvFlags::empty())?;
            if n > 0 && n < buf.len() {
                short = Some(n);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(n)
        });
        short.map_or(read, Ok)
    }

    pub(super) fn write(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        socket.try_io(Interest::WRITABLE, || {
            Ok(send(socket, bytes, SendFlags::NOSIGNAL)?)
        })
    }

    pub(super) fn write_gathered(socket: &TcpStream, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let none = &mut SendAncillaryBuffer::default();
        socket.try_io(Interest::WRITABLE, || {
            Ok(sendmsg(socket, bufs, none, SendFlags::NOSIGNAL)?)
        })
    }
}

#[cfg(not(target_os = "linux"))]
mod calls {
    use std::io::{self, IoSlice};

    use tokio::net::TcpStream;

    pub(super) fn read(socket: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
        socket.try_read(buf)
    }

    pub(super) fn write(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        socket.try_write(bytes)
    }

    pub(super) fn write_gathered(socket: &TcpStream, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        socket.try_write_vectored(bufs)
    }
}
