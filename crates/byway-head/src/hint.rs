//! Hint: how long an origin keeps its connection (`Keep-Alive: timeout=N, max=M`).
//!
//! In:    the fields of a response.
//! Out:   the numbers.
//! Never: accepts an invalid number, or decides how to use one.

use crate::field::FieldsNamed;

/// The parameters of all Keep-Alive fields together, in any order. If one occurs twice, the smaller
/// value counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepAliveHint {
    /// Seconds after which the origin closes an idle connection.
    pub timeout_seconds: Option<u64>,
    /// How many more requests it accepts on this connection.
    pub max: Option<u64>,
}

impl KeepAliveHint {
    pub(crate) fn of(fields: FieldsNamed<'_, '_>) -> Self {
        let mut hint = Self::default();
        for part in fields.flat_map(|field| field.split(|byte| matches!(byte, b',' | b';'))) {
            let Some(equals) = memchr::memchr(b'=', part) else {
                continue;
            };
            let (name, value) = (part[..equals].trim_ascii(), part[equals + 1..].trim_ascii());
            let Some(number) = number(value) else {
                continue;
            };
            let said = match name {
                _ if name.eq_ignore_ascii_case(b"timeout") => &mut hint.timeout_seconds,
                _ if name.eq_ignore_ascii_case(b"max") => &mut hint.max,
                _ => continue,
            };
            *said = Some(said.map_or(number, |known| known.min(number)));
        }
        hint
    }
}

fn number(value: &[u8]) -> Option<u64> {
    let value = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""))
        .unwrap_or(value);
    let digits = value
        .iter()
        .all(u8::is_ascii_digit)
        .then(|| std::str::from_utf8(value).ok())??;
    digits.parse().ok()
}
