//! Request: parses the head of a request.
//!
//! In:    a buffer that only grows at its end.
//! Out:   a [`RequestHead`] over the received bytes.
//! Never: copies, repairs or normalises; never accepts a head that two parsers could read
//!        differently.

use byway_head::octets::{first_non_target, is_token_byte};
use byway_head::{Limits, Malformed, Request, RequestHead, Span, Version};

use crate::message::{Parsed, parse_version, unfinished, window};
use crate::section::{Cursor, read_fields, without_cr};

/// No registered method is longer than 17 bytes; this leaves room for private ones.
const METHOD_BYTES: usize = 64;
/// RFC 9112 section 2.2 recommends one; some clients send two after a body.
const EMPTY_LINES: u8 = 2;

/// Parses the heads of requests, one after the other. Create one per connection and reuse it:
/// [`clear`](Self::clear) keeps its memory, so that further requests need no allocation.
#[derive(Clone, Debug, Default)]
pub struct RequestParser {
    cursor: Cursor,
    empty_lines: u8,
    stage: Stage,
    head: RequestHead,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    StartLine,
    Fields,
    Complete,
}

impl RequestParser {
    /// Parses the head at the start of `buf` and continues where the previous call stopped: between
    /// calls `buf` may only grow at its end, until [`clear`](Self::clear). The result does not
    /// depend on how the bytes were split.
    ///
    /// After an error the message and the connection are unusable; a complete head stays complete.
    ///
    /// # Errors
    /// The variants of [`Malformed`] for requests, at the latest when the line that contains the
    /// violation has ended.
    pub fn parse(&mut self, buf: &[u8], limits: &Limits) -> Result<Parsed, Malformed> {
        let window = window(buf, limits);
        while self.stage == Stage::StartLine {
            let Some(lf) = self.cursor.find_end(window) else {
                scan_start(
                    window.get(self.cursor.line()..).unwrap_or_default(),
                    self.cursor.line(),
                    limits,
                )?;
                return unfinished(buf, limits);
            };
            self.start_line(window, lf, limits)?;
            self.cursor.pass(lf);
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
        (self.cursor, self.empty_lines, self.stage) = Default::default();
    }

    /// The request in `buf`, which must be the buffer for which [`parse`](Self::parse) returned
    /// complete.
    pub fn view<'a>(&'a self, buf: &'a [u8]) -> Request<'a> {
        self.head.view(buf)
    }

    /// Parses the line that ends at `lf`; an empty one does not change the stage.
    fn start_line(&mut self, window: &[u8], lf: usize, limits: &Limits) -> Result<(), Malformed> {
        let at = self.cursor.line();
        let line = &window[at..lf];
        if line == b"\r" {
            self.empty_lines += 1;
            return if self.empty_lines > EMPTY_LINES {
                Err(Malformed::EmptyLines { at })
            } else {
                Ok(())
            };
        }
        let start = scan_start(line, at, limits)?;
        let line = without_cr(line, at)?;
        let (method_len, target_len) = start.ok_or(Malformed::VersionMissing)?;
        let target_at = method_len + 1;
        let version_at = target_at + target_len + 1;
        refuse_bad_target(&line[target_at..target_at + target_len], at + target_at)?;
        let version = version(&line[version_at..], at + version_at)?;
        let method = Span::new(at, at + method_len);
        let target = Span::new(at + target_at, at + target_at + target_len);
        self.head.start(method, target, version, window)?;
        self.stage = Stage::Fields;
        Ok(())
    }
}

/// Searches a request line, complete or not, for the ends of method and target: `None` while they
/// are missing, an error as soon as they can no longer follow. A line and every continuation of it
/// get the same error.
fn scan_start(
    line: &[u8],
    at: usize,
    limits: &Limits,
) -> Result<Option<(usize, usize)>, Malformed> {
    match line {
        [] | b"\r" => return Ok(None),
        [b'\r', ..] => return Err(Malformed::BareCr { at }),
        _ => {}
    }
    let Some(method_len) = method_len(line, at)? else {
        return Ok(None);
    };
    let rest = &line[method_len + 1..];
    let most = rest.len().min(limits.target_bytes.saturating_add(1));
    match memchr::memchr(b' ', &rest[..most]) {
        Some(target_len) => Ok(Some((method_len, target_len))),
        None if rest.len() > limits.target_bytes => Err(Malformed::TargetTooLong {
            limit: limits.target_bytes,
        }),
        None => Ok(None),
    }
}

fn method_len(line: &[u8], at: usize) -> Result<Option<usize>, Malformed> {
    let method = &line[..line.len().min(METHOD_BYTES + 1)];
    match method.iter().position(|&byte| !is_token_byte(byte)) {
        Some(len) if len > 0 && method[len] == b' ' => Ok(Some(len)),
        Some(len) => Err(Malformed::MethodByte {
            at: at + len,
            byte: method[len],
        }),
        None if method.len() > METHOD_BYTES => Err(Malformed::MethodTooLong {
            limit: METHOD_BYTES,
        }),
        None => Ok(None),
    }
}

fn refuse_bad_target(target: &[u8], at: usize) -> Result<(), Malformed> {
    if target.is_empty() {
        return Err(Malformed::TargetEmpty { at });
    }
    match first_non_target(target) {
        Some(n) => Err(Malformed::TargetByte {
            at: at + n,
            byte: target[n],
        }),
        None => Ok(()),
    }
}

fn version(bytes: &[u8], at: usize) -> Result<Version, Malformed> {
    match memchr::memchr(b' ', bytes) {
        Some(n) => Err(Malformed::ExtraSpace { at: at + n }),
        None => parse_version(bytes, at),
    }
}
