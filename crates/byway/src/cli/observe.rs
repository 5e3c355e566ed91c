//! Observe: the flags of every serving verb for access log and metrics.

use clap::Args;

use crate::config::ObserveFlags;

/// Access log and metrics.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ObserveArgs {
    /// Writes a line for each request to this file, or to standard output: stdout, off, or a path.
    /// SIGUSR1 opens the file again. Default: off
    #[arg(long, value_name = "PATH")]
    access_log: Option<String>,
    /// The format of those lines: combined, as of nginx and Apache, or json. Default: combined
    #[arg(long, value_name = "FORMAT")]
    access_log_format: Option<String>,
    /// Answers GET /metrics (Prometheus) and GET /healthz here: 127.0.0.1:9100. There is no
    /// password. Default: nowhere
    #[arg(long, value_name = "ADDR")]
    metrics: Vec<String>,
}

impl ObserveArgs {
    /// As flags of the config.
    pub(super) fn flags(&self) -> ObserveFlags {
        ObserveFlags {
            access_log: self.access_log.clone(),
            access_log_format: self.access_log_format.clone(),
            metrics: self.metrics.clone(),
        }
    }
}
