//! Bundle: one byte stream over several connections, for paths that lose packets: a loss slows one
//! of them down, and the others go on.
//!
//! In:    two to [`MOST_CONNECTIONS`] connections of one peer; bytes to send.
//! Out:   the bytes that the peer has sent, in order; its end, or an error of any of the
//!        connections.
//! Never: waits for one connection to write while another one accepts bytes; never reads on from a
//!        connection whose next chunk there is no room for, so TCP slows down a peer that sends out
//!        of order.
//!
//! The bytes are cut into numbered chunks. Each goes to a connection that has written all of its
//! earlier chunks, so a connection with more losses gets fewer of them. On each connection the
//! numbers rise. The connection with the next chunk is always read, so it never waits for a later
//! one.

mod order;
#[cfg(test)]
mod tests;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::order::{BadChunk, HEADER_BYTES, Header, MOST_CHUNK_BYTES, Order};
use crate::mux::carrier::Transport;

/// The most connections of one bundle.
pub(crate) const MOST_CONNECTIONS: usize = 4;

/// One byte stream over two to `MOST_CONNECTIONS` connections. A write is cut into numbered chunks,
/// each for a connection that has written its earlier ones; a read returns them in order.
pub(crate) struct Bundle<T> {
    connections: Vec<Connection<T>>,
    /// The number of the next chunk to send.
    next: u64,
    /// The connection that is tried first for the next chunk.
    preferred: usize,
    order: Order,
}

struct Connection<T> {
    io: T,
    /// The last chunk it was given, and how many bytes of it were written.
    output: Vec<u8>,
    written: usize,
    is_shut: bool,
    reading: Reading,
    /// The number of the last chunk that started on it.
    last: Option<u64>,
}

enum Reading {
    Header {
        bytes: [u8; HEADER_BYTES],
        have: usize,
    },
    /// There is no room for this chunk yet.
    Waiting(Header),
    Chunk {
        number: u64,
        bytes: Vec<u8>,
        have: usize,
    },
    Ended,
}

impl Reading {
    const START: Self = Self::Header {
        bytes: [0; HEADER_BYTES],
        have: 0,
    };
}

