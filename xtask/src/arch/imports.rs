//! Imports: the paths that a source file names.
//!
//! In:    the text of a file, and its place in its crate.
//! Out:   paths of its own crate (`crate::`, `super::`), names of other crates, modules for tests.
//! Never: reads comments, strings, or items under `#[cfg(test)]`.

use std::collections::BTreeSet;

/// What a file names.
#[derive(Default)]
pub(super) struct Scanned {
    /// Paths of its own crate, from the root on.
    pub(super) imports: BTreeSet<Vec<String>>,
    /// The first segments of all other paths: crates among them.
    pub(super) crates: BTreeSet<String>,
    /// Modules that it declares for tests only.
    pub(super) test_modules: Vec<String>,
}

/// Reads `text`, the module at `module`.
pub(super) fn scan(text: &str, module: &[String]) -> Scanned {
    let tokens = tokens(text);
    let mut scanned = Scanned::default();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if token == "#" && is_for_tests(&tokens[at..]) {
            at = skip_item(&tokens, at, &mut scanned.test_modules);
            continue;
        }
        let is_start = at == 0 || tokens[at - 1] != "::";
        if is_start && is_name(token) && tokens.get(at + 1).is_some_and(|next| next == "::") {
            let prefix = match token.as_str() {
                "crate" => Some(Vec::new()),
                "super" => Some(parent(module)),
                "self" => Some(module.to_vec()),
                _ => None,
            };
            match prefix {
                Some(prefix) => {
                    at = read_tree(&tokens, at + 2, prefix, &mut scanned.imports);
                    continue;
                }
                None => drop(scanned.crates.insert(token.clone())),
            }
        }
        at += 1;
    }
    scanned
}

fn parent(module: &[String]) -> Vec<String> {
    module[..module.len().saturating_sub(1)].to_vec()
}

/// Reads what follows a `::`: a path, or a group of paths in braces. Returns where it ends.
fn read_tree(
    tokens: &[String],
    mut at: usize,
    mut path: Vec<String>,
    imports: &mut BTreeSet<Vec<String>>,
) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "super" => path = parent(&path),
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    let next = read_tree(tokens, at, path.clone(), imports);
                    at = next.max(at + 1);
                    // A name after `as` and a comma belong to no path.
                    while tokens
                        .get(at)
                        .is_some_and(|token| token != "}" && token != ",")
                    {
                        at += 1;
                    }
                    at += usize::from(tokens.get(at).is_some_and(|token| token == ","));
                }
                return at + 1;
            }
            name if is_name(name) => path.push(name.to_owned()),
            _ => break,
        }
        at += 1;
        if tokens.get(at).is_none_or(|token| token != "::") {
            break;
        }
        at += 1;
    }
    imports.insert(path);
    at
}

/// Whether an attribute that begins here is `#[cfg(test)]`, alone or with other conditions.
fn is_for_tests(tokens: &[String]) -> bool {
    let is_cfg = tokens.get(1).is_some_and(|token| token == "[")
        && tokens.get(2).is_some_and(|token| token == "cfg");
    let end = tokens.iter().position(|token| token == "]");
    is_cfg && end.is_some_and(|end| tokens[..end].iter().any(|token| token == "test"))
}

