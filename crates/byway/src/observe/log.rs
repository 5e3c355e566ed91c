//! Log: events to standard error, for people or as JSON.
//!
//! In:    tracing events of the whole program, and lines that are printed as they are.
//! Out:   lines on standard error; never on standard output, which belongs to data.
//! Never: makes a thread wait for the reader of standard error, other than at the end of the
//!        process, for 2 s.

mod filter;
mod stderr;

use std::fmt::Display;
use std::io::{self, IsTerminal};

use clap::ValueEnum;

use super::log_limit::LogLimit;

static PANICS: LogLimit = LogLimit::new();

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One readable line an event.
    #[default]
    Human,
    /// One JSON object an event.
    Json,
}

/// Installs the log for the whole process. `level` is a level (`info`) or a filter
/// (`byway=debug,rustls=warn`); `from` is where it was given. The caller calls [`close`] before the
/// process ends.
///
/// # Errors
/// When `level` cannot be read; the text says why.
pub fn install(format: LogFormat, level: &str, from: &str) -> Result<(), String> {
    let filter = filter::parse(level).map_err(|error| format!("{from} `{level}`: {error}"))?;
    stderr::begin().map_err(|error| format!("cannot start the writer of the log: {error}"))?;
    let events = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| stderr::Line);
    match format {
        LogFormat::Human => events
            .with_target(false)
            .with_ansi(io::stderr().is_terminal())
            .init(),
        LogFormat::Json => events
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .init(),
    }
    // The hook of the standard library would write, and wait, on the thread that panicked.
    std::panic::set_hook(Box::new(|panic| {
        if PANICS.count().is_none() {
            return;
        }
        let name = std::thread::current()
            .name()
            .unwrap_or("(unnamed)")
            .to_owned();
        stderr::push_event(format!("thread `{name}` {panic}\n").as_bytes());
    }));
    Ok(())
}

/// Prints a line on standard error as it is, in turn with the lines of the log.
pub fn print(line: impl Display) {
    stderr::push(format!("{line}\n").as_bytes());
}

/// Lines that went to the log, those that were dropped later included.
pub fn lines() -> u64 {
    stderr::lines()
}

/// Lines that were dropped: for want of room while standard error was not read, and those that it
/// refused.
pub fn dropped() -> (u64, u64) {
    stderr::dropped()
}

/// Writes what there is, for at most 2 s. Lines that come later are dropped.
pub fn close() {
    stderr::end();
}
