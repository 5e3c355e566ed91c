//! H3: the requests of one client connection of HTTP/3, each on a stream of its own.
//!
//! In:    an established QUIC connection.
//! Out:   each request, passed to the pipeline; WebSockets passed to a relay, which runs on its
//!        stream beside the others.
//! Never: frees the slot of a stream before its work has ended, or waits for a client without a
//!        limit.
//!
//! The streams are futures in the task of the connection, as those of HTTP/2 are (`h2.rs`).

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;

use byway_dial::Broken;
use byway_head::Framed;
use byway_http::LazyTimer;
use byway_http::h2::StreamFutures;
use byway_http::h3::{ErrorCode, H3Stream, Limits, NoHead, Server, ServerEnd, ServerTimeouts};
use tokio::task::unconstrained;
use tokio::time::timeout;

use super::super::context::{ConnectionContext, ConnectionInfo};
use super::future_pool::{self, FuturePool, PooledFuture};
use super::multiplexed::{Common, View};
use super::request;
use crate::config::LimitsPlan;
use crate::exchange::downstream::Downstream;
use crate::exchange::next::Next;
use crate::fault::{Fault, Who, malformed};
use crate::outbound::tunnel::Tunnel;

/// Serves an established connection.
pub async fn serve(
    connection: quinn::Connection,
    info: ConnectionInfo,
    context: Arc<ConnectionContext>,
) {
    let Some(view) = View::of(&context) else {
        return connection.close(code(ErrorCode::NO_ERROR), b"");
    };
    let limits = &view.frontend.limits;
    let budget = context.node.buffers.clone();
    let server = Server::new(connection, codec_limits(limits), timeouts(limits), budget);
    context.counters().http3_connections.add(1);
    let connection = Http3Connection {
        server,
        futures: StreamFutures::new(),
        streams: Streams {
            common: Arc::new(Common::new(info, context)),
            view: Arc::new(view),
            served: 0,
            timers: Vec::new(),
        },
    };
    // It bounds by itself what it does until other tasks run.
    unconstrained(connection.run()).await;
}

fn code(code: ErrorCode) -> quinn::VarInt {
    quinn::VarInt::from_u64(code.0).unwrap_or_default()
}

/// Limits of the protocol.
fn codec_limits(limits: &LimitsPlan) -> Limits {
    Limits {
        head: limits.head_limits(),
        streams: limits.streams_per_connection,
        ..Limits::default()
    }
}

fn timeouts(limits: &LimitsPlan) -> ServerTimeouts {
    ServerTimeouts {
        head: limits.head_timeout,
        idle: limits.keep_alive,
    }
}

/// One client connection.
struct Http3Connection {
    server: Server,
    futures: StreamFutures<PooledFuture<StreamJob, LazyTimer>>,
    streams: Streams,
}

/// What its next stream needs.
struct Streams {
    common: Arc<Common>,
    view: Arc<View>,
    served: u64,
    /// Timers of streams that have ended, for the next ones.
    timers: Vec<LazyTimer>,
}

/// A new stream.
struct StreamJob {
    stream: H3Stream,
    common: Arc<Common>,
    view: Arc<View>,
    timer: LazyTimer,
    is_last: bool,
}

thread_local! {
    static FUTURES: FuturePool<StreamJob, LazyTimer> = const { FuturePool::new() };
}

/// Timers that a connection keeps for its next streams.
const KEPT_TIMERS: usize = 8;

impl Http3Connection {
    async fn run(mut self) {
        let end = poll_fn(|cx| {
            let scope = &self.streams.common.context.scope;
            if scope.poll_drained(cx).is_ready() {
                self.server.drain();
            }
            let (streams, mut is_last) = (&mut self.streams, false);
            let timers = RefCell::new(std::mem::take(&mut streams.timers));
            let polled = self.server.poll(
                cx,
                &mut self.futures,
                |stream| {
                    let timer = timers.borrow_mut().pop().unwrap_or_default();
                    let job = streams.begin(stream, timer, &mut is_last)?;
                    Some(future_pool::start(&FUTURES, job, StreamJob::answer))
                },
                |timer| {
                    let mut timers = timers.borrow_mut();
                    if timers.len() < KEPT_TIMERS {
                        timers.push(timer);
                    }
                },
            );
            streams.timers = timers.into_inner();
            if is_last {
                self.server.drain();
            }
            polled
        });
        let end = end.await;
        self.streams.note_end(&end);
    }
}

