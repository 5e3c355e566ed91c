//! Respond: the response for the final head of an exchange, with a body that owns what carries it.
//!
//! In:    an exchange after the head of its final response, and the rest of its upload.
//! Out:   the response; after 101, or a 2xx to CONNECT, the connection itself.
//! Never: keeps a connection whose request was not sent to its end.

use super::body::{Body, Incoming};
use super::carrier::Carrier;
use super::checked_request::CheckedRequest;
use super::error::{BoxError, Error};
use super::event::{CloseReason, Event};
use super::h2_exchange::H2Exchange;
use super::in_flight::InFlight;
use super::keep_alive::Keep;
use super::pooled_conn::Exchange;
use super::upgrade::Upgraded;
use super::upload::{Upload, Uploading};
use http::{Method, Response};

/// The response for the final head, with a body that owns the connection. `abandoned`: the upload is
/// incomplete and has stopped.
pub(super) fn respond<B>(
    in_flight: InFlight,
    checked: &CheckedRequest,
    upload: Upload<B>,
    mut exchange: Exchange,
    abandoned: bool,
) -> Result<Response<Body>, Error>
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    exchange.closes_for(CloseReason::Failed); // reported if a step below fails
    let response = exchange.read_response()?;
    let about = exchange.about();
    if leaves_http(checked, &response) {
        exchange.closes_for(CloseReason::Dropped);
        let upgraded = upgrade(&in_flight, exchange).ok_or(Error::Closed)?;
        return Ok(response.map(|()| Body::of_upgrade(upgraded, about)));
    }
    let config = &in_flight.agent().config;
    let kept = Carrier::begin_body(&mut exchange, checked, config)?;
    exchange.closes_for(CloseReason::Dropped);
    let keep = match (config.keep_alive, checked.closes, abandoned) {
        (false, ..) => Err(CloseReason::Unpooled),
        (_, true, _) => Err(CloseReason::LastResponse),
        (.., true) => Err(CloseReason::EarlyResponse),
        _ => kept,
    };
    let incoming = incoming(in_flight, checked, upload, exchange, keep, abandoned);
    Ok(response.map(|()| Body::incoming(incoming, about)))
}

/// As [`respond`], with a body that owns a stream of HTTP/2.
pub(super) fn respond_on<B>(
    in_flight: InFlight,
    checked: &CheckedRequest,
    upload: Upload<B>,
    mut exchange: H2Exchange,
    abandoned: bool,
) -> Result<Response<Body>, Error>
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let response = exchange.read_response()?;
    let about = exchange.about();
    let kept = exchange.begin_body(checked, &in_flight.agent().config)?;
    let keep = match abandoned {
        true => Err(CloseReason::EarlyResponse),
        false => kept,
    };
    let incoming = incoming(in_flight, checked, upload, exchange, keep, abandoned);
    Ok(response.map(|()| Body::of_stream(incoming, about)))
}

fn incoming<B, C>(
    in_flight: InFlight,
    checked: &CheckedRequest,
    upload: Upload<B>,
    exchange: C,
    keep: Keep,
    abandoned: bool,
) -> Incoming<C>
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    C: Carrier,
{
    let upload: Option<Box<dyn Uploading<C>>> = match upload.is_over() || abandoned {
        true => None,
        false => Some(Box::new(upload)),
    };
    Incoming {
        exchange: Some(exchange),
        upload,
        keep,
        body_idle: in_flight.agent().config.times.body_idle,
        in_flight,
        idempotent: checked.idempotent,
        due: None,
        taken: 0,
        over: false,
    }
}

fn leaves_http(checked: &CheckedRequest, response: &Response<()>) -> bool {
    let tunnel = checked.parts.method == Method::CONNECT && response.status().is_success();
    tunnel || response.status().as_u16() == 101
}

/// Detaches the connection from the pool.
fn upgrade(in_flight: &InFlight, exchange: Exchange) -> Option<Upgraded> {
    let lease = exchange.leave_http();
    let agent = in_flight.agent();
    agent
        .observer
        .notify(&Event::Upgraded { group: lease.key() });
    let (mut conn, permit) = lease.detach();
    let (stream, unread) = conn.take()?;
    Some(Upgraded::new(stream, unread, permit))
}
