//! Departure: work for a client that has left ends, so that it holds no place in a queue, look-up
//! or dial.
//!
//! In:    the client's stream, and the work that is done for it.
//! Out:   the result of the work; or the fault, once the client has reset its connection or its
//!        link is lost.
//! Never: ends the work for a client that has only said FIN: it may wait for its answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use byway_dial::{Pipe, Stream};

use super::failure::downstream_left;
use crate::fault::Fault;

/// Does `work` unless the client leaves first. The caller pins the work, so that its room is needed
/// once.
///
/// # Errors
/// Those of `work`; `ClosedEarly` of the downstream when the client has left.
///
/// # Cancel safety
/// That of `work`, which stops as a cancelled future does when the client leaves.
pub async fn unless_gone<T, F>(client: &mut Stream, mut work: Pin<&mut F>) -> Result<T, Fault>
where
    F: Future<Output = Result<T, Fault>>,
{
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Pending => client
            .poll_broken(cx)
            .map(|broken| Err(downstream_left(&broken))),
        done => done,
    })
    .await
}
