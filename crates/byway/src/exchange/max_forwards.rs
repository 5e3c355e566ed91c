//! Max forwards: the Max-Forwards field of TRACE and OPTIONS, which limits the proxies that a
//! request may pass (RFC 9110 section 7.6.2).
//!
//! In:    a request.
//! Out:   whether it ends here, and the number to send on.
//! Never: touches the field of any other method, or reflects a request (TRACE) with the secrets in
//!        it.

use byway_head::Request;

use crate::fault::{Fault, Reason, Who};

/// The methods that an edge or egress passes on.
pub const ALLOW: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH";

/// Whether this proxy is the last hop and has to respond itself.
///
/// # Errors
/// 405 for a TRACE that ends here, since Byway reflects nothing; 400 if the field is not one
/// number.
pub fn end_here(request: &Request<'_>) -> Result<bool, Fault> {
    if !is_counted(request.method()) {
        return Ok(false);
    }
    let mut lines = request.fields_named("Max-Forwards");
    let Some(first) = lines.next() else {
        return Ok(false);
    };
    if first.is_empty() || !first.iter().all(u8::is_ascii_digit) || lines.next().is_some() {
        let detail = "Max-Forwards has to be one decimal number";
        return Err(Fault::new(Who::Downstream, Reason::MaxForwards, detail));
    }
    match (first.iter().all(|digit| *digit == b'0'), request.method()) {
        (false, _) => Ok(false),
        (true, b"TRACE") => {
            let detail =
                "this TRACE may go no further (Max-Forwards: 0), and nothing is reflected here";
            Err(Fault::new(
                Who::Downstream,
                Reason::MethodNotAllowed,
                detail,
            ))
        }
        (true, _) => Ok(true),
    }
}

/// The number to send on for `value`, if the field counts down. At least 1 was left.
pub fn counted_down(method: &[u8], name: &[u8], value: &[u8]) -> Option<u32> {
    if !is_counted(method) || !name.eq_ignore_ascii_case(b"Max-Forwards") {
        return None;
    }
    let left = std::str::from_utf8(value)
        .ok()?
        .parse::<u32>()
        .unwrap_or(u32::MAX);
    Some(left.saturating_sub(1))
}

fn is_counted(method: &[u8]) -> bool {
    matches!(method, b"TRACE" | b"OPTIONS")
}
