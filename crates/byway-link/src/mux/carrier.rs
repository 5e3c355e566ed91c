//! Mux carrier: a mux core over one TLS session: a driver that moves frames, and streams for the
//! callers.
//!
//! In:    a TLS session whose handshake is complete.
//! Out:   [`MuxStream`]s; a future to drive, which ends with the carrier.
//! Never: holds the core's lock across an await, or lets one direction wait for the other.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BufMut;
use byway_dial::{Broken, Read};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::core::{MuxCore, MuxOpenError, Payload, Side};
use super::frame::{CONTROL, HEADER_BYTES, Header, Violation};
use crate::client_key::ClientKey;
use crate::error::CLOSED;
use crate::fair_budget::FairBudget;
use crate::gathering::Tls;

/// The most bytes that one poll of the driver moves in each direction, so that it never holds its
/// thread for long.
const ROUND_BYTES: usize = 1024 * 1024;

/// How much is taken from the core at a time. What has been taken is sent before anything that is
/// written later.
const TAKE_BYTES: usize = 256 * 1024;

/// The same on a long path, where sending may take much longer: a stream with little data waits no
/// longer than this takes behind a stream with much.
const TAKE_LONG_BYTES: usize = 32 * 1024;

/// The most slices of one write.
const SLICES: usize = 16;

/// Why a carrier over TCP ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MuxError {
    /// The peer closed it, between two frames.
    #[error("{CLOSED}")]
    Closed,
    /// The peer violated the protocol.
    #[error("the other side broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// The connection or TLS failed.
    #[error("the connection broke: {}", byway_dial::plain_words(&.0.to_string()))]
    Io(#[from] io::Error),
}

/// The byte stream that a driver sends by.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// Ready when bytes that are written next do not wait in this process behind earlier ones. By
    /// default that is when everything is flushed.
    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_flush(cx)
    }
}

impl Transport for Tls {}

/// One carrier; clones share it.
#[derive(Clone)]
pub(crate) struct MuxCarrier(Arc<Mutex<MuxCore>>);

impl MuxCarrier {
    /// The carrier, its control stream, and the driver of `io`, which must be polled for anything
    /// to move. The peer may open no stream before [`Self::admit`].
    pub(crate) fn new<T: Transport>(
        io: T,
        side: Side,
        budget: Arc<FairBudget>,
    ) -> (Self, MuxStream, Driver<T>) {
        let carrier = Self(Arc::new(Mutex::new(MuxCore::new(side, budget))));
        let control = MuxStream {
            carrier: carrier.clone(),
            stream: CONTROL,
            orderly: false,
        };
        let driver = Driver {
            io,
            carrier: carrier.clone(),
            reading: Reading::start(),
            held_back: false,
            output: VecDeque::new(),
            sent: 0,
        };
        (carrier, control, driver)
    }

    /// Marks the session as established: the peer may have `streams` streams open at once.
    pub(crate) fn admit(&self, streams: u32) {
        self.with(|core| core.admit(streams));
    }

    /// Opens a stream whose first bytes are `first`.
    pub(crate) fn open(&self, first: &[u8]) -> Result<MuxStream, MuxOpenError> {
        let stream = self.with(|core| core.open(first))?;
        Ok(MuxStream {
            carrier: self.clone(),
            stream,
            orderly: false,
        })
    }

    /// The next stream that the peer opens; `None` once the carrier is lost. Cancel safe.
    pub(crate) async fn accept(&self) -> Option<MuxStream> {
        let stream = poll_fn(|cx| self.with(|core| core.poll_accept(cx))).await?;
        Some(MuxStream {
            carrier: self.clone(),
            stream,
            orderly: false,
        })
    }

    /// Sets the round-trip time of the core.
    pub(crate) fn set_round_trip(&self, round_trip: Duration) {
        self.0.lock().set_round_trip(round_trip);
    }

    /// Bytes that streams have written and that wait to be sent.
    pub(crate) fn queued_bytes(&self) -> u64 {
        self.0.lock().queued_bytes() as u64
    }

    /// Ends the carrier and all of its streams.
    pub(crate) fn lose(&self) {
        self.with(MuxCore::lose);
    }

    /// Calls `act` under the lock, and afterwards wakes the driver if there is something to send.
    fn with<R>(&self, act: impl FnOnce(&mut MuxCore) -> R) -> R {
        let mut core = self.0.lock();
        let result = act(&mut core);
        let driver = core.driver_to_wake();
        drop(core);
        if let Some(waker) = driver {
            waker.wake();
        }
        result
    }
}

