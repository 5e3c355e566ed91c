//! Hop: the fields that concern one connection only.
//!
//! In:    a field name.
//! Out:   whether it must stay behind.
//! Never: knows what a message's own Connection lists; for that there is `connection_options`.

/// Whether a field of that name is never forwarded. RFC 9110 section 7.6.1 has an intermediary
/// remove Connection, every field that Connection lists, and these, even where Connection does not
/// list them. (It also names the authentication between a client and the next proxy, sections
/// 11.7.1 and 11.7.2, which we always keep to this hop, and has Close reserved as a name, section
/// 18.4, as `Connection: close` would else name a field.)
///
/// Remove those before adding our own, or a downstream could have our fields removed by listing
/// them (CVE-2024-45410).
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
