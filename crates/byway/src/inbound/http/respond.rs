//! Respond: sends Byway's own response to a request, and decides about the connection.
//!
//! In:    what is answered.
//! Out:   the response, sent; whether another request may follow.
//! Never: leaves an unread body in front of the next request.

use byway_head::TargetForm;
use tokio::time::timeout;

use super::request::{ReceivedRequest, RequestContext, Then};
use crate::config::Role;
use crate::exchange::answer::{self, Answer, ResponseOptions};
use crate::exchange::downstream::Downstream;
use crate::exchange::forward::Moved;

/// Sends the response to a request of which nothing was answered yet. `None`: the client has not
/// taken it.
pub(super) async fn respond(
    cx: &RequestContext<'_>,
    header: &ReceivedRequest<'_>,
    downstream: &mut Downstream<'_>,
    answer: Answer<'_>,
    moved: &mut Moved,
) -> Option<Then> {
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
    let body_bytes = answer::queue(downstream, &answer, &options);
    let sent = timeout(cx.frontend.limits.body_progress, downstream.flush()).await;
    let Ok(Ok(())) = sent else { return None };
    (moved.status, moved.down) = (answer.status(), body_bytes);
    Some(match close {
        true => Then::Close,
        false => Then::Continue,
    })
}

/// An unread body would have to be read before the next request: if there is one, the connection
/// closes.
fn must_close(cx: &RequestContext<'_>, header: &ReceivedRequest<'_>) -> bool {
    header.request.framing().has_body()
        || !header.request.keep_alive()
        || cx.is_last
        || cx.connection.scope.is_draining()
}
