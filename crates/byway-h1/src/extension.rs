//! Extension: the grammar of chunk extensions (RFC 9112 section 7.1.1), to find their end. Their
//! content is dropped.
//!
//! In:    the bytes after a chunk size, one at a time.
//! Out:   whether the byte is valid there.
//! Never: stores bytes.

use byway_head::Malformed;
use byway_head::octets::{first_non_value, is_ows, is_token_byte};

/// The position in `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extension {
    /// In white space that must end with `;`.
    BeforeSemicolon,
    /// After `;`: a name must follow.
    BeforeName,
    Name,
    /// In white space after a name: `=` or `;` must follow.
    AfterName,
    /// After `=`: a value must follow.
    BeforeValue,
    Token,
    Quoted,
    /// After a backslash in quotes.
    Escaped,
    /// After the closing quote.
    AfterQuoted,
}

impl Extension {
    /// `byte` is the first one after the size: `;` or white space.
    pub(crate) fn start(byte: u8) -> Self {
        if byte == b';' {
            Self::BeforeName
        } else {
            Self::BeforeSemicolon
        }
    }

    /// Advances by one byte; `None` at the CR that ends the line.
    pub(crate) fn next(self, byte: u8) -> Result<Option<Self>, Malformed> {
        if byte == b'\n' {
            return Err(Malformed::ChunkLineEnd { byte });
        }
        if byte == b'\r' && matches!(self, Self::Name | Self::Token | Self::AfterQuoted) {
            return Ok(None);
        }
        self.within(byte)
            .map(Some)
            .ok_or(Malformed::ChunkExtensionByte { byte })
    }

    fn within(self, byte: u8) -> Option<Self> {
        let token = is_token_byte(byte);
        Some(match self {
            Self::BeforeSemicolon | Self::BeforeName | Self::AfterName | Self::BeforeValue
                if is_ows(byte) =>
            {
                self
            }
            Self::BeforeSemicolon
            | Self::Name
            | Self::AfterName
            | Self::Token
            | Self::AfterQuoted
                if byte == b';' =>
            {
                Self::BeforeName
            }
            Self::BeforeName | Self::Name if token => Self::Name,
            Self::Name | Self::AfterName if byte == b'=' => Self::BeforeValue,
            Self::Name if is_ows(byte) => Self::AfterName,
            Self::BeforeValue | Self::Token if token => Self::Token,
            Self::BeforeValue if byte == b'"' => Self::Quoted,
            Self::Token | Self::AfterQuoted if is_ows(byte) => Self::BeforeSemicolon,
            Self::Quoted if byte == b'"' => Self::AfterQuoted,
            Self::Quoted if byte == b'\\' => Self::Escaped,
            Self::Quoted | Self::Escaped if first_non_value(&[byte]).is_none() => Self::Quoted,
            _ => return None,
        })
    }
}
