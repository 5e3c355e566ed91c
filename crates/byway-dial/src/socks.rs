//! SOCKS codec: the messages of both sides of SOCKS 5, 4 and 4a, as bytes and as types.
//!
//! In:    the bytes received so far.
//! Out:   a message and its length, a request for more bytes, or an error.
//! Never: reads past its message, reads or writes a socket, or accepts an invalid host name.
//!
//! Every `parse` is a pure function of the bytes so far: `Ok(None)` means that they are a valid
//! prefix of a message. The format limits the longest message (to at most 520 bytes), so a buffer
//! needs no other limit.

mod v4;
mod v5;

pub use v4::{Reply4, ReplyCode4, Request4};
pub use v5::{Greeting, Login, LoginStatus, Method, MethodChoice, Reply, ReplyCode, Request};

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::target::Target;
use crate::text::peer_text;

/// The result of a parser: an incomplete message, or a message and its length in bytes.
pub type Parsed<T> = Result<Option<(T, usize)>, SocksError>;

/// The command of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A stream to the target.
    Connect,
    /// A listener for one stream from the target.
    Bind,
    /// A relay for UDP; SOCKS 5 only.
    UdpAssociate,
}

/// The problem with the bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SocksError {
    /// Another version than the message requires.
    #[error("the SOCKS message has the wrong version {0}")]
    Version(u8),
    /// An unknown command (the SOCKS 5 reply is 07).
    #[error("SOCKS command {0} is unknown; 1 (connect), 2 (bind) and 3 (UDP associate) are known")]
    Command(u8),
    /// An unknown type of address (the SOCKS 5 reply is 08).
    #[error("SOCKS address type {0} is unknown; 1 (IPv4), 3 (name) and 4 (IPv6) are known")]
    AddressType(u8),
    /// The server chose a method that was not offered.
    #[error("the SOCKS peer chose the authentication method {0}, which was not offered")]
    Method(u8),
    /// A reply code that is not in the standard.
    #[error("the SOCKS peer answered with the unknown code {0}")]
    Code(u8),
    /// The target's name or port is invalid; the text is the name with unprintable bytes escaped,
    /// or the port.
    #[error("the SOCKS request has `{}`, which is not a valid host name, address or port", peer_text(.0))]
    Target(String),
    /// A text is longer than its format allows.
    #[error("the {0} in the SOCKS message is longer than {1} bytes")]
    TooLong(&'static str, usize),
    /// The format does not support this.
    #[error("SOCKS does not support {0}")]
    Uncarried(&'static str),
}

/// The unspecified address, for replies without an address.
const NO_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A target from a name in a message. A name that is an address becomes an address, so that policy
/// checks it as one.
fn named_target(name: &[u8], port: u16) -> Result<Target, SocksError> {
    let bad = || SocksError::Target(name.escape_ascii().to_string());
    let text = std::str::from_utf8(name).map_err(|_| bad())?;
    Target::from_host(text, port).map_err(|_| if port == 0 { no_port() } else { bad() })
}

fn no_port() -> SocksError {
    SocksError::Target("port 0".into())
}

/// A target from an address in a message. Port 0 is only for commands that do not connect.
fn literal_target(ip: IpAddr, port: u16, command: Command) -> Result<Target, SocksError> {
    match (port, command) {
        (0, Command::Connect) => Err(no_port()),
        _ => Ok(Target::Addr(SocketAddr::new(ip, port))),
    }
}

/// Takes bytes off the front; `None` means that they are incomplete.
struct Cursor<'a> {
    bytes: &'a [u8],
    taken: usize,
}

impl<'a> Cursor<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, taken: 0 }
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.taken + len;
        let part = self.bytes.get(self.taken..end)?;
        self.taken = end;
        Some(part)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn port(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// A length byte and the given number of bytes.
    fn counted(&mut self) -> Option<&'a [u8]> {
        let len = self.byte()?;
        self.take(len.into())
    }

    /// Bytes up to a NUL, which is consumed too; at most `max` of them.
    fn until_nul(
        &mut self,
        what: &'static str,
        max: usize,
    ) -> Result<Option<&'a [u8]>, SocksError> {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        match rest.iter().take(max + 1).position(|byte| *byte == 0) {
            Some(len) => {
                let text = self.take(len);
                self.taken += 1;
                Ok(text)
            }
            None if rest.len() > max => Err(SocksError::TooLong(what, max)),
            None => Ok(None),
        }
    }
}

/// Returns "incomplete" from the enclosing parser.
macro_rules! need {
    ($part:expr) => {
        match $part {
            Some(part) => part,
            None => return Ok(None),
        }
    };
}
use need;

/// The version byte that a message must start with.
fn version(cursor: &mut Cursor<'_>, wanted: u8) -> Result<Option<()>, SocksError> {
    match cursor.byte() {
        Some(found) if found != wanted => Err(SocksError::Version(found)),
        found => Ok(found.map(|_| ())),
    }
}

/// Appends a length byte and the text.
fn put_counted(text: &[u8], out: &mut Vec<u8>) {
    // Every text was limited to 255 bytes when its message was made.
    let len = u8::try_from(text.len()).unwrap_or(u8::MAX);
    out.push(len);
    out.extend_from_slice(text.get(..len.into()).unwrap_or(text));
}

#[cfg(test)]
mod tests;
