//! Stderr: the lines of the program's log on their way to standard error.
//!
//! In:    whole lines, from any thread.
//! Out:   the same on standard error, by a thread of its own; or their number, if they were not
//!        read in time.
//! Never: waits for standard error on the thread that has the line, and never lets a line hold what
//!        looks like another.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use crate::observe::access::log_buffer::{Form, LogBuffer};
use crate::observe::access::sink::Sink;
use crate::observe::access::writer::{Notice, Running, Writer};
use crate::observe::counters::Counter;

/// How long the last lines may take at the end of the process.
const PATIENCE: Duration = Duration::from_secs(2);

/// Standard error belongs to the process, and so does this.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    log_buffer: Arc<LogBuffer>,
    /// Lines that standard error refused.
    lost: Arc<Counter>,
    running: Mutex<Option<Running>>,
}

/// From now on lines go by way of the writer.
///
/// # Errors
/// The system refused a thread.
pub(super) fn begin() -> io::Result<()> {
    let (log_buffer, lost) = (Arc::new(LogBuffer::default()), Arc::new(Counter::default()));
    let running = Running::start("byway-log", |orders, waker| Writer {
        pages: vec![Arc::clone(&log_buffer)],
        waker,
        orders,
        lost: Arc::clone(&lost),
        sink: None,
        // Lines are few, and each is written at once.
        interval: Duration::ZERO,
        notice: Notice::Itself(0),
        failure: None,
    })?;
    running.go_on_with(Some((Sink::stderr(), Form::Text)), PATIENCE);
    let _ = LOG.set(Log {
        log_buffer,
        lost,
        running: Mutex::new(Some(running)),
    });
    Ok(())
}

/// Adds lines as they are, with their line end. Before [`begin`] they are written at once.
pub(super) fn push(line: &[u8]) {
    match LOG.get() {
        Some(log) => log.log_buffer.push(line),
        None => {
            let _ = io::stderr().write_all(line);
        }
    }
}

/// Adds an event, which is one line or several, with its line end.
pub(super) fn push_event(event: &[u8]) {
    push(&in_one_piece(event));
}

/// Lines after the first are indented, so that no text inside of a line can pass for a line of its
/// own.
fn in_one_piece(line: &[u8]) -> Vec<u8> {
    let (text, end) = match line.strip_suffix(b"\n") {
        Some(text) => (text, &b"\n"[..]),
        None => (line, &b""[..]),
    };
    let mut whole = Vec::with_capacity(line.len());
    for (index, part) in text.split(|byte| *byte == b'\n').enumerate() {
        if index > 0 {
            whole.extend_from_slice(b"\n    ");
        }
        whole.extend_from_slice(part);
    }
    whole.extend_from_slice(end);
    whole
}

/// See [`super::lines`].
pub(super) fn lines() -> u64 {
    LOG.get().map_or(0, |log| log.log_buffer.lines())
}

/// See [`super::dropped`].
pub(super) fn dropped() -> (u64, u64) {
    LOG.get()
        .map_or((0, 0), |log| (log.log_buffer.dropped(), log.lost.value()))
}

/// See [`super::close`].
pub(super) fn end() {
    let running = LOG.get().and_then(|log| log.running.lock().take());
    if let Some(running) = running {
        running.end(PATIENCE);
    }
}

/// What tracing writes one event to, in a single call.
pub(super) struct Line;

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        push_event(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_inside_of_a_line_cannot_pass_for_a_line_of_its_own() {
        for (line, whole) in [
            ("one\n", "one\n"),
            ("one\n2026 WARN two\n", "one\n    2026 WARN two\n"),
            ("one\n\ntwo\n", "one\n    \n    two\n"),
            ("no end", "no end"),
            ("\n", "\n"),
        ] {
            assert_eq!(in_one_piece(line.as_bytes()), whole.as_bytes());
        }
    }
}
