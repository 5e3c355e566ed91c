//! Tables of the Huffman code, computed from the lengths of its codes.

/// Bits with which [`PAIRS`] is indexed: two of the most common symbols have as many at most.
pub(super) const PAIR_BITS: u32 = 12;

/// The longest code.
const MOST_BITS: usize = 30;

/// The length of the code of each byte, in bits, and last of the end of a string (RFC 7541 appendix
/// B).
pub(super) static LENGTHS: [u8; 257] = LENGTHS_OF;

#[rustfmt::skip]
const LENGTHS_OF: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The first code of each length, in its low bits, and where its symbols start in the order of
/// codes.
const FIRST: [(u32, u16); MOST_BITS + 2] = {
    let mut first = [(0, 0); MOST_BITS + 2];
    let (mut bits, mut code, mut at) = (1, 0u32, 0u16);
    while bits <= MOST_BITS + 1 {
        first[bits] = (code, at);
        let (mut symbol, mut count) = (0, 0);
        while symbol < 257 {
            if LENGTHS_OF[symbol] as usize == bits {
                count += 1;
            }
            symbol += 1;
        }
        at += count;
        if bits < 31 {
            code = (code + count as u32) << 1;
        }
        bits += 1;
    }
    first
};

/// All symbols in the order of their codes.
static SYMBOLS: [u16; 257] = SYMBOLS_OF;

const SYMBOLS_OF: [u16; 257] = {
    let mut symbols = [0; 257];
    let mut next = FIRST;
    let mut symbol = 0;
    while symbol < 257 {
        let bits = LENGTHS_OF[symbol] as usize;
        symbols[next[bits].1 as usize] = symbol as u16;
        next[bits].1 += 1;
        symbol += 1;
    }
    symbols
};

/// The byte at a place in the order of codes; `None` for the end of a string.
pub(super) fn symbol(at: usize) -> Option<u8> {
    SYMBOLS
        .get(at)
        .and_then(|&symbol| u8::try_from(symbol).ok())
}

/// The code of each byte, in its low bits.
pub(super) static CODES: [u32; 256] = {
    let mut codes = [0; 256];
    let mut next = FIRST;
    let mut symbol = 0;
    while symbol < 256 {
        let bits = LENGTHS_OF[symbol] as usize;
        codes[symbol] = next[bits].0;
        next[bits].0 += 1;
        symbol += 1;
    }
    codes
};

/// The codes of one length.
#[derive(Clone, Copy)]
pub(super) struct Long {
    pub(super) bits: u32,
    /// The first code, in the high bits.
    pub(super) first: u32,
    /// What follows the last code, in the high bits of 32.
    pub(super) end: u64,
    /// Where their symbols start in the order of codes.
    pub(super) symbols_at: u16,
}

/// The lengths over [`PAIR_BITS`].
pub(super) static LONG: [Long; MOST_BITS - PAIR_BITS as usize] = {
    let empty = Long {
        bits: 0,
        first: 0,
        end: 0,
        symbols_at: 0,
    };
    let mut all = [empty; MOST_BITS - PAIR_BITS as usize];
    let mut n = 0;
    while n < all.len() {
        let bits = n + PAIR_BITS as usize + 1;
        let (first, symbols_at) = FIRST[bits];
        let count = FIRST[bits + 1].1 - symbols_at;
        all[n] = Long {
            bits: bits as u32,
            first: first << (32 - bits),
            end: ((first + count as u32) as u64) << (32 - bits),
            symbols_at,
        };
        n += 1;
    }
    all
};

/// What the next [`PAIR_BITS`] bits begin with: two symbols, or one.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub(super) symbols: [u8; 2],
    pub(super) count: u8,
    /// Bits of all symbols; 0 if the first symbol has more than [`PAIR_BITS`].
    pub(super) bits: u8,
}

/// What each value of the next bits begins with.
pub(super) static PAIRS: [Pair; 1 << PAIR_BITS] = {
    let empty = Pair {
        symbols: [0; 2],
        count: 0,
        bits: 0,
    };
    let mut pairs = [empty; 1 << PAIR_BITS];
    // In the order of codes the bits of each symbol are a range that follows the one before it.
    let (mut at, mut first) = (0, 0);
    while first < 257 && LENGTHS_OF[SYMBOLS_OF[first] as usize] as u32 <= PAIR_BITS {
        let first_bits = LENGTHS_OF[SYMBOLS_OF[first] as usize] as u32;
        let end = at + (1 << (PAIR_BITS - first_bits));
        let mut second = 0;
        while at < end {
            let second_bits = LENGTHS_OF[SYMBOLS_OF[second] as usize] as u32;
            let (count, bits) = match first_bits + second_bits <= PAIR_BITS {
                true => (2, first_bits + second_bits),
                false => (1, first_bits),
            };
            // Without a second symbol, the rest of the range has the first one only.
            let pair_end = match count {
                2 => at + (1 << (PAIR_BITS - bits)),
                _ => end,
            };
            while at < pair_end {
                pairs[at] = Pair {
                    symbols: [SYMBOLS_OF[first] as u8, SYMBOLS_OF[second] as u8],
                    count,
                    bits: bits as u8,
                };
                at += 1;
            }
            second += 1;
        }
        first += 1;
    }
    pairs
};
