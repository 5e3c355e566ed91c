//! Trailer: fields after the body, and which of them must be ignored.
//!
//! In:    a parsed trailer section.
//! Out:   the fields that may be trailers.
//! Never: lets a trailer change framing, routing or authentication afterwards (RFC 9110 section
//!        6.5.1).

use crate::field::{Field, Fields};
use crate::forwarding::{is_alias, is_forwarding};
use crate::hop::is_hop_by_hop;
use crate::section::Section;

/// The trailer fields of a message. Created by
/// the decoder of a body.
#[derive(Clone, Debug, Default)]
pub struct Trailers<'a> {
    fields: Option<Fields<'a>>,
}

impl<'a> Trailers<'a> {
    /// No trailers.
    pub fn none() -> Self {
        Self::default()
    }

    /// Those of a section over `text`.
    pub fn new(section: &'a Section, text: &'a [u8]) -> Self {
        Self {
            fields: Some(Fields::new(section, text)),
        }
    }
}

impl<'a> Iterator for Trailers<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        self.fields
            .as_mut()?
            .find(|field| may_be_trailer(field.name))
    }
}

/// Whether a field of this name is allowed in a trailer section: not if it is for framing, routing,
/// identifying the client, authentication, request modifiers, response control, or the content's
/// format. `_` and `.` count as `-`, because many applications treat them so: `X_Forwarded_For`
/// after the body would otherwise bypass the ban of `X-Forwarded-For`.
pub fn may_be_trailer(name: &[u8]) -> bool {
    if is_alias(name) {
        let plain: Vec<u8> = name
            .iter()
            .map(|byte| if is_alias(&[*byte]) { b'-' } else { *byte })
            .collect();
        return may_be_trailer(&plain);
    }
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    let starts = |prefix: &str| {
        name.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    // A digest of the content is only known after it (RFC 9530).
    let digest = is("content-digest");
    let barred = is_hop_by_hop(name)
        || BARRED.iter().any(|known| is(known))
        || starts("if-")
        || is_forwarding(name)
        || (starts("content-") && !digest);
    !barred
}

const BARRED: [&str; 21] = [
    "host",
    "via",
    "authorization",
    "www-authenticate",
    "cookie",
    "set-cookie",
    "cache-control",
    "expect",
    "max-forwards",
    "pragma",
    "range",
    "age",
    "date",
    "expires",
    "location",
    "retry-after",
    "vary",
    "warning",
    "early-data",
    "http2-settings",
    "accept-encoding",
];
