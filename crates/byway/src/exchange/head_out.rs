//! Head out: what the head of a message is written to.

use byway_h1::HeadWriter;
use byway_head::{Framed, HeadOut, Line, Malformed};
use byway_http::h2::KeptHead;

/// The head of one message in progress, on a connection or stream of any version.
pub enum Head<'a> {
    /// HTTP/1.
    H1(HeadWriter<'a>),
    /// HTTP/2.
    H2(&'a mut KeptHead),
    /// HTTP/3.
    H3(&'a mut KeptHead),
    /// A stream in a test.
    #[cfg(test)]
    Double(super::double::DoubleHead<'a>),
}

impl Head<'_> {
    /// Whether `TE: trailers` passes on: it says nothing about a connection then (RFC 9113 section
    /// 8.2.2), and servers of gRPC insist on it.
    pub(super) fn frames_trailers(&self) -> bool {
        match self {
            Self::H1(_) => false,
            Self::H2(_) | Self::H3(_) => true,
            #[cfg(test)]
            Self::Double(_) => false,
        }
    }
}

impl HeadOut for Head<'_> {
    fn request(&mut self, method: &[u8], target: &[u8], authority: &[u8]) -> Result<(), Malformed> {
        by_version!(self.request(method, target, authority))
    }

    fn response(&mut self, status: u16, reason: &[u8]) -> Result<(), Malformed> {
        by_version!(self.response(status, reason))
    }

    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        by_version!(self.field(name, value))
    }

    fn line(&mut self, line: Line<'_>) -> Result<(), Malformed> {
        by_version!(self.line(line))
    }

    fn list<'v>(
        &mut self,
        name: &[u8],
        elements: impl IntoIterator<Item = &'v [u8]>,
    ) -> Result<(), Malformed> {
        by_version!(self.list(name, elements))
    }

    fn framing(&mut self, framed: Framed) {
        by_version!(self.framing(framed))
    }

    fn connection(&mut self, option: &'static str) {
        by_version!(self.connection(option))
    }

    fn upgrade(&mut self, protocol: &[u8]) -> Result<(), Malformed> {
        by_version!(self.upgrade(protocol))
    }

    fn end(&mut self) {
        by_version!(self.end())
    }
}
