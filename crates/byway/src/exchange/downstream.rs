//! Downstream: where a request came from and its response goes, in any version of HTTP.
//!
//! In:    a connection, or a stream of one, whose request head has been read.
//! Out:   the source of the request's body; a head, and the sink of the response's body.
//! Never: reads a request head, or decides what becomes of the connection: the loop of each version
//!        does.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use byway_dial::{Broken, Pipe, Read};
use byway_h1::HeadWriter;
use byway_head::{Framed, Limits, Malformed};
use byway_http::h1::{Conn, H1Reading, H1Sink, H1Source, H1Writing, Mark};
use byway_http::h2::H2Stream;
use byway_http::h3::H3Stream;
use byway_http::{BodyError, Sink};
use byway_relay::Outflow;

use super::body::BodyTransfer;
use super::head_out::Head;
use super::upstream::Upstream;

/// Where a request came from and its response goes: a connection whose request head was read. It
/// has the source of the request's body and the sink of the response's.
pub enum Downstream<'a> {
    /// A connection of HTTP/1.
    H1(H1Downstream<'a>),
    /// A stream of HTTP/2.
    H2(&'a mut H2Stream),
    /// A stream of HTTP/3.
    H3(&'a mut H3Stream),
    /// A stream in a test.
    #[cfg(test)]
    Double(Box<super::double::DoubleStream>),
}

/// A connection of HTTP/1 with one request on it.
pub struct H1Downstream<'a> {
    conn: &'a mut Conn,
    request: H1Reading,
    response: H1Writing,
}

impl H1Downstream<'_> {
    /// The source of the request's body.
    pub(super) fn source(&mut self) -> H1Source<'_> {
        H1Source {
            conn: self.conn,
            reading: &mut self.request,
        }
    }

    /// The sink of the response's body.
    pub(super) fn sink(&mut self) -> H1Sink<'_> {
        H1Sink {
            conn: self.conn,
            writing: &mut self.response,
        }
    }
}

impl<'a> Downstream<'a> {
    /// A connection of HTTP/1. Its next unread byte belongs to the body of a request, which is
    /// framed like this.
    pub fn h1(conn: &'a mut Conn, framed: Framed, limits: &Limits) -> Self {
        Self::H1(H1Downstream {
            conn,
            request: H1Reading::new(framed, limits),
            response: H1Writing::default(),
        })
    }

    /// A stream of HTTP/2. What it receives is the body of a request, which is framed like this.
    pub fn h2(stream: &'a mut H2Stream, framed: Framed) -> Self {
        stream.expect(framed);
        Self::H2(stream)
    }

    /// A stream of HTTP/3. What it receives is the body of a request, which is framed like this.
    pub fn h3(stream: &'a mut H3Stream, framed: Framed) -> Self {
        stream.expect(framed);
        Self::H3(stream)
    }

