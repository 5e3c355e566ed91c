//! Exchange: one request on one connection, up to the head of its final response.
//!
//! In:    a checked request, its upload, a leased connection.
//! Out:   the length of the head in the connection's buffer.
//! Never: uses a second task or a channel: the polling task drives both directions; waits for a
//!        peer without a deadline.

use super::HEAD_LIMITS;
use super::checked_request::CheckedRequest;
use super::error::{BadAnswer, BoxError, Error, Which};
use super::h1_conn::H1Conn;
use super::interim::{MOST, OnInterim};
use super::request_head;
use super::response_head;
use super::upload::{Upload, UploadError, Uploading};
use byway_dial::{Broken, Read};
use byway_h1::Parsed;
use http_body::Body;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// The timeouts of an exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) first_byte: Option<Duration>,
    pub(crate) body_idle: Option<Duration>,
    pub(crate) expect_continue: Duration,
}

/// The conditions of an exchange: whether the connection was used before, and the agent's options.
pub(super) struct Terms<'a> {
    pub(super) reused: bool,
    pub(super) keep_alive: bool,
    pub(super) times: Times,
    pub(super) on_interim: Option<&'a OnInterim>,
}

/// The head of the final response.
pub(super) struct FinalHead {
    /// Its length; it is at the start of the buffer.
    pub(super) head_bytes: usize,
    /// The upload is incomplete and stopped: no 100 came, or the origin takes no more.
    pub(super) abandoned: bool,
    /// An interim response announced a body, so the next bytes may not be the start of a message.
    pub(super) lost_boundary: bool,
}

/// Sends the request and reads the head of its final response, or of 101. The upload may not be
/// over then.
///
/// Not cancel safe for the connection, which must be closed if the future is dropped or fails.
pub(super) async fn run<B>(
    checked: &CheckedRequest,
    upload: &mut Upload<B>,
    conn: &mut H1Conn,
    terms: &Terms<'_>,
) -> Result<FinalHead, Error>
where
    B: Body + Send,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    conn.begin();
    request_head::queue(checked, conn, terms.keep_alive)?;
    let hold = checked
        .expects_continue
        .then(|| Instant::now() + terms.times.expect_continue);
    let mut progress = Progress {
        hold,
        times: terms.times,
        moved: 0,
        due: None,
        broken: None,
        lost_boundary: false,
    };
    for _ in 0..=MOST {
        let head_bytes = poll_fn(|cx| progress.poll(cx, upload, conn))
            .await
            .map_err(|error| error.into_error(checked, conn, terms))?;
        let status = conn.head.view(conn.buffer.unread()).status();
        match status {
            101 if checked.upgrades && upload.is_over() => {
                return Ok(progress.final_head(head_bytes, upload));
            }
            101 => return Err(Error::Malformed(BadAnswer::UnaskedUpgrade)),
            100..=199 => {
                if let Some(OnInterim(call)) = terms.on_interim {
                    call(&response_head::read(
                        &conn.head,
                        conn.buffer.unread(),
                        head_bytes,
                    )?);
                }
                progress.lost_boundary |= conn
                    .head
                    .view(conn.buffer.unread())
                    .announces_impossible_body();
                conn.buffer.consume(head_bytes);
                conn.head.clear();
                progress.restart(status);
            }
            _ => return Ok(progress.final_head(head_bytes, upload)),
        }
    }
    Err(Error::Malformed(BadAnswer::EndlessInterim { limit: MOST }))
}

/// The state of an exchange between two polls.
struct Progress {
    /// How long the body waits for a 100.
    hold: Option<Instant>,
    times: Times,
    /// `written` of the connection when `due` was set.
    moved: u64,
    due: Option<(Which, Instant)>,
    /// The origin takes no more of the request; its response may still come.
    broken: Option<Broken>,
    lost_boundary: bool,
}

/// Why an exchange stopped.
enum ExchangeError {
    /// The connection ended; by a FIN if `None`.
    Lost(Option<Broken>),
    Error(Error),
}

impl ExchangeError {
    fn into_error(self, checked: &CheckedRequest, conn: &H1Conn, terms: &Terms<'_>) -> Error {
        match self {
            Self::Error(error) => error,
            Self::Lost(source) => Error::ConnectionLost {
                reused: terms.reused,
                bytes_written: conn.written,
                bytes_read: conn.read,
                idempotent: checked.idempotent,
                source,
            },
        }
    }
}

