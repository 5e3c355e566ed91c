//! Mask: hides the passwords and join strings of a config file before error messages show its
//! lines.
//!
//! In:    the text of a config file, right or wrong.
//! Out:   the same text, as long in lines, characters and bytes, with `*` in place of passwords and
//!        of the secrets of join strings.
//! Never: needs the text to parse: it has to work on the file that holds the mistake.

/// `text` with the values of `join` and of keys that begin like `password` (also misspelled), the
/// texts in `users`, the passwords in URLs and all else that looks like the secret of a join string
/// replaced by stars, character for character and byte for
/// byte, so that places in the text stay the same.
pub(super) fn mask_secrets(text: &str) -> String {
    let mut hidden = vec![false; text.len()];
    for beginning in ["pas", "psw", "pwd", "secret", "token"] {
        hide_keys(beginning, true, text, &mut hidden);
    }
    hide_keys("join", false, text, &mut hidden);
    hide_users(text, &mut hidden);
    hide_url_passwords(text, &mut hidden);
    hide_join_strings(text, &mut hidden);
    starred(text, &hidden)
}

/// `text` with the secrets of join strings replaced by stars: for messages that quote a value that
/// should not be a secret.
pub(super) fn mask_join_strings(text: &str) -> String {
    let mut hidden = vec![false; text.len()];
    hide_join_strings(text, &mut hidden);
    starred(text, &hidden)
}

fn starred(text: &str, hidden: &[bool]) -> String {
    text.char_indices()
        .map(|(at, c)| if hidden[at] { star(c) } else { c })
        .collect()
}

/// A star of as many bytes as `c`, because places are counted in bytes. Line ends stay: lines are
/// counted too.
fn star(c: char) -> char {
    match c.len_utf8() {
        _ if c == '\n' || c == '\r' => c,
        1 => '*',
        2 => '\u{d7}',   // ×
        3 => '\u{2217}', // ∗
        _ => '\u{1f7b6}',
    }
}

/// `password = "…"` and `"password" = …`, also in inline tables and over several lines. With
/// `is_beginning`, every key that begins with `key`, but for the names of files.
fn hide_keys(key: &str, is_beginning: bool, text: &str, hidden: &mut [bool]) {
    for (at, key) in text.match_indices(key) {
        let mut after = at + key.len();
        if is_beginning {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            let rest = text[after..].find(|c| !is_name(c));
            after = rest.map_or(text.len(), |rest| after + rest);
            if text[at..after].ends_with("_file") {
                continue;
            }
        }
        if let Some(start) = value_start(text, after) {
            let (from, to) = value_range(&text[start..]);
            hidden[start + from..start + to].fill(true);
        }
    }
}

/// Where the value begins of a key that ends at `after`.
fn value_start(text: &str, after: usize) -> Option<usize> {
    const BLANK: [char; 2] = [' ', '\t'];
    let rest = text[after..]
        .trim_start_matches(['"', '\''])
        .trim_start_matches(BLANK);
    let value = rest.strip_prefix('=')?.trim_start_matches(BLANK);
    Some(text.len() - value.len())
}

/// The quoted texts of `users = ["name:password"]` and `users = { name = "password" }`, which are
/// mistakes. In `[{ name = …, password = … }]` the keys say what is a secret.
fn hide_users(text: &str, hidden: &mut [bool]) {
    for (at, key) in text.match_indices("users") {
        let Some(start) = value_start(text, at + key.len()) else {
            continue;
        };
        let value = &text[start..];
        let close = match value.chars().next() {
            Some('[') if !value[1..].trim_start().starts_with('{') => ']',
            Some('{') => '}',
            Some('"' | '\'') => '\n',
            _ => continue,
        };
        let end = value.find(close).unwrap_or(value.len());
        let mut at = 0;
        while let Some(quote) = value[at..end].find(['"', '\'']) {
            let from = at + quote;
            let (inner, to) = value_range(&value[from..]);
            hidden[start + from + inner..start + from + to].fill(true);
            at = from + to + 1;
            if at >= end {
                break;
            }
        }
    }
}

