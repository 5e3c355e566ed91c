//! Double: a stream like those of HTTP/2, in memory, for tests: heads with pseudo-headers, data,
//! trailers and resets as events, a window, and no connection around it.
//!
//! In:    events of a peer.
//! Out:   a source, a sink and heads, as an exchange uses them.
//! Never: ends a direction because it was dropped: that is a reset.

#![allow(
    missing_docs,
    reason = "the names of a test double say what its parts are"
)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use byway_dial::{Broken, Stream};
use byway_head::{
    Field, Framed, HeadOut, Limits, Line, Malformed, RequestHead, Response, ResponseHead, Section,
    Span, Trailers, Version,
};
use byway_http::h1::{EndlessInterim, HeadError, Mark, Outcome};
use byway_http::{BodyError, Part, Sink, Source};
use byway_relay::Outflow;
use parking_lot::Mutex;

use super::body::BodyTransfer;
use super::downstream::queue_body;
use super::head_out::Head;
use super::upstream::Upstream;
use crate::fault::Fault;
use crate::observe::request_report::Reports;
use crate::outbound::pooled::Destination;

/// Names and values; those that begin with `:` are pseudo-headers.
pub type Fields = Vec<(String, String)>;

/// What passes in one direction of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A head; `true` if the direction ends with it.
    Head(Fields, bool),
    Data(Vec<u8>),
    /// Trailers, with which the direction ends.
    Trailers(Fields),
    End,
    Reset,
}

/// Bytes of data that a direction holds at most.
const WINDOW_BYTES: usize = 8;

