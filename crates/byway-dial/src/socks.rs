//! SOCKS on the wire: what both sides of SOCKS 5, 4 and 4a say, as bytes and as types.
//!
//! In:    bytes, as few or as many as have arrived.
//! Out:   a message and how many bytes it took, a wish for more, or what is wrong with them.
//! Never: reads past its message, reads or writes a socket, or lets a name through that is no valid
//!        host name.
//!
//! Every `parse` is a pure function of the bytes so far: `Ok(None)` means that all of them fit a
//! message that is not complete yet. The longest message is bounded by its own format (at most 520
//! bytes), so a buffer needs no other bound.

mod v4;
mod v5;

pub use v4::{Reply4, ReplyCode4, Request4};
pub use v5::{Greeting, Login, LoginStatus, Method, MethodChoice, Reply, ReplyCode, Request};

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::target::Target;
use crate::text::peer_text;

/// What a parser finds: nothing complete yet, or a message and its length in bytes.
pub type Parsed<T> = Result<Option<(T, usize)>, SocksError>;

/// What the asking side wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A stream to the target.
    Connect,
    /// A listener for one stream from the target.
    Bind,
    /// A relay for UDP; SOCKS 5 only.
    UdpAssociate,
}

/// What is wrong with the bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SocksError {
    /// Another version than the message demands.
    #[error("the SOCKS message has version {0}, which does not belong there")]
    Version(u8),
    /// An unknown command (SOCKS 5 answers it with 07).
    #[error("SOCKS command {0} is unknown; 1 (connect), 2 (bind) and 3 (UDP associate) exist")]
    Command(u8),
    /// An unknown kind of address (SOCKS 5 answers it with 08).
    #[error("SOCKS address type {0} is unknown; 1 (IPv4), 3 (name) and 4 (IPv6) exist")]
    AddressType(u8),
    /// A method was chosen that was never offered.
    #[error("the SOCKS peer chose the authentication method {0}, which was not offered")]
    Method(u8),
    /// A reply code that no standard knows.
    #[error("the SOCKS peer answered with the unknown code {0}")]
    Code(u8),
    /// The target's name or port is not valid; the text is the name with unprintable bytes escaped,
    /// or the port.
    #[error("the SOCKS request names `{}`, which is no valid host name, address or port", peer_text(.0))]
    Target(String),
    /// A text is longer than its format allows.
    #[error("the {0} in the SOCKS message is longer than {1} bytes")]
    TooLong(&'static str, usize),
    /// What the format cannot carry.
    #[error("SOCKS cannot carry {0}")]
    Uncarried(&'static str),
}

/// The unspecified address, which replies carry when there is nothing to say.
const NO_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A target from a name on the wire. A name that is an address becomes one, so that policy sees it
/// as one.
fn named_target(name: &[u8], port: u16) -> Result<Target, SocksError> {
    let bad = || SocksError::Target(name.escape_ascii().to_string());
    let text = std::str::from_utf8(name).map_err(|_| bad())?;
    Target::from_host(text, port).map_err(|_| if port == 0 { no_port() } else { bad() })
}

fn no_port() -> SocksError {
    SocksError::Target("port 0".into())
}

/// A target from an address on the wire. Port 0 is for commands that do not connect there.
fn literal_target(ip: IpAddr, port: u16, command: Command) -> Result<Target, SocksError> {
    match (port, command) {
        (0, Command::Connect) => Err(no_port()),
        _ => Ok(Target::Addr(SocketAddr::new(ip, port))),
    }
}

/// Takes bytes off the front; `None` is "not there yet".
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

    /// A length byte and that many bytes.
    fn counted(&mut self) -> Option<&'a [u8]> {
        let len = self.byte()?;
        self.take(len.into())
    }

    /// Bytes up to a NUL, which is taken too; at most `max` of them.
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

/// Leaves the enclosing parser with "more bytes, please".
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
    // Every text was held to 255 bytes when its message was made.
    let len = u8::try_from(text.len()).unwrap_or(u8::MAX);
    out.push(len);
    out.extend_from_slice(text.get(..len.into()).unwrap_or(text));
}

#[cfg(test)]
mod tests;