impl Streams {
    /// The job of a stream. Sets `is_last` if the connection takes no more.
    fn begin(
        &mut self,
        mut stream: H3Stream,
        timer: LazyTimer,
        is_last: &mut bool,
    ) -> Option<StreamJob> {
        if !self.common.follow_reload(&mut self.view) {
            stream.reset(ErrorCode::REQUEST_REJECTED);
            *is_last = true;
            return None;
        }
        self.served += 1;
        *is_last |= self.served >= self.view.frontend.limits.requests_per_connection;
        Some(StreamJob {
            stream,
            timer,
            is_last: *is_last,
            common: Arc::clone(&self.common),
            view: Arc::clone(&self.view),
        })
    }

    /// Counts and logs how the connection ended, if its client ended it out of order.
    fn note_end(&self, end: &ServerEnd) {
        let ServerEnd::Failed(error) = end else {
            return;
        };
        let counters = self.common.context.counters();
        counters.http3_errors.add(1);
        if let Some(line) = counters.log_limits.http3_errors.count() {
            tracing::info!(
                peer = self.common.info.peer.map(tracing::field::display),
                listener = %self.common.context.address, code = error.code.name(),
                left_out = line.left_out, "an HTTP/3 connection was closed: {}", error.reason
            );
        }
    }
}

impl StreamJob {
    /// Serves the stream until all work for it has ended. Returns its timer.
    async fn answer(mut self) -> LazyTimer {
        let limit = self.view.frontend.limits.head_timeout;
        let read = timeout(limit, poll_fn(|cx| self.stream.poll_head(cx))).await;
        let next = match read {
            Ok(Ok(text)) => {
                let cx = self.common.request_context(&self.view, self.is_last);
                let request = text.view();
                let mut downstream = Downstream::h3(&mut self.stream, request.framing());
                request::serve(&cx, request, &mut downstream, &mut self.timer).await
            }
            Ok(Err(NoHead::Unacceptable(error))) => {
                let fault = malformed(Who::Downstream, &error);
                let downstream = Downstream::h3(&mut self.stream, Framed::None);
                Box::pin(self.common.refuse_head(downstream, &fault, &self.view)).await
            }
            Ok(Err(NoHead::Malformed(error))) => {
                self.common.note_malformed(&error, &self.view);
                Next::Leave
            }
            Ok(Err(NoHead::Gone)) => Next::Leave,
            Err(_) => {
                self.stream.reset(ErrorCode::REQUEST_INCOMPLETE);
                Next::Leave
            }
        };
        match next {
            // The end of the stream says nothing about the connection.
            Next::KeepAlive | Next::Close | Next::Leave => {}
            Next::Reset(fault) => self.stream.reset(reset_code(&fault)),
            Next::Tunnel(tunnel) => {
                let (stream, common) = (self.stream, &*self.common);
                Box::pin(relay(stream, *tunnel, common, &self.view)).await;
            }
        }
        self.timer
    }
}

/// The code of a stream whose response was cut or cannot be sent: what that of HTTP/2 means in
/// HTTP/3 (RFC 9114 appendix A.4).
fn reset_code(fault: &Fault) -> ErrorCode {
    use byway_http::h2::ErrorCode as H2;
    match fault.answer().http2 {
        H2::CANCEL => ErrorCode::REQUEST_CANCELLED,
        H2::REFUSED_STREAM => ErrorCode::REQUEST_REJECTED,
        H2::PROTOCOL_ERROR => ErrorCode::MESSAGE_ERROR,
        H2::ENHANCE_YOUR_CALM => ErrorCode::EXCESSIVE_LOAD,
        H2::CONNECT_ERROR => ErrorCode::CONNECT_ERROR,
        _ => ErrorCode::INTERNAL_ERROR,
    }
}

/// Relays a stream that an upgrade has made a tunnel.
async fn relay(mut stream: H3Stream, tunnel: Tunnel, common: &Common, view: &View) {
    let limit = view.frontend.limits.handshake_timeout;
    // The response to the request, if the client takes it in time. Else the relay ends at once.
    let flushed: Result<Result<(), Broken>, _> = timeout(limit, stream.flush()).await;
    drop(flushed);
    stream.begin_tunnel();
    common.relay(Box::new(stream), tunnel, view).await;
}
