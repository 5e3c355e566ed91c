//! Limits: what one connection may hold and what it may cost.

use std::time::Duration;

/// Limits of one connection, and what it announces to its peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Limits of each head and of each trailer section. A field block longer than `head_bytes` on
    /// the wire ends the connection; a head that is longer once decoded is reported as
    /// [`Event::Unacceptable`](crate::Event::Unacceptable), and ends the connection at four times
    /// the limit.
    pub head: byway_head::Limits,
    /// Most streams whose work has not ended, those that were reset included. Announced as
    /// `SETTINGS_MAX_CONCURRENT_STREAMS`; requests beyond it are refused. In the client role, most
    /// streams that are opened, if the peer allows more. Default 128, at least 1, at most 65,535.
    pub streams: u32,
    /// Bytes that a peer may send on a new stream. Default 64 KiB; at least 65,535, which a peer may
    /// send before it has read any settings, at most 2^31-1.
    pub stream_window_bytes: u32,
    /// What that grows to on a stream that is read as fast as it is sent. Default 1 MiB, at most
    /// 2^31-1.
    pub stream_window_max_bytes: u32,
    /// Bytes that a peer may have on the way on all streams. Default 1 MiB; at least 65,535, with
    /// which each connection begins, at most 2^31-1.
    pub connection_window_bytes: u32,
    /// Bytes that were received and not [credited](crate::Connection::credit), on all streams, above
    /// which the connection's window is no longer renewed. At most this and
    /// `connection_window_bytes` are held together. Default 1 MiB, at most 2^31-1.
    pub buffer_bytes: u32,
    /// What is announced of `connection_window_bytes` at the start. With less than all of it, the rest
    /// is granted by [`grow_connection_window`](crate::Connection::grow_connection_window): for a
    /// node that reserves the windows of many connections together. Default 1 MiB, which is all; at
    /// least 65,535, and at most `connection_window_bytes`.
    pub first_window_bytes: u32,
    /// Server: bytes of text of the heads and trailers of streams that were not released, above which
    /// requests are refused and trailers of more than 1 KiB end their stream. Exceeded by one head
    /// at most, and by short trailers. Default 1 MiB.
    pub text_bytes: usize,
    /// Bytes of frames that wait to be written, above which nothing is read and no data is
    /// admitted. Default 64 KiB; at least 4 KiB.
    pub backlog_bytes: usize,
    /// Most CONTINUATION frames of one field block. Default 8.
    pub continuation_frames: u32,
    /// How long the peer may take to acknowledge settings. Default 10 s.
    pub settings_ack: Duration,
    /// What a peer may cost beyond what it is good for ([`abuse`](crate::abuse) has the prices).
    /// Default 10,000.
    pub abuse_budget: u32,
    /// Whether a server accepts extended CONNECT (RFC 8441), and says so. Default yes.
    pub extended_connect: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: byway_head::Limits::default(),
            streams: 128,
            stream_window_bytes: 64 * 1024,
            stream_window_max_bytes: 1024 * 1024,
            connection_window_bytes: 1024 * 1024,
            buffer_bytes: 1024 * 1024,
            first_window_bytes: 1024 * 1024,
            text_bytes: 1024 * 1024,
            backlog_bytes: 64 * 1024,
            continuation_frames: 8,
            settings_ack: Duration::from_secs(10),
            abuse_budget: 10_000,
            extended_connect: true,
        }
    }
}

impl Limits {
    /// The same, with each value in its range.
    pub(crate) fn in_range(mut self) -> Self {
        const LEAST: u32 = 65_535;
        const MOST: u32 = i32::MAX as u32;
        self.streams = self.streams.clamp(1, 65_535);
        self.stream_window_bytes = self.stream_window_bytes.clamp(LEAST, MOST);
        self.stream_window_max_bytes = self
            .stream_window_max_bytes
            .clamp(self.stream_window_bytes, MOST);
        self.connection_window_bytes = self.connection_window_bytes.clamp(LEAST, MOST);
        self.first_window_bytes =
            (self.first_window_bytes).clamp(LEAST, self.connection_window_bytes);
        self.buffer_bytes = self.buffer_bytes.min(MOST);
        self.backlog_bytes = self.backlog_bytes.max(4096);
        self
    }
}
