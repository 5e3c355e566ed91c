//! Message: the common parts of requests and responses.
//!
//! In:    the index of a head's fields.
//! Out:   the facts that framing and keep-alive depend on, from one pass.
//! Never: checks the head; that is the task of request and response.

use crate::error::Malformed;
use crate::field::{Fields, split_list};
use crate::framing::Seen;
use crate::limits::Limits;
use crate::section::{Section, Span};

/// The supported versions of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: no chunked coding, and the connection closes by default.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2: heads have pseudo-headers, and bodies are framed by their stream.
    Http2,
    /// HTTP/3: as HTTP/2, on QUIC.
    Http3,
}

impl Version {
    /// Whether each message has a stream of its own, which frames its body. Such a message has no
    /// fields about its connection, and its end says nothing about the connection.
    pub fn has_streams(self) -> bool {
        self >= Self::Http2
    }
}

/// The facts from fields of certain names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    pub(crate) host: Seen<Span>,
    pub(crate) length: Seen<Span>,
    pub(crate) coding: Seen<Span>,
    /// The first Upgrade field.
    pub(crate) upgrade: Option<Span>,
    pub(crate) expects_continue: bool,
    pub(crate) lists_upgrade: bool,
    /// Connection lists other elements than close, keep-alive and upgrade.
    pub(crate) lists_fields: bool,
    /// Elements of Connection so far, including empty ones.
    connection_options: usize,
    lists_close: bool,
    lists_keep_alive: bool,
}

impl Survey {
    pub(crate) fn of(section: &Section, buf: &[u8], limits: &Limits) -> Result<Self, Malformed> {
        let mut survey = Self::default();
        for entry in section.entries() {
            survey.note(entry.name.of(buf), entry.value, buf, limits)?;
        }
        Ok(survey)
    }

    /// Whether the connection may be used for another message (RFC 9112 section 9.3), according to
    /// the fields.
    pub(crate) fn keep_alive(&self, version: Version) -> bool {
        !self.lists_close && (version >= Version::Http11 || self.lists_keep_alive)
    }

    fn note(
        &mut self,
        name: &[u8],
        value: Span,
        buf: &[u8],
        limits: &Limits,
    ) -> Result<(), Malformed> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            4 if is("host") => self.host.note(value),
            6 if is("expect") => self.expects_continue |= lists(value.of(buf), "100-continue"),
            7 if is("upgrade") => self.upgrade = self.upgrade.or(Some(value)),
            10 if is("connection") => self.note_connection(value.of(buf), limits)?,
            14 if is("content-length") => self.length.note(value),
            17 if is("transfer-encoding") => self.coding.note(value),
            _ => {}
        }
        Ok(())
    }

    fn note_connection(&mut self, mut list: &[u8], limits: &Limits) -> Result<(), Malformed> {
        while !list.is_empty() {
            let (option, rest) = split_list(list);
            list = rest;
            self.connection_options += 1;
            if self.connection_options > limits.connection_options {
                return Err(Malformed::TooManyConnectionOptions {
                    limit: limits.connection_options,
                });
            }
            match option {
                [] => {}
                _ if option.eq_ignore_ascii_case(b"close") => self.lists_close = true,
                _ if option.eq_ignore_ascii_case(b"keep-alive") => self.lists_keep_alive = true,
                _ if option.eq_ignore_ascii_case(b"upgrade") => self.lists_upgrade = true,
                _ => self.lists_fields = true,
            }
        }
        Ok(())
    }
}

/// Prints the fields of a message as a list.
pub(crate) struct Listed<'a>(pub(crate) Fields<'a>);

impl std::fmt::Debug for Listed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(
                self.0
                    .clone()
                    .map(|field| field.name.escape_ascii().to_string()),
            )
            .finish()
    }
}

/// Whether a comma-separated list has this element, in any case.
fn lists(mut list: &[u8], element: &str) -> bool {
    while !list.is_empty() {
        let (first, rest) = split_list(list);
        if first.eq_ignore_ascii_case(element.as_bytes()) {
            return true;
        }
        list = rest;
    }
    false
}
