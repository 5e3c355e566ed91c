//! Connection and key: the two types that the pool is generic over.

use std::hash::Hash;

/// A connection that can be kept and reused.
///
/// Dropping closes: the pool drops connections outside its locks, and before their permit is used
/// again. The pool boxes each connection when it is installed, so that a large one is as cheap to
/// move as a small one.
pub trait Conn: Send + 'static {
    /// Checks whether an idle connection is still fit for reuse. Must not block; at most one
    /// non-blocking read.
    ///
    /// Called before an idle connection is reused, outside the pool's locks, unless
    /// [`Conn::may_be_readable`] returns false. A connection that is not [`Probe::Clean`] is closed
    /// and the next one is tried.
    fn probe(&mut self) -> Probe;

    /// Whether [`Conn::probe`] could find anything. Must be cheap: no system call. The default is
    /// true: every reuse is probed.
    ///
    /// A probe costs a system call, and on a busy connection it almost never finds anything. An
    /// implementation may return false to save it if the reactor has polled the socket since the
    /// connection was kept, and has not marked it readable. If unsure, return true. In particular,
    /// there must have been a reactor tick in between: if a connection is kept and reused within
    /// one tick, the reactor has not polled it, and bytes that arrived meanwhile are the poisoned
    /// response that the probe must find.
    fn may_be_readable(&mut self) -> bool {
        true
    }

    /// The number of reactor ticks of the calling thread, if known. Must be cheap. The default 0
    /// means unknown.
    ///
    /// [`Scheduling::Lifo`](crate::Scheduling::Lifo) then prefers connections that were kept before
    /// the current tick, for which [`Conn::may_be_readable`] can return false. It is only a
    /// preference: a wrong number costs probes, and nothing else.
    fn reactor_tick() -> u64 {
        0
    }
}

/// The result of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Open and silent, as an idle connection must be.
    Clean,
    /// Application bytes, an end or an error on an idle connection. Unexpected bytes would be read
    /// as the response to the next request (CVE-2026-48931), so they end the connection just as an
    /// EOF does. TLS session tickets and HTTP/2 control frames are not application bytes.
    Dirty,
}

/// The key of an origin: connections with equal keys are interchangeable, others are not.
///
/// It must contain everything that makes two connections different: scheme, host in lower case,
/// port, TLS identity, parent proxy. It is cloned a few times per dial, not per request.
pub trait Key: Clone + Eq + Hash + Send + 'static {}

impl<K: Clone + Eq + Hash + Send + 'static> Key for K {}
