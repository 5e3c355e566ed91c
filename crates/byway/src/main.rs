//! The program: arguments → File → Plan → Node → wait → drain.

use std::process::ExitCode;

use byway::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Also when `run` panics.
    let _close = CloseLog;
    Cli::main()
}

/// Flushes the last log lines before the process ends.
struct CloseLog;

impl Drop for CloseLog {
    fn drop(&mut self) {
        byway::observe::log::close();
    }
}
