//! Metrics listener: what a `[metrics]` listener serves: the metrics of this node, and its health.
//!
//! In:    an accepted connection.
//! Out:   `GET /metrics`: the exposition; `GET /healthz`: 200 while the node serves, 503 once it
//!        drains.
//! Never: serves another path (404), another method (405), or a request with a body.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::Context;

use byway_h1::write;
use byway_head::{Framed, Request, reason_phrase};
use byway_http::LazyTimer;
use byway_http::h1::{Conn, NoRequest, await_request, read_request};
use tokio::time::timeout;

use super::context::{Accepted, ConnectionContext};
use crate::config::FrontendPlan;
use crate::observe::exposition::CONTENT_TYPE;

/// Serves one connection, request after request.
pub async fn serve(
    accepted: Accepted,
    context: Arc<ConnectionContext>,
    frontend: Arc<FrontendPlan>,
) {
    let mut downstream = Conn::new(accepted.stream);
    let (limits, mut timer) = (&frontend.limits, LazyTimer::default());
    for served in 0..limits.requests_per_connection {
        let (idle, limit) = match served {
            0 => (limits.head_timeout, limits.head_timeout),
            _ => (limits.keep_alive, limits.head_timeout),
        };
        let stopped = |cx: &mut Context<'_>| context.scope.poll_drained(cx);
        if !matches!(
            await_request(&mut downstream, &mut timer, idle, stopped).await,
            Ok(true)
        ) {
            break;
        }
        let (codec, http_alone) = (limits.head_limits(), |_: &[u8]| None::<Infallible>);
        let read = read_request(&mut downstream, &mut timer, &codec, limit, http_alone);
        let close = match read.await {
            Ok(text) => {
                let request = text.view();
                let close = !request.keep_alive()
                    || request.framing() != Framed::None
                    || context.scope.is_draining();
                let answer = answer(&request, &context);
                let is_head = request.method() == b"HEAD";
                queue(downstream.queue(), &answer, close, is_head);
                close
            }
            Err(NoRequest::Ended | NoRequest::Broken(_)) => break,
            Err(error) => {
                let status = match error {
                    NoRequest::Malformed(malformed) => malformed.status(),
                    _ => 408,
                };
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
    }
    downstream.lingering_close().await;
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
