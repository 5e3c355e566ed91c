//! H1: HTTP/1 requests on one client connection, one after the other, in order.
//!
//! In:    an accepted connection of an edge, or of an egress that speaks HTTP.
//! Out:   each request, passed to the pipeline; CONNECT and upgrades passed to a relay.
//! Never: reads the next request before the response to the last was sent, or serves a partial
//!        request.

use std::sync::Arc;
use std::time::Duration;

use byway_head::Framed;
use byway_http::LazyTimer;
use byway_http::h1::{Conn, NoRequest, RequestText, await_request, read_request, take_request};
use byway_pool::Client;
use tokio::time::Instant;

use super::super::context::{Accepted, ConnectionContext, ConnectionInfo};
use super::super::tunnel;
use super::future_pool::{self, FuturePool};
use super::request::{self, RequestContext};
use super::request_log::RequestLog;
use super::{client, h2};
use crate::config::{FrontendPlan, LimitsPlan, Plan};
use crate::exchange::answer::{self, Answer, ResponseOptions};
use crate::exchange::downstream::Downstream;
use crate::exchange::exchange_request::RequestRecord;
use crate::exchange::head::IpText;
use crate::exchange::next::Next;
use crate::exchange::other_protocol;
use crate::exchange::request_id::RequestId;
use crate::fault::{Fault, Reason, Who, malformed};
use crate::observe::ending::Ending;
use crate::observe::metrics::ListenerMetrics;

/// Serves a connection of an edge.
pub fn serve_edge(
    accepted: Accepted,
    context: Arc<ConnectionContext>,
) -> impl Future<Output = ()> + Send {
    Http1Connection::new(Conn::new(accepted.stream), accepted.info, context).serve()
}

/// Serves a connection of an egress whose first bytes look like HTTP.
pub fn serve_egress(
    downstream: Conn,
    info: ConnectionInfo,
    context: Arc<ConnectionContext>,
) -> impl Future<Output = ()> + Send {
    Http1Connection::new(downstream, info, context).serve()
}

/// One client connection. While it is idle it owns nothing but its socket.
struct Http1Connection {
    downstream: Conn,
    info: ConnectionInfo,
    /// The address of the peer for X-Forwarded-For.
    peer_text: Option<IpText>,
    /// The key of the client in the pool.
    client: Client,
    context: Arc<ConnectionContext>,
    /// The Plan of the last request and the listener in it.
    view: Option<(Arc<Plan>, Arc<FrontendPlan>)>,
    /// Where that listener's requests are counted.
    listener_metrics: Arc<ListenerMetrics>,
    served: u64,
    timer: LazyTimer,
}

/// A connection with a request to serve.
struct RequestJob {
    connection: Box<Http1Connection>,
    text: RequestText,
    plan: Arc<Plan>,
    frontend: Arc<FrontendPlan>,
}

/// What has arrived on a connection at a message boundary.
enum Arrival {
    /// A request.
    Request(RequestText),
    /// The preface of HTTP/2, as the first bytes of the connection.
    Http2,
    /// No response is due: the client finished, was idle for too long, or the node is draining.
    Nothing,
}

/// Why there is no request of HTTP/1.
enum Other {
    Http2,
    Fault(Fault),
}

/// A connection whose request was served, and what to do with it.
struct Answered(Box<Http1Connection>, Next);

thread_local! {
    static FUTURES: FuturePool<RequestJob, Answered> = const { FuturePool::new() };
}

impl RequestJob {
    async fn answer(mut self) -> Answered {
        let connection = &mut self.connection;
        let next = connection
            .answer_request(&self.text, &self.plan, &self.frontend)
            .await;
        Answered(self.connection, next)
    }
}

impl Http1Connection {
    fn new(downstream: Conn, info: ConnectionInfo, context: Arc<ConnectionContext>) -> Box<Self> {
        Box::new(Self {
            downstream,
            peer_text: info.peer.map(|peer| IpText::of(peer.ip())),
            client: client::of_peer(info.peer),
            info,
            context,
            view: None,
            listener_metrics: Arc::default(),
            served: 0,
            timer: LazyTimer::default(),
        })
    }

    /// Serves one request after the other. Each is served in pooled memory of the worker, so that
    /// an idle connection takes little.
    async fn serve(mut self: Box<Self>) {
        let Some((_, mut frontend)) = self.view() else {
            return Box::pin(self.downstream.lingering_close()).await;
        };
        loop {
            let arrived = self.next_request(&frontend.limits).await;
            // A reload may have come while the connection waited. If its listener was removed, the
            // connection closes, and its client sends the request again.
            let Some((plan, current)) = self.view() else {
                break;
            };
            frontend = current;
            let next = match arrived {
                Ok(Arrival::Request(text)) => {
                    let job = RequestJob {
                        connection: self,
                        text,
                        plan,
                        frontend: Arc::clone(&frontend),
                    };
                    let Answered(connection, next) =
                        future_pool::start(&FUTURES, job, RequestJob::answer).await;
                    self = connection;
                    next
                }
                Ok(Arrival::Http2) => {
                    let (info, context) = (self.info.clone(), Arc::clone(&self.context));
                    let (stream, early) = self.downstream.into_parts();
                    return Box::pin(h2::serve_after(stream, &early, info, context)).await;
                }
                Ok(Arrival::Nothing) => return Box::pin(self.downstream.fin_and_drop()).await,
                Err(fault) => self.refuse_head(&fault, &frontend),
            };
            match next {
                Next::KeepAlive => {}
                Next::Close => break,
                Next::Leave => return Box::pin(self.downstream.fin_and_drop()).await,
                Next::Reset(_) => return,
                Next::Tunnel(tunnel) => {
                    return Box::pin(tunnel::relay_conn(
                        self.downstream,
                        *tunnel,
                        &self.info,
                        &self.context,
                        &frontend,
                    ))
                    .await;
                }
            }
        }
        Box::pin(self.downstream.lingering_close()).await;
    }

