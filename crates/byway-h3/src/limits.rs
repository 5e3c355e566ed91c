//! Limits: what one connection may hold and what it may cost.

/// Limits of one connection, and what it announces to its peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Limits of each head and of each trailer section. A head over them, on the wire or decoded, is
    /// reported as [`Event::Unacceptable`](crate::Event::Unacceptable); one that is four times as
    /// long once decoded ends the connection.
    pub head: byway_head::Limits,
    /// Most requests whose work has not ended, those that were reset included. Requests beyond it are
    /// refused. Default 128, at least 1.
    pub streams: u32,
    /// What a peer may cost beyond what it is good for ([`Cost`](crate::Cost) has the prices).
    /// Default 10,000.
    pub abuse_budget: u32,
    /// Whether a server accepts extended CONNECT (RFC 9220), and says so. Default yes.
    pub extended_connect: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: byway_head::Limits::default(),
            streams: 128,
            abuse_budget: 10_000,
            extended_connect: true,
        }
    }
}
