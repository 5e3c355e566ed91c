//! Escape: makes text from the network safe inside a log line.
//!
//! In:    any bytes.
//! Out:   printable ASCII that can neither end its field nor its line, nor control a terminal.
//! Never: writes more than [`MOST_BYTES`] of a text; the rest is replaced by `...`.

/// The most bytes of one text that are written.
pub const MOST_BYTES: usize = 4096;

/// The most bytes that one text can become: each a `\u00XX`, and the dots.
pub const MOST_WRITTEN_BYTES: usize = MOST_BYTES * 6 + 3;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Escapes as nginx and Apache do: `\xXX` for control bytes, quotes, backslashes and all bytes
/// beyond ASCII.
pub fn combined(out: &mut Vec<u8>, text: &[u8]) {
    plain_runs(out, text, |out, byte| {
        out.extend_from_slice(b"\\x");
        hex(out, byte);
    });
}

/// Escapes for the inside of a JSON string (RFC 8259 section 7). Characters beyond ASCII become
/// `\uXXXX`, invalid UTF-8 `\ufffd`.
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

/// Copies runs of plain bytes, and calls `escape` for each byte that needs it.
fn plain_runs(out: &mut Vec<u8>, text: &[u8], escape: impl Fn(&mut Vec<u8>, u8)) {
    let mut rest = cut(text);
    while let Some(at) = rest.iter().position(|byte| !is_plain(*byte)) {
        let (plain, from) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, after)) = from.split_first() else {
            break;
        };
        escape(out, *byte);
        rest = after;
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
    fn bytes_that_could_end_a_field_or_a_line_or_control_a_terminal_are_escaped() {
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
    fn text_beyond_ascii_is_escaped_and_invalid_text_is_replaced() {
        let text = "é\u{202e}😀".as_bytes();
        assert_eq!(
            escaped(combined, text),
            r"\xc3\xa9\xe2\x80\xae\xf0\x9f\x98\x80"
        );
        assert_eq!(escaped(json, text), r"\u00e9\u202e\ud83d\ude00");
        assert_eq!(escaped(json, b"a\xff\xc3"), r"a\ufffd\ufffd");
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_and_ends_with_dots() {
        let text = vec![b'\n'; MOST_BYTES + 1];
        assert_eq!(escaped(json, &text).len(), MOST_WRITTEN_BYTES);
        assert!(escaped(combined, &text).ends_with("\\x0a..."));
        assert!(!escaped(combined, &text[1..]).ends_with("..."));
    }

    proptest! {
        #[test]
        fn the_output_is_printable_ascii(text in prop::collection::vec(any::<u8>(), 0..200)) {
            for escaped in [escaped(combined, &text), escaped(json, &text)] {
                prop_assert!(escaped.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            }
            // A quote may follow only a backslash that is not escaped itself.
            let unescaped = escaped(json, &text).replace("\\\\", "").replace("\\\"", "");
            prop_assert!(!unescaped.contains('"'));
            prop_assert!(!escaped(combined, &text).contains('"'));
        }
    }
}