    /// Reads until this many bytes of the body have arrived. Fails if the client closes before.
    pub fn poll_gathered(
        &mut self,
        cx: &mut Context<'_>,
        enough: usize,
    ) -> Poll<Result<(), BodyError>> {
        by_version!(self.poll_gathered(cx, enough), h1 => {
            while h1.conn.unread().len() < enough {
                match ready!(h1.conn.poll_fill(cx)).map_err(BodyError::From)? {
                    Read::Data(_) => {}
                    Read::Fin => return Poll::Ready(Err(BodyError::Truncated)),
                }
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Whether bytes have arrived that are not used yet and may be another request.
    pub fn has_unread(&self) -> bool {
        by_version!(self.has_unread(), h1 => !h1.conn.unread().is_empty(), _ => false)
    }

    /// Ready once the client has reset its connection or stream.
    pub fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        by_version!(self.poll_broken(cx), h1 => h1.conn.stream().poll_broken(cx))
    }

    /// Sends everything through `outflow` (spilled and shaped) from now on, unless there is one. Only
    /// an egress has outflows, and it does not speak HTTP/3.
    pub fn send_through(&mut self, outflow: impl FnOnce() -> Option<Outflow>) {
        by_version!(self.send_through(outflow), h1 => {
            if !h1.conn.has_outflow()
                && let Some(outflow) = outflow()
            {
                h1.conn.send_through(outflow);
            }
        }, stream => stream.send_through(outflow), _ => debug_assert!(outflow().is_none()))
    }

    /// Whether it sends through an outflow.
    pub fn has_outflow(&self) -> bool {
        by_version!(self.has_outflow(), h1 => h1.conn.has_outflow(), stream => stream.has_outflow(), _ => false)
    }

    /// Queues the head that `write` writes, or nothing of it if that fails. A body framed like this
    /// follows it.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn write_head(
        &mut self,
        framed: Framed,
        write: impl FnOnce(&mut Head<'_>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        by_version!(self.write_head(framed, write), h1 => {
            h1.response.begin(framed);
            h1.conn
                .try_queue(|out| write(&mut Head::H1(HeadWriter(out))))
        }, stream => stream.write_head(|head| write(&mut Head::H2(head))), stream => stream.write_head(|head| write(&mut Head::H3(head))))
    }

    /// Queues a whole body.
    pub fn queue_body(&mut self, data: &[u8]) {
        by_version!(
            self.queue_body(data),
            h1 => queue_body(&mut h1.sink(), data),
            stream => queue_body(*stream, data)
        )
    }

    /// Passes on the body of the request.
    pub fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        transfer: &mut BodyTransfer,
        upstream: &mut Upstream,
    ) -> Poll<Result<(), BodyError>> {
        by_version!(
            self.poll_upload(cx, transfer, upstream),
            h1 => upstream.poll_upload_from(cx, transfer, &mut h1.source()),
            stream => upstream.poll_upload_from(cx, transfer, *stream)
        )
    }

    /// Passes on the body of the response.
    pub fn poll_download(
        &mut self,
        cx: &mut Context<'_>,
        transfer: &mut BodyTransfer,
        upstream: &mut Upstream,
    ) -> Poll<Result<(), BodyError>> {
        by_version!(
            self.poll_download(cx, transfer, upstream),
            h1 => upstream.poll_download_to(cx, transfer, &mut h1.sink()),
            stream => upstream.poll_download_to(cx, transfer, *stream)
        )
    }

    /// The end of what is queued now.
    pub fn mark(&self) -> Mark {
        by_version!(self.mark(), h1 => h1.conn.mark())
    }

    /// Takes back what was queued after `mark`. Returns false and changes nothing if anything was
    /// sent since.
    pub fn take_back(&mut self, mark: Mark) -> bool {
        by_version!(self.take_back(mark), h1 => h1.conn.take_back(mark))
    }

    /// Whether something waits to be sent.
    pub fn has_queued(&self) -> bool {
        by_version!(self.has_queued(), h1 => h1.conn.has_queued())
    }

    /// Bytes that the connection or stream, or the outflow in front of it, has taken. Never
    /// decreases.
    pub fn sent_bytes(&self) -> u64 {
        by_version!(self.sent_bytes(), h1 => h1.conn.sent_bytes())
    }

    /// Bytes that have left the process: an outflow may still hold what it has taken.
    pub fn left_bytes(&self) -> u64 {
        by_version!(
            self.left_bytes(),
            h1 => h1.conn.left_bytes(),
            stream => stream.left_bytes(),
            stream => stream.sent_bytes()
        )
    }

    /// Sends everything that is queued, through the outflow to its end if there is one. Cancel safe.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        by_version!(self.poll_flush(cx), h1 => h1.conn.poll_flush(cx))
    }

    /// Sends everything that is queued. Cancel safe.
    ///
    /// # Errors
    /// If the client has left.
    pub async fn flush(&mut self) -> Result<(), Broken> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }
}

/// Queues a whole body.
pub(super) fn queue_body(sink: &mut impl Sink, data: &[u8]) {
    sink.queue_data(data);
    let ended = sink.end(std::iter::empty());
    debug_assert!(ended.is_ok(), "there is no trailer that cannot be written");
}
