//! Response: parses the head of a response.
//!
//! In:    a buffer that only grows at its end.
//! Out:   a [`ResponseHead`] over the received bytes.
//! Never: copies or repairs; never guesses where the body ends.

use byway_head::octets::first_non_value;
use byway_head::{Limits, Malformed, Response, ResponseHead, Span};

use crate::message::{Parsed, parse_version, unfinished, window};
use crate::section::{Cursor, read_fields, without_cr};

/// `HTTP/1.1`.
const VERSION_BYTES: usize = 8;
/// `HTTP/1.1 200`.
const STATUS_END: usize = 12;

/// Parses the heads of responses, one after the other. Create one per connection and reuse it:
/// [`clear`](Self::clear) keeps its memory, so that further responses need no allocation.
#[derive(Clone, Debug, Default)]
pub struct ResponseParser {
    cursor: Cursor,
    stage: Stage,
    head: ResponseHead,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    StartLine,
    Fields,
    Complete,
}

impl ResponseParser {
    /// Parses the head at the start of `buf` and continues where the previous call stopped: between
    /// calls `buf` may only grow at its end, until [`clear`](Self::clear). The result does not
    /// depend on how the bytes were split.
    ///
    /// Interim responses (1xx) have their own heads: clear, and parse the next one.
    ///
    /// # Errors
    /// The variants of [`Malformed`] for the lines of a response. [`Response::framing`] returns
    /// violations of the framing.
    pub fn parse(&mut self, buf: &[u8], limits: &Limits) -> Result<Parsed, Malformed> {
        let window = window(buf, limits);
        if self.stage == Stage::StartLine {
            let Some(lf) = self.cursor.find_end(window) else {
                refuse_other_protocol(window)?;
                return unfinished(buf, limits);
            };
            self.start_line(&window[..lf])?;
            self.cursor.pass(lf);
            self.stage = Stage::Fields;
        }
        if self.stage == Stage::Fields {
            let Some(lf) = read_fields(self.head.section(), &mut self.cursor, window, limits)?
            else {
                return unfinished(buf, limits);
            };
            self.head.complete(window, limits)?;
            self.cursor.pass(lf);
            self.stage = Stage::Complete;
        }
        Ok(Parsed::Complete(self.cursor.line()))
    }

    /// Discards the message and keeps the memory.
    pub fn clear(&mut self) {
        self.head.clear();
        (self.cursor, self.stage) = Default::default();
    }

    /// The response in `buf`, which must be the buffer for which [`parse`](Self::parse) returned
    /// complete.
    pub fn view<'a>(&'a self, buf: &'a [u8]) -> Response<'a> {
        self.head.view(buf)
    }

    /// The space after the status may be missing together with the reason, as with many origins.
    fn start_line(&mut self, line: &[u8]) -> Result<(), Malformed> {
        refuse_other_protocol(line)?;
        let line = without_cr(line, 0)?;
        let (version, rest) = line.split_at(line.len().min(VERSION_BYTES));
        let version = parse_version(version, 0)?;
        let (status, reason_at) = match rest {
            [b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => ([a, b, c], STATUS_END),
            [
                b' ',
                a @ b'1'..=b'9',
                b @ b'0'..=b'9',
                c @ b'0'..=b'9',
                b' ',
                ..,
            ] => ([a, b, c], STATUS_END + 1),
            _ => return Err(Malformed::StatusCode { at: VERSION_BYTES }),
        };
        let status = status
            .iter()
            .fold(0, |sum, digit| sum * 10 + u16::from(*digit - b'0'));
        let reason_span = Span::new(reason_at, line.len());
        self.head.start(version, status, reason_span);
        let reason = &line[reason_at..];
        match first_non_value(reason) {
            Some(n) if reason[n] == b'\r' => Err(Malformed::BareCr { at: reason_at + n }),
            Some(n) => Err(Malformed::ReasonByte {
                at: reason_at + n,
                byte: reason[n],
            }),
            None => Ok(()),
        }
    }
}

/// A line that does not start with `HTTP/` is another protocol and is refused before its end.
fn refuse_other_protocol(line: &[u8]) -> Result<(), Malformed> {
    let known = b"HTTP/";
    let len = line.len().min(known.len());
    if line[..len] != known[..len] {
        return Err(Malformed::VersionInvalid { at: 0 });
    }
    Ok(())
}
