//! Order: puts the chunks of a bundle in order again.
//!
//! In:    the header of each chunk, in the order in which one connection carries them; then its
//!        bytes.
//! Out:   whether the chunk may be read now; the bytes of all chunks in the order in which they
//!        were written.
//! Never: holds more than [`HELD_BYTES`] or [`HELD_CHUNKS`], except for the next chunk: it may
//!        always be read, so a full bundle makes progress.

use std::collections::BTreeMap;

use tokio::io::ReadBuf;

/// The most bytes of chunks that arrived early.
pub(crate) const HELD_BYTES: usize = 1024 * 1024;

/// The most chunks that arrived early.
pub(crate) const HELD_CHUNKS: usize = 4096;

/// The most bytes of one chunk. With its header it fits into one TLS record.
pub(crate) const MOST_CHUNK_BYTES: usize = 16 * 1024 - HEADER_BYTES;

/// The header of each chunk: its number (6 bytes) and its length (2 bytes), big endian.
pub(crate) const HEADER_BYTES: usize = 8;

/// A protocol violation of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadChunk {
    #[error("a chunk of {0} bytes; it may have 1 to {MOST_CHUNK_BYTES}")]
    Length(usize),
    #[error("the chunk {0} arrived twice, or after a later one")]
    Repeated(u64),
}

/// The header of one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Counted from 0 over the whole bundle.
    pub(crate) number: u64,
    pub(crate) length: usize,
}

impl Header {
    pub(crate) fn encode(self) -> [u8; HEADER_BYTES] {
        ((self.number << 16) | (self.length as u64 & 0xffff)).to_be_bytes()
    }

    pub(crate) fn decode(bytes: [u8; HEADER_BYTES]) -> Result<Self, BadChunk> {
        let bits = u64::from_be_bytes(bytes);
        let header = Self {
            number: bits >> 16,
            length: (bits & 0xffff) as usize,
        };
        match header.length {
            1..=MOST_CHUNK_BYTES => Ok(header),
            length => Err(BadChunk::Length(length)),
        }
    }
}

/// Puts the chunks that arrive over the connections of a bundle in order again. Holds at most
/// `HELD_BYTES` and `HELD_CHUNKS`, but always has room for the next chunk.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// The number of the chunk whose bytes are read next.
    next: u64,
    /// How many of its bytes were read.
    taken: usize,
    whole: BTreeMap<u64, Vec<u8>>,
    /// Bytes of chunks that are held or were admitted, and the number of those chunks.
    bytes: usize,
    chunks: usize,
}

impl Order {
    /// Whether there is room to read this chunk now. If so, the room is reserved until its bytes
    /// have been read.
    ///
    /// # Errors
    /// The chunk was admitted before.
    pub(crate) fn admit(&mut self, header: Header) -> Result<bool, BadChunk> {
        if header.number < self.next || self.whole.contains_key(&header.number) {
            return Err(BadChunk::Repeated(header.number));
        }
        let fits = self.bytes + header.length <= HELD_BYTES && self.chunks < HELD_CHUNKS;
        if header.number != self.next && !fits {
            return Ok(false);
        }
        self.bytes += header.length;
        self.chunks += 1;
        Ok(true)
    }

    /// Inserts a complete chunk that was admitted.
    ///
    /// # Errors
    /// It was inserted before.
    pub(crate) fn insert(&mut self, number: u64, chunk: Vec<u8>) -> Result<(), BadChunk> {
        if number < self.next || self.whole.contains_key(&number) {
            return Err(BadChunk::Repeated(number));
        }
        self.whole.insert(number, chunk);
        Ok(())
    }

    /// Whether bytes can be read.
    pub(crate) fn is_ready(&self) -> bool {
        self.whole
            .first_key_value()
            .is_some_and(|(number, _)| *number == self.next)
    }

