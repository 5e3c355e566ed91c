//! Scratch: one buffer per thread, which all its connections read into and write from, since bodies
//! are not inspected.
//!
//! In:    a socket.
//! Out:   bytes that are valid within one call, or the given number of bytes sent.
//! Never: holds memory per connection.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The size of the buffer: large enough that a bulk flow costs few system calls.
pub(crate) const BYTES: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![b'.'; BYTES]);
}

/// Reads once and passes the bytes to `look`; they are empty at the end of the stream. Cancel safe.
pub(crate) async fn read<T>(
    stream: &mut TcpStream,
    mut look: impl FnMut(&[u8]) -> T,
) -> io::Result<T> {
    poll_fn(|cx| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            Poll::Ready(Ok(look(buffer.filled())))
        })
    })
    .await
}

/// Sends `length` filler bytes. Not cancel safe.
pub(crate) async fn write(stream: &mut TcpStream, length: u64) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        left -= poll_fn(|cx| poll_write(stream, cx, left)).await?;
    }
    Ok(())
}

fn poll_write(stream: &mut TcpStream, cx: &mut Context<'_>, left: u64) -> Poll<io::Result<u64>> {
    SCRATCH.with_borrow(|scratch| {
        let n = scratch
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        match ready!(Pin::new(stream).poll_write(cx, scratch.get(..n).unwrap_or_default()))? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            n => Poll::Ready(Ok(n as u64)),
        }
    })
}
