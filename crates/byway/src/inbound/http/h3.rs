//! H3: the requests of one client connection of HTTP/3, each on a stream of its own.
//!
//! In:    an established QUIC connection.
//! Out:   each request, passed to the pipeline; WebSockets passed to a relay, which runs on its
//!        stream beside the others.
//! Never: frees the slot of a stream before its work has ended, or waits for a client without a
//!        limit.
//!
//! The streams are futures in the task of the connection, as those of HTTP/2 are (`h2.rs`).

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
use super::multiplexed::{Common, StreamContext, Streams, Timers, View};
use super::request;
use crate::config::LimitsPlan;
use crate::exchange::downstream::Downstream;
use crate::exchange::next::Next;
use crate::fault::{Fault, Who, malformed};
use crate::outbound::tunnel::Tunnel;

/// Serves an established connection. Its state is made before the future, as that of HTTP/2 is.
pub fn serve(
    connection: quinn::Connection,
    info: ConnectionInfo,
    context: Arc<ConnectionContext>,
) -> impl Future<Output = ()> + Send {
    let connection = Http3Connection::new(connection, info, context);
    async move {
        if let Some(connection) = connection {
            // It bounds by itself what it does until other tasks run.
            unconstrained(connection.run()).await;
        }
    }
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
    timers: Timers,
}

/// A new stream.
struct StreamJob {
    stream: H3Stream,
    cx: StreamContext,
}

thread_local! {
    static FUTURES: FuturePool<StreamJob, LazyTimer> = const { FuturePool::new() };
}

impl Http3Connection {
    /// Closes the connection if the Plan in force has no such listener.
    fn new(
        connection: quinn::Connection,
        info: ConnectionInfo,
        context: Arc<ConnectionContext>,
    ) -> Option<Box<Self>> {
        let Some(view) = View::of(&context) else {
            connection.close(code(ErrorCode::NO_ERROR), b"");
            return None;
        };
        let limits = &view.frontend.limits;
        let budget = context.node.buffers.clone();
        let server = Server::new(connection, codec_limits(limits), timeouts(limits), budget);
        context.counters().http3_connections.add(1);
        Some(Box::new(Self {
            server,
            futures: StreamFutures::new(),
            streams: Streams::new(view, info, context),
            timers: Timers::default(),
        }))
    }

    async fn run(mut self: Box<Self>) {
        let end = poll_fn(|cx| {
            let scope = &self.streams.common.context.scope;
            if scope.poll_drained(cx).is_ready() {
                self.server.drain();
            }
            let (streams, mut is_last) = (&mut self.streams, false);
            // Captured exclusively, as the task may change its thread.
            let timers: &Timers = &mut self.timers;
            let polled = self.server.poll(
                cx,
                &mut self.futures,
                |stream| {
                    let job = begin(streams, stream, timers.take(), &mut is_last)?;
                    Some(future_pool::start(&FUTURES, job, StreamJob::answer))
                },
                |timer| timers.keep(timer),
            );
            if is_last {
                self.server.drain();
            }
            polled
        });
        let end = end.await;
        note_end(&self.streams.common, &end);
    }
}

/// The job of a stream. Sets `is_last` if the connection takes no more.
fn begin(
    streams: &mut Streams,
    mut stream: H3Stream,
    timer: LazyTimer,
    is_last: &mut bool,
) -> Option<StreamJob> {
    let Some(cx) = streams.next(timer) else {
        stream.reset(ErrorCode::REQUEST_REJECTED);
        *is_last = true;
        return None;
    };
    *is_last |= cx.is_last;
    Some(StreamJob { stream, cx })
}

/// Counts and logs how a connection ended, if its client ended it out of order.
fn note_end(common: &Common, end: &ServerEnd) {
    if let ServerEnd::Failed(error) = end {
        let counters = common.context.counters();
        counters.http3_errors.add(1);
        let limit = &counters.log_limits.http3_errors;
        common.log_closed(limit, "HTTP/3", error.code.name(), error.reason);
    }
}

impl StreamJob {
    /// Serves the stream until all work for it has ended. Returns its timer.
    async fn answer(mut self) -> LazyTimer {
        let limit = self.cx.view.frontend.limits.head_timeout;
        let read = timeout(limit, poll_fn(|cx| self.stream.poll_head(cx))).await;
        let next = match read {
            Ok(Ok(text)) => {
                let cx = self
                    .cx
                    .common
                    .request_context(&self.cx.view, self.cx.is_last);
                let request = text.view();
                let mut downstream = Downstream::h3(&mut self.stream, request.framing());
                request::serve(&cx, request, &mut downstream, &mut self.cx.timer).await
            }
            Ok(Err(NoHead::Unacceptable(error))) => {
                let fault = malformed(Who::Downstream, &error);
                let downstream = Downstream::h3(&mut self.stream, Framed::None);
                Box::pin(
                    self.cx
                        .common
                        .refuse_head(downstream, &fault, &self.cx.view),
                )
                .await
            }
            Ok(Err(NoHead::Malformed(error))) => {
                self.cx.common.note_malformed(&error, &self.cx.view);
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
                let (stream, common) = (self.stream, &*self.cx.common);
                Box::pin(relay(stream, *tunnel, common, &self.cx.view)).await;
            }
        }
        self.cx.timer
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
