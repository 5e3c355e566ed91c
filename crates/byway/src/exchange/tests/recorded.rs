//! Recorded: a connection that records the writes to it.

use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use byway_dial::{Broken, Pipe, Read, Stream};
use parking_lot::Mutex;

/// The size of each write, in order.
pub(super) type Writes = Arc<Mutex<Vec<usize>>>;

/// A stream that forwards all calls to another one, and records the size of each write.
pub(super) struct Recorded {
    stream: Stream,
    writes: Writes,
}

impl Recorded {
    /// `stream`, and the record of the writes to it.
    pub(super) fn around(stream: Stream) -> (Stream, Writes) {
        let writes = Writes::default();
        (
            Stream::other(Box::new(Self {
                stream,
                writes: Arc::clone(&writes),
            })),
            writes,
        )
    }
}

impl Pipe for Recorded {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<Read, Broken>> {
        self.stream.poll_read(cx, buf)
    }
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        let taken = ready!(self.stream.poll_write(cx, bufs))?;
        self.writes.lock().push(taken);
        Poll::Ready(Ok(taken))
    }
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.stream.poll_finish(cx)
    }
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        self.stream.poll_broken(cx)
    }
    fn reset(&mut self, code: u32) {
        self.stream.reset(code);
    }
    fn close_on_drop(&mut self) {
        self.stream.close_on_drop();
    }
}
