//! Secret: fields whose values must not be stored where a later message could test them.

/// A cookie shorter than this may be guessed, field by field.
const SHORT_COOKIE_BYTES: usize = 20;

/// Whether a field is a secret that compression must never store in a table, here or at any later
/// hop (RFC 7541 section 7.1.3). The name is in lower case.
pub fn is_secret(name: &[u8], value: &[u8]) -> bool {
    match name {
        b"authorization"
        | b"proxy-authorization"
        | b"set-cookie"
        | b"x-api-key"
        | b"x-auth-token"
        | b"x-csrf-token"
        | b"x-xsrf-token" => true,
        b"cookie" => value.len() < SHORT_COOKIE_BYTES,
        _ => false,
    }
}
