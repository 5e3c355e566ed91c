//! Acme plan: which certificates this node requests from which authorities.
//!
//! Never: shows the keys that authorize DNS updates and account bindings.

use std::path::PathBuf;
use std::time::Duration;

use byway_tls::acme::{Name, RateLimit};

use super::secret::Secret;
use super::section::{Challenge, OnDemandNames};

/// The directory that is used without a word: Let's Encrypt.
pub const DEFAULT_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// An authority, and what is wanted from it.
#[derive(Clone, Debug, PartialEq)]
pub struct AcmePlan {
    /// The names of certificates, those of routes included.
    pub names: Vec<Name>,
    /// The URL of its directory.
    pub directory: String,
    /// Where it writes to.
    pub email: Option<String>,
    /// How it checks names.
    pub challenge: Challenge,
    /// How TXT records are set.
    pub dns: Option<DnsPlan>,
    /// How long a record needs to be visible.
    pub dns_delay: Duration,
    /// The id and the key of an account elsewhere.
    pub binding: Option<(String, Secret)>,
    /// The profile of certificates.
    pub profile: Option<String>,
    /// The roots that are trusted for requests to it.
    pub ca: Option<PathBuf>,
    /// Which other names get certificates.
    pub on_demand: OnDemandNames,
    /// How often those may be requested.
    pub rate: RateLimit,
}

/// How TXT records are set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsPlan {
    /// By a program.
    Command {
        /// The program and its first arguments.
        command: Vec<String>,
        /// How long it may run.
        deadline: Duration,
    },
    /// By updates of a server.
    Update {
        /// Its host and port.
        server: String,
        /// The zone, if the server is not to be asked.
        zone: Option<String>,
        /// The key, as in its file.
        key: Secret,
    },
}
