//! Kept name: the random name of an HTTP service that was configured without one.
//!
//! In:    the state folder, the join string and the local target.
//! Out:   a label, created at the first call and then always the same for that target and join
//!        string.
//! Never: writes the secret of the join string to disk, and never creates a second name if there is
//!        a first one.

use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use byway_dial::Target;
use byway_link::JoinString;
use byway_tls::state_file;

/// Letters and digits that are not easily confused: 32 of them, 5 bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// 60 random bits: two services do not get the same name by chance, and a name cannot be guessed.
const NAME_BYTES: usize = 12;

/// The folder inside the state folder.
const FOLDER: &str = "service-names";

/// Why there is no name.
#[derive(Debug, thiserror::Error)]
pub enum NoName {
    /// The file cannot be read or created.
    #[error("cannot keep a name for this service in {}: {source}; {}, or set one with --name", path.display(), state_file::advice(source))]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The file has other content.
    #[error("{} does not contain the name of a service; remove it, or set a name with --name", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// No random numbers.
    #[error("no random numbers are available for the name of this service; set one with --name")]
    Random,
}

/// The name of the service at `target` that is exposed through `join`.
///
/// # Errors
/// [`NoName`].
pub(super) fn kept_name(
    state: &Path,
    join: &JoinString,
    target: &Target,
) -> Result<String, NoName> {
    let path = state.join(FOLDER).join(file_name(join, target));
    let failed = |source| NoName::File {
        path: path.clone(),
        source,
    };
    if let Some(bytes) = state_file::read(&path).map_err(failed)? {
        return read_name(bytes).ok_or_else(|| NoName::Damaged { path: path.clone() });
    }
    let name = random_name()?;
    match state_file::create_new(&path, format!("{name}\n").as_bytes()) {
        Ok(()) => Ok(name),
        // Another process has created it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let bytes = state_file::read(&path).map_err(failed)?.unwrap_or_default();
            read_name(bytes).ok_or_else(|| NoName::Damaged { path: path.clone() })
        }
        Err(error) => Err(failed(error)),
    }
}

/// The hash of the pin, the grant and the target. The address of the join string is left out: it
/// may be edited.
fn file_name(join: &JoinString, target: &Target) -> String {
    let mut sum = Context::new(&SHA256);
    sum.update(join.pin.as_bytes());
    sum.update(join.id.as_bytes());
    sum.update(target.to_string().as_bytes());
    sum.finish()
        .as_ref()
        .iter()
        .take(12)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn read_name(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(bytes).ok()?;
    let name = text.trim();
    let is_name = name.len() == NAME_BYTES && name.bytes().all(|byte| ALPHABET.contains(&byte));
    is_name.then(|| name.to_owned())
}

fn random_name() -> Result<String, NoName> {
    let mut bytes = [0; NAME_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| NoName::Random)?;
    let letter = |byte: &u8| {
        ALPHABET
            .get(usize::from(byte & 31))
            .map(|letter| char::from(*letter))
    };
    Ok(bytes.iter().filter_map(letter).collect())
}

#[cfg(test)]
mod tests {
    use byway_link::{Fingerprint, GrantId, GrantSecret};

    use super::*;

    fn join(id: u8, address: &str) -> JoinString {
        JoinString {
            pin: Fingerprint::of_spki(b"key"),
            id: GrantId::from_bytes([id; 6]),
            secret: GrantSecret::from_bytes([9; 24]),
            address: address.parse().unwrap(),
        }
    }

    #[test]
    fn a_name_is_made_once_for_each_target_and_join_string() {
        let state = tempfile::tempdir().unwrap();
        let name = |join: &JoinString, target: &str| {
            let name = kept_name(state.path(), join, &target.parse().unwrap()).unwrap();
            assert!(
                name.len() == NAME_BYTES
                    && name
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            );
            name
        };
        let first = name(&join(1, "t.example.com:7000"), "127.0.0.1:3000");
        assert_eq!(
            name(&join(1, "t.example.com:7000"), "127.0.0.1:3000"),
            first
        );
        assert_eq!(
            name(&join(1, "192.0.2.1:7000"), "127.0.0.1:3000"),
            first,
            "the host may be edited"
        );
        assert_ne!(
            name(&join(1, "t.example.com:7000"), "127.0.0.1:3001"),
            first
        );
        assert_ne!(
            name(&join(2, "t.example.com:7000"), "127.0.0.1:3000"),
            first
        );
    }

    #[test]
    fn a_damaged_name_is_not_replaced_silently() {
        let state = tempfile::tempdir().unwrap();
        let (join, target) = (
            join(1, "t.example.com:7000"),
            "127.0.0.1:3000".parse().unwrap(),
        );
        kept_name(state.path(), &join, &target).unwrap();
        let file = std::fs::read_dir(state.path().join(FOLDER))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        std::fs::write(&file, "x").unwrap();
        let error = kept_name(state.path(), &join, &target)
            .unwrap_err()
            .to_string();
        assert!(error.contains("remove it"), "{error}");
    }
}
