//! Connection options: the fields that a message's Connection header lists. They apply to one
//! connection only (RFC 9110 section 7.6.1).
//!
//! In:    the head of a request or of a response.
//! Out:   whether a field is listed, and whether it is dropped for that; or the fault of a request
//!        that lists a field meant for the upstream.
//! Never: lets a client remove what applications trust, or walks over the options again for each
//!        field.

use byway_head::{CONNECTION_OPTIONS, Options, Request, Response, is_forwarding};

use crate::fault::{Fault, Reason, Who};

/// The options of all Connection fields together.
pub struct ConnectionOptions<'a> {
    options: [&'a [u8]; CONNECTION_OPTIONS],
    count: usize,
}

impl<'a> ConnectionOptions<'a> {
    /// Of a request; `None` if its Connection lists no field, as usual.
    pub fn in_request(request: &Request<'a>) -> Option<Self> {
        request
            .connection_lists_fields()
            .then(|| Self::of(request.connection_options()))
    }

    /// Of a response; `None` if its Connection lists no field, as usual.
    pub fn in_response(response: &Response<'a>) -> Option<Self> {
        response
            .connection_lists_fields()
            .then(|| Self::of(response.connection_options()))
    }

    /// The parser has refused heads with more options than fit.
    fn of(options: Options<'a>) -> Self {
        let mut listed = Self {
            options: [&[]; CONNECTION_OPTIONS],
            count: 0,
        };
        for (place, option) in listed.options.iter_mut().zip(options) {
            *place = option;
            listed.count += 1;
        }
        listed
    }

    fn holds(&self, name: &[u8]) -> bool {
        self.options
            .iter()
            .take(self.count)
            .any(|option| option.eq_ignore_ascii_case(name))
    }

    /// Whether a field of that name is dropped. Fields with an end-to-end meaning, and fields that
    /// an application trusts, cannot be removed in this way.
    pub fn drops(&self, name: &[u8]) -> bool {
        self.holds(name) && !is_end_to_end(name) && !is_forwarding(name)
    }
}

/// Refuses a request whose Connection lists one of its fields that would be passed on anyway. RFC
/// 9110 requires such a field to be removed; then a client could remove credentials or addresses
/// that a proxy in front has added. `forwarding_is_ours`: the forwarding fields of the request are
/// dropped and written again in any case.
///
/// # Errors
/// `Malformed("connection-option")`.
pub fn refuse_end_to_end(request: &Request<'_>, forwarding_is_ours: bool) -> Result<(), Fault> {
    let Some(listed) = ConnectionOptions::in_request(request) else {
        return Ok(());
    };
    let passes = |name: &[u8]| match name {
        // It is written again, from the target or from the single Host.
        _ if name.eq_ignore_ascii_case(b"Host") => false,
        _ if is_forwarding(name) => !forwarding_is_ours,
        _ => is_end_to_end(name),
    };
    match request
        .fields()
        .any(|field| passes(field.name) && listed.holds(field.name))
    {
        false => Ok(()),
        true => {
            let detail = "Connection lists a field that is meant for the upstream, such as Cookie or Authorization";
            Err(Fault::new(
                Who::Downstream,
                Reason::ConnectionOption,
                detail,
            ))
        }
    }
}

fn is_end_to_end(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 7] = [
        b"Host",
        b"Authorization",
        b"Cookie",
        b"Content-Type",
        b"Cache-Control",
        b"Via",
        b"Expect",
    ];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use byway_h1::{Parsed, RequestParser};
    use byway_head::Limits;

    use super::*;

    fn refused(fields: &str, forwarding_is_ours: bool) -> bool {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut index = RequestParser::default();
        assert!(matches!(
            index.parse(text.as_bytes(), &Limits::default()).unwrap(),
            Parsed::Complete(_)
        ));
        refuse_end_to_end(&index.view(text.as_bytes()), forwarding_is_ours).is_err()
    }

    #[test]
    fn a_listed_field_that_would_be_passed_on_anyway_is_refused() {
        for name in [
            "Cookie",
            "Authorization",
            "Content-Type",
            "Cache-Control",
            "Via",
            "Expect",
        ] {
            let lower = name.to_ascii_lowercase();
            assert!(
                refused(
                    &format!("Connection: close, {lower}\r\n{name}: x\r\n"),
                    true
                ),
                "{name}"
            );
            assert!(
                refused(
                    &format!("{name}: x\r\nConnection: close\r\nConnection: {lower}\r\n"),
                    true
                ),
                "{name}"
            );
            assert!(
                !refused(&format!("Connection: {name}\r\n"), true),
                "{name} is listed and not there"
            );
            assert!(
                !refused(&format!("Connection: close\r\n{name}: x\r\n"), true),
                "{name} is there and not listed"
            );
        }
        for fields in [
            "Connection: Host\r\n",
            "Connection: X-Hop\r\nX-Hop: 1\r\n",
            "Connection: TE\r\nTE: trailers\r\n",
        ] {
            assert!(!refused(fields, true), "{fields}");
        }
    }

    #[test]
    fn a_forwarding_field_may_be_listed_only_where_it_is_dropped_anyway() {
        let fields = "Connection: X-Forwarded-For\r\nX-Forwarded-For: 10.0.0.1\r\n";
        assert!(!refused(fields, true));
        assert!(refused(fields, false));
    }
}