/// Skips the attribute at `at` and its item. Notes the module that the item declares, if it is one.
fn skip_item(tokens: &[String], mut at: usize, test_modules: &mut Vec<String>) -> usize {
    let (mut depth, mut name) = (0_usize, None);
    let mut in_attribute = false;
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "#" => in_attribute = true,
            "[" if in_attribute => depth += 1,
            "]" if in_attribute => {
                depth -= 1;
                in_attribute = depth > 0;
            }
            "mod" if depth == 0 => name = tokens.get(at + 1).cloned(),
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && token == "}" {
                    return at + 1;
                }
            }
            ";" | "," if depth == 0 && !in_attribute => {
                test_modules.extend(name);
                return at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::` and single characters, without comments, strings and white space.
fn tokens(text: &str) -> Vec<String> {
    let (bytes, mut tokens, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        let rest = &text[at..];
        at += match byte {
            b'/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            b'"' => string_length(rest),
            b'r' if rest.starts_with("r\"") || rest.starts_with("r#\"") => raw_length(rest),
            b'\'' => quote_length(rest),
            b':' if rest.starts_with("::") => {
                tokens.push("::".to_owned());
                2
            }
            byte if byte.is_ascii_alphanumeric() || *byte == b'_' => {
                let is_part = |c: char| c.is_alphanumeric() || c == '_';
                let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                tokens.push(rest[..length].to_owned());
                length
            }
            byte if byte.is_ascii_whitespace() => 1,
            byte if byte.is_ascii() => {
                tokens.push(char::from(*byte).to_string());
                1
            }
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
    }
    tokens
}

/// The length of a string with its quotes.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let is_end = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        is_end
    });
    end.map_or(text.len(), |(end, _)| end + 1)
}

fn raw_length(text: &str) -> usize {
    let hashes = text[1..].bytes().take_while(|byte| *byte == b'#').count();
    let end = format!("\"{}", "#".repeat(hashes));
    let begin = hashes + 2;
    text[begin..]
        .find(&end)
        .map_or(text.len(), |at| begin + at + end.len())
}

/// The length of a character, or of the quote of a lifetime.
fn quote_length(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text[2..]
            .char_indices()
            .skip(1)
            .find(|(_, c)| *c == '\'')
            .map_or(1, |(end, _)| end + 3),
        Some(_) => match chars.next() {
            Some((end, '\'')) => end + 1,
            _ => 1,
        },
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(text: &str, module: &[&str]) -> Vec<String> {
        let module: Vec<_> = module.iter().map(|name| (*name).to_owned()).collect();
        let scanned = scan(text, &module);
        scanned.imports.iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn groups_and_parents_are_resolved_from_the_root() {
        let text =
            "use crate::{a::B, c::{self as d, E}};\nuse super::super::f::G;\nuse super::H;\n";
        let found = ["H", "a::B", "c::E", "c::self", "f::G"];
        assert_eq!(
            imports(text, &["x", "y"]),
            ["a::B", "c::E", "c::self", "f::G", "x::H"]
        );
        assert_eq!(imports(text, &["y"]), found);
    }

    #[test]
    fn paths_within_code_and_macros_are_imports_too() {
        let text = "fn f() { crate::a::g::<u8>(); log!(\"{}\", crate::b::C); }";
        assert_eq!(imports(text, &[]), ["a::g", "b::C"]);
    }

    #[test]
    fn comments_strings_and_characters_are_no_code() {
        let text = "// crate::a\n/* crate::b */ let c = \"crate::c \\\" crate::d\"; let e = '\"'; \
                    let f = r#\"crate::f\"#; let g: &'static str = crate::h::I; let j = '\\'';";
        assert_eq!(imports(text, &[]), ["h::I"]);
    }

    #[test]
    fn items_for_tests_are_skipped_and_their_modules_noted() {
        let text = "#[cfg(test)]\nmod tests;\n#[cfg(all(test, unix))]\nmod more { use crate::a; }\n\
                    #[cfg(test)]\n#[allow(unused)]\nuse crate::b;\n#[cfg(unix)]\nuse crate::c;\n";
        assert_eq!(imports(text, &[]), ["c"]);
        assert_eq!(scan(text, &[]).test_modules, ["tests"]);
    }

    #[test]
    fn names_of_other_crates_are_found() {
        let scanned = scan(
            "use byway_dial::Stream;\nfn f() { byway_h1::parse(); }",
            &[],
        );
        assert!(scanned.crates.contains("byway_dial") && scanned.crates.contains("byway_h1"));
    }
}
