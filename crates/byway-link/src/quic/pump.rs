//! Pump: reads what a stream receives from quinn as it arrives, in any order, so that gaps never
//! accumulate there.
//!
//! In:    a quinn stream whose window may hold more packets than quinn accepts gaps.
//! Out:   its bytes in order; its end.
//! Never: holds more than the peer has credit for, or more than
//!        [`MOST_PIECES`](super::reassembly::MOST_PIECES) pieces.
//!
//! Quinn closes the whole connection once one stream has more than 1,024 separate pieces, which a
//! burst of losses on a fast path causes. A window of up to [`ORDERED_BYTES`] has fewer packets
//! than twice that, so such streams are read from quinn in order. A stream with a larger window is
//! read by a task of its own, which does not wait for the reader: a paused reader must not cost
//! other streams their connection. The alternative, a smaller window, would limit a stream to 190
//! Mbit/s at 100 ms.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Acquire};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use byway_dial::{Broken, Read};
use parking_lot::Mutex;
use quinn::{Connection, ReadError, RecvStream, VarInt};
use tokio_util::task::TaskTracker;

use super::reassembly::Reassembly;
use super::stream::code_of;

/// Up to this window a stream is read in order from quinn: at most 1,800 packets, thus 900 gaps.
pub(super) const ORDERED_BYTES: u32 = 2 * 1024 * 1024;

/// The receiving side of a stream that a task reads from quinn as data arrives, in any order. Its
/// bytes are read from here in order. Dropping it stops the stream and ends its task.
pub(super) struct Pumped(Mutex<State>);

struct State {
    recv: RecvStream,
    pieces: Reassembly,
    /// The offset that the peer may send up to.
    granted: Arc<AtomicU64>,
    end: Option<End>,
    /// Nothing will be read: the first byte that arrives ends the stream.
    abandoned: bool,
    reader: Option<Waker>,
    pump: Option<Waker>,
}

#[derive(Clone, Copy)]
enum End {
    Fin,
    Reset(u32),
    Lost,
}

impl Pumped {
    /// Starts the task. `pieces` starts where reading in order ended; the peer may send up to
    /// `granted`.
    pub(super) fn start(
        recv: RecvStream,
        pieces: Reassembly,
        granted: Arc<AtomicU64>,
        connection: &Connection,
        tasks: &TaskTracker,
    ) -> Arc<Self> {
        let state = State {
            recv,
            pieces,
            granted,
            end: None,
            abandoned: false,
            reader: None,
            pump: None,
        };
        let pumped = Arc::new(Self(Mutex::new(state)));
        let (weak, connection) = (Arc::downgrade(&pumped), connection.clone());
        tasks.spawn(std::future::poll_fn(move |cx| pump(&weak, &connection, cx)));
        pumped
    }

    pub(super) fn poll_read(&self, cx: &Context<'_>, buf: &mut [u8]) -> Poll<Result<Read, Broken>> {
        let mut state = self.0.lock();
        match state.end {
            Some(End::Reset(code)) => return Poll::Ready(Err(Broken::Reset(code))),
            _ if buf.is_empty() || state.pieces.is_ready() => {
                return Poll::Ready(Ok(Read::Data(state.pieces.read(buf))));
            }
            Some(End::Fin) => return Poll::Ready(Ok(Read::Fin)),
            Some(End::Lost) => return Poll::Ready(Err(Broken::SessionLost)),
            None => {}
        }
        state.wait(cx);
        Poll::Pending
    }

    /// Whether bytes can be read; reads none of them. If there are none, returns the end, or sets
    /// the waker.
    pub(super) fn peek(&self, cx: &Context<'_>) -> Result<Peeked, Broken> {
        let mut state = self.0.lock();
        match state.end {
            Some(End::Reset(code)) => return Err(Broken::Reset(code)),
            _ if state.pieces.is_ready() => return Ok(Peeked::Unread),
            Some(End::Fin) => return Ok(Peeked::Fin),
            Some(End::Lost) => return Err(Broken::SessionLost),
            None => {}
        }
        state.wait(cx);
        Ok(Peeked::Empty)
    }

    pub(super) fn stop(&self, code: VarInt) {
        // An error means that it has ended already.
        let _ = self.0.lock().recv.stop(code);
    }

    /// Resolves when a byte has arrived, in order or not, or the stream has ended. After this call
    /// nothing can be read.
    pub(super) async fn any(self: Arc<Self>) {
        std::future::poll_fn(|cx| {
            let mut state = self.0.lock();
            state.abandoned = true;
            if state.end.is_some() || state.pieces.bytes() > 0 {
                return Poll::Ready(());
            }
            state.wait(cx);
            Poll::Pending
        })
        .await;
    }
}

/// See [`Pumped::peek`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Peeked {
    Unread,
    Empty,
    Fin,
}

impl State {
    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.reader {
            Some(known) => known.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }
}

impl Drop for Pumped {
    fn drop(&mut self) {
        if let Some(pump) = self.0.get_mut().pump.take() {
            pump.wake();
        }
    }
}

/// Reads everything available. Ready when the stream has ended or was dropped.
fn pump(pumped: &Weak<Pumped>, connection: &Connection, cx: &mut Context<'_>) -> Poll<()> {
    let Some(pumped) = pumped.upgrade() else {
        return Poll::Ready(());
    };
    let mut state = pumped.0.lock();
    state.pump = Some(cx.waker().clone());
    let State {
        recv,
        pieces,
        granted,
        ..
    } = &mut *state;
    let mut some = false;
    let end = loop {
        let read = pin!(recv.read_chunk(usize::MAX, false)).poll(cx);
        match read {
            Poll::Pending => break None,
            Poll::Ready(Ok(Some(chunk))) => {
                some = true;
                let excess = chunk.offset + chunk.bytes.len() as u64 > granted.load(Acquire);
                let reason = match excess {
                    true => Some("more bytes than a stream had credit for"),
                    false => pieces
                        .insert(chunk.offset, chunk.bytes)
                        .err()
                        .map(|_| "a stream in too many pieces"),
                };
                if let Some(reason) = reason {
                    connection.close(VarInt::from_u32(0), reason.as_bytes());
                    break Some(End::Lost);
                }
            }
            Poll::Ready(Ok(None)) => break Some(End::Fin),
            Poll::Ready(Err(ReadError::Reset(code))) => {
                // It voids what is in transit.
                pieces.clear();
                break Some(End::Reset(code_of(code)));
            }
            Poll::Ready(Err(_)) => break Some(End::Lost),
        }
    };
    let ended = end.is_some();
    state.end = end;
    let wakes = ended || (some && (state.abandoned || state.pieces.is_ready()));
    let reader = if wakes { state.reader.take() } else { None };
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
    if ended {
        Poll::Ready(())
    } else {
        Poll::Pending
    }
}
