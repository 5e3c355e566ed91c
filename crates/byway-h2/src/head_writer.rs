//! Head writer: a head that a connection sends.

use byway_head::{Framed, HeadOut, Line, Malformed};

use crate::hpack;
use crate::stream::Method;

/// A head in progress, or trailers. What it wrote is sent if the function that got it returns no
/// error, and is taken back otherwise.
#[derive(Debug)]
pub struct HeadWriter<'a> {
    block: hpack::HeadWriter<'a>,
    method: Method,
}

impl<'a> HeadWriter<'a> {
    pub(crate) fn new(block: hpack::HeadWriter<'a>) -> Self {
        Self {
            block,
            method: Method::default(),
        }
    }

    /// Ends the block, which is now sent. Returns what the response to a request depends on.
    pub(crate) fn finish(mut self) -> Method {
        self.block.end();
        self.method
    }
}

impl HeadOut for HeadWriter<'_> {
    fn request(&mut self, method: &[u8], target: &[u8], authority: &[u8]) -> Result<(), Malformed> {
        self.method = Method::of(method);
        self.block.request(method, target, authority)
    }

    fn response(&mut self, status: u16, reason: &[u8]) -> Result<(), Malformed> {
        self.block.response(status, reason)
    }

    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        self.block.field(name, value)
    }

    fn line(&mut self, line: Line<'_>) -> Result<(), Malformed> {
        self.block.line(line)
    }

    fn list<'v>(
        &mut self,
        name: &[u8],
        elements: impl IntoIterator<Item = &'v [u8]>,
    ) -> Result<(), Malformed> {
        self.block.list(name, elements)
    }

    fn framing(&mut self, framed: Framed) {
        self.block.framing(framed);
    }

    fn connection(&mut self, option: &'static str) {
        self.block.connection(option);
    }

    fn upgrade(&mut self, protocol: &[u8]) -> Result<(), Malformed> {
        self.block.upgrade(protocol)
    }

    /// Does nothing: the block ends when the function that writes it returns.
    fn end(&mut self) {}
}
