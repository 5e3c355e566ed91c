//! Frame: cuts received bytes into frames (RFC 9113 section 4), and writes frames.
//!
//! In:    bytes as they arrive.
//! Out:   pieces of DATA as they arrive, other frames whole.
//! Never: copies DATA, or accepts a frame that is longer than was announced.

use anyhow::{Result, ensure};

/// The type of a frame; types that the lab does not know are `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    Other,
}

impl Kind {
    const KNOWN: [Self; 10] = [
        Self::Data,
        Self::Headers,
        Self::Priority,
        Self::Reset,
        Self::Settings,
        Self::PushPromise,
        Self::Ping,
        Self::GoAway,
        Self::WindowUpdate,
        Self::Continuation,
    ];

    fn of(code: u8) -> Self {
        let known = Self::KNOWN.get(usize::from(code));
        known.copied().unwrap_or(Self::Other)
    }
}

/// Flags of frames.
pub(crate) mod flag {
    /// Of DATA and HEADERS.
    pub(crate) const END_STREAM: u8 = 0x1;
    /// Of SETTINGS and PING.
    pub(crate) const ACK: u8 = 0x1;
    /// Of HEADERS.
    pub(crate) const END_HEADERS: u8 = 0x4;
    /// Of DATA and HEADERS.
    pub(crate) const PADDED: u8 = 0x8;
    /// Of HEADERS.
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// A whole frame; of DATA, one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// Its type.
    pub(crate) kind: Kind,
    /// Its flags; of DATA, END_STREAM is set in the last piece only.
    pub(crate) flags: u8,
    /// Its stream; 0 is the connection.
    pub(crate) stream: u32,
    /// Its payload.
    pub(crate) payload: &'a [u8],
}

impl Frame<'_> {
    /// Whether it has this flag.
    pub(crate) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

const HEADER_BYTES: usize = 9;
/// The default of SETTINGS_MAX_FRAME_SIZE, which the lab never changes.
pub(crate) const MAX_PAYLOAD: usize = 16_384;

/// See the top of the file.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    header: [u8; HEADER_BYTES],
    /// How much of the header has arrived.
    have: usize,
    /// How much of the payload has not arrived.
    left: usize,
    /// The payload so far; DATA is not kept.
    kept: Vec<u8>,
}

impl FrameReader {
    /// Takes the next bytes and passes what they complete to `take`.
    ///
    /// # Errors
    ///
    /// A frame that is too long or padded, and the errors of `take`.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(Frame<'_>) -> Result<()>,
    ) -> Result<()> {
        // A frame without payload ends with its header.
        while !bytes.is_empty() {
            if self.have < HEADER_BYTES {
                let (taken, rest) = bytes.split_at(bytes.len().min(HEADER_BYTES - self.have));
                self.header[self.have..self.have + taken.len()].copy_from_slice(taken);
                (self.have, bytes) = (self.have + taken.len(), rest);
                if self.have < HEADER_BYTES {
                    return Ok(());
                }
                let [a, b, c, ..] = self.header;
                self.left = u32::from_be_bytes([0, a, b, c]) as usize;
                ensure!(
                    self.left <= MAX_PAYLOAD,
                    "a frame of {} bytes was received",
                    self.left
                );
            }
            let (piece, rest) = bytes.split_at(bytes.len().min(self.left));
            (self.left, bytes) = (self.left - piece.len(), rest);
            let [_, _, _, kind, mut flags, stream @ ..] = self.header;
            let (kind, stream) = (Kind::of(kind), u32::from_be_bytes(stream) & 0x7fff_ffff);
            let heads = matches!(kind, Kind::Data | Kind::Headers);
            ensure!(
                !heads || flags & flag::PADDED == 0,
                "a padded frame was received, which the generator does not read"
            );
            let whole = self.left == 0;
            let payload = match kind {
                Kind::Data => {
                    if !whole {
                        flags &= !flag::END_STREAM;
                    }
                    piece
                }
                _ if whole && self.kept.is_empty() => piece,
                _ => {
                    self.kept.extend_from_slice(piece);
                    &self.kept
                }
            };
            if whole || kind == Kind::Data {
                take(Frame {
                    kind,
                    flags,
                    stream,
                    payload,
                })?;
            }
            if whole {
                self.have = 0;
                self.kept.clear();
            }
        }
        Ok(())
    }
}

/// Appends a frame.
pub(crate) fn write_frame(out: &mut Vec<u8>, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let code = Kind::KNOWN.iter().position(|known| *known == kind);
    out.extend_from_slice(&length.to_be_bytes()[1..]);
    out.extend([code.unwrap_or(0xff) as u8, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader makes of bytes that arrive in these pieces: frames with DATA joined.
    fn read(pieces: &[&[u8]]) -> Vec<(Kind, u8, u32, Vec<u8>)> {
        let (mut reader, mut frames) = (FrameReader::default(), Vec::new());
        let mut data = Vec::new();
        for piece in pieces {
            let fed = reader.feed(piece, |frame| {
                if frame.kind == Kind::Data && !frame.has(flag::END_STREAM) {
                    data.extend_from_slice(frame.payload);
                    return Ok(());
                }
                let payload = [std::mem::take(&mut data), frame.payload.to_vec()].concat();
                frames.push((frame.kind, frame.flags, frame.stream, payload));
                Ok(())
            });
            fed.unwrap();
        }
        frames
    }

    #[test]
    fn frames_do_not_depend_on_how_their_bytes_are_split() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, Kind::Settings, 0, 0, &[]);
        write_frame(&mut bytes, Kind::Headers, flag::END_HEADERS, 1, b"block");
        write_frame(&mut bytes, Kind::Data, flag::END_STREAM, 1, b"some data");
        write_frame(&mut bytes, Kind::Data, flag::END_STREAM, 3, b"");
        let whole = read(&[&bytes]);
        assert_eq!(
            whole,
            [
                (Kind::Settings, 0, 0, vec![]),
                (Kind::Headers, flag::END_HEADERS, 1, b"block".to_vec()),
                (Kind::Data, flag::END_STREAM, 1, b"some data".to_vec()),
                (Kind::Data, flag::END_STREAM, 3, vec![]),
            ]
        );
        for at in 0..bytes.len() {
            assert_eq!(read(&[&bytes[..at], &bytes[at..]]), whole, "{at}");
        }
        let each: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&each), whole);
    }

    #[test]
    fn a_frame_that_is_too_long_or_padded_is_an_error() {
        let mut long = Vec::new();
        write_frame(&mut long, Kind::Data, 0, 1, &[0; MAX_PAYLOAD + 1]);
        let mut padded = Vec::new();
        write_frame(&mut padded, Kind::Data, flag::PADDED, 1, &[1, 7, 0]);
        for wrong in [long, padded] {
            assert!(FrameReader::default().feed(&wrong, |_| Ok(())).is_err());
        }
    }
}
