//! H1 body: message bodies on an HTTP/1 connection.
//!
//! In:    the connection, and the framing, which was decided from the whole head.
//! Out:   a source and a sink.
//! Never: reads past the end of a body.

use std::task::{Context, Poll, ready};

use byway_dial::{Broken, Read, Stream};
use byway_h1::{BodyDecoder, Step, write};
use byway_head::{Field, Framed, Limits, Malformed, Trailers};

use super::conn::Conn;
use crate::body::{BodyError, Part, Sink, Source};

/// How far a body has been read.
#[derive(Debug)]
pub struct H1Reading {
    decoder: BodyDecoder,
    /// The length of the last chunk and its trailers, once they are the next unread bytes.
    end_bytes: usize,
}

/// How far a body has been written.
#[derive(Debug, Default)]
pub struct H1Writing {
    chunked: bool,
    /// Bytes of the current chunk that are still to be sent.
    chunk_left: usize,
    /// Once the connection has sent this many bytes, short data is appended to the queue, so that
    /// one plain write sends both.
    joins_from: u64,
}

/// A body that is read from a connection.
pub struct H1Source<'a> {
    /// The connection.
    pub conn: &'a mut Conn,
    /// How far it has been read.
    pub reading: &'a mut H1Reading,
}

/// A body that is written to a connection.
pub struct H1Sink<'a> {
    /// The connection.
    pub conn: &'a mut Conn,
    /// How far it has been written.
    pub writing: &'a mut H1Writing,
}

impl H1Reading {
    /// A body whose first byte is the next unread one.
    pub fn new(framed: Framed, limits: &Limits) -> Self {
        Self {
            decoder: BodyDecoder::new(framed, limits),
            end_bytes: 0,
        }
    }

    /// How many bytes of data are missing, if known.
    pub fn remaining(&self) -> Option<u64> {
        self.decoder.remaining()
    }

    fn fin(&mut self) -> Result<(), BodyError> {
        self.decoder.eof().map_err(|_| BodyError::Truncated)
    }
}

impl Default for H1Reading {
    fn default() -> Self {
        Self::new(Framed::None, &Limits::default())
    }
}

impl H1Writing {
    /// The body of a request, before its head is queued. Data counts as moved once it is queued, so
    /// the body stays unread until a byte of the head has been sent: the whole request may still go
    /// to another upstream.
    pub fn after_head(conn: &Conn) -> Self {
        Self {
            joins_from: conn.sent_bytes() + 1,
            ..Self::default()
        }
    }

    /// The head that is queued announces this framing.
    pub fn begin(&mut self, framed: Framed) {
        self.chunked = framed == Framed::Chunked;
    }
}

impl Source for H1Source<'_> {
    #[inline]
    fn part(&mut self) -> Result<Part, Malformed> {
        loop {
            return Ok(match self.reading.decoder.step(self.conn.unread())? {
                Step::Data(n) => Part::Data(n),
                Step::Skip(n) => {
                    self.conn.consume(n);
                    continue;
                }
                Step::End(n) => {
                    // The decoder reports the length once.
                    self.reading.end_bytes = n.max(self.reading.end_bytes);
                    Part::End
                }
                Step::More => Part::More,
            });
        }
    }

    #[inline]
    fn data(&self) -> &[u8] {
        self.conn.unread()
    }

    #[inline]
    fn taken(&mut self, n: usize) {
        self.reading.decoder.taken(n);
        self.conn.consume(n);
    }

    #[inline]
    fn trailers(&self) -> Trailers<'_> {
        self.reading.decoder.trailers(self.conn.unread())
    }

    #[inline]
    fn finish(&mut self) {
        self.conn
            .consume(std::mem::take(&mut self.reading.end_bytes));
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match ready!(self.conn.poll_fill(cx)).map_err(BodyError::From)? {
            Read::Data(_) => Poll::Ready(Ok(())),
            Read::Fin => Poll::Ready(self.reading.fin()),
        }
    }

    /// All that was read has been used, and what follows is, or has proved to be, large.
    fn spliceable(&self, moved: u64) -> Option<u64> {
        let decoder = &self.reading.decoder;
        let left = match (decoder.remaining(), decoder.is_until_close()) {
            (Some(left), _) if left >= SPLICE_FROM_BYTES => left,
            (None, true) if moved >= SPLICE_FROM_BYTES => u64::MAX,
            _ => return None,
        };
        (self.conn.unread().is_empty() && self.conn.is_plain()).then_some(left)
    }

    #[inline]
    fn socket(&mut self) -> Option<&mut Stream> {
        Some(self.conn.stream())
    }

    fn spliced(&mut self, read: &Read) -> Result<(), BodyError> {
        match read {
            Read::Data(n) => {
                self.conn.read_small();
                self.reading.decoder.taken(*n);
                Ok(())
            }
            Read::Fin => self.reading.fin(),
        }
    }
}

impl Sink for H1Sink<'_> {
    fn queue_data(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let out = self.conn.queue();
        if self.writing.chunked {
            write::chunk_prefix(out, data.len());
        }
        out.extend_from_slice(data);
        if self.writing.chunked {
            out.extend_from_slice(write::CHUNK_SUFFIX);
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>, mut data: &[u8]) -> Poll<Result<usize, Broken>> {
        let Self { conn, writing } = self;
        if writing.chunked {
            if writing.chunk_left == 0 {
                write::chunk_prefix(conn.queue(), data.len());
                writing.chunk_left = data.len();
            }
            data = data.get(..writing.chunk_left).unwrap_or(data);
        }
        let may_join = conn.sent_bytes() >= writing.joins_from && !conn.has_outflow();
        let joins = may_join && conn.has_queued() && conn.queued_bytes() + data.len() <= JOIN_BYTES;
        let sent = if joins {
            conn.queue().extend_from_slice(data);
            data.len()
        } else {
            ready!(conn.poll_send(cx, data))?
        };
        if writing.chunked {
            writing.chunk_left -= sent;
            if writing.chunk_left == 0 {
                conn.queue().extend_from_slice(write::CHUNK_SUFFIX);
            }
        }
        Poll::Ready(Ok(sent))
    }

    fn end<'t>(&mut self, trailers: impl Iterator<Item = Field<'t>>) -> Result<(), Malformed> {
        match self.writing.chunked {
            true => write::last_chunk(self.conn.queue(), trailers),
            false => Ok(()),
        }
    }

    #[inline]
    fn poll_push_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.conn.poll_push_out(cx)
    }

    #[inline]
    fn socket(&mut self) -> Option<&mut Stream> {
        let is_ready = !self.writing.chunked && !self.conn.has_queued() && self.conn.is_plain();
        is_ready.then(|| self.conn.stream())
    }

    fn spliced(&mut self, n: usize) {
        self.conn.count_sent(n);
    }
}

/// Up to this size, a copy costs less than `writev` costs over `write`.
const JOIN_BYTES: usize = 8 * 1024;

/// Splices a body, or the rest of one, from this size: below it the two additional system calls
/// cost more than the copy.
const SPLICE_FROM_BYTES: u64 = 32 * 1024;
