//! Outlet: an outflow between a body and its stream: it spills and limits the rate (egress).
//!
//! In:    data, as fast as the outflow takes it.
//! Out:   the same data, sent on the stream as its windows and the rate admit it.
//! Never: ends the stream: its owner does, once nothing is left here.

use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use byway_dial::{Broken, Pipe, Read, Stream};
use byway_h2::StreamId;
use byway_relay::{DrainError, Outflow};

use super::shared::Shared;

/// An outflow, and the stream that it sends on.
pub(super) struct Outlet {
    outflow: Outflow,
    pipe: Stream,
}

impl Outlet {
    pub(super) fn new(outflow: Outflow, shared: Arc<Shared>, id: StreamId) -> Self {
        Self {
            outflow,
            pipe: Stream::other(Box::new(DataPipe { shared, id })),
        }
    }

    /// Takes some data, and sends what can be sent. Pending only if nothing could be taken.
    pub(super) fn poll_push(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<Result<usize, Broken>> {
        loop {
            let taken = self.outflow.push(data);
            if let Poll::Ready(Err(broken)) = self.poll_drain(cx) {
                return Poll::Ready(Err(broken));
            }
            if taken > 0 {
                return Poll::Ready(Ok(taken));
            }
            ready!(self.outflow.poll_ready(cx)).map_err(|error| broken(error.into()))?;
        }
    }

    /// Ready once everything was sent.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let drained = ready!(self.outflow.poll_drain(cx, &mut self.pipe));
        Poll::Ready(drained.map(|_| ()).map_err(broken))
    }

    pub(super) fn delivered_bytes(&self) -> u64 {
        self.outflow.delivered_bytes()
    }
}

/// Bytes lost by the spill end the stream as a broken one does.
fn broken(error: DrainError) -> Broken {
    match error {
        DrainError::Broken(broken) => broken,
        DrainError::Spill(error) => Broken::Io(std::io::Error::other(error)),
    }
}

/// Data on a stream that another handle owns.
struct DataPipe {
    shared: Arc<Shared>,
    id: StreamId,
}

impl Pipe for DataPipe {
    fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<Result<Read, Broken>> {
        Poll::Ready(Ok(Read::Fin))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        let id = self.id;
        self.shared.with(|state| {
            if let Some(broken) = state.broken(id) {
                return Poll::Ready(Err(broken));
            }
            let mut written = 0;
            for buf in bufs {
                let n = match buf.is_empty() {
                    true => 0,
                    false => state.core.send(id, buf, false),
                };
                written += n;
                if n < buf.len() {
                    break;
                }
            }
            state.wake_task();
            if written == 0 && bufs.iter().any(|buf| !buf.is_empty()) {
                if let Some(stream) = state.stream(id) {
                    stream.wait_to_write(cx);
                }
                return Poll::Pending;
            }
            Poll::Ready(Ok(written))
        })
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn poll_broken(&mut self, _: &mut Context<'_>) -> Poll<Broken> {
        Poll::Pending
    }

    fn reset(&mut self, _: u32) {}

    fn close_on_drop(&mut self) {}
}
