//! Commented: a config file with every key as a comment, for `byway init`.
//!
//! In:    the [`Description`] of all keys.
//! Out:   a file that serves an edge; all other keys are behind a `#`, each with its default, or an
//!        example where it has none.
//! Never: has a `#` that is followed by a space in front of a key that can be taken in as it is.

use super::section::description::{Default, Description, Key, Shape};
use super::section::{File, Section};

const HEAD: &str = "\
# A config file of Byway. Take the # away in front of a key to set it: each is here with its default,
# or with an example where it has none. `byway check` validates the file and prints what it means,
# `byway run` serves it.
#
# Sizes:     \"256KiB\", \"64MB\", \"1GiB\", or a plain number of bytes
# Rates:     \"25MiB/s\", \"200Mbit/s\"
# Durations: \"250ms\", \"30s\", \"10m\", \"1h\", \"7d\"
# Addresses: \"127.0.0.1:8080\", \"[::1]:8080\", \":8080\" (every address), \"unix:/run/byway/x.sock\"
# Relative paths are relative to the folder of this file; those of Unix sockets are absolute.
";

/// The sections that are not comments, besides those that are single tables.
const SERVED: [&str; 2] = ["edge", "edge.route"];

const MOST_COLUMNS: usize = 100;

/// The file.
pub fn commented() -> String {
    let mut out = HEAD.to_owned();
    section(&mut out, &File::describe(), "");
    out
}

/// The keys of the section at `path`, then the sections below it.
fn section(out: &mut String, section: &Description, path: &str) {
    let (sections, keys): (Vec<&Key>, Vec<&Key>) = section
        .keys()
        .iter()
        .partition(|key| key.section().is_some());
    for key in keys {
        line(out, key, SERVED.contains(&path));
    }
    for key in sections {
        let path = match path {
            "" => key.name.to_owned(),
            path => format!("{path}.{}", key.name),
        };
        let Some(below) = key.section() else { continue };
        let is_served = matches!(key.shape, Shape::Table(_)) || SERVED.contains(&&*path);
        let sign = if is_served { "" } else { "#" };
        *out += "\n";
        comment(out, &below.about.sentences());
        *out += &format!("{sign}{}\n", key.heading(&path));
        self::section(out, below, &path);
    }
}

/// A key, with what it means above it.
fn line(out: &mut String, key: &Key, is_served: bool) {
    let (name, example) = (key.name, &key.example);
    let (value, default) = match &key.default {
        Default::Value(value) => (value, String::new()),
        Default::Words(words) => (example, format!(" Default: {words}.")),
        Default::Unless(other) => (example, format!(" Required, unless `{other}` is given.")),
        Default::Required => (example, " Required.".to_owned()),
    };
    let sign = match key.default {
        Default::Required if is_served => "",
        Default::Unless(_) if is_served && !key.is_alternative => "",
        _ if key.is_alternative => "# ",
        _ => "#",
    };
    let values = match &key.shape {
        Shape::Inline(below) => {
            let keys = below.keys().iter();
            let keys: Vec<String> = keys
                .map(|key| format!("`{}`: {}", key.name, key.about.note()))
                .collect();
            keys.join("; ")
        }
        shape => shape.to_string(),
    };
    *out += "\n";
    comment(
        out,
        &format!("{}. Values: {values}.{default}", key.about.phrase),
    );
    *out += &format!("{sign}{name} = {value}\n");
}

/// `text` as lines that begin with `# `.
fn comment(out: &mut String, text: &str) {
    let mut line = "#".to_owned();
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > MOST_COLUMNS {
            *out += &format!("{line}\n");
            line = "#".to_owned();
        }
        line += &format!(" {word}");
    }
    *out += &format!("{line}\n");
}
