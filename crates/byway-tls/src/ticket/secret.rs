//! Secret: the master secret of session tickets, in a file that processes and nodes can share.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::rand;

use crate::state_file;

/// Its length, in bytes.
const LENGTH: usize = 32;

/// Why there is no master secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read or created.
    #[error("the secret of session tickets {} cannot be read or created: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system error.
        error: io::Error,
    },
    /// The file has another content.
    #[error(
        "{} is no secret of session tickets: it must have exactly 32 random bytes; remove it, and another one is created",
        .0.display()
    )]
    Malformed(PathBuf),
    /// Other users of the machine can read the file.
    #[error("{path} can be read by others, who could decrypt recorded sessions: chmod 600 {path}", path = .0.display())]
    Exposed(PathBuf),
    /// The system has no random numbers.
    #[error("the system provides no random numbers")]
    NoRandomness,
}

/// 32 random bytes from which all keys of tickets are derived. Whoever has them can decrypt what
/// was recorded of resumed TLS 1.2 sessions of the last twelve hours. Cheap to clone.
#[derive(Clone)]
pub struct TicketSecret(Arc<[u8; LENGTH]>);

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSecret(…)")
    }
}

impl TicketSecret {
    /// A random secret, for one process.
    ///
    /// # Errors
    /// [`SecretError::NoRandomness`].
    pub fn random() -> Result<Self, SecretError> {
        let mut bytes = [0; LENGTH];
        rand::fill(&mut bytes).map_err(|_| SecretError::NoRandomness)?;
        Ok(Self(Arc::new(bytes)))
    }

    /// The secret of these bytes.
    pub fn from_bytes(bytes: [u8; LENGTH]) -> Self {
        Self(Arc::new(bytes))
    }

    /// Reads the secret in `path`, or creates the file (mode 0600) with a random one. Of several
    /// processes that create it at once, all read the same. Blocks.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read_or_create(path: &Path) -> Result<Self, SecretError> {
        if let Some(secret) = Self::read(path)? {
            return Ok(secret);
        }
        let secret = Self::random()?;
        match state_file::create_new(path, &secret.0[..]) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => created.map_err(|error| io_error(path, error))?,
        }
        Self::read(path)?.ok_or_else(|| io_error(path, io::ErrorKind::NotFound.into()))
    }

    fn read(path: &Path) -> Result<Option<Self>, SecretError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| io_error(path, error))?,
        };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let metadata = file.metadata().map_err(|error| io_error(path, error))?;
            if metadata.permissions().mode() & 0o007 != 0 {
                return Err(SecretError::Exposed(path.into()));
            }
        }
        let mut bytes = Vec::with_capacity(LENGTH + 1);
        let read = file.take(LENGTH as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| io_error(path, error))?;
        let bytes = <[u8; LENGTH]>::try_from(bytes);
        let bytes = bytes.map_err(|_| SecretError::Malformed(path.into()))?;
        Ok(Some(Self::from_bytes(bytes)))
    }

    /// A key for `purpose`, derived from the secret (HKDF-SHA256): another one for each purpose.
    /// Equal in all processes with the secret.
    ///
    /// # Errors
    /// [`SecretError::NoRandomness`] if the provider fails.
    pub fn derive<const N: usize>(&self, purpose: &str) -> Result<[u8; N], SecretError> {
        let prk = Salt::new(HKDF_SHA256, b"byway derived keys").extract(self.bytes());
        let mut key = [0; N];
        let expanded = super::expand(&prk, [b"", b"", purpose.as_bytes()], &mut key);
        expanded.map_err(|_| SecretError::NoRandomness)?;
        Ok(key)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0[..]
    }
}

fn io_error(path: &Path, error: io::Error) -> SecretError {
    let path = path.into();
    SecretError::Io { path, error }
}
