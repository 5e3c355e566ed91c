//! Reference: the keys of a config file as a page of Markdown, `docs/config.md`.
//!
//! In:    the [`Description`] of all keys.
//! Out:   a table for each section.
//! Never: explains how settings work together: `docs/defaults.md` does.

use super::section::description::{Default, Description, Key, Shape};
use super::section::{File, Section};

const HEAD: &str = r#"# Every key of a config file

`byway schema --markdown` prints this page, `byway schema` the same as a JSON Schema, for editors, and `byway init` writes a
file with every key. [defaults.md](defaults.md) explains how the settings work together; `byway check -c FILE` prints all
values in force. [examples/byway.toml](../examples/byway.toml) is a file with every section.

A file is TOML. Unknown keys are errors, with a suggestion. All errors are shown at once. Values of flags are read in the
same way. How values are written:

| kind | examples | notes |
|---|---|---|
| size | `"256KiB"`, `"64MB"`, `65536` | KiB is 1,024 bytes, KB is 1,000; a number alone is bytes; case does not matter |
| rate | `"25MiB/s"`, `"200Mbit/s"` | `25Mb/s` is refused: half of its readers take it for bits |
| duration | `"250ms"`, `"30s"`, `"10m"`, `"1h"`, `"7d"` | 1 ms to 365 days unless stated otherwise; a unit is required |
| count | `128` | 1 to 1,000,000,000 unless stated otherwise |
| listen address | `"127.0.0.1:8080"`, `"[::1]:8080"`, `":8080"`, `"unix:/run/x.sock"` | `:8080` is every address, IPv6 and IPv4; port 0 lets the system choose, and the ready line shows the port; a socket's path has at most 103 bytes |
| target | `"10.0.0.5:22"`, `"name:22"`, `"unix:/run/x.sock"` | |
| upstream | `"127.0.0.1:9001"`, `"10.0.0.5"`, `"http://name"`, `"https://name"`, `"unix:/run/app.sock"` | without a scheme: plain HTTP; without a port: 80, with `https://` 443; a port alone is an error in a file; no path |

Where several texts can be given, one alone needs no brackets.
"#;

/// The page.
pub fn reference() -> String {
    let file = File::describe();
    let mut out = format!("{HEAD}\n## At the top\n\n{}\n\n", file.about.details);
    keys(&mut out, &file);
    sections(&mut out, &file, "", "##");
    out
}

/// The sections below one, and those below them.
fn sections(out: &mut String, section: &Description, path: &str, level: &str) {
    for key in section.keys() {
        let path = match path {
            "" => key.name.to_owned(),
            path => format!("{path}.{}", key.name),
        };
        let (heading, below) = match &key.shape {
            Shape::Inline(below) => (format!("{path} = [{{ … }}]"), below),
            _ => match key.section() {
                Some(below) => (key.heading(&path), below),
                None => continue,
            },
        };
        *out += &format!("\n{level} `{heading}`: {}\n\n", below.about.note());
        if !below.about.details.is_empty() {
            *out += &format!("{}\n\n", below.about.details);
        }
        keys(out, below);
        sections(out, below, &path, "###");
    }
}

/// The table of the keys that are not sections.
fn keys(out: &mut String, section: &Description) {
    *out += "| key | meaning | values | default |\n|---|---|---|---|\n";
    for key in section.keys().iter().filter(|key| key.section().is_none()) {
        *out += &format!(
            "| `{}` | {} | {} | {} |\n",
            key.name,
            key.about.sentences(),
            key.shape,
            default(key)
        );
    }
}

fn default(key: &Key) -> String {
    match &key.default {
        Default::Value(value) => format!("`{value}`"),
        Default::Words(words) => (*words).to_owned(),
        Default::Unless(other) => format!("required, unless `{other}` is given"),
        Default::Required => "required".to_owned(),
    }
}