#[derive(Default)]
struct Direction {
    events: VecDeque<Event>,
    held_bytes: usize,
    reader_is_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Direction {
    fn push(&mut self, event: Event) {
        self.events.push_back(event);
        self.reader.take().into_iter().for_each(Waker::wake);
    }

    fn poll_pop(&mut self, cx: &Context<'_>) -> Poll<Event> {
        let Some(event) = self.events.pop_front() else {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if let Event::Data(data) = &event {
            self.held_bytes -= data.len();
        }
        self.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(event)
    }

    fn poll_push_data(&mut self, cx: &Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        if self.reader_is_gone {
            return Poll::Ready(Err(Broken::Reset(8)));
        }
        let n = data.len().min(WINDOW_BYTES - self.held_bytes);
        if n == 0 {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.held_bytes += n;
        self.push(Event::Data(data[..n].to_vec()));
        Poll::Ready(Ok(n))
    }
}

/// One side of a stream.
struct Half {
    incoming: Arc<Mutex<Direction>>,
    outgoing: Arc<Mutex<Direction>>,
    has_ended: bool,
}

impl Half {
    fn push(&mut self, event: Event) {
        self.has_ended |= matches!(
            event,
            Event::Head(_, true) | Event::Trailers(_) | Event::End | Event::Reset
        );
        self.outgoing.lock().push(event);
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        if !self.has_ended {
            self.push(Event::Reset);
        }
        let mut incoming = self.incoming.lock();
        incoming.reader_is_gone = true;
        incoming.writer.take().into_iter().for_each(Waker::wake);
    }
}

/// The far side of a stream: a client or an upstream.
pub struct StreamPeer(Half);

impl StreamPeer {
    pub fn head(&mut self, fields: &[(&str, &str)], end: bool) {
        self.0.push(Event::Head(owned(fields), end));
    }

    pub fn trailers(&mut self, fields: &[(&str, &str)]) {
        self.0.push(Event::Trailers(owned(fields)));
    }

    pub fn end(&mut self) {
        self.0.push(Event::End);
    }

    pub fn reset(&mut self) {
        self.0.push(Event::Reset);
    }

    pub async fn data(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let outgoing = &self.0.outgoing;
            let sent = poll_fn(|cx| outgoing.lock().poll_push_data(cx, data)).await;
            data = &data[sent.expect("the reader is there")..];
        }
    }

    /// The next head, without its end.
    pub async fn recv_head(&mut self) -> Fields {
        match self.next().await {
            Event::Head(fields, _) => fields,
            other => panic!("{other:?} instead of a head"),
        }
    }

    /// The data up to the event that follows it.
    pub async fn recv_body(&mut self) -> (String, Event) {
        let mut body = Vec::new();
        loop {
            match self.next().await {
                Event::Data(data) => body.extend(data),
                event => return (String::from_utf8(body).unwrap(), event),
            }
        }
    }

    async fn next(&self) -> Event {
        let incoming = &self.0.incoming;
        let next = poll_fn(|cx| incoming.lock().poll_pop(cx));
        tokio::time::timeout(std::time::Duration::from_secs(3600), next)
            .await
            .expect("the exchange waits for something else")
    }
}

/// The near side of a stream: what an exchange has of it.
pub struct DoubleStream {
    half: Half,
    /// What was received and not used.
    data: Vec<u8>,
    ended: bool,
    /// The rest of a body with a length.
    expected: Option<u64>,
    trailers: (Section, Vec<u8>),
    response: (ResponseHead, Vec<u8>),
    has_received: bool,
    queue: Vec<Event>,
    sent: u64,
}

/// A stream.
pub fn stream() -> (Box<DoubleStream>, StreamPeer) {
    let (one, other) = (Arc::default(), Arc::default());
    let half = |incoming: &Arc<_>, outgoing: &Arc<_>| Half {
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        has_ended: false,
    };
    let near = DoubleStream {
        half: half(&one, &other),
        data: Vec::new(),
        ended: false,
        expected: None,
        trailers: Default::default(),
        response: Default::default(),
        has_received: false,
        queue: Vec::new(),
        sent: 0,
    };
    (Box::new(near), StreamPeer(half(&other, &one)))
}

thread_local! {
    static UPSTREAMS: RefCell<VecDeque<Box<DoubleStream>>> = const { RefCell::new(VecDeque::new()) };
}

/// An upstream for the next request on this thread.
pub fn upstream() -> StreamPeer {
    let (near, peer) = stream();
    UPSTREAMS.with_borrow_mut(|upstreams| upstreams.push_back(near));
    peer
}

/// The upstream of this request, if a test has provided one.
pub fn take_upstream() -> Option<(Upstream, Destination)> {
    let stream = UPSTREAMS.with_borrow_mut(VecDeque::pop_front)?;
    let destination = Destination {
        authority: Some("upstream".into()),
        upgrade: None,
    };
    Some((Upstream::Double(stream), destination))
}

/// The head of a request as a decoder of HPACK would index it.
pub fn request_head(fields: &[(&str, &str)], ended: bool) -> (RequestHead, Vec<u8>) {
    let (mut head, mut text) = (RequestHead::default(), Vec::new());
    let mut pseudo = |name: &str| {
        let value = fields.iter().find(|field| field.0 == name).expect(name).1;
        let at = text.len();
        text.extend_from_slice(value.as_bytes());
        Span::new(at, text.len())
    };
    let (method, path, authority) = (pseudo(":method"), pseudo(":path"), pseudo(":authority"));
    head.start(method, path, Version::Http2, &text).unwrap();
    head.authority(authority);
    index(&owned(fields), head.section(), &mut text);
    head.complete(&text, &Limits::default()).unwrap();
    head.frame_by_stream(ended).unwrap();
    (head, text)
}

fn owned(fields: &[(&str, &str)]) -> Fields {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    fields.iter().map(own).collect()
}

/// Writes the fields as lines, and indexes them.
fn index(fields: &Fields, section: &mut Section, text: &mut Vec<u8>) {
    for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with(':')) {
        let at = text.len();
        text.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        let value_at = at + name.len() + 2;
        section.push(
            Span::new(at, at + name.len()),
            Span::new(value_at, value_at + value.len()),
        );
    }
}

impl DoubleStream {
    /// The framing of the body that is read.
    pub fn expect(&mut self, framed: Framed) {
        self.expected = match framed {
            Framed::Length(length) => Some(length),
            _ => None,
        };
        self.ended |= framed == Framed::None;
    }
}

/// What both sides of an exchange have.
impl DoubleStream {
    pub fn write_head<E>(
        &mut self,
        _framed: Framed,
        write: impl FnOnce(&mut Head<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut fields = Vec::new();
        write(&mut Head::Double(DoubleHead(&mut fields)))?;
        self.queue.push(Event::Head(fields, false));
        Ok(())
    }

    pub fn sent_bytes(&self) -> u64 {
        self.sent
    }
}

/// What [`Downstream`](super::downstream::Downstream) has.
impl DoubleStream {
    pub fn poll_gathered(
        &mut self,
        cx: &mut Context<'_>,
        enough: usize,
    ) -> Poll<Result<(), BodyError>> {
        while self.data.len() < enough {
            ready!(self.poll_more(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    pub fn has_unread(&self) -> bool {
        !self.data.is_empty()
    }

    pub fn poll_broken(&mut self, cx: &Context<'_>) -> Poll<Broken> {
        let mut incoming = self.half.incoming.lock();
        if incoming.events.contains(&Event::Reset) {
            return Poll::Ready(Broken::Reset(8));
        }
        incoming.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    pub fn send_through(&mut self, _outflow: impl FnOnce() -> Option<Outflow>) {}

    pub fn has_outflow(&self) -> bool {
        false
    }

    pub fn queue_body(&mut self, data: &[u8]) {
        queue_body(self, data);
    }

    pub fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        transfer: &mut BodyTransfer,
        upstream: &mut Upstream,
    ) -> Poll<Result<(), BodyError>> {
        upstream.poll_upload_from(cx, transfer, self)
    }

    pub fn poll_download(
        &mut self,
        cx: &mut Context<'_>,
        transfer: &mut BodyTransfer,
        upstream: &mut Upstream,
    ) -> Poll<Result<(), BodyError>> {
        upstream.poll_download_to(cx, transfer, self)
    }

    pub fn mark(&self) -> Mark {
        Mark {
            queued: self.queue.len(),
            sent: self.sent,
        }
    }

    pub fn take_back(&mut self, mark: Mark) -> bool {
        let unsent = self.sent == mark.sent;
        if unsent {
            self.queue.truncate(mark.queued);
        }
        unsent
    }

    pub fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    pub fn left_bytes(&self) -> u64 {
        self.sent
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.poll_push_out(cx)
    }
}

/// What [`Upstream`] has.
impl DoubleStream {
    pub fn reused(&self) -> bool {
        false
    }

    pub fn reports(&self) -> Option<&Arc<Reports>> {
        None
    }

    pub fn start_over(&mut self, upload: &mut BodyTransfer) -> Result<(), Malformed> {
        upload.start_over(self)
    }

    pub fn poll_upload_from(
        &mut self,
        cx: &mut Context<'_>,
        transfer: &mut BodyTransfer,
        from: &mut impl Source,
    ) -> Poll<Result<(), BodyError>> {
        transfer.poll(cx, from, self)
    }

    pub fn poll_download_to(
        &mut self,
        cx: &mut Context<'_>,
        transfer: &mut BodyTransfer,
        to: &mut impl Sink,
    ) -> Poll<Result<(), BodyError>> {
        transfer.poll(cx, self, to)
    }

    pub fn poll_head(
        &mut self,
        cx: &Context<'_>,
        _limits: &Limits,
        _exposed: bool,
    ) -> Poll<Result<(), HeadError<Fault>>> {
        let event = ready!(self.half.incoming.lock().poll_pop(cx));
        let Event::Head(fields, ended) = event else {
            return Poll::Ready(Err(HeadError::Closed(Some(Broken::Reset(8)))));
        };
        (self.has_received, self.ended) = (true, ended);
        let (head, text) = &mut self.response;
        head.clear();
        text.clear();
        let status = fields.iter().find(|field| field.0 == ":status").unwrap();
        head.start(Version::Http2, status.1.parse().unwrap(), Span::default());
        index(&fields, head.section(), text);
        head.complete(text, &Limits::default()).unwrap();
        head.frame_by_stream(ended);
        Poll::Ready(Ok(()))
    }

    pub fn has_partial_head(&self) -> bool {
        false
    }

    pub fn response(&self) -> Response<'_> {
        self.response.0.view(&self.response.1)
    }

    pub fn pass_interim(&mut self) -> Result<(), EndlessInterim> {
        Ok(())
    }

    pub fn begin_body(&mut self, framed: Framed, _limits: &Limits) {
        self.expect(framed);
    }

    pub fn outcome(&self) -> Outcome {
        match () {
            () if self.has_received => Outcome::Partial,
            () if self.sent == 0 => Outcome::Unsent,
            () => Outcome::SentNoByteBack,
        }
    }

    pub fn poll_recalled(&mut self, _cx: &Context<'_>, _moved: Option<u64>) -> Poll<()> {
        Poll::Pending
    }

    pub fn settle(self, _sent: bool) {}

    pub fn discard(self, _framed: Framed, _limits: &Limits) {}

    pub fn abandon(self, _sent: bool) {}

    pub fn into_tunnel(self) -> (Stream, Vec<u8>) {
        panic!("no test upgrades a stream")
    }
}

impl Source for DoubleStream {
    fn part(&mut self) -> Result<Part, Malformed> {
        Ok(match (self.data.len(), self.ended) {
            (0, true) => Part::End,
            (0, false) => Part::More,
            (n, _) => Part::Data(n),
        })
    }

    fn data(&self) -> &[u8] {
        &self.data
    }

    fn taken(&mut self, n: usize) {
        self.data.drain(..n);
    }

    fn trailers(&self) -> Trailers<'_> {
        Trailers::new(&self.trailers.0, &self.trailers.1)
    }

    fn finish(&mut self) {}

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match ready!(self.half.incoming.lock().poll_pop(cx)) {
            Event::Data(data) => {
                self.expected = self.expected.map(|left| left - data.len() as u64);
                self.data.extend(data);
            }
            Event::Reset => return Poll::Ready(Err(BodyError::From(Broken::Reset(8)))),
            Event::Trailers(_) | Event::End if self.expected.is_some_and(|left| left > 0) => {
                return Poll::Ready(Err(BodyError::Truncated));
            }
            Event::Trailers(fields) => {
                index(&fields, &mut self.trailers.0, &mut self.trailers.1);
                self.ended = true;
            }
            Event::End => self.ended = true,
            Event::Head(..) => panic!("a head within a body"),
        }
        Poll::Ready(Ok(()))
    }
}

impl Sink for DoubleStream {
    fn queue_data(&mut self, data: &[u8]) {
        if !data.is_empty() {
            self.queue.push(Event::Data(data.to_vec()));
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        ready!(self.poll_push_out(cx))?;
        let n = ready!(self.half.outgoing.lock().poll_push_data(cx, data))?;
        self.sent += n as u64;
        Poll::Ready(Ok(n))
    }

    fn end<'t>(&mut self, trailers: impl Iterator<Item = Field<'t>>) -> Result<(), Malformed> {
        let mut fields = Vec::new();
        for trailer in trailers {
            DoubleHead(&mut fields).field(trailer.name, trailer.value)?;
        }
        self.queue.push(match fields.is_empty() {
            true => Event::End,
            false => Event::Trailers(fields),
        });
        Ok(())
    }