/// One stream. Dropping it resets it, unless it was finished.
pub(crate) struct MuxStream {
    carrier: MuxCarrier,
    stream: u32,
    orderly: bool,
}

impl MuxStream {
    pub(crate) fn poll_read(&self, cx: &Context<'_>, buf: &mut [u8]) -> Poll<Result<Read, Broken>> {
        self.carrier
            .with(|core| core.poll_read(self.stream, cx, buf, Instant::now()))
    }

    pub(crate) fn poll_write(
        &self,
        cx: &Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        self.carrier
            .with(|core| core.poll_write(self.stream, cx, bufs))
    }

    /// See [`LinkStream::set_client`](crate::stream::LinkStream::set_client).
    pub(crate) fn set_client(&self, client: ClientKey) {
        self.carrier.0.lock().set_client(self.stream, client);
    }

    /// See [`LinkStream::widen`](crate::stream::LinkStream::widen).
    pub(crate) fn widen(&self, is_used: bool) {
        self.carrier.with(|core| core.widen(self.stream, is_used));
    }

    pub(crate) fn finish(&self) -> Result<(), Broken> {
        self.carrier.with(|core| core.finish(self.stream))
    }

    pub(crate) fn poll_broken(&self, cx: &Context<'_>) -> Poll<Broken> {
        self.carrier.with(|core| core.poll_broken(self.stream, cx))
    }

    pub(crate) fn reset(&self, code: u32) {
        self.carrier.with(|core| core.reset(self.stream, code));
    }

    pub(crate) fn close_on_drop(&mut self) {
        self.orderly = true;
    }

    pub(crate) fn reset_on_drop(&mut self) {
        self.orderly = false;
    }
}

impl Drop for MuxStream {
    fn drop(&mut self) {
        self.carrier
            .with(|core| core.release(self.stream, self.orderly, Instant::now()));
    }
}

enum Reading {
    Header {
        bytes: [u8; HEADER_BYTES],
        have: usize,
    },
    /// The payload has room for all of it.
    Payload {
        header: Header,
        payload: Vec<u8>,
    },
    Skipping {
        left: usize,
    },
}

impl Reading {
    const fn start() -> Self {
        Self::Header {
            bytes: [0; HEADER_BYTES],
            have: 0,
        }
    }
}

/// Moves frames between a core and its TLS session until one of them ends. Dropping it ends every
/// stream.
#[must_use = "nothing moves unless the driver is polled"]
pub(crate) struct Driver<T> {
    io: T,
    carrier: MuxCarrier,
    reading: Reading,
    /// Nothing was read because too many replies wait for the peer.
    held_back: bool,
    output: VecDeque<Vec<u8>>,
    /// Bytes of the first chunk of `output` that were written.
    sent: usize,
}

impl<T: Transport> Future for Driver<T> {
    type Output = MuxError;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<MuxError> {
        let this = &mut *self;
        {
            let mut core = this.carrier.0.lock();
            if core.is_lost() {
                return Poll::Ready(MuxError::Closed);
            }
            core.set_driver(cx.waker());
            if core.has_lingering() {
                core.stop_lingering(Instant::now());
            }
        }
        // The directions are independent: frames of a peer that does not read are still received.
        let written = this.poll_output(cx);
        let read = this.poll_input(cx);
        // What was read may require a reply (credit, a reset). It can be sent if all that
        // is waited for is a flush: that of a bundle waits for each of its connections.
        let written = if written.is_pending() && !this.output.is_empty() {
            written
        } else {
            this.poll_output(cx)
        };
        // There is room to read again, and nothing else wakes this task.
        if this.held_back && this.carrier.0.lock().may_receive() {
            cx.waker().wake_by_ref();
        }
        match (read, written) {
            (Poll::Ready(error), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(error),
            _ => Poll::Pending,
        }
    }
}

impl<T: Transport> Driver<T> {
    /// Shuts down the TLS session and the connection below it, after everything that was sent.
    pub(crate) async fn close(&mut self) {
        // A connection that is broken needs no shutdown.
        let _ = poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await;
    }

