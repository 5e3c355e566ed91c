//! Upgrade: a connection that has left HTTP, by 101 or by a 2xx to CONNECT.
//!
//! In:    a connection after such a head.
//! Out:   its bytes both ways, starting with those that were already read.
//! Never: returns to the pool; loses a byte that directly followed the head.

use super::group::Group;
use super::h2_session::H2Session;
use super::pooled_conn::PooledConn;
use bytes::{Buf, Bytes};
use byway_dial::{Pipe, Read, Stream};
use byway_pool::Detached;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// An upgraded connection, from [`Body::upgraded`](crate::Body::upgraded).
///
/// It has left the pool and is closed when it is dropped: with a FIN after `shutdown`, otherwise
/// with a reset, so that truncated data never looks complete. Until then it counts against the
/// agent's limits, unless [`AgentBuilder::count_upgraded`](crate::AgentBuilder::count_upgraded) is
/// off.
pub struct Upgraded {
    unread: Bytes,
    stream: Stream,
    permit: UpgradePermit,
}

/// Keeps an upgraded connection counted: hold it as long as the stream.
#[must_use = "the connection counts against the agent's limits until this is dropped"]
pub struct UpgradePermit(
    #[allow(dead_code, reason = "held for its drop")] Detached<Group, PooledConn, H2Session>,
);

impl Upgraded {
    pub(crate) fn new(
        stream: Stream,
        unread: Vec<u8>,
        permit: Detached<Group, PooledConn, H2Session>,
    ) -> Self {
        Self {
            unread: unread.into(),
            stream,
            permit: UpgradePermit(permit),
        }
    }

    /// The stream, the bytes that directly followed the origin's head, and the permit that keeps
    /// the connection counted. The bytes precede anything that is read from the stream.
    pub fn into_parts(self) -> (Stream, Bytes, UpgradePermit) {
        (self.stream, self.unread, self.permit)
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unread.has_remaining() {
            let n = this.unread.len().min(buf.remaining());
            buf.put_slice(this.unread.split_to(n).as_ref());
            return Poll::Ready(Ok(()));
        }
        let room = buf.initialize_unfilled();
        if let Read::Data(n) = ready!(this.stream.poll_read(cx, room))? {
            buf.advance(n);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .stream
            .poll_write(cx, &[IoSlice::new(bytes)])
            .map_err(io::Error::from)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .stream
            .poll_write(cx, bufs)
            .map_err(io::Error::from)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut()
            .stream
            .poll_flush(cx)
            .map_err(io::Error::from)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut()
            .stream
            .poll_finish(cx)
            .map_err(io::Error::from)
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Upgraded({:?}, {} bytes unread)",
            self.stream,
            self.unread.len()
        )
    }
}

impl fmt::Debug for UpgradePermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpgradePermit")
    }
}
