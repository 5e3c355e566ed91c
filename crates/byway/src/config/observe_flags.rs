//! ObserveFlags: `--access-log`, `--access-log-format` and `--metrics`, which every serving verb
//! takes.
//!
//! In:    flags as they were given.
//! Out:   a `File` in which they stand in the place of what it said.
//! Never: judges a value: `resolve` reads them as it reads those of a file.

use super::file::{File, flag, flags};

/// What a serving verb was told about the access log and the metrics.
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
    /// The same file; what was given as a flag counts instead of what it says.
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
