//! Block: the header block of the request that the generator repeats (HPACK, RFC 7541), as
//! libraries send it: fields that stay the same are entered into the dynamic table by the first
//! request of a connection, and later requests refer to them.
//!
//! In:    the fields of a request.
//! Out:   the block of the first request and that of the later ones.
//! Never: more than the 4,096 bytes of table that every peer has before its settings arrive.

/// See the top of the file.
#[derive(Clone, Debug)]
pub(crate) struct RequestBlock {
    /// Of the first request of a connection.
    pub(super) first: Vec<u8>,
    /// Of the others.
    pub(super) later: Vec<u8>,
    /// The request body; empty for a GET.
    pub(super) body: Vec<u8>,
}

/// Indexes of the static table (RFC 7541 appendix A).
mod fixed {
    pub(super) const AUTHORITY: u8 = 1;
    pub(super) const GET: u8 = 2;
    pub(super) const POST: u8 = 3;
    pub(super) const PATH: u8 = 4;
    pub(super) const HTTP: u8 = 6;
    pub(super) const HTTPS: u8 = 7;
    pub(super) const ACCEPT_ENCODING: u8 = 16;
    pub(super) const ACCEPT: u8 = 19;
    pub(super) const CONTENT_TYPE: u8 = 31;
    pub(super) const USER_AGENT: u8 = 58;
    pub(super) const ENTRIES: u8 = 61;
}

/// The name of a field: an entry of the static table, or text.
type Name = Result<u8, &'static str>;

impl RequestBlock {
    /// A GET of `length` bytes, with the fields of [`Request::get`](crate::load::request::Request).
    pub(crate) fn get(length: u64, host: &str, secure: bool) -> Self {
        let fields: [(Name, &str); 4] = [
            (Ok(fixed::AUTHORITY), host),
            (Ok(fixed::USER_AGENT), "lab/1"),
            (Ok(fixed::ACCEPT), "*/*"),
            (Ok(fixed::ACCEPT_ENCODING), "gzip, br"),
        ];
        let path = format!("/{length}");
        Self::build(fixed::GET, &path, secure, &fields, Vec::new())
    }

    /// A unary gRPC call with a message of `length` bytes.
    pub(crate) fn grpc(length: u32, host: &str, secure: bool) -> Self {
        let fields: [(Name, &str); 4] = [
            (Ok(fixed::AUTHORITY), host),
            (Ok(fixed::USER_AGENT), "grpc-lab/1"),
            (Ok(fixed::CONTENT_TYPE), "application/grpc"),
            (Err("te"), "trailers"),
        ];
        // Not compressed, then the length of the message.
        let mut body = vec![0];
        body.extend_from_slice(&length.to_be_bytes());
        body.resize(body.len() + length as usize, b'.');
        Self::build(fixed::POST, "/lab.Echo/Unary", secure, &fields, body)
    }

    fn build(method: u8, path: &str, secure: bool, fields: &[(Name, &str)], body: Vec<u8>) -> Self {
        const INDEXED: u8 = 0x80;
        const ENTERED: u8 = 0x40;
        let scheme = if secure { fixed::HTTPS } else { fixed::HTTP };
        let mut first = vec![INDEXED | method, INDEXED | scheme];
        // Paths differ from request to request, so libraries do not enter them.
        first.push(fixed::PATH);
        string(&mut first, path);
        let mut later = first.clone();
        // The newest entry has the lowest index.
        let mut entry = fixed::ENTRIES + fields.len() as u8;
        for (name, value) in fields {
            match name {
                Ok(index) => first.push(ENTERED | index),
                Err(name) => {
                    first.push(ENTERED);
                    string(&mut first, name);
                }
            }
            string(&mut first, value);
            later.push(INDEXED | entry);
            entry -= 1;
        }
        Self { first, later, body }
    }
}

/// A string without Huffman code. All of the lab are shorter than 127 bytes, so that the length is
/// one byte.
fn string(block: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() < 127);
    block.push(text.len() as u8);
    block.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_request_refers_to_the_entries_of_the_first() {
        let block = RequestBlock::get(1024, "lab.test", true);
        // GET, https, the path, then four entries from the oldest to the newest.
        assert_eq!(
            block.later,
            [&b"\x82\x87\x04\x05/1024"[..], &[0xc1, 0xc0, 0xbf, 0xbe]].concat()
        );
        assert!(
            block
                .first
                .starts_with(b"\x82\x87\x04\x05/1024\x41\x08lab.test\x7a\x05lab/1")
        );
        assert!(
            RequestBlock::get(1, "a", false)
                .first
                .starts_with(&[0x82, 0x86])
        );
    }

    #[test]
    fn a_call_has_one_message_with_its_length() {
        let call = RequestBlock::grpc(100, "lab.test", true);
        assert_eq!(call.body.len(), 105);
        assert!(call.body.starts_with(&[0, 0, 0, 0, 100, b'.']));
        assert!(call.first.ends_with(b"\x40\x02te\x08trailers"));
    }
}
