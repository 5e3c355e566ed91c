//! DNS: what must hold for all that can come back as the reply of a name server.
//!
//! In:    any bytes.
//! Out:   nothing, or a panic that is a finding.
//! Never: needs a socket or a clock.

/// A reply to a fixed question: no other reply is taken, an answer is bounded and made of what the
/// reply says, and the work to read it is bounded.
///
/// # Panics
/// If one of these does not hold.
pub fn reply(data: &[u8]) {
    byway_dial::fuzzing::dns_reply(data);
}