impl Progress {
    fn poll<B>(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload<B>,
        conn: &mut H1Conn,
    ) -> Poll<Result<usize, ExchangeError>>
    where
        B: Body + Send,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        loop {
            self.poll_upload(cx, upload, conn)?;
            if let Poll::Ready(head) = self.poll_head(cx, conn) {
                return Poll::Ready(head);
            }
            let Some((at, which, after)) = self.deadline(upload, conn) else {
                return Poll::Pending;
            };
            ready!(conn.timer.poll_until(cx, at));
            match self.hold.take() {
                Some(_) => self.due = None, // no 100 came in time: send the body without it
                None => {
                    return Poll::Ready(Err(ExchangeError::Error(Error::Timeout { which, after })));
                }
            }
        }
    }

    fn poll_upload<B>(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload<B>,
        conn: &mut H1Conn,
    ) -> Result<(), ExchangeError>
    where
        B: Body + Send,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        if self.broken.is_some() || upload.is_over() {
            return Ok(());
        }
        let sent = match self.hold {
            Some(_) => poll_head_out(cx, conn).map_err(UploadError::Broken),
            None => upload.poll(cx, conn),
        };
        match sent {
            Poll::Ready(Err(UploadError::Source(error))) => {
                Err(ExchangeError::Error(Error::Body(error)))
            }
            Poll::Ready(Err(UploadError::Broken(broken))) => {
                self.broken = Some(broken);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        conn: &mut H1Conn,
    ) -> Poll<Result<usize, ExchangeError>> {
        loop {
            if !conn.buffer.is_empty() {
                match conn.head.parse(conn.buffer.unread(), &HEAD_LIMITS) {
                    Ok(Parsed::Complete(head_bytes)) => return Poll::Ready(Ok(head_bytes)),
                    Ok(Parsed::Partial) => {}
                    Err(error) => return Poll::Ready(Err(ExchangeError::Error(error.into()))),
                }
            }
            match ready!(conn.poll_fill(cx)) {
                Ok(Read::Data(_)) => {}
                Ok(Read::Fin) => return Poll::Ready(Err(ExchangeError::Lost(self.broken.take()))),
                Err(broken) => return Poll::Ready(Err(ExchangeError::Lost(Some(broken)))),
            }
        }
    }

    /// The next deadline; `None` while only the caller's own body is waited for.
    fn deadline<B>(
        &mut self,
        upload: &Upload<B>,
        conn: &H1Conn,
    ) -> Option<(Instant, Which, Duration)>
    where
        B: Body + Send,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        if let Some(at) = self.hold {
            return Some((at, Which::FirstByte, self.times.expect_continue));
        }
        let (which, after) = match upload.is_over() || self.broken.is_some() {
            true => (Which::FirstByte, self.times.first_byte?),
            false if upload.waits_for_origin(conn) => (Which::RequestBody, self.times.body_idle?),
            false => {
                self.due = None;
                return None;
            }
        };
        // While the request is sent, each byte taken is progress. The response's head has one
        // timeout for all of it, which starts when the request is written.
        if self.moved != conn.written || self.due.is_some_and(|(of, _)| of != which) {
            self.moved = conn.written;
            self.due = None;
        }
        let (_, at) = *self
            .due
            .get_or_insert_with(|| (which, Instant::now() + after));
        Some((at, which, after))
    }

    fn final_head<B>(&self, head_bytes: usize, upload: &Upload<B>) -> FinalHead
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        let stopped = self.hold.is_some() || self.broken.is_some();
        FinalHead {
            head_bytes,
            abandoned: stopped && !upload.is_over(),
            lost_boundary: self.lost_boundary,
        }
    }

    /// An interim response came: restarts the deadline; a 100 releases the body.
    fn restart(&mut self, status: u16) {
        self.due = None;
        if status == 100 {
            self.hold = None;
        }
    }
}

/// Sends the head only, while the body is held back.
fn poll_head_out(cx: &mut Context<'_>, conn: &mut H1Conn) -> Poll<Result<(), Broken>> {
    ready!(conn.poll_send(cx, &[]))?;
    conn.poll_flush(cx)
}
