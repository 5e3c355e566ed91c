//! Pattern: what the text of a path pattern says about every path that it matches.
//!
//! In:    regular expressions, as written.
//! Out:   the literal texts in them; whether one matches all that another does; why one matches no
//!        path.
//! Never: a guess: `None` where the text alone does not show it.

/// Why `pattern` matches no path of a request, and what to write. A path is matched as
/// `exchange/path.rs` forwards it.
pub(super) fn no_match(pattern: &str, reject_empty_segments: bool) -> Option<String> {
    let texts = certain_texts(pattern)?;
    if let Some(anchored) = pattern.strip_prefix('^')
        && let Some((Element::Literal(first), rest)) = element(anchored)
        && !is_optional(rest)
        && first != '/'
        && first != '*'
    {
        return Some(format!("every path begins with `/`; write '^/{anchored}'"));
    }
    texts.iter().find_map(|text| {
        let refused = |what: &str| Some(format!("a path with {what} is refused"));
        match text {
            _ if text.contains('?') => {
                Some("the query is no part of the path; end it before the `?`".to_owned())
            }
            _ if text.contains('#') => {
                Some("clients do not send what follows a `#`; end it before that".to_owned())
            }
            _ if text.contains(' ') => Some("a path has no space; write %20".to_owned()),
            _ if text.contains('\\') => refused("a backslash"),
            _ if text.contains("/./") || text.contains("/../") => {
                refused("a dot segment (/./ or /../)")
            }
            _ if reject_empty_segments && text.contains("//") => {
                refused("an empty segment (//) (`reject_empty_segments`)")
            }
            _ => escape(text),
        }
    })
}

/// The same for the first escape of `text` that no path has.
fn escape(text: &str) -> Option<String> {
    text.match_indices('%').find_map(|(at, _)| {
        let digits = text.get(at + 1..at + 3)?;
        let byte = u8::from_str_radix(digits, 16)
            .ok()
            .filter(|_| !digits.starts_with('+'));
        match byte {
            None => Some(
                "a path with a `%` that no two hexadecimal digits follow is refused".to_owned(),
            ),
            Some(0) => Some("a path with an encoded NUL is refused".to_owned()),
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => Some(format!(
                "`%{digits}` is decoded before the path is matched; write `{}`",
                regex::escape(&char::from(byte).to_string())
            )),
            Some(_) => None,
        }
    })
}

/// Whether `wide` matches every path that `narrow` matches, because it is the text that `narrow`
/// begins with. Allocates nothing: each two routes of an edge are compared.
pub(super) fn covers(wide: &str, narrow: &str) -> bool {
    let (Some(mut wide), Some(mut rest)) = (wide.strip_prefix('^'), narrow.strip_prefix('^'))
    else {
        return false;
    };
    while !matches!(wide, "" | ".*" | ".*$") {
        match (element(wide), element(rest)) {
            (Some((Element::Literal(a), after_a)), Some((Element::Literal(b), after_b)))
                if a == b && !is_optional(after_a) && !is_optional(after_b) =>
            {
                (wide, rest) = (after_a, after_b);
            }
            _ => return false,
        }
    }
    !narrow.contains('|')
}

/// The literal characters at the start of a regular expression, through groups that open there, and
/// what follows them.
pub(super) fn literal(pattern: &str) -> (String, &str) {
    let mut found = String::new();
    let mut rest = pattern;
    loop {
        let inner = rest
            .strip_prefix("(?:")
            .or_else(|| rest.strip_prefix('('))
            .unwrap_or(rest);
        let Some((Element::Literal(next), after)) = element(inner) else {
            return (found, inner);
        };
        if is_optional(after) {
            return (found, inner);
        }
        rest = after;
        found.push(next);
        if rest.starts_with('+') {
            return (found, rest);
        }
    }
}

/// Whether `rest` makes the element before it optional.
pub(super) fn is_optional(rest: &str) -> bool {
    rest.starts_with(['?', '*', '{'])
}

/// The literal texts outside of groups that are part of every path that `pattern` matches; `None`
/// if it has alternatives or flags.
fn certain_texts(pattern: &str) -> Option<Vec<String>> {
    // A `]` at the start of a class is a character of it.
    if pattern.contains("[]") || pattern.contains("[^]") {
        return None;
    }
    let mut texts = vec![String::new()];
    let mut rest = pattern;
    while !rest.is_empty() {
        let (element, after) = element(rest)?;
        match element {
            Element::Literal(next) if !is_optional(after) => texts.last_mut()?.push(next),
            Element::Literal(_) | Element::Other => texts.push(String::new()),
        }
        rest = after;
    }
    Some(texts)
}

/// One element of a regular expression.
enum Element {
    Literal(char),
    /// A group, a class, an anchor, or a repetition of the element before it.
    Other,
}

