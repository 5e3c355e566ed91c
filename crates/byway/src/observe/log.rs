//! Log: events to stderr, for people or as JSON.
//!
//! In:    tracing events of the whole program.
//! Out:   lines on stderr; never on stdout, which belongs to data.
//! Never: blocks start-up on a terminal it cannot colour.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One readable line an event.
    #[default]
    Human,
    /// One JSON object an event.
    Json,
}

/// Installs the log for the whole process. `level` is a level (`info`) or a filter (`byway=debug,rustls=warn`).
///
/// # Errors
/// When `level` cannot be read; the text says why.
pub fn install(format: LogFormat, level: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        format!("--log-level `{level}`: {error}; write error, warn, info, debug, trace or a filter such as byway=debug")
    })?;
    let events = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Human => events.with_target(false).with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => events.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
    }
    Ok(())
}
