//! Respond: sends Byway's own response to a request, and decides about the connection.
//!
//! In:    what is answered.
//! Out:   the response, sent; what becomes of the connection.
//! Never: leaves an unread body in front of the next request.

use tokio::time::timeout;

use super::request::{self, ReceivedRequest, RequestContext};
use crate::config::Role;
use crate::exchange::answer::{self, Answer, ResponseOptions};
use crate::exchange::downstream::Downstream;
use crate::exchange::exchange_request::RequestRecord;
use crate::exchange::grpc;
use crate::exchange::next::Next;
use crate::fault::{Fault, Reason, Who};

/// Sends the response to a request of which nothing was answered yet.
pub(super) async fn respond(
    cx: &RequestContext<'_>,
    received: &ReceivedRequest<'_>,
    downstream: &mut Downstream<'_>,
    answer: Answer<'_>,
    record: &mut RequestRecord,
) -> Next {
    // Bytes after a CONNECT may have been sent early and be meant for the far side; they are not a
    // request.
    let close = received.is_connect() || must_close(cx, received);
    let options = ResponseOptions {
        request_id: received.id.as_str(),
        in_detail: matches!(cx.frontend.role, Role::Egress(_)),
        close,
        head_only: received.request.method() == b"HEAD",
        hsts_seconds: request::hsts_seconds(cx.frontend, cx.info),
        is_grpc: received.request.version().has_streams() && grpc::is_call(&received.request),
    };
    let body_bytes = answer::queue(downstream, &answer, &options);
    let sent = timeout(cx.frontend.limits.body_progress, downstream.flush()).await;
    let Ok(Ok(())) = sent else {
        let detail = "the client read no response";
        return Next::Reset(Fault::new(Who::Downstream, Reason::ClosedEarly, detail));
    };
    let status = match (&answer, options.is_grpc) {
        (Answer::Fault(_), true) => 200,
        _ => answer.status(),
    };
    (record.status, record.down) = (status, body_bytes);
    match close {
        true => Next::Close,
        false => Next::KeepAlive,
    }
}

/// An unread body would have to be read before the next request: if there is one, the connection
/// closes.
fn must_close(cx: &RequestContext<'_>, received: &ReceivedRequest<'_>) -> bool {
    received.request.framing().has_body()
        || !received.request.keep_alive()
        || cx.is_last
        || cx.connection.scope.is_draining()
}