    /// Sends what is queued; ready when nothing is left.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), MuxError>> {
        let mut moved = 0;
        loop {
            if self.output.is_empty() {
                let is_long = self.carrier.0.lock().is_long_path();
                if is_long {
                    // Nothing may be buffered in TLS when more is taken: it would be sent before
                    // streams with little data.
                    ready!(self.io.poll_writable(cx))?;
                }
                let most = if is_long { TAKE_LONG_BYTES } else { TAKE_BYTES };
                self.carrier.0.lock().take(most, &mut self.output);
            }
            if self.output.is_empty() {
                ready!(Pin::new(&mut self.io).poll_flush(cx))?;
                return Poll::Ready(Ok(()));
            }
            if moved >= ROUND_BYTES {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let written = ready!(self.poll_write_some(cx))?;
            if written == 0 {
                return Poll::Ready(Err(MuxError::Io(io::ErrorKind::WriteZero.into())));
            }
            self.left(written);
            moved += written;
        }
    }

    fn poll_write_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut used = 0;
        for (slice, (index, chunk)) in slices.iter_mut().zip(self.output.iter().enumerate()) {
            let from = if index == 0 { self.sent } else { 0 };
            *slice = IoSlice::new(chunk.get(from..).unwrap_or_default());
            used += 1;
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, slices.get(..used).unwrap_or_default())
    }

    fn left(&mut self, mut n: usize) {
        while let Some(front) = self.output.front() {
            let rest = front.len() - self.sent;
            if n < rest {
                self.sent += n;
                return;
            }
            n -= rest;
            self.sent = 0;
            self.output.pop_front();
        }
    }

    /// Reads frames; ready when the carrier ends.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<MuxError> {
        let mut moved = 0;
        loop {
            if moved >= ROUND_BYTES {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            // A peer that keeps sending requests and reads no replies is not read from; output
            // makes room again.
            self.held_back = !self.carrier.0.lock().may_receive();
            if self.held_back {
                return Poll::Pending;
            }
            match ready!(self.poll_step(cx)) {
                Ok(n) => moved += n + 1,
                Err(error) => return Poll::Ready(error),
            }
        }
    }

    /// Reads once, or passes on what is complete. Returns how many bytes were read.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, MuxError>> {
        match &mut self.reading {
            Reading::Header { bytes, have } if *have < HEADER_BYTES => {
                let room = bytes.get_mut(*have..).unwrap_or_default();
                let n = ready!(poll_read(&mut self.io, cx, room))?;
                if n == 0 {
                    let between = *have == 0;
                    let cut = || MuxError::Io(io::ErrorKind::UnexpectedEof.into());
                    return Poll::Ready(Err(if between { MuxError::Closed } else { cut() }));
                }
                *have += n;
                Poll::Ready(Ok(n))
            }
            Reading::Header { bytes, .. } => {
                let header = Header::decode(*bytes)?;
                // Replies to it are sent at the end of this poll: no waker is needed.
                let judged = self.carrier.0.lock().judge(&header)?;
                self.reading = match judged {
                    Payload::Keep => Reading::Payload {
                        header,
                        payload: Vec::with_capacity(header.length),
                    },
                    Payload::Skip => Reading::Skipping {
                        left: header.length,
                    },
                };
                Poll::Ready(Ok(0))
            }
            Reading::Payload { header, payload } if payload.len() < header.length => {
                let mut room = payload.limit(header.length - payload.len());
                let n = ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut room))?;
                if n == 0 {
                    return Poll::Ready(Err(MuxError::Io(io::ErrorKind::UnexpectedEof.into())));
                }
                Poll::Ready(Ok(n))
            }
            Reading::Payload { header, payload } => {
                let (header, payload) = (*header, std::mem::take(payload));
                self.reading = Reading::start();
                self.carrier.0.lock().receive(&header, payload)?;
                Poll::Ready(Ok(0))
            }
            Reading::Skipping { left: 0 } => {
                self.reading = Reading::start();
                Poll::Ready(Ok(0))
            }
            Reading::Skipping { left } => {
                let mut rubbish = [0; 4096];
                let room = rubbish.get_mut(..(*left).min(4096)).unwrap_or_default();
                let n = ready!(poll_read(&mut self.io, cx, room))?;
                if n == 0 {
                    return Poll::Ready(Err(MuxError::Io(io::ErrorKind::UnexpectedEof.into())));
                }
                *left -= n;
                Poll::Ready(Ok(n))
            }
        }
    }
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        self.carrier.lose();
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

pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
