//! Terminal: how commands print: data to stdout, everything else to stderr.
//!
//! In:    text.
//! Out:   the text, and for data the exit code of writing it.
//! Never: panics because a reader has closed its end of the pipe, as in `byway check | head`: that
//!        is exit code 0. Any other failure, such as a full disk, is reported and is exit code 1.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use crate::observe::log;

/// Writes `text` to stdout.
pub(super) fn data(text: impl Display) -> ExitCode {
    let text = text.to_string();
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            error(format_args!("cannot write to standard output: {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to stderr, in turn with the lines of the log. Errors are ignored: there is no
/// other place to report them.
pub(super) fn note(line: impl Display) {
    log::print(line);
}

/// Writes `error: …` to stderr.
pub(super) fn error(what: impl Display) {
    note(format_args!("error: {what}"));
}
