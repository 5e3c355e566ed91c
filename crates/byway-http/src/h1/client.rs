//! Client: one request on one connection of HTTP/1, and its response.
//!
//! In:    a connection at a message boundary; a head, and data for the sink of its body.
//! Out:   the head of the response, and the source of its body; how far the request got; whether
//!        the connection may carry another one.
//! Never: reads more than [`MOST_INTERIM`] interim responses, or calls a connection reusable that
//!        is not at a message boundary.

use std::borrow::{Borrow, BorrowMut};
use std::ops::DerefMut;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use byway_dial::{Broken, Read};
use byway_h1::{HeadWriter, Parsed, ResponseParser};
use byway_head::{Framed, Limits, Malformed, Response};

use super::body::{H1Reading, H1Sink, H1Source, H1Writing};
use super::conn::Conn;
use super::keep_alive::{HintLimits, NotKept, keep_alive};
use crate::body::{Part, Source};
use crate::scratch::Scratch;

/// The most interim responses to one request. More would hold the connection without progress.
pub const MOST_INTERIM: u8 = 64;

/// One request on one connection, and its response. `L` is the connection as its owner holds it,
/// such as the lease of a pool.
pub struct ClientExchange<L> {
    /// The connection.
    pub lease: L,
    message: Scratch<ClientMessage>,
}

/// What a request needs until its response has passed.
#[derive(Debug)]
pub(crate) struct ClientMessage {
    /// The head of the response.
    parser: ResponseParser,
    /// The body of the response.
    reading: H1Reading,
    /// The body of the request.
    writing: H1Writing,
    /// The length of the response head that is the next unread bytes.
    head_bytes: usize,
    /// Bytes sent and received on the connection before this request.
    sent_before: u64,
    received_before: u64,
    keep: Result<Option<Duration>, NotKept>,
    interim: u8,
    /// The response is the last one: an interim response announced a body, so that the next bytes
    /// may not begin a message.
    is_last: bool,
}

/// How far a request got before it failed. If in doubt, the later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing of the request was sent: no connection could be opened, or a reused one was dead
    /// before the first byte.
    Unsent,
    /// Some of the request was sent, and no byte of a response has come: it may have been served,
    /// or not.
    SentNoByteBack,
    /// A byte of a response has come: it was served, at least in part.
    Partial,
}

/// Why there is no response head.
#[derive(Debug)]
pub enum HeadError<E> {
    /// It is malformed.
    Malformed(Malformed),
    /// The server speaks another protocol.
    OtherProtocol(E),
    /// The server closed, or its connection broke.
    Closed(Option<Broken>),
}

/// The server has sent [`MOST_INTERIM`] interim responses and no final one.
#[derive(Debug)]
pub struct EndlessInterim;