/// The inside of a quoted value, or a bare value up to its delimiter.
fn value_range(value: &str) -> (usize, usize) {
    for quote in ["\"\"\"", "'''", "\"", "'"] {
        if let Some(inner) = value.strip_prefix(quote) {
            let from = quote.len();
            return (from, from + closing_quote(inner, quote));
        }
    }
    (
        0,
        value
            .find([',', '}', ']', '#', '\n'])
            .unwrap_or(value.len()),
    )
}

/// Where the closing `quote` is. An unclosed single one runs to the end of its line, a triple one
/// to the end of the text.
fn closing_quote(inner: &str, quote: &str) -> usize {
    let (escapes, one_line) = (quote.starts_with('"'), quote.len() == 1);
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        let closes = !escaped && inner[at..].starts_with(quote);
        if closes || (one_line && c == '\n') {
            return at;
        }
        escaped = escapes && c == '\\' && !escaped;
    }
    inner.len()
}

/// `scheme://user:password@host`.
fn hide_url_passwords(text: &str, hidden: &mut [bool]) {
    for (at, sign) in text.match_indices("://") {
        let start = at + sign.len();
        let rest = &text[start..];
        let url = &rest[..rest.find(['"', '\'', '\n']).unwrap_or(rest.len())];
        let Some((user_info, _)) = url.rsplit_once('@') else {
            continue;
        };
        let Some(colon) = user_info.find(':') else {
            continue;
        };
        hidden[start + colon + 1..start + user_info.len()].fill(true);
    }
}

/// `by1.…@host:port`: what base64url can hold, up to the `@`.
fn hide_join_strings(text: &str, hidden: &mut [bool]) {
    for (at, prefix) in text.match_indices("by1.") {
        let start = at + prefix.len();
        let secret = text[start..]
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        let length = secret.count();
        hidden[start..start + length].fill(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_join_strings_become_stars_and_everything_else_stays() {
        for (text, masked) in [
            (
                r#"users = [{ name = "a", password = "hunter2" }]"#,
                r#"users = [{ name = "a", password = "*******" }]"#,
            ),
            (r#"password="a\"b" # c"#, r#"password="****" # c"#),
            (r#"password = "a\\" # b"#, r#"password = "***" # b"#),
            ("password = 'abc', x", "password = '***', x"),
            ("password = 1234 }", "password = *****}"),
            ("password = \"open\nname = 1", "password = \"****\nname = 1"),
            ("password =\nname = \"a\"", "password =\nname = \"a\""),
            (r#""password" = """pw""""#, r#""password" = """**""""#),
            (
                "password = \"\"\"a\nb\"c\"\"\" # d",
                "password = \"\"\"*\n***\"\"\" # d",
            ),
            ("password = '''\na\r\n", "password = '''\n*\r\n"),
            (r#"password_file = "/etc/x""#, r#"password_file = "/etc/x""#),
            (r#"pasword="hunter2""#, r#"pasword="*******""#),
            (r#"passwd = 'pw' }"#, r#"passwd = '**' }"#),
            (r#"secret = "pw""#, r#"secret = "**""#),
            (
                r#"users = ["al:pw", 'b:c'] # d"#,
                r#"users = ["*****", '***'] # d"#,
            ),
            (r#"users = { al = "pw" }"#, r#"users = { al = "**" }"#),
            (r#"users = "al:pw""#, r#"users = "*****""#),
            (
                r#"via = "socks5://u:p@w@h:1""#,
                r#"via = "socks5://u:***@h:1""#,
            ),
            (r#"to = "http://a:1""#, r#"to = "http://a:1""#),
            (
                r#"join = "by1.Aa-_@h:1" # c"#,
                r#"join = "************" # c"#,
            ),
            (r#"jion = "by1.Aa-_@h:1""#, r#"jion = "by1.****@h:1""#),
            (r#"join = "AbCd" }"#, r#"join = "****" }"#),
            (r#"join_file = "/etc/x""#, r#"join_file = "/etc/x""#),
        ] {
            assert_eq!(mask_secrets(text), masked);
        }
    }

    #[test]
    fn a_masked_text_has_as_many_bytes_and_characters_as_before() {
        let text = "password = \"aé€😀\"";
        let masked = mask_secrets(text);
        assert_eq!(masked.len(), text.len());
        assert_eq!(masked.chars().count(), text.chars().count());
        assert!(!masked.contains(['é', '€', '😀']));
    }
}
