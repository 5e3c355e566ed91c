//! Utf8: checks text that arrives in pieces, which may be cut within a character.
//!
//! In:    the bytes of one message, in order.
//! Out:   the valid text, or an error at the first byte that no text can have there.
//! Never: stores more than one incomplete character.

/// The bytes are not UTF-8, whatever follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotUtf8;

/// The state between two pieces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Utf8 {
    /// The start of a character, of which `len` bytes have arrived; at most three between calls.
    pending: [u8; 4],
    len: usize,
}

impl Utf8 {
    /// Whether the text so far ends with a whole character.
    pub(crate) fn is_complete(&self) -> bool {
        self.len == 0
    }

    /// Checks the next piece. Returns the character that was incomplete before, if it is complete
    /// now, and the text after it. The start of a last, incomplete character is kept.
    pub(crate) fn check<'a>(
        &mut self,
        mut piece: &'a [u8],
    ) -> Result<(Option<char>, &'a str), NotUtf8> {
        let mut completed = None;
        while self.len > 0 {
            let Some((&byte, rest)) = piece.split_first() else {
                return Ok((None, ""));
            };
            piece = rest;
            completed = self.complete(byte)?;
        }
        let error = match str::from_utf8(piece) {
            Ok(text) => return Ok((completed, text)),
            Err(error) => error,
        };
        let (valid, tail) = piece.split_at(error.valid_up_to());
        if error.error_len().is_some() {
            return Err(NotUtf8);
        }
        for (pending, byte) in self.pending.iter_mut().zip(tail) {
            *pending = *byte;
        }
        self.len = tail.len();
        let text = str::from_utf8(valid).map_err(|_| NotUtf8)?;
        Ok((completed, text))
    }

    /// Adds a byte to the incomplete character, and returns it if it is complete.
    fn complete(&mut self, byte: u8) -> Result<Option<char>, NotUtf8> {
        let next = self.pending.get_mut(self.len).ok_or(NotUtf8)?;
        *next = byte;
        self.len += 1;
        match str::from_utf8(self.pending.get(..self.len).unwrap_or_default()) {
            Ok(text) => {
                self.len = 0;
                Ok(text.chars().next())
            }
            Err(error) if error.error_len().is_some() => Err(NotUtf8),
            Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks in pieces that end at `cuts`; the text, and the number of bytes up to an error.
    fn checked(bytes: &[u8], cuts: &[usize]) -> Result<(String, bool), NotUtf8> {
        let (mut utf8, mut text, mut from) = (Utf8::default(), String::new(), 0);
        for &to in cuts.iter().chain([&bytes.len()]) {
            let (first, rest) = utf8.check(&bytes[from..to])?;
            text.extend(first);
            text.push_str(rest);
            from = to;
        }
        Ok((text, utf8.is_complete()))
    }

    #[test]
    fn text_cut_anywhere_is_the_same_text() {
        let text = "a\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}z";
        let bytes = text.as_bytes();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let result = checked(bytes, &[first, second]);
                assert_eq!(result, Ok((text.to_owned(), true)), "{first}, {second}");
            }
        }
    }

    #[test]
    fn an_error_is_found_at_the_first_byte_that_shows_it() {
        for (bytes, good) in [
            (&b"ab\xff"[..], 2),
            (b"a\x80", 1),
            (b"\xc0", 0),
            (b"\xe0\x9f", 1),
            (b"\xed\xa0", 1),
            (b"\xf0\x8f", 1),
            (b"\xf4\x90", 1),
            (b"\xf5", 0),
            (b"\xe2\x82a", 2),
        ] {
            assert!(checked(&bytes[..good], &[]).is_ok(), "{bytes:x?}");
            for cut in 0..=good {
                assert_eq!(
                    checked(bytes, &[cut]),
                    Err(NotUtf8),
                    "{bytes:x?} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn an_incomplete_character_at_the_end_is_not_complete() {
        for bytes in [&b"a\xc3"[..], b"\xe2\x82", b"\xf0\x9f\x98"] {
            assert!(matches!(checked(bytes, &[]), Ok((_, false))), "{bytes:x?}");
        }
    }
}
