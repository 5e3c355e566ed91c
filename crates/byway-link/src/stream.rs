//! Stream: one byte pipe of a session, the same type on every carrier.
//!
//! In:    a stream that a carrier has opened or accepted.
//! Out:   a [`Pipe`] that keeps data, FIN, reset(code) and session loss apart.
//! Never: sends FIN because it was dropped, unless `close_on_drop` was called.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use byway_dial::{Broken, Pipe, Read, Stream};

use crate::client_key::ClientKey;
use crate::mux::carrier::MuxStream;
use crate::open_streams::{OpenStream, OpenStreams};
use crate::quic::QuicStream;

/// A stream of a session, the same type on every carrier. Dropping it resets the stream, unless it
/// was finished, or `close_on_drop` was called and `reset_on_drop` was not since.
pub struct LinkStream {
    kind: CarrierStream,
    _open: Option<OpenStream>,
    _answered: Option<Counted>,
    /// Bytes that were written to its carrier.
    written: Option<Arc<AtomicU64>>,
    /// Its window becomes wide with the next bytes, in either direction.
    widens: bool,
}

enum CarrierStream {
    Mux(MuxStream),
    Quic(Box<QuicStream>),
}

impl LinkStream {
    const fn new(kind: CarrierStream) -> Self {
        Self {
            kind,
            _open: None,
            _answered: None,
            written: None,
            widens: false,
        }
    }

    pub(crate) fn mux(stream: MuxStream) -> Self {
        Self::new(CarrierStream::Mux(stream))
    }

    pub(crate) fn quic(stream: QuicStream) -> Self {
        Self::new(CarrierStream::Quic(Box::new(stream)))
    }

    /// Counts it among the open streams while it lives.
    #[must_use]
    pub(crate) fn counted(mut self, open: &OpenStreams) -> Self {
        self._open = Some(open.add());
        self
    }

    /// Adds what is written to `total`.
    #[must_use]
    pub(crate) fn adding_to(mut self, total: &Arc<AtomicU64>) -> Self {
        self.written = Some(Arc::clone(total));
        self
    }

    /// Counts it among the streams that were answered with success while it lives.
    #[must_use]
    pub(crate) fn answered(mut self, answered: Counted) -> Self {
        self._answered = Some(answered);
        self
    }

    /// Counts what its window takes for `client` from now on.
    pub(crate) fn set_client(&mut self, client: ClientKey) {
        match &mut self.kind {
            CarrierStream::Mux(stream) => stream.set_client(client),
            CarrierStream::Quic(stream) => stream.set_client(client),
        }
    }

    /// Calls [`LinkStream::widen`] with the next bytes, in either direction: streams that are never
    /// used take no early credit from those that are.
    pub(crate) fn widen_when_used(&mut self) {
        self.widens = true;
    }

    /// Lets the peer send more at once than the initial window, on a path whose round trip is long
    /// enough to matter. Call it only after the open message. A stream that was not used yet gets
    /// it only while its client has little.
    pub(crate) fn widen(&mut self, is_used: bool) {
        match &mut self.kind {
            CarrierStream::Mux(stream) => stream.widen(is_used),
            CarrierStream::Quic(stream) => stream.widen(is_used),
        }
    }

    fn note_use(&mut self) {
        if std::mem::take(&mut self.widens) {
            self.widen(true);
        }
    }

    /// As the stream type of the relay.
    pub fn into_stream(self) -> Stream {
        Stream::other(Box::new(self))
    }
}

impl Pipe for LinkStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<Read, Broken>> {
        let read = match &mut self.kind {
            CarrierStream::Mux(stream) => stream.poll_read(cx, buf),
            CarrierStream::Quic(stream) => stream.poll_read(cx, buf),
        };
        if matches!(read, Poll::Ready(Ok(Read::Data(_)))) {
            self.note_use();
        }
        read
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        self.note_use();
        let written = match &mut self.kind {
            CarrierStream::Mux(stream) => stream.poll_write(cx, bufs),
            CarrierStream::Quic(stream) => stream.poll_write(cx, bufs),
        };
        if let (Poll::Ready(Ok(n)), Some(total)) = (&written, &self.written) {
            total.fetch_add(*n as u64, Relaxed);
        }
        written
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(match &mut self.kind {
            CarrierStream::Mux(stream) => stream.finish(),
            CarrierStream::Quic(stream) => stream.finish(),
        })
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        match &mut self.kind {
            CarrierStream::Mux(stream) => stream.poll_broken(cx),
            CarrierStream::Quic(stream) => stream.poll_broken(cx),
        }
    }

    fn reset(&mut self, code: u32) {
        match &mut self.kind {
            CarrierStream::Mux(stream) => stream.reset(code),
            CarrierStream::Quic(stream) => stream.reset(code),
        }
    }

    fn count_for(&mut self, client: u64) {
        self.set_client(ClientKey::numbered(client));
        // The client before may have had no early credit for it.
        self.widen_when_used();
    }

    fn close_on_drop(&mut self) {
        match &mut self.kind {
            CarrierStream::Mux(stream) => stream.close_on_drop(),
            CarrierStream::Quic(stream) => stream.close_on_drop(),
        }
    }

    fn reset_on_drop(&mut self) {
        match &mut self.kind {
            CarrierStream::Mux(stream) => stream.reset_on_drop(),
            CarrierStream::Quic(stream) => stream.reset_on_drop(),
        }
    }
}

/// One of the counted streams; dropping it decrements the count.
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(crate) fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
