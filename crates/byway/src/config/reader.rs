//! Reader: from the text of a config file to a [`File`].
//!
//! In:    TOML.
//! Out:   a `File` and every error of form: syntax, unknown keys, wrong types.
//! Never: checks a value: `resolve` does, over all that could be read, so that all errors are
//!        reported at once.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::misread;
use super::place::Place;
use super::section::File;
use super::table::TableReader;

/// Reads `text`.
///
/// # Errors
/// If the text is not TOML: at most one diagnostic a line, because the parser often reports one
/// mistake twice.
pub(super) fn read(text: &str) -> Result<(File, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(syntax_errors(text, table.get_ref(), &errors));
    }
    let mut diagnostics = Vec::new();
    let file = TableReader::top(table.get_ref(), &mut diagnostics);
    Ok((file, diagnostics))
}

fn syntax_errors(text: &str, table: &DeTable<'_>, errors: &[toml::de::Error]) -> Vec<Diagnostic> {
    if let Some(format) = misread::other_format(text) {
        let message = format!("this is not TOML; it looks like {format}");
        let help = "Byway reads TOML: [[edge]], below it listen = \"127.0.0.1:8080\", then [[edge.route]] with to = \
                    \"127.0.0.1:3000\"; `byway init` writes a file with every key";
        let start = errors
            .first()
            .and_then(toml::de::Error::span)
            .unwrap_or_default();
        return vec![Diagnostic::new(&Place::from(start), message).help(help)];
    }
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    let mut last_line = None;
    for error in errors {
        let span = error.span().unwrap_or_default();
        let before = text.as_bytes().get(..span.start).unwrap_or_default();
        let line = Some(before.iter().filter(|b| **b == b'\n').count());
        if line == last_line {
            continue;
        }
        last_line = line;
        if error.message() == "duplicate key" {
            diagnostics.push(written_twice(text, table, &span));
            continue;
        }
        let start = span.start;
        let diagnostic = Diagnostic::new(
            &Place::from(span),
            format!("this is not valid TOML: {}", error.message()),
        );
        diagnostics.push(match misread::quoted_line(text, start) {
            Some(line) => diagnostic.help(format!("a string needs quotes: {line}")),
            None => diagnostic,
        });
    }
    diagnostics
}

/// The error about a key or a heading at `second` that its table has already.
fn written_twice(text: &str, table: &DeTable<'_>, second: &Range<usize>) -> Diagnostic {
    let name = text.get(second.clone()).unwrap_or_default();
    let name = name.trim_matches(['"', '\'']);
    let (first, help) = match heading(text, second.start) {
        Some(heading) => (
            first_heading(text, heading),
            "put all its keys below one heading; if there may be several of a section, its heading has two brackets, \
             as [[edge]]",
        ),
        None => match last_key(table, name, second.start) {
            Some((first, DeValue::String(_) | DeValue::Array(_))) => (
                Some(first),
                "take one out, or write a list if the key takes several values: [\"…\", \"…\"]",
            ),
            first => (first.map(|(first, _)| first), "take one out"),
        },
    };
    let second = Place::from(second.clone());
    let diagnostic = Diagnostic::new(&second, format!("`{name}` is written twice")).help(help);
    match first {
        Some(first) => diagnostic.earlier(&Place::from(first), "first here"),
        None => diagnostic,
    }
}

/// The name in the heading of a section, if the line around byte `at` is one.
fn heading(text: &str, at: usize) -> Option<&str> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(start..)?.lines().next()?.trim_start();
    let name = line.strip_prefix('[')?.trim_start_matches('[');
    Some(name.split_once(']')?.0.trim())
}

/// Where this heading is for the first time.
fn first_heading(text: &str, name: &str) -> Option<Range<usize>> {
    let mut start = 0;
    text.split_inclusive('\n').find_map(|line| {
        let range = start..start + line.trim_end().len();
        start += line.len();
        (heading(text, range.start) == Some(name)).then_some(range)
    })
}

/// The last key of this name before byte `before`, with its value.
fn last_key<'t>(
    table: &'t DeTable<'_>,
    name: &str,
    before: usize,
) -> Option<(Range<usize>, &'t DeValue<'t>)> {
    let within = |value: &'t Spanned<DeValue<'_>>| match value.get_ref() {
        DeValue::Table(table) => last_key(table, name, before),
        DeValue::Array(array) => array
            .iter()
            .filter_map(|item| last_key(item.get_ref().as_table()?, name, before))
            .max_by_key(|(span, _)| span.start),
        _ => None,
    };
    let keys = table.iter().flat_map(|(key, value)| {
        let is_one = key.get_ref() == name && key.span().start < before;
        [is_one.then(|| (key.span(), value.get_ref())), within(value)]
    });
    keys.flatten().max_by_key(|(span, _)| span.start)
}
