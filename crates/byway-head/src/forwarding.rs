//! Forwarding: the fields in which a proxy identifies the client, and names that applications may
//! confuse with others.
//!
//! In:    a field name.
//! Out:   whether it is one of them.
//! Never: decides which peers are trusted; that is the task of the proxy.

/// Whether a field of this name identifies the client or the request. A proxy accepts it from
/// trusted peers only, and it is never a trailer.
pub fn is_forwarding(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 6] = [
        b"Forwarded",
        b"X-Real-IP",
        b"X-Request-Id",
        b"X-Client-IP",
        b"Client-Cert",
        b"Client-Cert-Chain",
    ];
    const PREFIX: &[u8] = b"X-Forwarded-";
    name.get(..PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
        || NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether a name has `_` or `.`, which many applications read as `-`: `X_Auth_User` may reach them
/// as `X-Auth-User` and so bypass a check of that name (CVE class of GHSA-f59h-q822-g45g).
pub fn is_alias(name: &[u8]) -> bool {
    name.iter().any(|byte| matches!(byte, b'_' | b'.'))
}
