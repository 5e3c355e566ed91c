//! Head out: what the head of a message is written to.

use byway_h1::HeadWriter;
use byway_head::{Framed, HeadOut, Line, Malformed};

/// The head of one message in progress, on a connection or stream of any version.
pub enum Head<'a> {
    /// HTTP/1.
    H1(HeadWriter<'a>),
    /// A stream in a test.
    #[cfg(test)]
    Double(super::double::DoubleHead<'a>),
}

impl HeadOut for Head<'_> {
    fn request(&mut self, method: &[u8], target: &[u8], authority: &[u8]) -> Result<(), Malformed> {
        match self {
            Self::H1(head) => head.request(method, target, authority),
            #[cfg(test)]
            Self::Double(head) => head.request(method, target, authority),
        }
    }

    fn response(&mut self, status: u16, reason: &[u8]) -> Result<(), Malformed> {
        match self {
            Self::H1(head) => head.response(status, reason),
            #[cfg(test)]
            Self::Double(head) => head.response(status, reason),
        }
    }

    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        match self {
            Self::H1(head) => head.field(name, value),
            #[cfg(test)]
            Self::Double(head) => head.field(name, value),
        }
    }

    fn line(&mut self, line: Line<'_>) -> Result<(), Malformed> {
        match self {
            Self::H1(head) => head.line(line),
            #[cfg(test)]
            Self::Double(head) => head.line(line),
        }
    }

    fn list<'v>(
        &mut self,
        name: &[u8],
        elements: impl IntoIterator<Item = &'v [u8]>,
    ) -> Result<(), Malformed> {
        match self {
            Self::H1(head) => head.list(name, elements),
            #[cfg(test)]
            Self::Double(head) => head.list(name, elements),
        }
    }

    fn framing(&mut self, framed: Framed) {
        match self {
            Self::H1(head) => head.framing(framed),
            #[cfg(test)]
            Self::Double(head) => head.framing(framed),
        }
    }

    fn connection(&mut self, option: &'static str) {
        match self {
            Self::H1(head) => head.connection(option),
            #[cfg(test)]
            Self::Double(head) => head.connection(option),
        }
    }

    fn upgrade(&mut self, protocol: &[u8]) -> Result<(), Malformed> {
        match self {
            Self::H1(head) => head.upgrade(protocol),
            #[cfg(test)]
            Self::Double(head) => head.upgrade(protocol),
        }
    }

    fn end(&mut self) {
        match self {
            Self::H1(head) => head.end(),
            #[cfg(test)]
            Self::Double(head) => head.end(),
        }
    }
}
