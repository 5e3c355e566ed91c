//! Table: one table of a config file while it is read.
//!
//! In:    a table of the spanned TOML tree.
//! Out:   the requested values, each with its place.
//! Never: stops at an error: wrong types and, at the end, unknown keys are noted, and reading
//!        continues.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::hints::{hint, home};
use super::nearest::nearest;
use super::place::{At, Place, Text};
use super::secret::Secret;
use super::section::Section;

/// A value to show in an error about another one, as TOML.
pub(super) type Example<'e> = &'e dyn Fn() -> String;

/// A table being read. Each reading method takes a key, notes it as known and returns `None` if the
/// key is absent or its value is of the wrong type (which is noted as an error).
pub struct TableReader<'t, 'i> {
    table: &'t DeTable<'i>,
    /// `edge.route`; empty at the top.
    path: &'t str,
    /// `[[edge.route]]`, as messages call the table.
    heading: &'t str,
    /// Keys of the section that this table does not have.
    without: &'static [&'static str],
    known: Vec<&'static str>,
    diagnostics: &'t mut Vec<Diagnostic>,
}

impl<'t, 'i> TableReader<'t, 'i> {
    /// Reads the whole file.
    pub(super) fn top<T: Section>(
        table: &'t DeTable<'i>,
        diagnostics: &'t mut Vec<Diagnostic>,
    ) -> T {
        TableReader {
            table,
            path: "",
            heading: "the top of the file",
            without: &[],
            known: Vec::new(),
            diagnostics,
        }
        .read()
    }

    fn read<T: Section>(mut self) -> T {
        let section = T::read(&mut self);
        self.refuse_unknown_keys();
        section
    }

    /// A string.
    pub(super) fn text(&mut self, key: &'static str, example: Example<'_>) -> Option<Text> {
        let value = self.value(key)?;
        let DeValue::String(text) = value.get_ref() else {
            return self.mismatch(key, value, "a string", example);
        };
        Some(At::new(text.to_string(), value.span()))
    }

    /// A string that is not shown.
    pub(super) fn secret(&mut self, key: &'static str, example: Example<'_>) -> Option<At<Secret>> {
        let text = self.text(key, example)?;
        Some(At::new(Secret::new(&text.value), text.place))
    }

    /// A string, or a whole number, which is read as its decimal digits.
    pub(super) fn text_or_number(
        &mut self,
        key: &'static str,
        example: Example<'_>,
    ) -> Option<Text> {
        let value = self.value(key)?;
        match word(value.get_ref()) {
            Some(text) => Some(At::new(text, value.span())),
            None => self.mismatch(key, value, "a string or a whole number", example),
        }
    }

