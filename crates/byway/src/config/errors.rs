//! Config errors: everything wrong with a config, reported at once.
//!
//! In:    the diagnostics of one config and the text they point into.
//! Out:   all of them drawn one after the other, and a last line that counts them.
//! Never: ends the program; the caller maps it to exit code 2.

use std::fmt;

use annotate_snippets::Renderer;

use super::diagnostic::{Diagnostic, LineColumn, Source};
use super::place::Place;

/// Errors that are drawn: a screenful. The last line counts all of them.
const MOST_SHOWN: usize = 50;

/// Everything wrong with a config; never empty. `Display` draws it in plain text,
/// [`ConfigErrors::render`] in colour too.
#[derive(Clone)]
pub struct ConfigErrors {
    source: Source,
    diagnostics: Vec<Diagnostic>,
    /// The config was not read, so no count is printed.
    unread: bool,
}

impl ConfigErrors {
    /// The errors of the config called `name` with this `text`, in the order of the text.
    pub(super) fn new(name: &str, text: &str, mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_key(|diagnostic| diagnostic.place.order());
        diagnostics.dedup();
        Self {
            source: Source::new(name, text),
            diagnostics,
            unread: false,
        }
    }

    /// The config called `name` cannot be read.
    pub(super) fn unreadable(name: &str, diagnostic: Diagnostic) -> Self {
        Self {
            unread: true,
            ..Self::new(name, "", vec![diagnostic])
        }
    }

    /// Each error, in the order of the text.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Line and column of a place in this config; none for flags and for what concerns the whole
    /// file.
    pub fn locate(&self, place: &Place) -> Option<LineColumn> {
        self.source.locate(place)
    }

    /// All errors as text, with colours if `styled`.
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut out = String::new();
        for diagnostic in self.diagnostics.iter().take(MOST_SHOWN) {
            out += &self.source.render(diagnostic, &renderer);
            out += "\n\n";
        }
        if self.unread {
            return out.trim_end().to_owned();
        }
        out + &self.summary()
    }

    fn summary(&self) -> String {
        let count = self.diagnostics.len();
        let errors = if count == 1 { "error" } else { "errors" };
        let shown = if count > MOST_SHOWN {
            format!(" (the first {MOST_SHOWN} are shown)")
        } else {
            String::new()
        };
        let on_line = self
            .diagnostics
            .iter()
            .any(|diagnostic| diagnostic.place.is_flag());
        format!(
            "{count} {errors} {} {}{shown}",
            if on_line { "on" } else { "in" },
            self.source.name()
        )
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for ConfigErrors {
    /// As `Display`: the derived form would print the whole text of the config.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigErrors {}