    /// The current Plan, looked up again only when it has changed; `None` once it has no such
    /// listener.
    fn view(&mut self) -> Option<(Arc<Plan>, Arc<FrontendPlan>)> {
        let current = self.context.live().peek();
        let is_current = self
            .view
            .as_ref()
            .is_some_and(|(plan, _)| Arc::ptr_eq(plan, &current));
        if !is_current {
            self.view = self.context.plan();
            if let Some((_, frontend)) = &self.view {
                self.listener_metrics = self.context.worker_stats.listener_metrics(&frontend.name);
            }
        }
        self.view.clone()
    }

    /// Reads up to the end of the next head.
    async fn next_request(&mut self, limits: &LimitsPlan) -> Result<Arrival, Fault> {
        let (downstream, timer) = (&mut self.downstream, &mut self.timer);
        let (scope, is_first) = (&self.context.scope, self.served == 0);
        let idle = if is_first {
            limits.head_timeout
        } else {
            limits.keep_alive
        };
        // A request that has arrived is served even while the node drains.
        let arrived = await_request(downstream, timer, idle, |cx| scope.poll_drained(cx));
        if !matches!(arrived.await, Ok(true)) {
            return Ok(Arrival::Nothing);
        }
        let (codec, limit) = (limits.head_limits(), limits.head_timeout);
        let other = |unread: &[u8]| match is_first && other_protocol::is_http2(unread) {
            true => Some(Other::Http2),
            false => other_protocol::in_request(unread).map(Other::Fault),
        };
        let read = match take_request(downstream, &codec, other) {
            Ok(Some(text)) => return Ok(Arrival::Request(text)),
            // In a box, since most heads arrive whole.
            Ok(None) => Box::pin(read_request(downstream, timer, &codec, limit, other)).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(text) => Ok(Arrival::Request(text)),
            Err(NoRequest::Ended | NoRequest::Broken(_)) => Ok(Arrival::Nothing),
            Err(NoRequest::TooSlow) => Err(slow_head(limit)),
            Err(NoRequest::OtherProtocol(Other::Http2)) => Ok(Arrival::Http2),
            Err(NoRequest::OtherProtocol(Other::Fault(fault))) => Err(self.note_malformed(fault)),
            Err(NoRequest::Malformed(error)) => {
                Err(self.note_malformed(malformed(Who::Downstream, &error)))
            }
        }
    }

    fn note_malformed(&self, fault: Fault) -> Fault {
        let counters = self.context.counters();
        counters.malformed_requests.add(1);
        if let Some(line) = counters.log_limits.malformed_requests.count() {
            tracing::info!(
                peer = self.info.peer.map(display), listener = %self.context.address, class = fault.reason.word(),
                left_out = line.left_out, "malformed request: {fault}"
            );
        }
        fault
    }

    /// Responds to a malformed head. The connection closes, as no message boundary is known.
    fn refuse_head(&mut self, fault: &Fault, frontend: &FrontendPlan) -> Next {
        // The error comes from the client's own bytes and names nothing behind this node.
        let in_detail = true;
        let id = RequestId::random();
        let options = ResponseOptions {
            request_id: id.as_str(),
            in_detail,
            close: true,
            head_only: false,
            hsts_seconds: request::hsts_seconds(frontend, &self.info),
            is_grpc: false,
        };
        let mut record = RequestRecord::begun(Instant::now());
        let codec = frontend.limits.head_limits();
        let mut downstream = Downstream::h1(&mut self.downstream, Framed::None, &codec);
        record.down = answer::queue(&mut downstream, &Answer::Fault(fault), &options);
        record.status = fault.status();
        let request_log = RequestLog {
            context: &self.context,
            info: &self.info,
            listener_metrics: &self.listener_metrics,
            frontend,
        };
        let ending = Ending::of_fault(fault, "request_head");
        request_log.note(None, id.as_str(), &record, ending);
        Next::Close
    }

    async fn answer_request(
        &mut self,
        text: &RequestText,
        plan: &Arc<Plan>,
        frontend: &FrontendPlan,
    ) -> Next {
        self.served += 1;
        let cx = RequestContext {
            connection: &self.context,
            plan,
            frontend,
            info: &self.info,
            peer_text: self.peer_text.as_ref(),
            client: self.client,
            listener_metrics: &self.listener_metrics,
            is_last: self.served >= frontend.limits.requests_per_connection,
        };
        let request = text.view();
        let mut downstream = Downstream::h1(
            &mut self.downstream,
            request.framing(),
            &frontend.limits.head_limits(),
        );
        request::serve(&cx, request, &mut downstream, &mut self.timer).await
    }
}

fn slow_head(limit: Duration) -> Fault {
    let detail = format!("the request head was not complete within head_timeout, {limit:?}");
    Fault::new(Who::Downstream, Reason::RequestHead, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_bytes<J, F>(_: fn(J) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_of_a_request_does_not_grow() {
        let bytes = future_bytes(RequestJob::answer);
        assert!(bytes <= 2_416, "{bytes} bytes");
    }
}
