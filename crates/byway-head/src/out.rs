//! Out: what a head is written to.

use crate::error::Malformed;
use crate::field::Line;
use crate::framing::Framed;

/// A head in progress, in the encoding of one version of HTTP. Code that writes heads is generic
/// over it, so that one set of rules serves every version, and HTTP/1 to HTTP/1 copies lines.
///
/// The order is: [`request`](Self::request) or [`response`](Self::response), then fields, then
/// [`end`](Self::end). Each function checks its input, and writes nothing on an error; the caller
/// then discards the head.
pub trait HeadOut {
    /// Begins a request. The authority is the Host field of HTTP/1, and `:authority` of later
    /// versions.
    ///
    /// # Errors
    /// If a part has a byte that is not allowed in it, or is empty.
    fn request(&mut self, method: &[u8], target: &[u8], authority: &[u8]) -> Result<(), Malformed>;

    /// Begins a response. The reason may be empty; versions without one ignore it.
    ///
    /// # Errors
    /// If the status does not have three digits, or the reason has a control byte.
    fn response(&mut self, status: u16, reason: &[u8]) -> Result<(), Malformed>;

    /// Writes a field.
    ///
    /// # Errors
    /// If the name is no token, or the value has a control byte except HTAB.
    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed>;

    /// Writes a field as it was received. Its parser has checked it.
    ///
    /// # Errors
    /// As [`field`](Self::field).
    fn line(&mut self, line: Line<'_>) -> Result<(), Malformed>;

    /// Writes a field whose value is a list. Writes nothing if there is no element.
    ///
    /// # Errors
    /// As [`field`](Self::field), for the first element that cannot be written.
    fn list<'a>(
        &mut self,
        name: &[u8],
        elements: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), Malformed>;

    /// Writes how the receiver finds the end of the body. Versions that frame bodies by
    /// themselves write a length only.
    fn framing(&mut self, framed: Framed);

    /// Writes an option of the connection, such as `close`. Versions without such options write
    /// nothing.
    fn connection(&mut self, option: &'static str);

    /// Writes the protocol that the connection changes to.
    ///
    /// # Errors
    /// If it has a control byte.
    fn upgrade(&mut self, protocol: &[u8]) -> Result<(), Malformed>;

    /// Ends the head.
    fn end(&mut self);
}