/// The result of reading from one connection.
enum Step {
    /// Something was read.
    Progress,
    /// The chunk at its front must wait for earlier ones.
    Waits,
    /// It ended between two chunks.
    Ended,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Bundle<T> {
    pub(crate) fn new(connections: Vec<T>) -> Self {
        let connections = connections.into_iter().map(Connection::new).collect();
        Self {
            connections,
            next: 0,
            preferred: 0,
            order: Order::default(),
        }
    }

    /// The first connection, from `preferred` on, that has written its last chunk. Writes on all of
    /// them.
    fn poll_free(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let preferred = self.preferred.min(self.connections.len());
        let (before, from) = self.connections.split_at_mut(preferred);
        let mut free = None;
        let numbered = (preferred..).zip(from).chain((0..).zip(before));
        for (index, connection) in numbered {
            if let Poll::Ready(sent) = connection.poll_sent(cx) {
                sent?;
                free = free.or(Some(index));
            }
        }
        free.map_or(Poll::Pending, |index| Poll::Ready(Ok(index)))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Bundle<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self {
            connections, order, ..
        } = self.get_mut();
        loop {
            if order.is_ready() || buf.remaining() == 0 {
                order.read_into(buf);
                return Poll::Ready(Ok(()));
            }
            let (mut progress, mut ended, mut wait) = (false, 0, 0);
            for connection in &mut *connections {
                match connection.poll_step(cx, order) {
                    Poll::Ready(step) => match step? {
                        Step::Progress => progress = true,
                        Step::Ended => ended += 1,
                        Step::Waits => wait += 1,
                    },
                    Poll::Pending => {}
                }
            }
            if progress {
                continue;
            }
            if ended == connections.len() && order.is_empty() {
                return Poll::Ready(Ok(()));
            }
            // Numbers rise on each connection: the missing chunk cannot arrive any more.
            if ended + wait == connections.len() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            return Poll::Pending;
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Bundle<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let length = bufs
            .iter()
            .map(|buf| buf.len())
            .sum::<usize>()
            .min(MOST_CHUNK_BYTES);
        if length == 0 {
            return Poll::Ready(Ok(0));
        }
        let free = ready!(this.poll_free(cx))?;
        let header = Header {
            number: this.next,
            length,
        };
        this.next += 1;
        this.preferred = (free + 1) % this.connections.len();
        if let Some(connection) = this.connections.get_mut(free) {
            connection.start_chunk(header, bufs);
            // The rest is written by a later poll.
            if let Poll::Ready(Err(error)) = connection.poll_sent(cx) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut all = Poll::Ready(Ok(()));
        for connection in &mut self.get_mut().connections {
            match connection.poll_sent(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => all = Poll::Pending,
            }
        }
        all
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut all = Poll::Ready(Ok(()));
        for connection in &mut self.get_mut().connections {
            match connection.poll_shut(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => all = Poll::Pending,
            }
        }
        all
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Transport for Bundle<T> {
    /// Ready when one connection has sent all that it was given, whatever the others do.
    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_free(cx).map_ok(drop)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    const fn new(io: T) -> Self {
        Self {
            io,
            output: Vec::new(),
            written: 0,
            is_shut: false,
            reading: Reading::START,
            last: None,
        }
    }

    /// Stores the next chunk for writing. The one before must have been written.
    fn start_chunk(&mut self, header: Header, bufs: &[IoSlice<'_>]) {
        self.output.clear();
        self.written = 0;
        self.output.extend_from_slice(&header.encode());
        let mut left = header.length;
        for buf in bufs {
            let part = buf.get(..left.min(buf.len())).unwrap_or_default();
            self.output.extend_from_slice(part);
            left -= part.len();
        }
    }

    /// Ready when its chunk has been written and flushed.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self
            .output
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.written += n,
            }
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shut(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(self.poll_sent(cx))?;
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.is_shut = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once.
    fn poll_step(&mut self, cx: &mut Context<'_>, order: &mut Order) -> Poll<io::Result<Step>> {
        match &mut self.reading {
            Reading::Header { bytes, have } => {
                let n = ready!(poll_read(
                    &mut self.io,
                    cx,
                    bytes.get_mut(*have..).unwrap_or_default()
                ))?;
                if n == 0 && *have == 0 {
                    self.reading = Reading::Ended;
                    return Poll::Ready(Ok(Step::Ended));
                }
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                *have += n;
                if *have == HEADER_BYTES {
                    let header = Header::decode(*bytes)?;
                    if self.last.is_some_and(|last| last >= header.number) {
                        return Poll::Ready(Err(BadChunk::Repeated(header.number).into()));
                    }
                    self.last = Some(header.number);
                    self.reading = Reading::Waiting(header);
                }
                Poll::Ready(Ok(Step::Progress))
            }
            Reading::Waiting(header) => {
                if !order.admit(*header)? {
                    return Poll::Ready(Ok(Step::Waits));
                }
                self.reading = Reading::Chunk {
                    number: header.number,
                    bytes: vec![0; header.length],
                    have: 0,
                };
                Poll::Ready(Ok(Step::Progress))
            }
            Reading::Chunk {
                number,
                bytes,
                have,
            } => {
                let n = ready!(poll_read(
                    &mut self.io,
                    cx,
                    bytes.get_mut(*have..).unwrap_or_default()
                ))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                *have += n;
                if *have == bytes.len() {
                    let (number, bytes) = (*number, std::mem::take(bytes));
                    self.reading = Reading::START;
                    order.insert(number, bytes)?;
                }
                Poll::Ready(Ok(Step::Progress))
            }
            Reading::Ended => Poll::Ready(Ok(Step::Ended)),
        }
    }
}

impl From<BadChunk> for io::Error {
    fn from(bad: BadChunk) -> Self {
        Self::new(io::ErrorKind::InvalidData, bad)
    }
}

fn poll_read(
    io: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    room: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buf = ReadBuf::new(room);
    ready!(Pin::new(io).poll_read(cx, &mut buf))?;
    Poll::Ready(Ok(buf.filled().len()))
}
