//! Filter: which events are logged, from `--log-level`.
//!
//! In:    a level, or filter directives separated by commas.
//! Never: takes a misspelt level for the name of a module, which would silence everything.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

const HOW: &str = "write error, warn, info, debug or trace; or a filter, which gives modules their own level, \
                   such as warn,byway=debug,rustls=info";

/// This crate warns of each datagram that cannot be sent, with Rust debug output. A link logs it in
/// plain text if QUIC does not work.
const UDP_TARGET: &str = "quinn_udp";

/// Parses `text`. An empty text, as of an unset variable, means `info`.
///
/// # Errors
/// What cannot be parsed, and what to write instead.
pub(super) fn parse(text: &str) -> Result<EnvFilter, String> {
    let filter = read(text)?;
    // A filter that names the target overrides this.
    Ok(
        match (
            text.contains(UDP_TARGET),
            format!("{UDP_TARGET}=off").parse(),
        ) {
            (false, Ok(quiet)) => filter.add_directive(quiet),
            _ => filter,
        },
    )
}

fn read(text: &str) -> Result<EnvFilter, String> {
    if text.trim().is_empty() {
        return Ok(EnvFilter::new("info"));
    }
    // Span fields may contain commas: such a filter is left to its own parser.
    let text = match text.contains(['[', '{']) {
        true => text.to_owned(),
        false => {
            let parts: Vec<_> = text.split(',').map(str::trim).collect();
            parts.iter().try_for_each(|part| check(part))?;
            parts.join(",")
        }
    };
    EnvFilter::try_new(text).map_err(|error| format!("{error}; {HOW}"))
}

fn check(part: &str) -> Result<(), String> {
    // The parser of levels accepts an empty text, too.
    let is_level = |text: &str| !text.is_empty() && text.parse::<LevelFilter>().is_ok();
    match part.split_once('=') {
        None if is_level(part) => Ok(()),
        None => Err(format!("`{part}` is not a level; {HOW}")),
        Some((_, level)) if !is_level(level) => Err(format!("`{level}` is not a level; {HOW}")),
        Some((target, _)) if target.is_empty() || target.contains('-') => Err(format!(
            "`{target}` is not a module of the program: names have `_` for `-`, as in byway_link=debug; {HOW}"
        )),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_are_read() {
        for text in [
            "info",
            "WARN",
            "off",
            "",
            " ",
            "byway=debug",
            "warn,byway=debug",
            "warn, byway_link=trace",
            "[x]=info",
        ] {
            assert!(parse(text).is_ok(), "{text}: {:?}", parse(text).err());
        }
    }

    #[test]
    fn a_word_that_is_not_a_level_is_refused_and_does_not_silence_the_log() {
        for text in [
            "verbos",
            "byway",
            "warn,verbos",
            "byway=verbos",
            "byway-link=debug",
            "=debug",
            "info,",
            "loud==",
            "3x",
        ] {
            let error = parse(text)
                .err()
                .unwrap_or_else(|| panic!("{text} was taken for a filter"));
            for word in ["error, warn, info, debug or trace", "warn,byway=debug"] {
                assert!(error.contains(word), "{text}: {error}");
            }
        }
    }
}
