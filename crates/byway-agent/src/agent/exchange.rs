//! Exchange: one request on one connection, up to the head of its final response.
//!
//! In:    a checked request, its upload, a leased connection or stream.
//! Out:   the head of the response, in the exchange.
//! Never: uses a second task or a channel: the polling task drives both directions; waits for a
//!        peer without a deadline.

use super::carrier::Carrier;
use super::checked_request::CheckedRequest;
use super::error::{BadAnswer, BoxError, Error, Which};
use super::interim::OnInterim;
use super::upload::{Upload, UploadError, Uploading};
use byway_dial::Broken;
use byway_http::h1::HeadError;
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

/// The conditions of an exchange: the agent's options.
pub(super) struct Terms<'a> {
    pub(super) keep_alive: bool,
    pub(super) times: Times,
    pub(super) on_interim: Option<&'a OnInterim>,
}

/// Sends the request and reads the head of its final response, or of 101. The upload may not be
/// over then. Returns whether it has stopped, incomplete: no 100 came, or the origin takes no more.
///
/// Not cancel safe for the connection, which must be closed if the future is dropped or fails.
pub(super) async fn run<B, C>(
    checked: &CheckedRequest,
    upload: &mut Upload<B>,
    exchange: &mut C,
    terms: &Terms<'_>,
) -> Result<bool, Error>
where
    B: Body + Send,
    B::Data: Send,
    B::Error: Into<BoxError>,
    C: Carrier,
{
    exchange.queue_head(checked, terms.keep_alive)?;
    let hold = checked
        .expects_continue
        .then(|| Instant::now() + terms.times.expect_continue);
    let mut progress = Progress {
        hold,
        times: terms.times,
        moved: 0,
        due: None,
        broken: None,
    };
    loop {
        poll_fn(|cx| progress.poll(cx, upload, exchange))
            .await
            .map_err(|error| error.into_error(checked, exchange))?;
        let status = exchange.status();
        match status {
            101 if checked.upgrades && upload.is_over() => return Ok(false),
            101 => return Err(Error::Malformed(BadAnswer::UnaskedUpgrade)),
            100..=199 => {
                if let Some(OnInterim(call)) = terms.on_interim {
                    call(&exchange.read_response()?);
                }
                exchange.pass_interim()?;
                progress.restart(status);
            }
            _ => return Ok(progress.has_stopped() && !upload.is_over()),
        }
    }
}

/// The state of an exchange between two polls.
struct Progress {
    /// How long the body waits for a 100.
    hold: Option<Instant>,
    times: Times,
    /// Bytes sent when `due` was set.
    moved: u64,
    due: Option<(Which, Instant)>,
    /// The origin takes no more of the request; its response may still come.
    broken: Option<Broken>,
}

/// Why an exchange stopped.
enum ExchangeError {
    /// The connection ended; by a FIN if `None`.
    Lost(Option<Broken>),
    Error(Error),
}

impl ExchangeError {
    fn into_error(self, checked: &CheckedRequest, exchange: &impl Carrier) -> Error {
        match self {
            Self::Error(error) => error,
            Self::Lost(source) => exchange.lost(checked.idempotent, source),
        }
    }
}

impl Progress {
    fn poll<B, C>(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload<B>,
        exchange: &mut C,
    ) -> Poll<Result<(), ExchangeError>>
    where
        B: Body + Send,
        B::Data: Send,
        B::Error: Into<BoxError>,
        C: Carrier,
    {
        loop {
            self.poll_upload(cx, upload, exchange)?;
            if let Poll::Ready(head) = self.poll_head(cx, exchange) {
                return Poll::Ready(head);
            }
            let Some((at, which, after)) = self.deadline(upload, exchange) else {
                return Poll::Pending;
            };
            ready!(exchange.timer().poll_at(cx, at));
            match self.hold.take() {
                Some(_) => self.due = None, // no 100 came in time: send the body without it
                None => {
                    return Poll::Ready(Err(ExchangeError::Error(Error::Timeout { which, after })));
                }
            }
        }
    }

    fn poll_upload<B, C>(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload<B>,
        exchange: &mut C,
    ) -> Result<(), ExchangeError>
    where
        B: Body + Send,
        B::Data: Send,
        B::Error: Into<BoxError>,
        C: Carrier,
    {
        if self.broken.is_some() || upload.is_over() {
            return Ok(());
        }
        let sent = match self.hold {
            // The head only, while the body is held back.
            Some(_) => exchange.poll_push_out(cx).map_err(UploadError::Broken),
            None => upload.poll(cx, exchange),
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
        exchange: &mut impl Carrier,
    ) -> Poll<Result<(), ExchangeError>> {
        let head = ready!(exchange.poll_head(cx));
        Poll::Ready(head.map_err(|error| match error {
            HeadError::Malformed(error) => ExchangeError::Error(error.into()),
            HeadError::Closed(broken) => ExchangeError::Lost(broken.or_else(|| self.broken.take())),
            HeadError::OtherProtocol(never) => match never {},
        }))
    }

    /// The next deadline; `None` while only the caller's own body is waited for.
    fn deadline<B, C>(
        &mut self,
        upload: &Upload<B>,
        exchange: &C,
    ) -> Option<(Instant, Which, Duration)>
    where
        B: Body + Send,
        B::Data: Send,
        B::Error: Into<BoxError>,
        C: Carrier,
    {
        if let Some(at) = self.hold {
            return Some((at, Which::FirstByte, self.times.expect_continue));
        }
        let (which, after) = match upload.is_over() || self.broken.is_some() {
            true => (Which::FirstByte, self.times.first_byte?),
            false if upload.waits_for_origin(exchange) => {
                (Which::RequestBody, self.times.body_idle?)
            }
            false => {
                self.due = None;
                return None;
            }
        };
        // While the request is sent, each byte taken is progress. The response's head has one
        // timeout for all of it, which starts when the request is written.
        let sent = exchange.sent_bytes();
        if self.moved != sent || self.due.is_some_and(|(of, _)| of != which) {
            self.moved = sent;
            self.due = None;
        }
        let (_, at) = *self
            .due
            .get_or_insert_with(|| (which, Instant::now() + after));
        Some((at, which, after))
    }

    /// Whether no more of the request will be sent.
    fn has_stopped(&self) -> bool {
        self.hold.is_some() || self.broken.is_some()
    }

    /// An interim response came: restarts the deadline; a 100 releases the body.
    fn restart(&mut self, status: u16) {
        self.due = None;
        if status == 100 {
            self.hold = None;
        }
    }
}
