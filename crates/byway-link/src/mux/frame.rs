//! Frame: the unit of the mux on a carrier over TCP: a header of eight bytes, then a payload.
//!
//! In:    eight bytes.
//! Out:   kind, stream and length of the payload, all within their bounds.
//! Never: a payload longer than [`MOST_PAYLOAD_BYTES`]: a frame that announces more is a violation
//!        before its payload is read.
//!
//! ```text
//!  0        8                              32
//! +--------+------------------------------+
//! | kind   | length of payload            |
//! +--------+------------------------------+
//! | stream                                |
//! +---------------------------------------+
//! ```

/// Bytes of a header.
pub const HEADER_BYTES: usize = 8;

/// The longest payload. A control message waits for at most one such frame.
pub const MOST_PAYLOAD_BYTES: usize = 64 * 1024;

/// The first stream of a carrier, which exists on both sides from the start: control messages.
pub const CONTROL: u32 = 0;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A new stream, with its first bytes. The dialler opens odd numbers, the acceptor even ones,
    /// each higher than before.
    Open,
    /// Bytes of a stream, within its credit.
    Data,
    /// No more bytes follow; the other direction stays open.
    Fin,
    /// No more bytes follow, and those in transit are void; the payload is the code.
    Reset,
    /// No more bytes are wanted; the payload is the code.
    Stop,
    /// Grants more bytes; the payload is their number.
    Credit,
}

impl FrameKind {
    const ALL: [(u8, Self); 6] = [
        (1, Self::Open),
        (2, Self::Data),
        (3, Self::Fin),
        (4, Self::Reset),
        (5, Self::Stop),
        (6, Self::Credit),
    ];

    fn number(self) -> u8 {
        Self::ALL
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or(0, |(number, _)| *number)
    }

    const fn admits(self, length: usize) -> bool {
        match self {
            Self::Open | Self::Data => length <= MOST_PAYLOAD_BYTES,
            Self::Fin => length == 0,
            Self::Reset | Self::Stop | Self::Credit => length == 4,
        }
    }
}

/// A decoded header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind of the frame.
    pub kind: FrameKind,
    /// Its stream.
    pub stream: u32,
    /// Bytes of payload that follow.
    pub length: usize,
}

/// A protocol violation of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// An unknown kind of frame.
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
    /// A length that the kind does not allow.
    #[error("a frame of kind {kind:?} with the invalid length of {length} bytes")]
    Length {
        /// The kind.
        kind: FrameKind,
        /// The length in the header.
        length: usize,
    },
    /// A stream that was never opened, or that the peer may not open.
    #[error("a {0:?} frame for an invalid stream")]
    Stream(FrameKind),
    /// A stream that was opened before the session was established.
    #[error("a stream was opened before the session was established")]
    Early,
    /// More bytes than were granted.
    #[error("more bytes than the stream had credit for")]
    Credit,
    /// More credit than the counter allows.
    #[error("more credit than a stream can have")]
    Overflow,
    /// Bytes after a FIN.
    #[error("bytes after a FIN")]
    BehindFin,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn decode(bytes: [u8; HEADER_BYTES]) -> Result<Self, Violation> {
        let [number, a, b, c, d, e, f, g] = bytes;
        let found = FrameKind::ALL.iter().find(|(known, _)| *known == number);
        let (_, kind) = *found.ok_or(Violation::Kind(number))?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        match kind.admits(length) {
            true => Ok(Self {
                kind,
                stream: u32::from_be_bytes([d, e, f, g]),
                length,
            }),
            false => Err(Violation::Length { kind, length }),
        }
    }

    /// The header as bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let [_, a, b, c] = (self.length as u32).to_be_bytes();
        let [d, e, f, g] = self.stream.to_be_bytes();
        [self.kind.number(), a, b, c, d, e, f, g]
    }
}

/// A complete frame whose payload is a number.
pub(crate) fn with_number(kind: FrameKind, stream: u32, number: u32) -> [u8; HEADER_BYTES + 4] {
    let mut frame = [0; HEADER_BYTES + 4];
    let (header, payload) = frame.split_at_mut(HEADER_BYTES);
    header.copy_from_slice(
        &Header {
            kind,
            stream,
            length: 4,
        }
        .encode(),
    );
    payload.copy_from_slice(&number.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_reads_back() {
        for (kind, length) in [
            (FrameKind::Open, 0),
            (FrameKind::Data, MOST_PAYLOAD_BYTES),
            (FrameKind::Fin, 0),
            (FrameKind::Credit, 4),
        ] {
            let header = Header {
                kind,
                stream: 0x0102_0304,
                length,
            };
            assert_eq!(Header::decode(header.encode()), Ok(header));
        }
    }

    #[test]
    fn an_invalid_header_is_refused() {
        assert_eq!(Header::decode(*b"GET / HT"), Err(Violation::Kind(b'G')));
        assert_eq!(
            Header::decode([2, 1, 0, 1, 0, 0, 0, 1]),
            Err(Violation::Length {
                kind: FrameKind::Data,
                length: 65_537
            })
        );
        assert_eq!(
            Header::decode([3, 0, 0, 1, 0, 0, 0, 1]),
            Err(Violation::Length {
                kind: FrameKind::Fin,
                length: 1
            })
        );
        assert_eq!(
            Header::decode([6, 0, 0, 8, 0, 0, 0, 1]),
            Err(Violation::Length {
                kind: FrameKind::Credit,
                length: 8
            })
        );
    }
}
