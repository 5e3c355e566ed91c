//! List: fields by name, and the elements of lists in them (RFC 9110 section 5.6).

use super::Field;

/// The values of all fields of this name.
pub(super) fn values<'a>(
    fields: impl Iterator<Item = Field<'a>>,
    name: &str,
) -> impl Iterator<Item = &'a [u8]> {
    fields
        .filter(move |field| field.0.eq_ignore_ascii_case(name.as_bytes()))
        .map(|field| field.1.trim_ascii())
}

/// The value of the only field of this name.
pub(super) fn only<'a>(fields: impl Iterator<Item = Field<'a>>, name: &str) -> Option<&'a [u8]> {
    let mut values = values(fields, name);
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// The elements of the lists in all fields of this name, without empty ones.
pub(super) fn elements<'a>(
    fields: impl Iterator<Item = Field<'a>>,
    name: &str,
) -> impl Iterator<Item = &'a [u8]> {
    values(fields, name)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// Whether a list has this element, in any case.
pub(super) fn lists<'a>(
    fields: impl Iterator<Item = Field<'a>>,
    name: &str,
    element: &str,
) -> bool {
    elements(fields, name).any(|listed| listed.eq_ignore_ascii_case(element.as_bytes()))
}

/// The text of a token (RFC 9110 section 5.6.2); `None` if it is not one.
pub(super) fn token(bytes: &[u8]) -> Option<&str> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if bytes.is_empty() || !bytes.iter().all(is_token) {
        return None;
    }
    str::from_utf8(bytes).ok()
}
