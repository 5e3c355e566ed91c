//! WebSocket: an extended CONNECT (RFC 8441, RFC 9220) towards an upstream of HTTP/1, where it is an
//! upgrade with a key.
//!
//! In:    a request, and the response that accepts it.
//! Out:   the handshake whose key is sent; whether the response belongs to it.
//! Never: sends a key of the client, which has none in these versions.

use byway_head::{Request, Response};
use byway_ws::handshake::ClientHandshake;

/// The handshake to make for a request, if its client makes none: it began a WebSocket by an extended
/// CONNECT. `request_id` is new for each request.
pub(super) fn handshake(
    request: &Request<'_>,
    request_id: &str,
) -> Option<ClientHandshake<'static>> {
    let is_websocket = request
        .upgrade()
        .is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
    if !request.version().has_streams() || !is_websocket {
        return None;
    }
    // RFC 6455 asks for a number that is not used twice, so that no cache answers; it is no secret.
    let nonce = request_id.as_bytes().try_into().ok()?;
    ClientHandshake::new(nonce, &[]).ok()
}

/// Whether a 101 accepts the handshake.
pub(super) fn accepts(handshake: &ClientHandshake<'_>, response: &Response<'_>) -> bool {
    let mut accepts = response.fields_named("Sec-WebSocket-Accept");
    let accept = accepts.next().unwrap_or_default();
    handshake.accepts(accept) && accepts.next().is_none()
}

/// Whether a field belongs to the handshake of HTTP/1 alone.
pub(super) fn is_of_handshake(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"Sec-WebSocket-Key")
        || name.eq_ignore_ascii_case(b"Sec-WebSocket-Accept")
}
