//! ObserveFlags: `--access-log`, `--access-log-format` and `--metrics`, which every serving verb
//! takes.
//!
//! In:    flags as they were given.
//! Out:   a `File` whose values they override.
//! Never: checks a value: `resolve` does, as for a file.

use super::flags::{flag, flags};
use super::section::File;

/// The flags of a serving verb for the access log and the metrics.
#[derive(Clone, Debug, Default)]
pub struct ObserveFlags {
    /// `--access-log`, as `log.access`.
    pub access_log: Option<String>,
    /// `--access-log-format`, as `log.access_format`.
    pub access_log_format: Option<String>,
    /// `--metrics`, each as in `metrics.listen`.
    pub metrics: Vec<String>,
}

impl File {
    /// The same file, with its values overridden by the given flags.
    #[must_use]
    pub fn observed(mut self, given: &ObserveFlags) -> Self {
        if let Some(text) = &given.access_log {
            self.log.access = Some(flag("--access-log", text.clone()));
        }
        if let Some(text) = &given.access_log_format {
            self.log.access_format = Some(flag("--access-log-format", text.clone()));
        }
        if !given.metrics.is_empty() {
            self.metrics.listen = Some(flags("--metrics", given.metrics.clone()));
        }
        self
    }
}