impl<L> ClientExchange<L>
where
    L: DerefMut,
    L::Target: BorrowMut<Conn>,
{
    /// Begins a request on a connection at a message boundary.
    pub fn begin(mut lease: L) -> Self {
        let conn: &mut Conn = (*lease).borrow_mut();
        conn.begin_request();
        let mut message = Scratch::<ClientMessage>::take();
        message.writing = H1Writing::after_head(conn);
        (message.sent_before, message.received_before) = (conn.sent_bytes(), conn.received_bytes());
        Self { lease, message }
    }

    #[inline]
    fn conn(&self) -> &Conn {
        (*self.lease).borrow()
    }

    /// Queues the request head that `write` writes, or nothing of it if that fails. A body framed
    /// like this follows it.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn write_head<E>(
        &mut self,
        framed: Framed,
        write: impl FnOnce(HeadWriter<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let sink = self.sink();
        sink.writing.begin(framed);
        sink.conn.try_queue(|out| write(HeadWriter(out)))
    }

    /// The sink of the request's body.
    #[inline]
    pub fn sink(&mut self) -> H1Sink<'_> {
        H1Sink {
            conn: (*self.lease).borrow_mut(),
            writing: &mut self.message.writing,
        }
    }

    /// The source of the response's body.
    #[inline]
    pub fn source(&mut self) -> H1Source<'_> {
        H1Source {
            conn: (*self.lease).borrow_mut(),
            reading: &mut self.message.reading,
        }
    }

    /// Reads the next response head, interim or final. `other_protocol` examines bytes that are no
    /// head yet, so that the request fails at once if none will come. Cancel safe.
    pub fn poll_head<E>(
        &mut self,
        cx: &mut Context<'_>,
        limits: &Limits,
        other_protocol: impl Fn(&[u8]) -> Option<E>,
    ) -> Poll<Result<(), HeadError<E>>> {
        let conn: &mut Conn = (*self.lease).borrow_mut();
        loop {
            let unread = conn.unread();
            if !unread.is_empty() {
                let parsed = self.message.parser.parse(unread, limits);
                if let Ok(Parsed::Complete(n)) = parsed {
                    self.message.head_bytes = n;
                    return Poll::Ready(Ok(()));
                }
                if let Some(error) = other_protocol(unread) {
                    return Poll::Ready(Err(HeadError::OtherProtocol(error)));
                }
                parsed.map_err(HeadError::Malformed)?;
            }
            match ready!(conn.poll_fill(cx)) {
                Ok(Read::Data(_)) => {}
                Ok(Read::Fin) => return Poll::Ready(Err(HeadError::Closed(None))),
                Err(broken) => return Poll::Ready(Err(HeadError::Closed(Some(broken)))),
            }
        }
    }

    /// The response whose head was read last.
    #[inline]
    pub fn response(&self) -> Response<'_> {
        self.message.parser.view(self.conn().unread())
    }

    /// The same response in a copy of its [`head`](Self::head).
    pub fn response_in<'a>(&'a self, head: &'a [u8]) -> Response<'a> {
        self.message.parser.view(head)
    }

    /// The bytes of that head.
    pub fn head(&self) -> &[u8] {
        self.conn()
            .unread()
            .get(..self.message.head_bytes)
            .unwrap_or_default()
    }

    /// Whether queued bytes wait to be sent.
    pub fn has_queued(&self) -> bool {
        self.conn().has_queued()
    }

    /// Whether a part of the next head has arrived.
    pub fn has_partial_head(&self) -> bool {
        !self.conn().unread().is_empty()
    }

    /// Continues after an interim response: the next head follows it.
    ///
    /// # Errors
    /// If there were too many.
    pub fn pass_interim(&mut self) -> Result<(), EndlessInterim> {
        self.message.is_last |= self.response().announces_impossible_body();
        self.message.interim += 1;
        self.pass_head();
        self.message.parser.clear();
        match self.message.interim < MOST_INTERIM {
            true => Ok(()),
            false => Err(EndlessInterim),
        }
    }

    /// Continues after a final response head: a body framed like this follows it. Decides whether
    /// the connection may be kept after that body; without `hints` those of the server are ignored.
    ///
    /// # Errors
    /// Why it may not.
    pub fn begin_body(
        &mut self,
        framed: Framed,
        limits: &Limits,
        hints: Option<HintLimits>,
    ) -> Result<Option<Duration>, NotKept> {
        let mut requests_left = self.conn().requests_left;
        let keep = keep_alive(&self.response(), framed, hints, &mut requests_left);
        self.message.keep = match self.message.is_last {
            true => Err(NotKept::LastResponse),
            false => keep,
        };
        (*self.lease).borrow_mut().requests_left = requests_left;
        self.pass_head();
        self.message.reading = H1Reading::new(framed, limits);
        self.message.keep
    }

    /// Continues after a head with which the connection leaves HTTP: what is unread after it is no
    /// longer HTTP.
    pub fn leave_http(mut self) -> L {
        self.pass_head();
        self.lease
    }

    fn pass_head(&mut self) {
        let n = std::mem::take(&mut self.message.head_bytes);
        (*self.lease).borrow_mut().consume(n);
    }

    /// How many bytes of the response's body are missing, if known.
    pub fn body_left(&self) -> Option<u64> {
        self.message.reading.remaining()
    }

    /// Skips what has arrived of the response's body. Returns whether that was all of it.
    pub fn skip_body(&mut self) -> bool {
        let mut source = self.source();
        loop {
            match source.part() {
                Ok(Part::Data(n)) => source.taken(n),
                Ok(Part::End) => {
                    source.finish();
                    return true;
                }
                Ok(Part::More) | Err(_) => return false,
            }
        }
    }

    /// Whether the connection may carry another request after a whole request and response, and how
    /// long the server's hint lets it be idle until then.
    ///
    /// # Errors
    /// Why it may not.
    pub fn kept(&self) -> Result<Option<Duration>, NotKept> {
        let idle = self.message.keep?;
        match self.conn().is_clean() {
            true => Ok(idle),
            false => Err(NotKept::ExtraBytes),
        }
    }

    /// Bytes of this request that the stream has taken.
    #[inline]
    pub fn sent_bytes(&self) -> u64 {
        self.conn().sent_bytes() - self.message.sent_before
    }

    /// Bytes of its responses that have arrived.
    #[inline]
    pub fn received_bytes(&self) -> u64 {
        self.conn().received_bytes() - self.message.received_before
    }

    /// How far the request got. Compares byte counts, since an empty queue does not show what was
    /// sent: a chunk may be queued after a head that left long ago.
    pub fn outcome(&self) -> Outcome {
        match (self.received_bytes(), self.sent_bytes()) {
            (1.., _) => Outcome::Partial,
            (0, 0) => Outcome::Unsent,
            (0, 1..) => Outcome::SentNoByteBack,
        }
    }
}

impl Default for ClientMessage {
    fn default() -> Self {
        Self {
            parser: ResponseParser::default(),
            reading: H1Reading::default(),
            writing: H1Writing::default(),
            head_bytes: 0,
            sent_before: 0,
            received_before: 0,
            keep: Err(NotKept::LastResponse),
            interim: 0,
            is_last: false,
        }
    }
}

impl ClientMessage {
    /// Forgets the message, and keeps the memory of its head.
    pub(crate) fn clear(&mut self) {
        self.parser.clear();
        let parser = std::mem::take(&mut self.parser);
        *self = Self {
            parser,
            ..Self::default()
        };
    }
}