    /// Whether no chunk is held or admitted.
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks == 0
    }

    /// Moves bytes into `buf`, as far as they are in order and fit.
    pub(crate) fn read_into(&mut self, buf: &mut ReadBuf<'_>) {
        while buf.remaining() > 0
            && let Some(first) = self
                .whole
                .first_entry()
                .filter(|first| *first.key() == self.next)
        {
            let rest = first.get().get(self.taken..).unwrap_or_default();
            let n = rest.len().min(buf.remaining());
            buf.put_slice(rest.get(..n).unwrap_or_default());
            self.taken += n;
            if n == rest.len() {
                self.bytes -= first.remove().len();
                self.chunks -= 1;
                self.next += 1;
                self.taken = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(number: u64, length: usize) -> Header {
        Header { number, length }
    }

    #[test]
    fn a_header_reads_back_and_an_empty_or_a_long_chunk_is_refused() {
        for header in [
            chunk(0, 1),
            chunk(77, MOST_CHUNK_BYTES),
            chunk((1 << 48) - 1, 5),
        ] {
            assert_eq!(Header::decode(header.encode()), Ok(header));
        }
        for length in [0, MOST_CHUNK_BYTES + 1, 65_535] {
            assert_eq!(
                Header::decode(chunk(3, length).encode()),
                Err(BadChunk::Length(length))
            );
        }
    }

    #[test]
    fn chunks_that_are_far_ahead_are_held_up_to_a_bound_and_the_next_one_is_always_read() {
        let mut order = Order::default();
        let (mut number, mut held) = (1_u64 << 40, 0);
        while order.admit(chunk(number, MOST_CHUNK_BYTES)).unwrap() {
            order.insert(number, vec![0; MOST_CHUNK_BYTES]).unwrap();
            (number, held) = (number + 1, held + MOST_CHUNK_BYTES);
        }
        assert!(
            held <= HELD_BYTES && held > HELD_BYTES - MOST_CHUNK_BYTES,
            "{held} bytes"
        );
        assert_eq!(order.admit(chunk(0, MOST_CHUNK_BYTES)), Ok(true));

        let mut order = Order::default();
        let held = (1..10_000)
            .take_while(|number| order.admit(chunk(*number, 1)).unwrap())
            .count();
        assert_eq!(held, HELD_CHUNKS);
        assert_eq!(order.admit(chunk(0, 1)), Ok(true));
    }

    #[test]
    fn a_chunk_that_arrives_twice_is_refused_whether_it_is_held_or_was_read() {
        let mut order = Order::default();
        for number in [0, 2] {
            assert_eq!(order.admit(chunk(number, 1)), Ok(true));
            order.insert(number, vec![7]).unwrap();
        }
        assert_eq!(order.admit(chunk(2, 1)), Err(BadChunk::Repeated(2)));
        // Two connections carry the same chunk at the same time.
        assert_eq!(
            (order.admit(chunk(1, 1)), order.admit(chunk(1, 1))),
            (Ok(true), Ok(true))
        );
        assert_eq!(
            (order.insert(1, vec![7]), order.insert(1, vec![7])),
            (Ok(()), Err(BadChunk::Repeated(1)))
        );
        let mut room = [0; 8];
        order.read_into(&mut ReadBuf::new(&mut room));
        assert_eq!(order.admit(chunk(0, 1)), Err(BadChunk::Repeated(0)));
    }

    proptest! {
        #[test]
        fn chunks_that_arrive_in_any_order_are_read_as_they_were_written(
            lengths in prop::collection::vec(1_usize..50, 1..40),
            seed in any::<u64>(),
            room in 1_usize..64,
        ) {
            let mut written = Vec::new();
            let mut chunks: Vec<(u64, Vec<u8>)> = Vec::new();
            for (number, length) in lengths.iter().enumerate() {
                let bytes: Vec<u8> = (0..*length).map(|n| (n * 7 + number * 31) as u8).collect();
                written.extend_from_slice(&bytes);
                chunks.push((number as u64, bytes));
            }
            fastrand::Rng::with_seed(seed).shuffle(&mut chunks);
            let (mut order, mut read) = (Order::default(), Vec::new());
            for (number, bytes) in chunks {
                prop_assert_eq!(order.admit(chunk(number, bytes.len())), Ok(true));
                prop_assert_eq!(order.insert(number, bytes), Ok(()));
                while order.is_ready() {
                    let mut space = vec![0; room];
                    let mut buf = ReadBuf::new(&mut space);
                    order.read_into(&mut buf);
                    read.extend_from_slice(buf.filled());
                }
            }
            prop_assert!(order.is_empty() && order.bytes == 0);
            prop_assert_eq!(read, written);
        }
    }
}
