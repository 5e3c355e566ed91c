//! Pattern: what the shape of a path pattern says about every path that it matches.
//!
//! In:    regular expressions, as written.
//! Out:   the texts in them; whether one matches all that another does; why one matches no path.
//! Never: a guess: `None` where the shape alone does not show it.

use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// What a pattern matches, one part after another.
enum Part {
    /// The start of the path.
    Start,
    /// This text.
    Text(String),
    /// Anything else.
    Other(Hir),
}

/// The parts of `pattern`, with those of its groups among them.
fn parts(pattern: &str) -> Vec<Part> {
    let mut found = Vec::new();
    if let Ok(shape) = regex_syntax::parse(pattern) {
        add_parts(&shape, &mut found);
    }
    found
}

fn add_parts(shape: &Hir, found: &mut Vec<Part>) {
    match shape.kind() {
        HirKind::Empty => {}
        HirKind::Concat(all) => all.iter().for_each(|one| add_parts(one, found)),
        HirKind::Capture(group) => add_parts(&group.sub, found),
        HirKind::Look(Look::Start) => found.push(Part::Start),
        HirKind::Literal(literal) => {
            let text = String::from_utf8_lossy(&literal.0);
            match found.last_mut() {
                Some(Part::Text(before)) => before.push_str(&text),
                _ => found.push(Part::Text(text.into_owned())),
            }
        }
        _ => found.push(Part::Other(shape.clone())),
    }
}

/// Why `pattern` matches no path of a request, and what to write. A path is matched as
/// `exchange/path.rs` forwards it.
pub(super) fn no_match(pattern: &str, reject_empty_segments: bool) -> Option<String> {
    let parts = parts(pattern);
    if let [Part::Start, Part::Text(text), ..] = &parts[..]
        && !text.starts_with(['/', '*'])
    {
        let rest = pattern.trim_start_matches('^');
        return Some(format!("every path begins with `/`; write '^/{rest}'"));
    }
    parts.iter().find_map(|part| match part {
        Part::Text(text) => not_in_a_path(text, reject_empty_segments),
        Part::Start | Part::Other(_) => None,
    })
}

/// Why no path contains `text`.
fn not_in_a_path(text: &str, reject_empty_segments: bool) -> Option<String> {
    let has = |what: &str| text.contains(what);
    let refused = |what: &str| Some(format!("a path with {what} is refused"));
    if has("?") {
        Some("the query is no part of the path; end it before the `?`".to_owned())
    } else if has("#") {
        Some("clients do not send what follows a `#`; end it before that".to_owned())
    } else if has(" ") {
        Some("a path has no space; write %20".to_owned())
    } else if has("\\") {
        refused("a backslash")
    } else if has("/./") || has("/../") {
        refused("a dot segment (/./ or /../)")
    } else if reject_empty_segments && has("//") {
        refused("an empty segment (//) (`reject_empty_segments`)")
    } else {
        impossible_escape(text)
    }
}

/// The same for the first escape of `text` that no path has.
fn impossible_escape(text: &str) -> Option<String> {
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

/// The text that every path begins with which `pattern` matches; `None` if it is not anchored.
pub(super) fn first_text(pattern: &str) -> Option<String> {
    let mut parts = parts(pattern).into_iter();
    match (parts.next(), parts.next()) {
        (Some(Part::Start), Some(Part::Text(text))) => Some(text),
        (Some(Part::Start), _) => Some(String::new()),
        _ => None,
    }
}

/// The text, if `pattern` matches every path that begins with it, and no other.
pub(super) fn only_text(pattern: &str) -> Option<String> {
    let pattern = pattern.trim_end_matches(".*$").trim_end_matches(".*");
    match &parts(pattern)[..] {
        [Part::Start] => Some(String::new()),
        [Part::Start, Part::Text(text)] => Some(text.clone()),
        _ => None,
    }
}

/// Whether `pattern` may match a path that begins with two slashes.
pub(super) fn may_match_two_slashes(pattern: &str) -> bool {
    let parts = parts(pattern);
    let [Part::Start, rest @ ..] = &parts[..] else {
        return true;
    };
    let rest = match rest {
        [Part::Text(text), rest @ ..] if text == "/" => rest,
        [Part::Text(text), ..] => return text.starts_with("//"),
        rest => rest,
    };
    match rest.first() {
        Some(Part::Other(next)) => may_be_slash(next),
        _ => true,
    }
}

/// The beginning of a path that `pattern`, which is anchored, may match. The second value is false
/// if a slash may follow the first slash, or if there may be no such path.
pub(super) fn beginning(pattern: &str) -> Option<(String, bool)> {
    let parts = parts(pattern);
    let [Part::Start, rest @ ..] = &parts[..] else {
        return None;
    };
    let (mut path, rest) = match rest {
        [Part::Text(text), rest @ ..] => (text.clone(), rest),
        _ => (String::new(), rest),
    };
    if path.len() > 1 {
        return Some((path, true));
    }
    let Some(Part::Other(next)) = rest.first() else {
        return Some((path, false));
    };
    path.push_str(&example(next).unwrap_or_default());
    Some((path, !may_be_slash(next)))
}

/// How a text that `shape` matches may begin; `None` if it may be empty.
fn example(shape: &Hir) -> Option<String> {
    match shape.kind() {
        HirKind::Literal(literal) => Some(String::from_utf8_lossy(&literal.0).into_owned()),
        HirKind::Class(class) => ['a', '0', 'A', '_', '-', '.']
            .into_iter()
            .find(|one| contains(class, *one))
            .map(String::from),
        HirKind::Repetition(repeated) if repeated.min > 0 => example(&repeated.sub),
        HirKind::Capture(group) => example(&group.sub),
        HirKind::Alternation(all) | HirKind::Concat(all) => example(all.first()?),
        HirKind::Empty | HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

/// Whether what `shape` matches may be empty or begin with a slash.
fn may_be_slash(shape: &Hir) -> bool {
    match shape.kind() {
        HirKind::Literal(literal) => literal.0.first() == Some(&b'/'),
        HirKind::Class(class) => contains(class, '/'),
        HirKind::Repetition(repeated) => repeated.min == 0 || may_be_slash(&repeated.sub),
        HirKind::Capture(group) => may_be_slash(&group.sub),
        HirKind::Alternation(all) => all.iter().any(may_be_slash),
        HirKind::Concat(all) => all.first().is_none_or(may_be_slash),
        HirKind::Empty | HirKind::Look(_) => true,
    }
}

fn contains(class: &Class, wanted: char) -> bool {
    match class {
        Class::Unicode(class) => class
            .ranges()
            .iter()
            .any(|range| (range.start()..=range.end()).contains(&wanted)),
        Class::Bytes(class) => class
            .ranges()
            .iter()
            .any(|range| (range.start()..=range.end()).contains(&(wanted as u8))),
    }
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

    fn covers(wide: &str, narrow: &str) -> bool {
        let (wide, narrow) = (only_text(wide), first_text(narrow));
        wide.is_some_and(|wide| narrow.is_some_and(|narrow| narrow.starts_with(&wide)))
    }

    #[test]
    fn a_pattern_covers_another_that_begins_with_its_text() {
        for (wide, narrow) in [
            ("^/api", "^/api/users"),
            ("^/a", "^/api$"),
            ("^/a.*", "^/ab[0-9]+"),
            ("^/a\\.b", "^/a\\.b/c"),
            ("^/(a)", "^/ab"),
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
