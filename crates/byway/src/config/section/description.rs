//! Description: the keys of a section as data.
//!
//! In:    what `keys!` declares.
//! Out:   names, texts, shapes, defaults and examples, for the schema, the reference, `byway init`
//!        and `byway check`.
//! Never: reads a file.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::kind::{Count, Form, Kind};
use crate::config::units::{ByteSize, Period};

/// A section.
pub struct Description {
    /// What it is for.
    pub about: Prose,
    keys: Vec<Key>,
}

/// A key of a section.
pub struct Key {
    /// Its name in the file.
    pub name: &'static str,
    /// What it means.
    pub about: Prose,
    /// How its values look.
    pub shape: Shape,
    /// What holds if it is missing.
    pub default: Default,
    /// Whether it excludes a key before it.
    pub is_alternative: bool,
    /// A value as TOML: the default if it is a value.
    pub example: String,
}

/// A doc comment.
pub struct Prose {
    /// Its first paragraph, without the full stop.
    pub phrase: String,
    /// The others.
    pub details: String,
}

/// What holds if a key is missing.
pub enum Default {
    /// A value, as TOML.
    Value(String),
    /// Something else.
    Words(&'static str),
    /// An error, unless this other key is given.
    Unless(&'static str),
    /// An error.
    Required,
}

/// How values look. Text says what to write.
pub enum Shape {
    /// A whole number.
    Count(RangeInclusive<u64>),
    /// A number of bytes.
    Size(RangeInclusive<u64>),
    /// A duration.
    Period(RangeInclusive<Duration>),
    /// Bytes per second.
    Rate,
    /// `true` or `false`.
    Truth,
    /// The same, or one of these.
    TruthOr(Vec<&'static str>),
    /// One of these.
    Words(Vec<&'static str>),
    /// The same, or `"none"`.
    OrNone(Box<Self>),
    /// A string.
    Text(&'static str),
    /// A list of strings, or one.
    Texts(&'static str),
    /// A list of whole numbers and strings, or one of them.
    NumbersOrTexts(&'static str),
    /// `[key]`.
    Table(Description),
    /// `[[key]]`.
    Tables(Description),
    /// Tables, usually written in one line.
    Inline(Description),
    /// Keys of the section itself.
    Group(Description),
}

impl Description {
    /// A section whose doc comment is `about`.
    pub(super) fn new(about: &str, keys: Vec<Key>) -> Self {
        Self {
            about: Prose::of(about),
            keys: keys.into_iter().flat_map(Key::ungrouped).collect(),
        }
    }

    /// Its keys.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The same without the key `name`.
    pub(super) fn without(mut self, name: &str) -> Self {
        self.keys.retain(|key| key.name != name);
        self
    }
}

impl Key {
    /// A key whose doc comment is `text`.
    pub(super) fn new(name: &'static str, text: &str, shape: Shape) -> Self {
        Self {
            name,
            about: Prose::of(text),
            shape,
            default: Default::Words("none"),
            is_alternative: false,
            example: String::new(),
        }
    }

    /// As [`Self::new`], with a default that goes into the Plan.
    pub(super) fn set<K: Kind<V>, V>(
        name: &'static str,
        text: &str,
        range: K::Range,
        default: &V,
    ) -> Self {
        let key = Self::new(name, text, K::shape(range));
        match K::print(default) {
            Some(value) => Self {
                default: Default::Value(value.clone()),
                example: value,
                ..key
            },
            None => key,
        }
    }

    /// With this example.
    pub(super) fn example(self, example: &str) -> Self {
        let example = example.to_owned();
        Self { example, ..self }
    }

    /// With a default that is not a value.
    pub(super) fn default(self, words: &'static str) -> Self {
        let default = Default::Words(words);
        Self { default, ..self }
    }

    /// With this value as its default, as TOML.
    pub(super) fn value(self, value: &str) -> Self {
        let default = Default::Value(value.to_owned());
        Self { default, ..self }
    }

    /// As [`Self::default`], for a key that excludes one before it.
    pub(super) fn alternative(self, words: &'static str) -> Self {
        Self {
            is_alternative: true,
            ..self.default(words)
        }
    }

    /// Without a default: this key or `other` is required.
    pub(super) fn unless(self, other: &'static str) -> Self {
        let default = Default::Unless(other);
        Self { default, ..self }
    }

    /// As [`Self::unless`], for the later one of the two.
    pub(super) fn instead(self, other: &'static str) -> Self {
        Self {
            is_alternative: true,
            ..self.unless(other)
        }
    }

    /// Without a default.
    pub(super) fn required(self) -> Self {
        let default = Default::Required;
        Self { default, ..self }
    }

    /// The keys of a group, or this one. Those of a group that is an alternative are alternatives.
    fn ungrouped(self) -> Vec<Self> {
        let Shape::Group(group) = self.shape else {
            return vec![self];
        };
        let alternatives = group.keys.into_iter().map(|key| Self {
            is_alternative: key.is_alternative || self.is_alternative,
            ..key
        });
        alternatives.collect()
    }

    /// The table below it, if it is a section.
    pub fn section(&self) -> Option<&Description> {
        match &self.shape {
            Shape::Table(below) | Shape::Tables(below) => Some(below),
            _ => None,
        }
    }

    /// The heading of its section at `path`, such as `[[edge.route]]`.
    pub fn heading(&self, path: &str) -> String {
        match &self.shape {
            Shape::Table(_) => format!("[{path}]"),
            _ => format!("[[{path}]]"),
        }
    }
}

impl Display for Shape {
    /// The values in words, for a cell of a table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn range(f: &mut fmt::Formatter<'_>, from: impl Display, to: impl Display) -> fmt::Result {
            write!(f, "`\"{from}\"` to `\"{to}\"`")
        }
        match self {
            Self::Count(counts) if *counts == Count::ANY => f.write_str("a count"),
            Self::Count(counts) => write!(f, "{} to {}", counts.start(), counts.end()),
            Self::Size(sizes) if *sizes == ByteSize::ANY => f.write_str("a size"),
            Self::Size(sizes) => range(f, ByteSize(*sizes.start()), ByteSize(*sizes.end())),
            Self::Period(periods) if *periods == Period::ANY => f.write_str("a duration"),
            Self::Period(periods) => range(f, Period(*periods.start()), Period(*periods.end())),
            Self::Rate => f.write_str("a rate"),
            Self::Truth => f.write_str("`true`, `false`"),
            Self::TruthOr(words) => {
                f.write_str("`true`, `false`")?;
                words
                    .iter()
                    .try_for_each(|word| write!(f, ", `\"{word}\"`"))
            }
            Self::Words(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
                f.write_str(&words.join(", "))
            }
            Self::OrNone(shape) => write!(f, "{shape} or `\"none\"`"),
            Self::Text(what) | Self::Texts(what) | Self::NumbersOrTexts(what) => f.write_str(what),
            Self::Inline(_) | Self::Tables(_) => f.write_str("tables"),
            Self::Table(_) | Self::Group(_) => f.write_str("a table"),
        }
    }
}

impl Prose {
    /// The prose of a doc comment.
    pub(in crate::config) fn of(text: &str) -> Self {
        let joined = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut paragraphs = text.split("\n\n").map(joined);
        let phrase = paragraphs.next().unwrap_or_default();
        Self {
            phrase: phrase.trim_end_matches('.').to_owned(),
            details: paragraphs.collect::<Vec<_>>().join(" "),
        }
    }

    /// All of it.
    pub fn sentences(&self) -> String {
        format!("{}. {}", self.phrase, self.details)
            .trim_end()
            .to_owned()
    }

    /// The phrase as the end of a line: without a capital, unless its first word is a name.
    pub fn note(&self) -> String {
        let mut chars = self.phrase.chars();
        match (chars.next(), chars.next()) {
            (Some(first), Some(second)) if !second.is_uppercase() => first
                .to_lowercase()
                .chain(self.phrase.chars().skip(1))
                .collect(),
            _ => self.phrase.clone(),
        }
    }
}

/// The line of a key in the effective config. Without a value it is a comment.
pub(super) fn line(
    f: &mut fmt::Formatter<'_>,
    key: &str,
    value: Option<String>,
    text: &str,
    default: &[&str],
) -> fmt::Result {
    match value {
        Some(value) => writeln!(f, "{key} = {value}  # {}", Prose::of(text).note()),
        None => writeln!(f, "# {key}: {}", default.first().unwrap_or(&"none")),
    }
}

/// The example for errors about a key: the given one, or else its default.
pub(super) fn example<K: Kind<V>, V>(default: &V, given: &[&str]) -> String {
    let given = given.first().map(|example| (*example).to_owned());
    given.or_else(|| K::print(default)).unwrap_or_default()
}

/// A basic string of TOML.
pub(in crate::config) fn quoted(value: impl Display) -> String {
    let mut out = String::from("\"");
    for c in value.to_string().chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out += &format!("\\u{:04X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out + "\""
}