/// The element at the start of `pattern`, and what follows it.
fn element(pattern: &str) -> Option<(Element, &str)> {
    let mut chars = pattern.chars();
    let element = match chars.next()? {
        '\\' => match chars.next()? {
            // Digits follow.
            'x' | 'u' | 'U' | 'p' | 'P' => return None,
            next if next.is_alphanumeric() => Element::Other,
            next => Element::Literal(next),
        },
        '|' => return None,
        '(' if pattern.starts_with("(?") && !pattern.starts_with("(?:") => return None,
        '(' | '[' => return Some((Element::Other, after_closing(pattern)?)),
        '{' => return Some((Element::Other, pattern.split_once('}')?.1)),
        '.' | '^' | '$' | '?' | '*' | '+' | ')' | ']' | '}' => Element::Other,
        next => Element::Literal(next),
    };
    Some((element, chars.as_str()))
}

/// What follows the group or the class that opens at the start of `pattern`.
fn after_closing(pattern: &str) -> Option<&str> {
    let (mut groups, mut classes) = (0, 0);
    let mut chars = pattern.chars();
    while let Some(next) = chars.next() {
        match next {
            '\\' => _ = chars.next(),
            '[' => classes += 1,
            ']' => classes -= 1,
            '(' if classes == 0 => groups += 1,
            ')' if classes == 0 => groups -= 1,
            _ => {}
        }
        if groups == 0 && classes == 0 {
            return Some(chars.as_str());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;
    use crate::exchange::path::canonical;

    /// Each pattern, with a path that it matches, which is never what a request is matched by.
    const IMPOSSIBLE: [(&str, &str, &str); 13] = [
        ("^api/", "api/", "'^/api/'"),
        ("^app\\.css$", "app.css", "'^/app\\.css$'"),
        ("^/search\\?q=", "/search?q=", "query"),
        ("^/docs#top", "/docs#top", "`#`"),
        ("/a b", "/a b", "%20"),
        ("^/a\\\\b", "/a\\b", "backslash"),
        ("^/a/\\.\\./b", "/a/../b", "dot segment"),
        ("^/(x|y)/\\./b", "/x/./b", "dot segment"),
        ("^/%61dmin", "/%61dmin", "write `a`"),
        ("^/[a-z]+%2Edmin", "/x%2Edmin", "write `\\.`"),
        ("/%zz", "/%zz", "hexadecimal"),
        ("/%00", "/%00", "NUL"),
        ("^/a//b", "/a//b", "`reject_empty_segments`"),
    ];

    #[test]
    fn a_pattern_of_what_no_path_has_is_found() {
        for (pattern, path, why) in IMPOSSIBLE {
            let found = no_match(pattern, true).unwrap_or_default();
            assert!(found.contains(why), "{pattern}: {found:?}");
            assert!(Regex::new(pattern).unwrap().is_match(path), "{pattern}");
            let is_path = path.starts_with('/') && !path.contains(['?', '#', ' ']);
            let seen = canonical(path.as_bytes(), true);
            assert!(
                !is_path || seen.is_err() || seen.is_ok_and(|seen| seen != path),
                "{path}"
            );
        }
    }

    #[test]
    fn a_pattern_that_a_path_can_match_is_not_found() {
        for (pattern, path) in [
            ("^/api/", "/api/"),
            ("api", "/api"),
            ("^/a//b", "/a//b"),
            ("^/?api", "/api"),
            ("^(/api|/b)", "/b"),
            ("^api|^/b", "/b"),
            ("^(?i)/API", "/api"),
            ("^/(?:a b)?c", "/c"),
            ("^/a%2Fb%20c", "/a%2Fb%20c"),
            ("^/[?# ]?x", "/x"),
            ("^/[]?]?x", "/x"),
            ("^/a\\??$", "/a"),
            ("^/..", "/ab"),
            ("^/\\.\\.\\.", "/..."),
            ("^/(a\\)b )?c", "/c"),
            ("^\\*$", "*"),
            ("^/% ?41", "/%41"),
            ("^/\\x61", "/a"),
        ] {
            assert_eq!(no_match(pattern, false), None, "{pattern}");
            let matches = Regex::new(pattern).unwrap().is_match(path);
            assert!(matches || pattern.contains('%'), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_covers_another_that_begins_with_its_text() {
        for (wide, narrow) in [
            ("^/api", "^/api/users"),
            ("^/a", "^/api$"),
            ("^/a.*", "^/ab[0-9]+"),
            ("^/a\\.b", "^/a\\.b/c"),
        ] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in [
            ("^/api/", "^/api"),
            ("^/api", "/api/users"),
            ("/api", "^/b/api"),
            ("^/a+", "^/a"),
            ("^/a", "^/b"),
            ("^/a$", "^/ab"),
            ("^/ab?", "^/abc"),
            ("^/ab", "^/ab?c"),
            ("^/(a)", "^/ab"),
            ("^/a", "^/ab|^/c"),
            ("^/a|^/b", "^/ab"),
            ("^/a", "(?i)^/ab"),
            ("^/ab", "^/ab*"),
            ("^/a.b", "^/axb"),
        ] {
            assert!(!covers(wide, narrow), "{wide} {narrow}");
        }
    }
}
