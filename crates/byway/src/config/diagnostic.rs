//! Diagnostic: one error in a config, where it is and how to fix it.
//!
//! In:    a message, a place, a remedy.
//! Out:   the message drawn with file, line, column and caret, or with the flag that carried the
//!        value.
//! Never: shows a password or a join string of the line it points at, or decides an exit code.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};

use super::mask::{mask_join_strings, mask_secrets};
use super::place::Place;

/// One error in a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, in one line.
    pub message: String,
    /// Where it is.
    pub place: Place,
    /// What to do, where the message does not say it.
    pub help: Option<String>,
    /// A related earlier place, and its label.
    pub earlier: Option<(Place, &'static str)>,
    /// Something required is missing. Such an error is dropped if another one may be its cause:
    /// `lisen = …` is one mistake, not two.
    pub(super) absence: bool,
}

impl Diagnostic {
    /// `message` about the value at `place`.
    pub fn new(place: &Place, message: impl Into<String>) -> Self {
        Self {
            message: printable(&message.into()),
            place: place.clone(),
            help: None,
            earlier: None,
            absence: false,
        }
    }

    /// Adds what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(printable(&help.into()));
        self
    }

    /// Adds an earlier place, such as the first of two equal names.
    pub fn earlier(mut self, place: &Place, what: &'static str) -> Self {
        self.earlier = Some((place.clone(), what));
        self
    }

    /// Marks the error as one about something that is missing.
    pub fn absent(mut self) -> Self {
        self.absence = true;
        self
    }
}

/// Messages quote what was written; this bounds what a quote can do to a terminal, a log or a line
/// of JSON.
const MOST_MESSAGE_CHARS: usize = 400;

/// `text` in one line, control characters escaped, cut if it is very long, without the secret of a
/// join string.
fn printable(text: &str) -> String {
    let text = mask_join_strings(text);
    let cut = if text.chars().nth(MOST_MESSAGE_CHARS).is_some() {
        "…"
    } else {
        ""
    };
    let mut out = String::with_capacity(text.len().min(MOST_MESSAGE_CHARS));
    for c in text.chars().take(MOST_MESSAGE_CHARS) {
        match c.is_control() {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out + cut
}

/// A place in the text: both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineColumn {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// A config text without its passwords, and its name in messages.
#[derive(Clone, Debug)]
pub(super) struct Source {
    name: String,
    masked: String,
}

/// The line around a place, cut out so that the renderer does not scan a long file.
struct Cut<'t> {
    line: &'t str,
    number: usize,
    start: usize,
    end: usize,
}

impl Source {
    pub(super) fn new(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            masked: mask_secrets(text),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Line and column of `place`, where it has them.
    pub(super) fn locate(&self, place: &Place) -> Option<LineColumn> {
        let Place::Text { start, end } = place else {
            return None;
        };
        let cut = self.cut(*start, *end);
        Some(LineColumn {
            line: cut.number,
            column: cut.line[..cut.start].chars().count() + 1,
        })
    }

    /// Draws `diagnostic`, without a newline at its end.
    pub(super) fn render(&self, diagnostic: &Diagnostic, renderer: &Renderer) -> String {
        let mut group = Group::with_title(Level::ERROR.primary_title(diagnostic.message.as_str()));
        group = self.with_place(group, &diagnostic.place, AnnotationKind::Primary, None);
        if let Some((place, what)) = &diagnostic.earlier {
            group = self.with_place(group, place, AnnotationKind::Context, Some(what));
        }
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(normalize_untrusted_str(help)));
        }
        renderer.render(&[group])
    }

    fn with_place<'a>(
        &'a self,
        group: Group<'a>,
        place: &'a Place,
        kind: AnnotationKind,
        label: Option<&'a str>,
    ) -> Group<'a> {
        match place {
            Place::Whole => group,
            Place::Flag { name, shown } => {
                let text = format!("in {name} {}", normalize_untrusted_str(&printable(shown)));
                group.element(Level::NOTE.no_name().message(text.trim_end().to_owned()))
            }
            Place::Text { start, end } => {
                let cut = self.cut(*start, *end);
                let annotation = kind.span(cut.start..cut.end).label(label);
                let snippet = Snippet::source(cut.line)
                    .line_start(cut.number)
                    .path(self.name.as_str());
                group.element(snippet.annotation(annotation))
            }
        }
    }

    /// The first line of `start..end`, with the range clipped to it and to whole characters.
    fn cut(&self, start: usize, end: usize) -> Cut<'_> {
        let text = self.masked.as_str();
        let start = floor(text, start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let line = text[line_start..line_end].trim_end_matches('\r');
        let within = |at: usize| floor(line, at.saturating_sub(line_start));
        let number = text[..line_start].bytes().filter(|b| *b == b'\n').count() + 1;
        Cut {
            line,
            number,
            start: within(start),
            end: within(end.max(start)),
        }
    }
}

/// The last character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}
