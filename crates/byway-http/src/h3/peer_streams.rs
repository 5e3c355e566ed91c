//! Peer streams: the unidirectional streams that the client opens: control, QPACK, and unknown ones.
//!
//! Never: keeps more of a stream than the start of its type; reads one that has no use.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use byway_h3::{ConnectionError, ErrorCode, StreamKind};
use quinn::RecvStream;

use super::shared::{Shared, varint};

/// How many streams a client may have open: three that it needs, and some of unknown types.
pub const MOST_PEER_STREAMS: u32 = 8;

/// What is read at once, and how often in a turn.
const READ_BYTES: usize = 1024;
const READS: usize = 16;

/// Accepts a stream.
type Accept = Pin<Box<dyn Future<Output = Result<RecvStream, quinn::ConnectionError>> + Send>>;

/// The client's unidirectional streams.
pub(super) struct PeerStreams {
    shared: Arc<Shared>,
    accept: Accept,
    open: Vec<PeerStream>,
}

struct PeerStream {
    stream: RecvStream,
    kind: Option<StreamKind>,
    /// The start of the type.
    start: Vec<u8>,
}

impl PeerStreams {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            accept: accept(&shared),
            shared,
            open: Vec::new(),
        }
    }

    /// Reads what has arrived. Wakes the task of `cx` for more.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Result<(), ConnectionError> {
        while let Poll::Ready(Ok(stream)) = self.accept.as_mut().poll(cx) {
            self.accept = accept(&self.shared);
            self.open.push(PeerStream {
                stream,
                kind: None,
                start: Vec::new(),
            });
        }
        let (shared, mut failed) = (&self.shared, Ok(()));
        self.open.retain_mut(|open| {
            let read = open.poll(cx, shared);
            read.unwrap_or_else(|error| {
                failed = Err(error);
                false
            })
        });
        failed
    }
}

fn accept(shared: &Shared) -> Accept {
    let quic = shared.quic.clone();
    Box::pin(async move { quic.accept_uni().await })
}

impl PeerStream {
    /// Reads what has arrived; returns whether there may be more.
    fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Result<bool, ConnectionError> {
        let mut buffer = [0; READ_BYTES];
        for _ in 0..READS {
            let n = match self.stream.poll_read(cx, &mut buffer) {
                Poll::Pending => return Ok(true),
                // A lost connection is noticed elsewhere.
                Poll::Ready(Err(quinn::ReadError::ConnectionLost(_))) => return Ok(false),
                Poll::Ready(Ok(0) | Err(_)) => {
                    return match self.kind {
                        Some(kind) => shared.with(|state| state.core.closed(kind)).map(|()| false),
                        None => Ok(false),
                    };
                }
                Poll::Ready(Ok(n)) => n,
            };
            if !self.read(buffer.get(..n).unwrap_or_default(), shared)? {
                let _ = self.stream.stop(varint(ErrorCode::STREAM_CREATION_ERROR));
                return Ok(false);
            }
        }
        cx.waker().wake_by_ref();
        Ok(true)
    }

    /// Returns whether the stream is read further.
    fn read(&mut self, bytes: &[u8], shared: &Shared) -> Result<bool, ConnectionError> {
        if let Some(kind) = self.kind {
            return read_as(kind, bytes, shared);
        }
        self.start.extend_from_slice(bytes);
        let Some((kind, len)) = StreamKind::read(&self.start) else {
            return Ok(true);
        };
        self.kind = Some(kind);
        if !shared.with(|state| state.core.opened(kind, Instant::now()))? {
            return Ok(false);
        }
        let begun = std::mem::take(&mut self.start);
        read_as(kind, begun.get(len..).unwrap_or_default(), shared)
    }
}

fn read_as(kind: StreamKind, mut bytes: &[u8], shared: &Shared) -> Result<bool, ConnectionError> {
    let now = Instant::now();
    shared.with(|state| {
        match kind {
            StreamKind::Control => {
                while !bytes.is_empty() {
                    let (taken, _) = state.core.read_control(bytes, now)?;
                    bytes = bytes.get(taken..).unwrap_or_default();
                }
            }
            StreamKind::QpackEncoder => state.core.read_encoder(bytes, now)?,
            StreamKind::QpackDecoder => state.core.read_decoder(bytes, now)?,
            StreamKind::Push | StreamKind::Unknown => return Ok(false),
        }
        Ok(true)
    })
}
