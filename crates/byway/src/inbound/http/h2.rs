//! H2: the requests of one client connection of HTTP/2, each on a stream of its own.
//!
//! In:    a connection whose client speaks HTTP/2: by ALPN, or with prior knowledge.
//! Out:   each request, passed to the pipeline; CONNECT and WebSockets passed to a relay, which runs
//!        on its stream beside the others.
//! Never: frees the slot of a stream before its work has ended, or waits for a client without a
//!        limit.
//!
//! The streams are futures in the task of the connection (`byway-http`: `h2/stream_futures.rs`) and
//! no tasks of their own: what they have sent leaves in one write behind all of them, a stream costs
//! no allocation, and no lock is contended.

use std::future::poll_fn;
use std::sync::Arc;

use byway_dial::Stream;
use byway_head::{Framed, Malformed};
use byway_http::LazyTimer;
use byway_http::h1::Conn;
use byway_http::h2::{
    Arrived, ErrorCode, H2Stream, Limits, RequestText, Server, ServerEnd, ServerTimeouts,
    StreamFutures,
};
use tokio::task::unconstrained;
use tokio::time::timeout;

use super::super::context::{Accepted, ConnectionContext, ConnectionInfo};
use super::future_pool::{self, FuturePool, PooledFuture};
use super::multiplexed::{Common, StreamContext, Streams, Timers, View};
use super::request;
use crate::config::LimitsPlan;
use crate::exchange::downstream::Downstream;
use crate::exchange::next::Next;
use crate::fault::{Who, malformed};
use crate::outbound::tunnel::Tunnel;

/// Serves a connection on which HTTP/2 was agreed.
pub fn serve(
    accepted: Accepted,
    context: Arc<ConnectionContext>,
) -> impl Future<Output = ()> + Send {
    serve_after(accepted.stream, &[], accepted.info, context)
}

/// Serves a connection that begins with `early`, which was read already. Its state is made before
/// the future, which keeps nothing else: there may be many idle connections.
pub(super) fn serve_after(
    stream: Stream,
    early: &[u8],
    info: ConnectionInfo,
    context: Arc<ConnectionContext>,
) -> impl Future<Output = ()> + Send + use<> {
    let connection = Http2Connection::new(stream, early, info, context);
    async move {
        match connection {
            // It bounds by itself what it does until other tasks run.
            Ok(connection) => unconstrained(connection.run()).await,
            Err(stream) => Box::pin(Conn::new(stream).lingering_close()).await,
        }
    }
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
        write: limits.body_progress,
    }
}

/// One client connection.
struct Http2Connection {
    server: Server,
    futures: StreamFutures<PooledFuture<StreamJob, LazyTimer>>,
    streams: Streams,
    timers: Timers,
}

/// A stream with a request to serve.
struct StreamJob {
    stream: H2Stream,
    /// Its head; or why that is refused.
    head: Result<RequestText, Malformed>,
    cx: StreamContext,
}

thread_local! {
    static FUTURES: FuturePool<StreamJob, LazyTimer> = const { FuturePool::new() };
}

impl Http2Connection {
    /// Gives the stream back if the Plan in force has no such listener.
    fn new(
        stream: Stream,
        early: &[u8],
        info: ConnectionInfo,
        context: Arc<ConnectionContext>,
    ) -> Result<Box<Self>, Stream> {
        let Some(view) = View::of(&context) else {
            return Err(stream);
        };
        let limits = &view.frontend.limits;
        let budget = context.node.buffers.clone();
        let server = Server::new(
            stream,
            early,
            codec_limits(limits),
            timeouts(limits),
            budget,
        );
        context.counters().http2_connections.add(1);
        Ok(Box::new(Self {
            server,
            futures: StreamFutures::new(),
            streams: Streams::new(view, info, context),
            timers: Timers::default(),
        }))
    }

    async fn run(mut self: Box<Self>) {
        let end = poll_fn(|cx| {
            if self
                .streams
                .common
                .context
                .scope
                .poll_drained(cx)
                .is_ready()
            {
                self.server.drain();
            }
            let (streams, mut is_last) = (&mut self.streams, false);
            // Captured exclusively, as the task may change its thread.
            let timers: &Timers = &mut self.timers;
            let polled = self.server.poll(
                cx,
                &mut self.futures,
                |arrived| {
                    let job = begin(streams, arrived, timers.take(), &mut is_last)?;
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
        match end {
            ServerEnd::Broken(_) => {}
            _ => Box::pin(Conn::new(self.server.into_stream()).lingering_close()).await,
        }
    }
}

/// The job of a new stream. Sets `is_last` if the connection takes no more.
fn begin(
    streams: &mut Streams,
    arrived: Arrived,
    timer: LazyTimer,
    is_last: &mut bool,
) -> Option<StreamJob> {
    let (mut stream, head) = match arrived {
        Arrived::Request(stream, text) => (stream, Ok(text)),
        Arrived::Unacceptable(stream, error) => (stream, Err(error)),
        Arrived::Malformed(error) => {
            streams.common.note_malformed(&error, &streams.view);
            return None;
        }
    };
    let Some(cx) = streams.next(timer) else {
        stream.reset(ErrorCode::REFUSED_STREAM);
        *is_last = true;
        return None;
    };
    *is_last |= cx.is_last;
    Some(StreamJob { stream, head, cx })
}

/// Counts and logs how a connection ended, if its client ended it out of order.
fn note_end(common: &Common, end: &ServerEnd) {
    if let ServerEnd::Failed(error) = end {
        let counters = common.context.counters();
        counters.http2_errors.add(1);
        let limit = &counters.log_limits.http2_errors;
        common.log_closed(limit, "HTTP/2", error.code.name(), error.reason);
    }
}

impl StreamJob {
    /// Serves the stream until all work for it has ended. Returns its timer.
    async fn answer(mut self) -> LazyTimer {
        let next = match &self.head {
            Ok(text) => {
                let cx = self
                    .cx
                    .common
                    .request_context(&self.cx.view, self.cx.is_last);
                let request = text.view();
                let mut downstream = Downstream::h2(&mut self.stream, request.framing());
                request::serve(&cx, request, &mut downstream, &mut self.cx.timer).await
            }
            Err(error) => {
                let fault = malformed(Who::Downstream, error);
                let downstream = Downstream::h2(&mut self.stream, Framed::None);
                Box::pin(
                    self.cx
                        .common
                        .refuse_head(downstream, &fault, &self.cx.view),
                )
                .await
            }
        };
        match next {
            // The end of the stream says nothing about the connection.
            Next::KeepAlive | Next::Close | Next::Leave => {}
            Next::Reset(fault) => self.stream.reset(fault.answer().http2),
            Next::Tunnel(tunnel) => {
                let (stream, common) = (self.stream, &*self.cx.common);
                Box::pin(relay(stream, *tunnel, common, &self.cx.view)).await;
            }
        }
        self.cx.timer
    }
}

/// Relays a stream that a CONNECT or an upgrade has made a tunnel.
async fn relay(mut stream: H2Stream, tunnel: Tunnel, common: &Common, view: &View) {
    let limit = view.frontend.limits.handshake_timeout;
    // The response to the request, if the client takes it in time. Else the relay ends at once.
    let _ = timeout(limit, stream.flush()).await;
    stream.begin_tunnel();
    common.relay(Box::new(stream), tunnel, view).await;
}
