//! Reader: from the text of a config file to a [`File`].
//!
//! In:    TOML.
//! Out:   a `File` and every error of form: syntax, unknown keys, wrong types.
//! Never: checks a value: `resolve` does, over all that could be read, so that all errors are
//!        reported at once.

use toml::de::DeTable;

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
        return Err(syntax_errors(text, &errors));
    }
    let mut diagnostics = Vec::new();
    let file = TableReader::top(table.get_ref(), &mut diagnostics);
    Ok((file, diagnostics))
}

fn syntax_errors(text: &str, errors: &[toml::de::Error]) -> Vec<Diagnostic> {
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
