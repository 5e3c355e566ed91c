//! The program: arguments → File → Plan → Node → wait → drain.

use std::process::ExitCode;

use byway::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::main()
}
