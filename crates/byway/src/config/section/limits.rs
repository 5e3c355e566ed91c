//! `[limits]`.

use super::kind::KIB;
use super::prelude::*;

keys! {
    /// What a downstream may take.
    ///
    /// No limit may be zero: in other programs zero means "none", "unlimited" or "the default".
    pub struct Limits {} => LimitsPlan {
        /// Connections that may be open at once on one listener.
        ///
        /// Further ones wait in the kernel's queue. Lowered to what fits into the process's limit of
        /// open files. Takes effect at the next start.
        connections: Count => usize = 10_000;
        /// Of these connections, the most from one address.
        ///
        /// IPv6: from one /64. Loopback and `trusted_proxies` do not count. At most `connections`
        /// (half of it where that was lowered). Enough for an office behind one address; one peer
        /// cannot take all.
        connections_per_peer: Count => usize = 1024;
        /// The time for a SOCKS or TLS handshake.
        ///
        /// From its first byte on, and for that first byte. Two or three round trips on the worst
        /// links.
        handshake_timeout: Period => Duration = seconds(10);
        /// The longest request or response head.
        ///
        /// The most that common proxies accept; the upper bound is the largest buffer.
        head_bytes: ByteSize => usize = 64 << 10, in KIB..=256 * KIB;
        /// The most fields in a head, and in trailers.
        ///
        /// Browsers send about 20; cookies of many names fit.
        head_fields: Count => usize = 128, in 1..=10_000;
        /// The time from the first byte of a head to its last.
        ///
        /// Also for the first byte on a new connection. Slow lines finish, slow attackers are
        /// closed.
        head_timeout: Period => Duration = seconds(30);
        /// How long an idle connection waits for its next request.
        ///
        /// What browsers expect; longer mostly costs memory.
        keep_alive: Period => Duration = seconds(60);
        /// The longest pause within a body.
        ///
        /// A stall is noticed after one to two of it. A longer pause is a stall for most clients.
        body_progress: Period => Duration = seconds(60);
        /// The least rate of a body, while Byway waits for the downstream.
        ///
        /// For a request body that is received, and for a response that the reader slows down;
        /// averaged over each `body_progress` of waiting. Half of what Apache requires; the worst
        /// lines are faster, a slowloris client is not.
        min_rate: OrNone<Rate> => Option<Rate> = Some(Rate(250));
        /// The time for the response head of an upstream.
        ///
        /// Once it has the request, or has sent the first byte of that head; also for the `100
        /// Continue` that a client waits for. As long as users wait, and nginx's value.
        first_byte: Period => Duration = seconds(60);
        /// The longest request body.
        ///
        /// Bodies are streamed, so their size costs no memory here; the application knows
        /// better.
        max_body: OrNone<ByteSize> => Option<u64> = None, example "10GiB";
        /// How long a relay that one side has finished may carry nothing.
        ///
        /// A peer may still compute a response; without a limit connections would leak.
        half_closed_idle: Period => Duration = seconds(600);
        /// How long a forward or a tunnel may carry nothing.
        ///
        /// `[[tcp]]`, SOCKS, CONNECT, upgraded connections, exposed TCP services and streams of
        /// links. SSH and WebSockets may be silent for days; a lost peer is detected by TCP
        /// keepalive, which is always on: 4 probes, 15 s apart, after 60 s of silence.
        idle: OrNone<Period> => Option<Duration> = None, example "1h";
        /// The most requests at once on one connection of HTTP/2.
        ///
        /// A request counts until all work for it has ended, also after its client has reset it.
        /// Browsers expect 100 or more.
        streams_per_connection: Count => u32 = 128, in 1..=65_535;
        /// Requests after which a connection is closed.
        ///
        /// Rebalances long-lived clients from time to time.
        requests_per_connection: Count => u64 = 10_000;
    }
}

impl LimitsPlan {
    /// Those of heads, trailers and chunks.
    pub fn head_limits(&self) -> byway_head::Limits {
        byway_head::Limits {
            head_bytes: self.head_bytes,
            fields: self.head_fields,
            ..byway_head::Limits::default()
        }
    }
}