    /// A whole number, not negative.
    pub(super) fn count(&mut self, key: &'static str, example: Example<'_>) -> Option<At<u64>> {
        let value = self.value(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix()),
            _ => return self.mismatch(key, value, "a whole number", example),
        };
        let problem = match number {
            Ok(number) if number < 0 => {
                format!("`{}` must not be negative, but is {number}", self.name(key))
            }
            Ok(number) if number <= i128::from(i64::MAX) => {
                return Some(At::new(number.unsigned_abs() as u64, value.span()));
            }
            _ => format!(
                "`{}` is too large: the most is {}",
                self.name(key),
                i64::MAX
            ),
        };
        self.note(Diagnostic::new(&value.span().into(), problem));
        None
    }

    /// `true` or `false`.
    pub(super) fn truth(&mut self, key: &'static str, example: Example<'_>) -> Option<At<bool>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(truth) => Some(At::new(*truth, value.span())),
            _ => self.mismatch(key, value, "true or false, without quotes", example),
        }
    }

    /// A string, or `true` or `false`, which are read as those words.
    pub(super) fn text_or_truth(
        &mut self,
        key: &'static str,
        example: Example<'_>,
    ) -> Option<Text> {
        let value = self.value(key)?;
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Boolean(truth) => truth.to_string(),
            _ => return self.mismatch(key, value, "true, false or a string", example),
        };
        Some(At::new(text, value.span()))
    }

    /// A list of strings, or one string. The place of the whole is kept, for errors about an empty
    /// list.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        example: Example<'_>,
    ) -> Option<At<Vec<Text>>> {
        self.list(key, "a string or a list of strings", example, |value| {
            value.as_str().map(str::to_owned)
        })
    }

    /// A list of strings and whole numbers, or one of them.
    pub(super) fn texts_or_numbers(
        &mut self,
        key: &'static str,
        example: Example<'_>,
    ) -> Option<At<Vec<Text>>> {
        self.list(key, "a number, a string or a list of them", example, word)
    }

    fn list(
        &mut self,
        key: &'static str,
        expected: &str,
        example: Example<'_>,
        word: impl Fn(&DeValue<'i>) -> Option<String>,
    ) -> Option<At<Vec<Text>>> {
        let value = self.value(key)?;
        let one = std::slice::from_ref(value);
        let items = value.get_ref().as_array().map_or(one, |array| array);
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match word(item.get_ref()) {
                Some(text) => texts.push(At::new(text, item.span())),
                None => self.mismatch(key, item, expected, example)?,
            }
        }
        Some(At::new(texts, value.span()))
    }

    /// A table `[key]`; the default if it is absent.
    pub(super) fn section<T: Section>(&mut self, key: &'static str) -> T {
        let Some(value) = self.value(key) else {
            return T::default();
        };
        let path = self.name(key);
        let heading = format!("[{path}]");
        match value.get_ref() {
            DeValue::Table(table) => self.below(table, &path, &heading, &[]),
            _ => self
                .mismatch(key, value, "a table", &|| heading.clone())
                .unwrap_or_default(),
        }
    }

    /// Tables `[[key]]`, which do not have the keys `without`.
    pub(super) fn sections<T: Section>(
        &mut self,
        key: &'static str,
        without: &'static [&'static str],
    ) -> Option<At<Vec<At<T>>>> {
        let value = self.value(key)?;
        let path = self.name(key);
        let heading = format!("[[{path}]]");
        let example = || heading.clone();
        let Some(array) = value.get_ref().as_array() else {
            return self.mismatch(key, value, "a list of tables", &example);
        };
        let mut all = Vec::with_capacity(array.len());
        for item in array.iter() {
            match item.get_ref() {
                DeValue::Table(table) => {
                    let one = self.below(table, &path, &heading, without);
                    all.push(At::new(one, item.span()));
                }
                _ => self.mismatch(key, item, "a table", &example)?,
            }
        }
        Some(At::new(all, value.span()))
    }

    fn below<T: Section>(
        &mut self,
        table: &DeTable<'i>,
        path: &str,
        heading: &str,
        without: &'static [&'static str],
    ) -> T {
        TableReader {
            table,
            path,
            heading,
            without,
            known: Vec::new(),
            diagnostics: self.diagnostics,
        }
        .read()
    }

    fn value(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'i>>> {
        if self.without.contains(&key) {
            return None;
        }
        self.known.push(key);
        self.table.get(key)
    }

    fn name(&self, key: &str) -> String {
        match self.path {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    fn note(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn mismatch<T>(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'i>>,
        expected: &str,
        example: Example<'_>,
    ) -> Option<T> {
        let found = if matches!(key, "password" | "join" | "users") {
            kind(value.get_ref()).to_owned()
        } else {
            describe(value.get_ref())
        };
        let message = format!("`{}` must be {expected}, found {found}", self.name(key));
        if (self.path, key) == ("edge.route", "host")
            && matches!(value.get_ref(), DeValue::Array(_))
        {
            let help = "did you mean `hosts`, the hosts that the route is for? hosts = [\"app.example.com\"]";
            self.note(Diagnostic::new(&value.span().into(), message).help(help));
            return None;
        }
        let example = example();
        // A heading stands alone.
        let help = if matches!(expected, "a table" | "a list of tables") {
            example
        } else {
            format!("{key} = {example}")
        };
        self.note(
            Diagnostic::new(&value.span().into(), message).help(format!("for example {help}")),
        );
        None
    }

    fn refuse_unknown_keys(self) {
        for (key, _) in self.table.iter() {
            let written = key.get_ref().as_ref();
            if self.known.contains(&written) {
                continue;
            }
            let help = match (
                hint(self.path, written),
                nearest(written, self.known.iter().copied()),
            ) {
                (Some(hint), _) => hint.to_owned(),
                (None, Some(near)) => format!("did you mean `{near}`?"),
                (None, None) => match home(written) {
                    Some(home) => home,
                    None => format!("known here: {}", self.known.join(", ")),
                },
            };
            let place = if self.path.is_empty() { "at" } else { "in" };
            let message = format!("unknown key `{written}` {place} {}", self.heading);
            self.diagnostics
                .push(Diagnostic::new(&Place::from(key.span()), message).help(help));
        }
    }
}

/// A string as it is, a whole number by its decimal digits.
fn word(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            let parsed = i128::from_str_radix(number.as_str(), number.radix());
            Some(parsed.map_or_else(|_| number.to_string(), |number| number.to_string()))
        }
        _ => None,
    }
}

/// What a value is, with the value itself where it is short.
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() <= 40 => {
            format!("the string {:?}", text.as_ref())
        }
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(truth) => truth.to_string(),
        other => kind(other).to_owned(),
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
