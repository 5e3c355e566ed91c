//! Escape: text of strangers inside a line of ours.
//!
//! In:    bytes as they came, whatever they are.
//! Out:   printable ASCII, in which the text cannot end its field, nor its line, nor steer a
//!        terminal.
//! Never: more than [`MOST_BYTES`] of a text; the rest is left out, and `...` says so.

/// The most bytes of one text that are written.
pub const MOST_BYTES: usize = 4096;

/// The most bytes that one text can become: each a `\u00XX`, and the dots.
pub const MOST_WRITTEN_BYTES: usize = MOST_BYTES * 6 + 3;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// As nginx and Apache do it: `\xXX` for control bytes, quotes, backslashes and everything beyond
/// ASCII.
pub fn combined(out: &mut Vec<u8>, text: &[u8]) {
    plain_runs(out, text, |out, byte| {
        out.extend_from_slice(b"\\x");
        hex(out, byte);
    });
}

/// The inside of a JSON string (RFC 8259 section 7). Characters beyond ASCII are `\uXXXX`, bytes
/// that are none `\ufffd`.
pub fn json(out: &mut Vec<u8>, text: &[u8]) {
    let cut = cut(text);
    if cut.iter().all(|byte| is_plain(*byte)) {
        out.extend_from_slice(cut);
    } else {
        for chunk in cut.utf8_chunks() {
            chunk
                .valid()
                .chars()
                .for_each(|character| json_character(out, character));
            if !chunk.invalid().is_empty() {
                out.extend_from_slice(b"\\ufffd");
            }
        }
    }
    dots(out, text);
}

fn json_character(out: &mut Vec<u8>, character: char) {
    match character {
        '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
        ' '..='~' => out.push(character as u8),
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let [high, low] = unit.to_be_bytes();
                out.extend_from_slice(b"\\u");
                hex(out, high);
                hex(out, low);
            }
        }
    }
}

/// Copies what needs no escape in runs, and calls `escape` for each byte that does.
fn plain_runs(out: &mut Vec<u8>, text: &[u8], escape: impl Fn(&mut Vec<u8>, u8)) {
    let mut rest = cut(text);
    while let Some(at) = rest.iter().position(|byte| !is_plain(*byte)) {
        let (plain, from) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, behind)) = from.split_first() else {
            break;
        };
        escape(out, *byte);
        rest = behind;
    }
    out.extend_from_slice(rest);
    dots(out, text);
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn cut(text: &[u8]) -> &[u8] {
    text.get(..MOST_BYTES).unwrap_or(text)
}

fn dots(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() > MOST_BYTES {
        out.extend_from_slice(b"...");
    }
}

fn hex(out: &mut Vec<u8>, byte: u8) {
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(escape: fn(&mut Vec<u8>, &[u8]), text: &[u8]) -> String {
        let mut out = Vec::new();
        escape(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_could_end_a_field_or_a_line_or_steer_a_terminal_is_spelt_out() {
        let text = b"a\"b\\c\r\nd\x1b[31m\x7f\0";
        assert_eq!(
            escaped(combined, text),
            r"a\x22b\x5cc\x0d\x0ad\x1b[31m\x7f\x00"
        );
        assert_eq!(
            escaped(json, text),
            r#"a\"b\\c\u000d\u000ad\u001b[31m\u007f\u0000"#
        );
    }

    #[test]
    fn what_is_beyond_ascii_is_spelt_out_and_what_is_no_text_is_replaced() {
        let text = "é\u{202e}😀".as_bytes();
        assert_eq!(
            escaped(combined, text),
            r"\xc3\xa9\xe2\x80\xae\xf0\x9f\x98\x80"
        );
        assert_eq!(escaped(json, text), r"\u00e9\u202e\ud83d\ude00");
        assert_eq!(escaped(json, b"a\xff\xc3"), r"a\ufffd\ufffd");
    }

    #[test]
    fn a_text_without_end_is_cut_and_says_so() {
        let text = vec![b'\n'; MOST_BYTES + 1];
        assert_eq!(escaped(json, &text).len(), MOST_WRITTEN_BYTES);
        assert!(escaped(combined, &text).ends_with("\\x0a..."));
        assert!(!escaped(combined, &text[1..]).ends_with("..."));
    }

    proptest! {
        #[test]
        fn nothing_but_printable_ascii_comes_out(text in prop::collection::vec(any::<u8>(), 0..200)) {
            for escaped in [escaped(combined, &text), escaped(json, &text)] {
                prop_assert!(escaped.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            }
            // A quote only behind a backslash that is no escaped one itself.
            let unescaped = escaped(json, &text).replace("\\\\", "").replace("\\\"", "");
            prop_assert!(!unescaped.contains('"'));
            prop_assert!(!escaped(combined, &text).contains('"'));
        }
    }
}
