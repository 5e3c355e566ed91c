//! Connection and key: what the pool asks of the two types that it is generic over.
//!
//! In:    a connection, while nobody uses it.
//! Out:   whether it may be lent.
//! Never: reads on behalf of a user.

use std::hash::Hash;

/// A connection that can be kept and lent again.
///
/// Closing is dropping: the pool drops connections outside of its locks, and before their permit is
/// used again. The pool boxes each one when it is installed, so that a large connection costs no
/// more to lend than a small one.
pub trait Conn: Send + 'static {
    /// Looks whether a connection that was kept is still fit to be lent. Must not block; one
    /// non-blocking read at most.
    ///
    /// Called before a kept connection is lent, outside of the pool's locks, unless
    /// [`Conn::may_be_readable`] says no. A connection that is not [`Probe::Clean`] is closed and
    /// the next one is tried.
    fn probe(&mut self) -> Probe;

    /// Whether [`Conn::probe`] could find anything. Must be cheap: no system call. The default says
    /// yes, so that every loan is probed.
    ///
    /// A probe costs a system call, and on a busy connection it finds nothing nearly every time.
    /// Whoever knows better says no, and saves it: when the reactor has looked at the socket since
    /// the connection was kept, and has not marked it readable. Say yes while in doubt. In
    /// particular, the reactor must have turned in between: a connection that is kept and lent
    /// again within one turn has had nobody look at it, and bytes that arrived by then are the
    /// poisoned answer that the probe is there for.
    fn may_be_readable(&mut self) -> bool {
        true
    }

    /// How often the reactor of the calling thread has turned, for whoever knows. Must be cheap.
    /// The default says 0: it is not known.
    ///
    /// [`Scheduling::Lifo`](crate::Scheduling::Lifo) then prefers connections that were kept before
    /// the present turn, which [`Conn::may_be_readable`] can speak for. It is a preference only: a
    /// wrong number costs probes, and nothing else.
    fn reactor_tick() -> u64 {
        0
    }
}

/// What a look at a kept connection found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Open and silent, as an idle connection has to be.
    Clean,
    /// Application bytes, an end or an error on an idle connection. Bytes that nobody asked for
    /// would be taken for the answer to the next request (CVE-2026-48931), so they end the
    /// connection just as an EOF does. TLS session tickets and HTTP/2 control frames are not
    /// application bytes.
    Dirty,
}

/// The name of an origin: connections with equal keys may stand in for one another, others never
/// do.
///
/// Everything that makes two connections different belongs into it: scheme, host in lower case,
/// port, TLS identity, parent proxy. It is cloned a few times per dial, not per request.
pub trait Key: Clone + Eq + Hash + Send + 'static {}

impl<K: Clone + Eq + Hash + Send + 'static> Key for K {}
