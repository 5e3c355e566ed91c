//! Kept head: the head of a message that was written and not sent, so that it can be taken back.
//!
//! In:    a head, as [`HeadOut`] describes it.
//! Out:   the same head, written to the encoder of a connection once it is sent.
//! Never: gives the encoder a head that may be taken back: its table would differ from the peer's.

use byway_head::octets::{first_non_target, first_non_token, first_non_value};
use byway_head::{Field, Framed, HeadOut, Line, Malformed};

/// A head as it is written: an opening, then the fields, each as two lengths and its bytes.
#[derive(Debug, Default)]
pub struct KeptHead {
    opening: Opening,
    fields: Vec<u8>,
    /// The protocol that a request changes to; empty for none.
    protocol: Vec<u8>,
}

/// How a head begins.
#[derive(Debug, Default)]
enum Opening {
    #[default]
    Missing,
    Response(u16),
    /// Method and target are the name and value of the first field, the authority is the name of
    /// the second.
    Request,
}

/// The two lengths in front of a field.
const LENGTHS_BYTES: usize = 8;

impl KeptHead {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        matches!(self.opening, Opening::Missing)
    }

    /// Forgets it, and keeps a small memory.
    pub fn clear(&mut self) {
        self.opening = Opening::Missing;
        self.fields.clear();
        self.fields.shrink_to(KEPT_BYTES);
        self.protocol.clear();
    }

    /// Its length, about.
    pub(crate) fn bytes(&self) -> usize {
        self.fields.len() + 1
    }

    /// Whether another head follows it. 101 is a final one: it begins a tunnel.
    pub(super) fn is_interim(&self) -> bool {
        matches!(self.opening, Opening::Response(100 | 102..=199))
    }

    /// The protocol that a request changes to.
    pub(super) fn protocol(&self) -> Option<&[u8]> {
        (!self.protocol.is_empty()).then_some(&*self.protocol)
    }

    /// Its fields, if it has no opening, as trailers have none.
    pub(crate) fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        KeptFields(&self.fields).map(|(name, value)| Field { name, value })
    }

    /// Writes it to `out`, without the protocol.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl HeadOut) -> Result<(), Malformed> {
        let mut fields = KeptFields(&self.fields);
        match self.opening {
            Opening::Missing => {}
            Opening::Response(status) => out.response(status, b"")?,
            Opening::Request => {
                let (method, target) = fields.next().unwrap_or_default();
                let (authority, _) = fields.next().unwrap_or_default();
                out.request(method, target, authority)?;
            }
        }
        for (name, value) in fields {
            out.field(name, value)?;
        }
        out.end();
        Ok(())
    }

    fn push(&mut self, name: &[u8], value: &[u8]) {
        self.fields
            .reserve(LENGTHS_BYTES + name.len() + value.len());
        for length in [name.len(), value.len()] {
            self.fields
                .extend_from_slice(&u32::try_from(length).unwrap_or_default().to_ne_bytes());
        }
        self.fields.extend_from_slice(name);
        self.fields.extend_from_slice(value);
    }
}

/// Memory of a long head beyond this is not kept.
const KEPT_BYTES: usize = 4 * 1024;

/// The fields of a kept head.
struct KeptFields<'a>(&'a [u8]);

impl<'a> Iterator for KeptFields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name_len, rest) = self.0.split_first_chunk()?;
        let (value_len, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(u32::from_ne_bytes(*name_len) as usize)?;
        let (value, rest) = rest.split_at_checked(u32::from_ne_bytes(*value_len) as usize)?;
        self.0 = rest;
        Some((name, value))
    }
}

impl HeadOut for KeptHead {
    fn request(&mut self, method: &[u8], target: &[u8], authority: &[u8]) -> Result<(), Malformed> {
        if let Some(at) = first_non_token(method) {
            return Err(Malformed::MethodByte {
                at,
                byte: method.get(at).copied().unwrap_or_default(),
            });
        }
        if let Some(at) = first_non_target(target) {
            return Err(Malformed::TargetByte {
                at,
                byte: target.get(at).copied().unwrap_or_default(),
            });
        }
        self.opening = Opening::Request;
        self.push(method, target);
        self.push(authority, b"");
        Ok(())
    }

    fn response(&mut self, status: u16, _reason: &[u8]) -> Result<(), Malformed> {
        self.opening = Opening::Response(status);
        Ok(())
    }

    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        if let Some(at) = first_non_token(name) {
            return Err(Malformed::NameByte {
                at,
                byte: name.get(at).copied().unwrap_or_default(),
            });
        }
        if name.is_empty() {
            return Err(Malformed::NameEmpty { at: 0 });
        }
        if let Some(at) = first_non_value(value) {
            return Err(Malformed::ValueByte {
                at,
                byte: value.get(at).copied().unwrap_or_default(),
            });
        }
        self.push(name, value);
        Ok(())
    }

    fn line(&mut self, line: Line<'_>) -> Result<(), Malformed> {
        let field = line.field();
        self.push(field.name, field.value);
        Ok(())
    }

    fn list<'a>(
        &mut self,
        name: &[u8],
        elements: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), Malformed> {
        let list = elements.into_iter().collect::<Vec<_>>().join(&b", "[..]);
        match list.is_empty() {
            true => Ok(()),
            false => self.field(name, &list),
        }
    }

    fn framing(&mut self, framed: Framed) {
        if let Framed::Length(length) = framed {
            let mut digits = [0; 20];
            let mut at = digits.len();
            let mut rest = length;
            loop {
                at -= 1;
                digits[at] = b'0' + (rest % 10) as u8;
                rest /= 10;
                if rest == 0 {
                    break;
                }
            }
            self.push(b"content-length", digits.get(at..).unwrap_or_default());
        }
    }

    fn connection(&mut self, _option: &'static str) {}

    fn upgrade(&mut self, protocol: &[u8]) -> Result<(), Malformed> {
        self.protocol.clear();
        self.protocol.extend_from_slice(protocol);
        Ok(())
    }

    fn end(&mut self) {}
}

#[cfg(test)]
mod tests {
    use byway_h1::HeadWriter;

    use super::*;

    /// As HTTP/1 would write it.
    fn text(head: &KeptHead) -> String {
        let mut text = Vec::new();
        head.write(&mut HeadWriter(&mut text)).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_head_is_written_again_as_it_was() {
        let mut head = KeptHead::default();
        head.response(200, b"OK").unwrap();
        head.field(b"a", b"").unwrap();
        head.framing(Framed::Length(0));
        head.list(b"b", [&b"1"[..], b"2"]).unwrap();
        head.end();
        assert_eq!(
            text(&head),
            "HTTP/1.1 200 \r\na: \r\ncontent-length: 0\r\nb: 1, 2\r\n\r\n"
        );
        head.clear();
        assert!(head.is_empty());
        head.request(b"GET", b"/x?y", b"example.com").unwrap();
        head.framing(Framed::Length(u64::MAX));
        assert_eq!(
            text(&head),
            "GET /x?y HTTP/1.1\r\nHost: example.com\r\ncontent-length: 18446744073709551615\r\n\r\n"
        );
    }

    #[test]
    fn a_field_that_cannot_be_sent_is_refused_when_it_is_written() {
        let mut head = KeptHead::default();
        head.response(200, b"").unwrap();
        assert!(head.field(b"a b", b"").is_err());
        assert!(head.field(b"", b"").is_err());
        assert!(head.field(b"a", b"1\r\nb: 2").is_err());
        assert!(head.request(b"GET", b"/ x", b"a").is_err());
        assert_eq!(text(&head), "HTTP/1.1 200 \r\n\r\n");
    }
}
