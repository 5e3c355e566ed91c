//! Server: reads the heads of requests from a connection of HTTP/1.
//!
//! In:    a connection at a message boundary.
//! Out:   the head of the next request, in memory of its own, so that the connection's buffer is free
//!        for the body; or why there is none.
//! Never: waits without a limit, or responds.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use byway_dial::{Broken, Read};
use byway_h1::{Parsed, RequestParser};
use byway_head::{Limits, Malformed, Request};
use tokio::time::Instant;

use super::conn::Conn;
use crate::lazy_timer::LazyTimer;
use crate::scratch::{Scratch, ScratchBytes};

/// The head of a request: a copy of its text, and the index over it.
pub struct RequestText {
    index: Scratch<RequestParser>,
    text: Scratch<ScratchBytes>,
}

/// Why there is no request.
#[derive(Debug)]
pub enum NoRequest<E> {
    /// The client has finished, or has sent empty lines only: no response is due.
    Ended,
    /// The connection broke.
    Broken(Broken),
    /// The head was not complete in time.
    TooSlow,
    /// It is malformed.
    Malformed(Malformed),
    /// The client speaks another protocol.
    OtherProtocol(E),
}

impl RequestText {
    /// The request.
    pub fn view(&self) -> Request<'_> {
        self.index.view(&self.text.0)
    }
}

/// Waits for the first byte of a request, at most for `limit`, and while `poll_stopped` is pending.
/// Returns whether it has arrived: a byte that has arrived goes first. Cancel safe.
///
/// # Errors
/// If the connection breaks.
pub async fn await_request(
    conn: &mut Conn,
    timer: &mut LazyTimer,
    limit: Duration,
    mut poll_stopped: impl FnMut(&mut Context<'_>) -> Poll<()>,
) -> Result<bool, Broken> {
    if !conn.unread().is_empty() {
        return Ok(true);
    }
    let deadline = Instant::now() + limit;
    let first = poll_fn(|cx| match conn.poll_fill(cx) {
        Poll::Ready(read) => Poll::Ready(read.map(|read| read != Read::Fin)),
        Poll::Pending if poll_stopped(cx).is_ready() => Poll::Ready(Ok(false)),
        Poll::Pending => timer.poll_at(cx, deadline).map(|()| Ok(false)),
    });
    first.await
}

/// The next request, if its head has arrived, without waiting for it. `other_protocol` examines bytes
/// that are no head yet, so that it fails at once if none will come.
///
/// # Errors
/// Why there is none.
pub fn take_request<E>(
    conn: &mut Conn,
    limits: &Limits,
    other_protocol: impl Fn(&[u8]) -> Option<E>,
) -> Result<Option<RequestText>, NoRequest<E>> {
    Ok(take(conn, Scratch::take(), limits, other_protocol)?.ok())
}

/// `index` is what an earlier call has made of the same bytes, and is returned for the next one.
fn take<E>(
    conn: &mut Conn,
    mut index: Scratch<RequestParser>,
    limits: &Limits,
    other_protocol: impl Fn(&[u8]) -> Option<E>,
) -> Result<Result<RequestText, Scratch<RequestParser>>, NoRequest<E>> {
    match index.parse(conn.unread(), limits) {
        Ok(Parsed::Complete(n)) => {
            let mut text = Scratch::<ScratchBytes>::take();
            text.0
                .extend_from_slice(conn.unread().get(..n).unwrap_or_default());
            conn.consume(n);
            Ok(Ok(RequestText { index, text }))
        }
        unfinished => {
            if let Some(error) = other_protocol(conn.unread()) {
                return Err(NoRequest::OtherProtocol(error));
            }
            unfinished.map_err(NoRequest::Malformed)?;
            Ok(Err(index))
        }
    }
}

/// Reads up to the end of the head whose first byte has arrived, at most for `limit`.
/// Cancel safe.
///
/// # Errors
/// Why there is no request.
pub async fn read_request<E>(
    conn: &mut Conn,
    timer: &mut LazyTimer,
    limits: &Limits,
    limit: Duration,
    other_protocol: impl Fn(&[u8]) -> Option<E>,
) -> Result<RequestText, NoRequest<E>> {
    let mut index = Scratch::<RequestParser>::take();
    let mut deadline = None;
    loop {
        index = match take(conn, index, limits, &other_protocol)? {
            Ok(text) => return Ok(text),
            Err(index) => index,
        };
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
        let read = poll_fn(|cx| match conn.poll_fill(cx) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending => timer.poll_at(cx, deadline).map(|()| None),
        });
        match read.await {
            Some(Ok(Read::Data(_))) => {}
            Some(Ok(Read::Fin)) => return Err(NoRequest::Ended),
            Some(Err(broken)) => return Err(NoRequest::Broken(broken)),
            // Empty lines, which some clients send after a body, get no response.
            None if conn.unread().iter().all(|byte| b"\r\n".contains(byte)) => {
                return Err(NoRequest::Ended);
            }
            None => return Err(NoRequest::TooSlow),
        }
    }
}
