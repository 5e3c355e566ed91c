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

    /// The position after `byte`; `None` if it may not stand here. No byte fits two arms of a
    /// position, but in quotes, where the order decides.
    fn within(self, byte: u8) -> Option<Self> {
        let (is_token, is_space) = (is_token_byte(byte), is_ows(byte));
        let is_value = || first_non_value(&[byte]).is_none();
        let next = match (self, byte) {
            // The space of `4 ;name` and of `4;name=value ;other`.
            (Self::BeforeSemicolon, _) if is_space => Self::BeforeSemicolon,
            (Self::BeforeSemicolon, b';') => Self::BeforeName,
            // The space of `4; name`.
            (Self::BeforeName, _) if is_space => Self::BeforeName,
            (Self::BeforeName, _) if is_token => Self::Name,
            // `name` of `4;name`, `4;name=value`, `4;name ;other`.
            (Self::Name, _) if is_token => Self::Name,
            (Self::Name, _) if is_space => Self::AfterName,
            (Self::Name, b'=') => Self::BeforeValue,
            (Self::Name, b';') => Self::BeforeName,
            // The space of `4;name =value`.
            (Self::AfterName, _) if is_space => Self::AfterName,
            (Self::AfterName, b'=') => Self::BeforeValue,
            (Self::AfterName, b';') => Self::BeforeName,
            // The space of `4;name= value`.
            (Self::BeforeValue, _) if is_space => Self::BeforeValue,
            (Self::BeforeValue, _) if is_token => Self::Token,
            (Self::BeforeValue, b'"') => Self::Quoted,
            // `value` of `4;name=value`.
            (Self::Token, _) if is_token => Self::Token,
            (Self::Token, _) if is_space => Self::BeforeSemicolon,
            (Self::Token, b';') => Self::BeforeName,
            // What is within the quotes of `4;name="a; b"`.
            (Self::Quoted, b'"') => Self::AfterQuoted,
            (Self::Quoted, b'\\') => Self::Escaped,
            (Self::Quoted, _) if is_value() => Self::Quoted,
            // The second byte of `\"` in `4;name="a\"b"`.
            (Self::Escaped, _) if is_value() => Self::Quoted,
            // What follows `4;name="value"`.
            (Self::AfterQuoted, _) if is_space => Self::BeforeSemicolon,
            (Self::AfterQuoted, b';') => Self::BeforeName,
            _ => return None,
        };
        Some(next)
    }
}
