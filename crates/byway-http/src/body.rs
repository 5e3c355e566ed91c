//! Body: what a message body is read from and what it is written to, in any version of HTTP.
//!
//! In:    a connection or stream, and how the body is framed, which was decided from the whole head.
//! Out:   the data of the body in order, its end and its trailers; or data, an end and trailers,
//!        framed.
//! Never: ends a body that its sender has not ended.

use std::task::{Context, Poll};

use byway_dial::{Broken, Read, Stream};
use byway_head::{Field, Malformed, Trailers};

use crate::filter::FilterError;

/// What follows in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// This many bytes of data have arrived ([`Source::data`]).
    Data(usize),
    /// Nothing has arrived.
    More,
    /// The body has ended, and its trailers have arrived.
    End,
}

/// Why a body stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The sender's connection broke, or its stream was reset.
    #[error("the sender broke off: {0}")]
    From(#[source] Broken),
    /// The sender finished in the middle of the body.
    #[error("the sender finished within the body")]
    Truncated,
    /// The sender broke the framing.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The sender sent more than the limit.
    #[error("the body is larger than its limit")]
    TooLarge,
    /// The receiver's connection broke, or its stream was reset.
    #[error("the receiver broke off: {0}")]
    To(#[source] Broken),
    /// A filter cannot change it.
    #[error(transparent)]
    Filter(FilterError),
}

/// What a body is read from.
pub trait Source {
    /// What follows, among the bytes that have arrived.
    ///
    /// # Errors
    /// If the sender has broken the framing.
    fn part(&mut self) -> Result<Part, Malformed>;

    /// Begins with the bytes that [`part`](Self::part) has returned.
    fn data(&self) -> &[u8];

    /// Marks the first `n` of them as used.
    fn taken(&mut self, n: usize);

    /// The trailers, after [`Part::End`] and before [`finish`](Self::finish).
    fn trailers(&self) -> Trailers<'_>;

    /// Marks the end of the body as used, after [`Part::End`].
    fn finish(&mut self);

    /// Reads more, after [`Part::More`].
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>>;

    /// How many bytes of the body may be read from the socket by a kernel pipe now: none unless it
    /// is a plain socket whose bytes are the body as they are. `moved` bytes have passed already.
    fn spliceable(&self, moved: u64) -> Option<u64> {
        let _ = moved;
        None
    }

    /// The socket that a kernel pipe may read from.
    fn socket(&mut self) -> Option<&mut Stream> {
        None
    }

    /// Marks what a kernel pipe has read as used.
    ///
    /// # Errors
    /// If the body may not end here.
    fn spliced(&mut self, read: &Read) -> Result<(), BodyError> {
        let _ = read;
        Ok(())
    }
}

/// What a body is written to.
pub trait Sink {
    /// Queues data without sending it.
    fn queue_data(&mut self, data: &[u8]);

    /// Sends what is queued, and some of `data` after it. Returns how much of `data` was taken.
    /// Cancel safe.
    fn poll_data(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>>;

    /// Queues the end of the body.
    ///
    /// # Errors
    /// If a trailer cannot be written. Nothing is queued then.
    fn end<'t>(&mut self, trailers: impl Iterator<Item = Field<'t>>) -> Result<(), Malformed>;

    /// Sends what is queued, before its sender is waited for. Cancel safe.
    fn poll_push_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;

    /// The socket that a kernel pipe may write to: none unless nothing is queued and it is a plain
    /// socket that gets the body as it is.
    fn socket(&mut self) -> Option<&mut Stream> {
        None
    }

    /// Counts bytes that a kernel pipe has written.
    fn spliced(&mut self, n: usize) {
        let _ = n;
    }
}
