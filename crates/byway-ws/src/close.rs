//! Close: the codes and the payload of a close frame (RFC 6455 sections 5.5.1 and 7.4).
//!
//! Never: holds a code that may not be sent, such as 1005 and 1006.

use std::fmt;

use crate::error::Malformed;

/// A close code that may be sent: 1000 to 1003, 1007 to 1014, and 3000 to 4999, which are for
/// libraries and applications.
///
/// ```
/// use byway_ws::CloseCode;
///
/// assert_eq!(CloseCode::new(1000), Some(CloseCode::NORMAL));
/// assert_eq!(CloseCode::new(1006), None, "1006 means that no close frame was received");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: a server shuts down, or a user leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a type of message that the application does not take, such as binary.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1007: the content does not match the type of the message, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: a message violates a policy of the application.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message is too large.
    pub const TOO_LARGE: Self = Self(1009);
    /// 1010: the client needs an extension that the server did not accept.
    pub const EXTENSION_REQUIRED: Self = Self(1010);
    /// 1011: the server has an internal error.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the server restarts; the client may connect again.
    pub const RESTART: Self = Self(1012);
    /// 1013: the server is overloaded; the client may connect again later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: the server is a gateway, and its upstream answered wrongly.
    pub const BAD_GATEWAY: Self = Self(1014);

    /// `None` if the code may not be sent.
    pub fn new(code: u16) -> Option<Self> {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999).then_some(Self(code))
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The payload of a close frame that is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close<'a> {
    /// The reason, as a code.
    pub code: CloseCode,
    /// The reason, for people who debug; at most 123 bytes, often empty. It comes from the peer.
    pub reason: &'a str,
}

impl<'a> Close<'a> {
    /// Parses the payload of a close frame; `None` if it is empty.
    ///
    /// # Errors
    /// A payload of one byte, a code that may not be sent, or a reason that is not UTF-8.
    pub fn parse(payload: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let Some((code, reason)) = payload.split_first_chunk::<2>() else {
            return match payload {
                [] => Ok(None),
                _ => Err(Malformed::CloseTooShort),
            };
        };
        let code = u16::from_be_bytes(*code);
        let code = CloseCode::new(code).ok_or(Malformed::CloseCode(code))?;
        let reason = str::from_utf8(reason).map_err(|_| Malformed::ReasonNotUtf8)?;
        Ok(Some(Self { code, reason }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_codes_that_may_be_sent_are_codes() {
        let codes: Vec<u16> = (0..=u16::MAX)
            .filter(|code| CloseCode::new(*code).is_some())
            .collect();
        let expected: Vec<u16> = (1000..=1003)
            .chain(1007..=1014)
            .chain(3000..=4999)
            .collect();
        assert_eq!(codes, expected);
    }

    #[test]
    fn a_payload_is_empty_or_a_code_and_a_reason() {
        assert_eq!(Close::parse(b""), Ok(None));
        assert_eq!(Close::parse(b"\x03"), Err(Malformed::CloseTooShort));
        assert_eq!(Close::parse(b"\x03\xed"), Err(Malformed::CloseCode(1005)));
        assert_eq!(Close::parse(b"\x03\xe8\xff"), Err(Malformed::ReasonNotUtf8));
        let close = Close::parse(b"\x03\xe8bye").unwrap().unwrap();
        assert_eq!((close.code, close.reason), (CloseCode::NORMAL, "bye"));
    }
}
