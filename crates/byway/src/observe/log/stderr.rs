//! Stderr: the queue and writer of the program's log.
//!
//! In:    whole lines, from any thread.
//! Out:   the same on standard error, from a dedicated thread; or the number of dropped lines, if
//!        they were not read in time.
//! Never: blocks the logging thread on standard error, and never lets text inside an event look
//!        like another line.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use crate::observe::access::log_buffer::{Form, LogBuffer};
use crate::observe::access::sink::Sink;
use crate::observe::access::writer::{Notice, Reported, Running, Writer};
use crate::observe::counters::Counter;

/// How long the last lines may take at the end of the process.
const PATIENCE: Duration = Duration::from_secs(2);

/// Global, as standard error is.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    log_buffer: Arc<LogBuffer>,
    /// Lines that standard error refused.
    lost: Arc<Counter>,
    running: Mutex<Option<Running>>,
}

/// Starts the writer; from now on it writes all lines.
///
/// # Errors
/// The system refused a thread.
pub(super) fn begin() -> io::Result<()> {
    let (log_buffer, lost) = (Arc::new(LogBuffer::default()), Arc::new(Counter::default()));
    let running = Running::start("byway-log", |orders, waker| Writer {
        buffers: vec![Arc::clone(&log_buffer)],
        waker,
        orders,
        lost: Arc::clone(&lost),
        sink: None,
        // Lines are few, and each is written at once.
        interval: Duration::ZERO,
        notice: Notice::Itself(Reported::default()),
        failure: None,
    })?;
    running.use_sink(Some((Sink::stderr(), Form::Text)), PATIENCE);
    let _ = LOG.set(Log {
        log_buffer,
        lost,
        running: Mutex::new(Some(running)),
    });
    Ok(())
}

/// Adds lines unchanged, with their line end. Before [`begin`] they are written at once.
pub(super) fn push(line: &[u8]) {
    match LOG.get() {
        Some(log) => log.log_buffer.push(line),
        None => {
            let _ = io::stderr().write_all(line);
        }
    }
}

/// Adds an event of one or more lines, with its line end.
pub(super) fn push_event(event: &[u8]) {
    push(&in_one_piece(event));
}

/// Indents the lines after the first, so that no text inside a line can look like a separate line.
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

/// Tracing writes each event to it in a single call.
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
    fn text_inside_a_line_cannot_look_like_a_separate_line() {
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
