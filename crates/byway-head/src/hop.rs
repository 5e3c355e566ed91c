//! Hop: the fields that apply to one connection only.
//!
//! In:    a field name.
//! Out:   whether it must not be forwarded.
//! Never: includes the fields listed in a message's own Connection; see `connection_options`.

/// Whether a field of this name is never forwarded. RFC 9110 section 7.6.1 requires an intermediary
/// to remove Connection, every field that Connection lists, and these, even if Connection does not
/// list them. (It also names the authentication between a client and the next proxy, sections 11.7.1
/// and 11.7.2, which we always keep to this hop, and reserves the name Close, section 18.4, since
/// `Connection: close` would otherwise name a field.)
///
/// Remove them before adding our own fields. Otherwise a downstream could remove our fields by
/// listing them (CVE-2024-45410).
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    match name.len() {
        2 => is("te"),
        5 => is("close"),
        7 => is("trailer") || is("upgrade"),
        10 => is("connection") || is("keep-alive"),
        16 => is("proxy-connection"),
        17 => is("transfer-encoding"),
        18 => is("proxy-authenticate"),
        19 => is("proxy-authorization"),
        _ => false,
    }
}