    fn poll_push_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while !self.queue.is_empty() {
            if self.half.outgoing.lock().reader_is_gone {
                return Poll::Ready(Err(Broken::Reset(8)));
            }
            let event = self.queue.remove(0);
            if let Event::Data(mut data) = event {
                let pushed = self.half.outgoing.lock().poll_push_data(cx, &data);
                let n = match pushed {
                    Poll::Ready(pushed) => pushed?,
                    Poll::Pending => 0,
                };
                self.sent += n as u64;
                data.drain(..n);
                if !data.is_empty() {
                    self.queue.insert(0, Event::Data(data));
                }
                if n == 0 {
                    return Poll::Pending;
                }
                continue;
            }
            self.sent += 1;
            self.half.push(event);
        }
        Poll::Ready(Ok(()))
    }
}

/// A head of such a stream.
pub struct DoubleHead<'a>(&'a mut Fields);

impl HeadOut for DoubleHead<'_> {
    fn request(&mut self, method: &[u8], target: &[u8], authority: &[u8]) -> Result<(), Malformed> {
        self.pseudo(":method", method);
        self.pseudo(":path", target);
        self.pseudo(":authority", authority);
        Ok(())
    }

    fn response(&mut self, status: u16, _reason: &[u8]) -> Result<(), Malformed> {
        self.pseudo(":status", status.to_string().as_bytes());
        Ok(())
    }

    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let name = String::from_utf8_lossy(name).to_lowercase();
        let of_connection = [
            "connection",
            "transfer-encoding",
            "upgrade",
            "keep-alive",
            "host",
        ];
        assert!(!of_connection.contains(&&*name), "{name} on a stream");
        self.pseudo(&name, value);
        Ok(())
    }

    fn line(&mut self, line: Line<'_>) -> Result<(), Malformed> {
        self.field(line.field().name, line.field().value)
    }

    fn list<'v>(
        &mut self,
        name: &[u8],
        elements: impl IntoIterator<Item = &'v [u8]>,
    ) -> Result<(), Malformed> {
        elements
            .into_iter()
            .try_for_each(|element| self.field(name, element))
    }

    fn framing(&mut self, framed: Framed) {
        if let Framed::Length(length) = framed {
            self.pseudo("content-length", length.to_string().as_bytes());
        }
    }

    fn connection(&mut self, _option: &'static str) {}

    fn upgrade(&mut self, _protocol: &[u8]) -> Result<(), Malformed> {
        panic!("no test upgrades a stream")
    }

    fn end(&mut self) {}
}

impl DoubleHead<'_> {
    fn pseudo(&mut self, name: &str, value: &[u8]) {
        let value = String::from_utf8_lossy(value).into_owned();
        self.0.push((name.to_owned(), value));
    }
}
