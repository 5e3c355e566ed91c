//! Chunked: a strict decoder of the chunked transfer coding (RFC 9112 section 7.1).
//!
//! In:    unread bytes.
//! Out:   steps.
//! Never: accepts LF for CRLF, an ambiguous size, or unlimited extensions.

use byway_head::{Limits, Malformed, Section, Trailers};

use crate::body::{Step, data};
use crate::extension::Extension;
use crate::section::{Cursor, read_fields};

/// A size of more digits exceeds 64 bits, or is padded without a legitimate reason.
const SIZE_DIGITS: u8 = 16;

#[derive(Clone, Debug)]
pub(crate) struct Chunked {
    phase: Phase,
    /// The size being read, then the missing data of the chunk.
    left: u64,
    extension_bytes: usize,
    limits: Limits,
    cursor: Cursor,
    section: Section,
}

#[derive(Clone, Debug)]
enum Phase {
    /// In a size, after this number of digits.
    Size(u8),
    Extension(Extension),
    /// After the CR of a size line.
    SizeLf,
    Data,
    /// After a chunk's data.
    DataCr,
    DataLf,
    /// After the last chunk: an empty line ends the message, any other byte starts the trailer
    /// section.
    AfterLast,
    FinalLf,
    Trailers,
    Done,
    Broken(Malformed),
}

impl Chunked {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            phase: Phase::Size(0),
            left: 0,
            extension_bytes: 0,
            limits: *limits,
            cursor: Cursor::default(),
            section: Section::default(),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    pub(crate) fn taken(&mut self, bytes: usize) {
        if !matches!(self.phase, Phase::Data) {
            return;
        }
        self.left = self.left.saturating_sub(bytes as u64);
        if self.left == 0 {
            self.phase = Phase::DataCr;
        }
    }

    pub(crate) fn trailers<'a>(&'a self, unread: &'a [u8]) -> Trailers<'a> {
        if self.is_done() {
            Trailers::new(&self.section, unread)
        } else {
            Trailers::none()
        }
    }

    pub(crate) fn step(&mut self, unread: &[u8]) -> Result<Step, Malformed> {
        let step = self.step_once(unread);
        if let Err(error) = &step {
            self.phase = Phase::Broken(error.clone());
        }
        step
    }

    /// Consumes framing until other bytes come.
    fn step_once(&mut self, unread: &[u8]) -> Result<Step, Malformed> {
        for (at, &byte) in unread.iter().enumerate() {
            match self.read(byte)? {
                true => {}
                false if at > 0 => return Ok(Step::Skip(at)),
                false => return self.step_at_content(unread),
            }
        }
        match (unread.len(), &self.phase) {
            (0, Phase::Done) => Ok(Step::End(0)),
            (0, Phase::Broken(error)) => Err(error.clone()),
            (0, _) => Ok(Step::More),
            (len, _) => Ok(Step::Skip(len)),
        }
    }

    /// The step if the first unread byte is not framing to be skipped.
    fn step_at_content(&mut self, unread: &[u8]) -> Result<Step, Malformed> {
        match &self.phase {
            Phase::Data => Ok(data(unread, self.left)),
            Phase::Trailers => self.step_in_trailers(unread),
            Phase::Broken(error) => Err(error.clone()),
            _ => Ok(Step::End(0)),
        }
    }

    /// Reads one byte of framing; `false` if it is another byte, which is not consumed.
    fn read(&mut self, byte: u8) -> Result<bool, Malformed> {
        self.phase = match (&mut self.phase, byte) {
            (Phase::Size(digits), _) => {
                let digits = *digits;
                self.in_size(digits, byte)?
            }
            (Phase::Extension(extension), _) => {
                let next = extension.next(byte)?;
                self.count_extension_byte(byte)?;
                next.map_or(Phase::SizeLf, Phase::Extension)
            }
            (Phase::SizeLf, b'\n') if self.left == 0 => Phase::AfterLast,
            (Phase::SizeLf, b'\n') => Phase::Data,
            (Phase::DataCr, b'\r') => Phase::DataLf,
            (Phase::DataLf, b'\n') => Phase::Size(0),
            (Phase::AfterLast, b'\r') => Phase::FinalLf,
            (Phase::FinalLf, b'\n') => Phase::Done,
            (Phase::SizeLf | Phase::DataCr | Phase::DataLf | Phase::FinalLf, _) => {
                return Err(Malformed::ChunkLineEnd { byte });
            }
            (Phase::AfterLast, _) => {
                self.phase = Phase::Trailers;
                return Ok(false);
            }
            (Phase::Data | Phase::Trailers | Phase::Done | Phase::Broken(_), _) => {
                return Ok(false);
            }
        };
        Ok(true)
    }

    fn in_size(&mut self, digits: u8, byte: u8) -> Result<Phase, Malformed> {
        if let Some(value) = char::from(byte).to_digit(16) {
            return self.with_digit(digits, value);
        }
        match byte {
            _ if digits == 0 => Err(Malformed::ChunkSizeByte { byte }),
            b'\r' => Ok(Phase::SizeLf),
            b'\n' => Err(Malformed::ChunkLineEnd { byte }),
            b';' | b' ' | b'\t' => {
                self.count_extension_byte(byte)?;
                Ok(Phase::Extension(Extension::start(byte)))
            }
            _ => Err(Malformed::ChunkSizeByte { byte }),
        }
    }

    fn with_digit(&mut self, digits: u8, value: u32) -> Result<Phase, Malformed> {
        let size = (self.left << 4) | u64::from(value);
        if digits >= SIZE_DIGITS || size > i64::MAX as u64 {
            return Err(Malformed::ChunkSizeTooLarge);
        }
        self.left = size;
        Ok(Phase::Size(digits + 1))
    }

    fn count_extension_byte(&mut self, byte: u8) -> Result<(), Malformed> {
        let limit = self.limits.chunk_extension_bytes;
        self.extension_bytes += usize::from(byte != b'\r');
        if self.extension_bytes > limit {
            Err(Malformed::ChunkExtensionsTooLong { limit })
        } else {
            Ok(())
        }
    }

    fn step_in_trailers(&mut self, unread: &[u8]) -> Result<Step, Malformed> {
        let most = self.limits.head_window();
        let window = &unread[..unread.len().min(most)];
        match read_fields(&mut self.section, &mut self.cursor, window, &self.limits)? {
            Some(lf) => {
                self.phase = Phase::Done;
                Ok(Step::End(lf + 1))
            }
            None if unread.len() >= most => Err(Malformed::TrailersTooLarge {
                limit: self.limits.head_bytes,
            }),
            None => Ok(Step::More),
        }
    }
}
