//! Demo.
use super::Common;
use clap::Args;
use std::process::ExitCode;
/// Args.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// check
    #[arg(long)]
    pub check: bool,
}
/// Runs.
pub fn run(_args: &DemoArgs, _common: &Common) -> ExitCode {
    ExitCode::SUCCESS
}
