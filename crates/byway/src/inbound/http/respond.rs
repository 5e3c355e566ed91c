//! Respond: sends Byway's own response to a request, and decides about the connection.
//!
//! In:    a fault, or the end of a Max-Forwards.
//! Out:   the response, sent; whether another request may follow.
//! Never: leaves an unread body in front of the next request.

use byway_head::TargetForm;
use tokio::time::timeout;

use super::request::{Downstream, ReceivedRequest, RequestContext, Then};
use crate::config::Role;
use crate::exchange::answer::{self, ResponseOptions};
use crate::exchange::forward::{After, Moved};
use crate::exchange::max_forwards;
use crate::fault::{Fault, Reason, Who};

/// Responds to an OPTIONS on its last hop (Max-Forwards: 0).
pub(super) async fn last_hop(
    cx: &RequestContext<'_>,
    header: &ReceivedRequest<'_>,
    downstream: &mut Downstream<'_>,
) -> After {
    let close = must_close(cx, header);
    max_forwards::answer(downstream.conn.queue(), close);
    let sent = timeout(cx.frontend.limits.body_progress, downstream.conn.flush()).await;
    match (sent, close) {
        (Ok(Ok(())), true) => After::Close,
        (Ok(Ok(())), false) => After::KeepAlive,
        _ => After::Abort(Fault::new(
            Who::Downstream,
            Reason::ClosedEarly,
            "the client read no response",
        )),
    }
}

/// Responds to a fault before which nothing was sent.
pub(super) async fn fault(
    cx: &RequestContext<'_>,
    header: &ReceivedRequest<'_>,
    downstream: &mut Downstream<'_>,
    fault: &Fault,
    moved: &mut Moved,
) -> Then {
    // Bytes after a CONNECT may have been sent early and be meant for the far side; they are not a
    // request.
    let connect = matches!(header.request.target_form(), TargetForm::Authority);
    let close = connect || must_close(cx, header);
    let options = ResponseOptions {
        request_id: header.id.as_str(),
        in_detail: matches!(cx.frontend.role, Role::Egress(_)),
        close,
        head_only: header.request.method() == b"HEAD",
    };
    let body_bytes = answer::fault(downstream.conn.queue(), fault, &options);
    let sent = timeout(cx.frontend.limits.body_progress, downstream.conn.flush()).await;
    if let Ok(Ok(())) = sent {
        (moved.status, moved.down) = (fault.status(), body_bytes);
    }
    match (sent, close) {
        (Ok(Ok(())), false) => Then::Continue,
        (Ok(Ok(())), true) => Then::Close,
        _ => Then::Reset,
    }
}

/// An unread body would have to be read before the next request: if there is one, the connection
/// closes.
fn must_close(cx: &RequestContext<'_>, header: &ReceivedRequest<'_>) -> bool {
    header.request.framing().has_body()
        || !header.request.keep_alive()
        || cx.is_last
        || cx.connection.scope.is_draining()
}
