//! Client gone: ends work for a client that has left, so that it occupies no queue, look-up or
//! dial.
//!
//! In:    the client's connection or stream, and the work done for it.
//! Out:   the result of the work; or the fault, once the client has reset its connection or its
//!        link is lost.
//! Never: ends the work for a client that has only sent FIN: it may wait for its response.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use byway_dial::Broken;

use super::failure::client_left;
use crate::fault::Fault;

/// Runs `work` unless the client leaves first, which `poll_broken` reports. The caller pins the work, so that its memory is
/// needed once.
///
/// # Errors
/// Those of `work`; `ClosedEarly` of the downstream when the client has left.
///
/// # Cancel safety
/// That of `work`, which is cancelled when the client leaves.
pub async fn unless_gone<T, F>(
    mut poll_broken: impl FnMut(&mut Context<'_>) -> Poll<Broken>,
    mut work: Pin<&mut F>,
) -> Result<T, Fault>
where
    F: Future<Output = Result<T, Fault>>,
{
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Pending => poll_broken(cx).map(|broken| Err(client_left(&broken))),
        done => done,
    })
    .await
}
