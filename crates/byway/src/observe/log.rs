//! Log: events to standard error, as text or as JSON.
//!
//! In:    tracing events of the whole program, and lines that are printed unchanged.
//! Out:   lines on standard error; never on standard output, which is for data.
//! Never: makes a thread wait for the reader of standard error, except for 2 s at the end of the
//!        process.

mod filter;
mod stderr;

use std::fmt::Display;
use std::io::{self, IsTerminal};

use clap::ValueEnum;

use super::log_limit::LogLimit;

static PANICS: LogLimit = LogLimit::new();

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One readable line per event.
    #[default]
    Human,
    /// One JSON object per event.
    Json,
}

/// Installs the log for the whole process. `level` is a level (`info`) or a filter
/// (`byway=debug,rustls=warn`); `from` names the setting that it came from. The caller must call
/// [`close`] before the process ends.
///
/// # Errors
/// When `level` cannot be parsed; the text says why.
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
    // The hook of the standard library would write, and block, on the thread that panicked.
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

/// Prints a line on standard error unchanged, in order with the lines of the log.
pub fn print(line: impl Display) {
    stderr::push(format!("{line}\n").as_bytes());
}

/// Lines written to the log, including those that were dropped later.
pub fn lines() -> u64 {
    stderr::lines()
}

/// Lines that were dropped: for lack of room while standard error was not read, and those that it
/// refused.
pub fn dropped() -> (u64, u64) {
    stderr::dropped()
}

/// Writes all lines, for at most 2 s. Later lines are dropped.
pub fn close() {
    stderr::end();
}
