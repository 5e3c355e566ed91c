//! Ground: the files of the demo's nodes: a config and a state folder each.
//!
//! In:    the demo's folder, and the state folder of the user.
//! Out:   nodes, each with its own config and state, as if it were alone on its machine.
//! Never: spills into the demo's folder, which may be in memory.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::running::Running;

/// The folders of the demo's nodes: a config and a state folder for each node, and a spill folder
/// that all share.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    folder: PathBuf,
    spill: PathBuf,
}

impl Ground {
    /// In `folder`; bytes of slow readers go to the spill folder of `state`.
    pub(super) fn new(folder: &Path, state: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            spill: state.join("spill"),
        }
    }

    /// The config of the node `name`.
    pub(super) fn config(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.toml"))
    }

    /// The state folder of the node `name`.
    pub(super) fn state(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The socket of the forward that listens on one.
    pub(super) fn echo_unix(&self) -> PathBuf {
        self.folder.join("echo.sock")
    }

    /// Starts the node `name` with the config `text`, on the state of an earlier node of that name.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn start(&self, name: &str, text: &str) -> anyhow::Result<Running> {
        let (config, state) = (self.config(name), self.state(name));
        std::fs::write(&config, text)
            .with_context(|| format!("cannot write {}", config.display()))?;
        Running::start(&config, &state, &self.spill)
    }
}
