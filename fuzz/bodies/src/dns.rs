//! DNS: invariants for every reply of a name server.
//!
//! In:    any bytes.
//! Out:   nothing, or a panic for each violation.
//! Never: needs a socket or a clock.

/// A reply to a fixed question: no other reply is accepted, an answer is bounded and consists of
/// the contents of the reply, and the work to read it is bounded.
///
/// # Panics
/// If an invariant does not hold.
pub fn reply(data: &[u8]) {
    byway_dial::fuzzing::dns_reply(data);
}
