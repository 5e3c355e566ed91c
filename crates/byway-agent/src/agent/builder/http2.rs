//! HTTP/2: the options for connections that carry many requests at once. Nothing is checked before
//! `build`.

use super::AgentBuilder;
use std::time::Duration;

/// # HTTP/2
///
/// A connection of HTTP/2 counts once against the limits, however many requests it carries. A
/// request that finds no free stream opens another connection, if the limits allow it, or waits in
/// the queue. An agent that has no connection to an origin opens one and lets other requests wait
/// for it.
///
/// A request that upgrades its connection, and CONNECT, always use HTTP/1.1.
impl AgentBuilder {
    /// Whether HTTP/2 is offered to `https` origins (by ALPN, before HTTP/1.1), which then choose.
    /// Default true. With [`keep_alive`](Self::keep_alive) off it is not offered. Each connection
    /// of HTTP/2 has a task on the runtime that opened it.
    #[doc(alias = "allowH2")]
    #[doc(alias = "http1_only")]
    #[doc(alias = "ForceAttemptHTTP2")]
    pub fn http2(mut self, offer: bool) -> Self {
        self.http2.by_alpn = offer;
        self
    }

    /// Whether HTTP/2 is spoken to `http` origins without asking (RFC 9113 section 3.3). Default
    /// false. An origin that does not speak it fails the request with
    /// [`Error::Connect`](crate::Error::Connect). Requests that go to a forward proxy
    /// in absolute form use HTTP/1.1.
    #[doc(alias = "h2c")]
    #[doc(alias = "useH2c")]
    #[doc(alias = "http2_only")]
    #[doc(alias = "SetUnencryptedHTTP2")]
    pub fn http2_prior_knowledge(mut self, known: bool) -> Self {
        self.http2.prior_knowledge = known;
        self
    }

    /// Requests at once on one connection of HTTP/2, if the origin allows as many. From 1, at most
    /// 65,535; default 128: a lost connection fails all of its requests, and they share 1 MiB of
    /// flow control. All connections together carry at most this times `max_total`. The first
    /// request on a connection waits until the origin has announced its own limit
    /// (`connect_timeout`), so that none is refused for it.
    #[doc(alias = "max_h2_streams")]
    #[doc(alias = "max_concurrent_streams")]
    #[doc(alias = "maxConcurrentStreams")]
    pub fn max_streams_per_connection(mut self, streams: u16) -> Self {
        self.http2.max_streams = streams.into();
        self
    }

    /// How long nothing may arrive on a connection of HTTP/2 that has requests, before the agent
    /// sends a PING. Above 0 s, or `None` for never; default 15 s. Without it a connection that
    /// broke silently would keep all of its requests until their own timeouts.
    #[doc(alias = "http2_keep_alive_interval")]
    #[doc(alias = "ReadIdleTimeout")]
    pub fn http2_ping_interval(mut self, quiet: impl Into<Option<Duration>>) -> Self {
        self.http2.ping_interval = quiet.into();
        self
    }

    /// How long the answer to such a PING may take, before the connection is closed and its
    /// requests fail with [`Error::ConnectionLost`](crate::Error::ConnectionLost). Above 0 s;
    /// default 10 s.
    #[doc(alias = "http2_keep_alive_timeout")]
    #[doc(alias = "PingTimeout")]
    pub fn http2_ping_timeout(mut self, limit: Duration) -> Self {
        self.http2.ping_timeout = limit;
        self
    }
}
