//! Metrics listener: what a `[metrics]` listener serves: the metrics of this node, and its health.
//!
//! In:    an accepted connection.
//! Out:   `GET /metrics`: the exposition; `GET /healthz`: 200 while the node serves, 503 once it
//!        drains.
//! Never: serves another path (404), another method (405), or a request with a body.

use std::sync::Arc;

use byway_dial::Read;
use byway_h1::{Parsed, RequestParser, write};
use byway_head::{Framed, Request, reason_phrase};
use byway_http::h1::Conn;
use tokio::time::{Instant, timeout, timeout_at};

use super::context::{Accepted, ConnectionContext};
use crate::config::{FrontendPlan, LimitsPlan};
use crate::exchange::forward::codec_limits;
use crate::observe::exposition::CONTENT_TYPE;

/// Serves one connection, request after request.
pub async fn serve(
    accepted: Accepted,
    context: Arc<ConnectionContext>,
    frontend: Arc<FrontendPlan>,
) {
    let mut downstream = Conn::new(accepted.stream);
    let (limits, mut head) = (&frontend.limits, RequestParser::default());
    for served in 0..limits.requests_per_connection {
        let Some(head_bytes) =
            next_head(&mut downstream, &mut head, limits, served, &context).await
        else {
            break;
        };
        let close = match head_bytes {
            Ok(n) => {
                let request = head.view(downstream.unread());
                let close = !request.keep_alive()
                    || request.framing() != Framed::None
                    || context.scope.is_draining();
                let answer = answer(&request, &context);
                let is_head = request.method() == b"HEAD";
                downstream.consume(n);
                queue(downstream.queue(), &answer, close, is_head);
                close
            }
            Err(status) => {
                queue(
                    downstream.queue(),
                    &MetricsResponse::of(status),
                    true,
                    false,
                );
                true
            }
        };
        let sent = timeout(limits.body_progress, downstream.flush()).await;
        if close || !matches!(sent, Ok(Ok(()))) {
            break;
        }
        head.clear();
    }
    downstream.lingering_close().await;
}

/// The length of the next head, or the status of the error response; none if no request follows.
async fn next_head(
    downstream: &mut Conn,
    head: &mut RequestParser,
    limits: &LimitsPlan,
    served: u64,
    context: &ConnectionContext,
) -> Option<Result<usize, u16>> {
    let begun = Instant::now();
    let mut deadline = begun
        + if served == 0 {
            limits.head_timeout
        } else {
            limits.keep_alive
        };
    loop {
        if !downstream.unread().is_empty() {
            match head.parse(downstream.unread(), &codec_limits(limits)) {
                Ok(Parsed::Complete(n)) => return Some(Ok(n)),
                Ok(Parsed::Partial) => {}
                Err(malformed) => return Some(Err(malformed.status())),
            }
        }
        let was_empty = downstream.unread().is_empty();
        let read = tokio::select! {
            biased;
            read = timeout_at(deadline, downstream.fill()) => read,
            () = context.scope.drained(), if was_empty => return None,
        };
        match read {
            Ok(Ok(Read::Data(_))) if was_empty => deadline = Instant::now() + limits.head_timeout,
            Ok(Ok(Read::Data(_))) => {}
            Err(_elapsed) if !was_empty => return Some(Err(408)),
            _ => return None,
        }
    }
}

struct MetricsResponse {
    status: u16,
    content_type: &'static str,
    body: String,
}

impl MetricsResponse {
    fn of(status: u16) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: format!("{status} {}\n", reason_phrase(status)),
        }
    }
}

fn answer(request: &Request<'_>, context: &ConnectionContext) -> MetricsResponse {
    if !matches!(request.method(), b"GET" | b"HEAD") {
        return MetricsResponse::of(405);
    }
    match request.path() {
        b"/metrics" => MetricsResponse {
            status: 200,
            content_type: CONTENT_TYPE,
            body: context.node.metrics.text(),
        },
        b"/healthz" if context.scope.is_draining() => MetricsResponse {
            body: "draining\n".into(),
            ..MetricsResponse::of(503)
        },
        b"/healthz" => MetricsResponse {
            body: "ok\n".into(),
            ..MetricsResponse::of(200)
        },
        _ => MetricsResponse {
            body: "404 Not Found\nthe paths are /metrics and /healthz\n".into(),
            ..MetricsResponse::of(404)
        },
    }
}

fn queue(out: &mut Vec<u8>, answer: &MetricsResponse, close: bool, head_only: bool) {
    // Status, phrase, names and values are constants.
    let _ = write::status_line(out, answer.status, reason_phrase(answer.status).as_bytes());
    let mut field = |name: &str, value: &str| {
        let _ = write::field(out, name.as_bytes(), value.as_bytes());
    };
    field("Content-Type", answer.content_type);
    field("Content-Length", &answer.body.len().to_string());
    field("Cache-Control", "no-store");
    if answer.status == 405 {
        field("Allow", "GET, HEAD");
    }
    if close {
        field("Connection", "close");
    }
    write::end_of_head(out);
    if !head_only {
        out.extend_from_slice(answer.body.as_bytes());
    }
}

#[cfg(test)]
mod tests;
