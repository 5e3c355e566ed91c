//! Text: escapes text from a peer for log lines and error messages.
//!
//! In:    bytes that a peer chose: a target, a host name, a user name, a close reason.
//! Out:   printable text on one line, without terminal control and in logical order.
//! Never: more than [`MOST_BYTES`]; `...` marks a cut.

use std::fmt::{self, Display, Formatter};

/// The longest output for one text, without the dots after a cut.
pub const MOST_BYTES: usize = 200;

/// Displays a text of a peer, escaped and cut.
///
/// Control characters, line ends, the escape character, and invisible or bidirectional control
/// characters are written as in a Rust string (`\n`, `\u{202e}`), bytes that are not UTF-8 as
/// `\xff`. Backslashes and quotes are not escaped, so that escaping a text twice does not change
/// it.
///
/// ```
/// use byway_dial::peer_text;
///
/// assert_eq!(peer_text("bye\n2026-11-29 INFO all is well").to_string(), r"bye\n2026-11-29 INFO all is well");
/// assert_eq!(peer_text(b"\xff\x1b[31m").to_string(), r"\xff\u{1b}[31m");
/// ```
pub fn peer_text<T: AsRef<[u8]> + ?Sized>(text: &T) -> PeerText<'_> {
    PeerText {
        text: text.as_ref(),
        most_bytes: MOST_BYTES,
    }
}

/// See [`peer_text`].
#[derive(Clone, Copy, Debug)]
pub struct PeerText<'a> {
    text: &'a [u8],
    most_bytes: usize,
}

impl PeerText<'_> {
    /// The same with another limit, for a message with several texts.
    #[must_use]
    pub const fn at_most(self, bytes: usize) -> Self {
        Self {
            most_bytes: bytes,
            ..self
        }
    }
}

impl Display for PeerText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut left = self.most_bytes;
        let mut fits = |bytes: usize| left.checked_sub(bytes).map(|rest| left = rest).is_some();
        for chunk in self.text.utf8_chunks() {
            for character in chunk.valid().chars() {
                let escaped = character.escape_debug();
                let plain = escaped.len() == 1 || matches!(character, '\\' | '\'' | '"');
                if !fits(if plain {
                    character.len_utf8()
                } else {
                    escaped.len()
                }) {
                    return f.write_str("...");
                }
                match plain {
                    true => write!(f, "{character}")?,
                    false => write!(f, "{escaped}")?,
                }
            }
            for byte in chunk.invalid() {
                if !fits(r"\xff".len()) {
                    return f.write_str("...");
                }
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &[u8]) -> String {
        peer_text(text).to_string()
    }

    #[test]
    fn line_ends_and_terminal_control_are_escaped() {
        for (text, expected) in [
            ("plain \"text\" of 'é' \\", "plain \"text\" of 'é' \\"),
            ("a\r\nb\tc\0", r"a\r\nb\tc\0"),
            ("\x1b[31mred\x7f\u{9b}1m", r"\u{1b}[31mred\u{7f}\u{9b}1m"),
            ("\u{85}\u{2028}\u{2029}", r"\u{85}\u{2028}\u{2029}"),
            (
                "\u{202e}txt\u{2066}\u{200f}\u{61c}",
                r"\u{202e}txt\u{2066}\u{200f}\u{61c}",
            ),
            ("\u{200b}\u{feff}\u{e0041}", r"\u{200b}\u{feff}\u{e0041}"),
        ] {
            assert_eq!(shown(text.as_bytes()), expected);
        }
        assert_eq!(shown(b"a\xff\xc3b"), r"a\xff\xc3b");
    }

    #[test]
    fn a_text_is_cut_at_two_hundred_bytes_of_output() {
        assert_eq!(shown(&[b'a'; 200]), "a".repeat(200));
        assert_eq!(shown(&[b'a'; 201]), format!("{}...", "a".repeat(200)));
        assert_eq!(shown(&[0xff; 51]), format!("{}...", r"\xff".repeat(50)));
        assert_eq!(
            shown("é".repeat(101).as_bytes()),
            format!("{}...", "é".repeat(100))
        );
        assert_eq!(peer_text("abc").at_most(2).to_string(), "ab...");
    }

    proptest! {
        #[test]
        fn the_output_is_short_without_control_characters_and_escaping_it_again_changes_nothing(
            text in prop::collection::vec(any::<u8>(), 0..300)
        ) {
            let once = shown(&text);
            prop_assert!(once.len() <= MOST_BYTES + 3);
            prop_assert!(!once.chars().any(char::is_control));
            if once.len() <= MOST_BYTES {
                prop_assert_eq!(shown(once.as_bytes()), once);
            }
        }
    }
}
