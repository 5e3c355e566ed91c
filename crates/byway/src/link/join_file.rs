//! Join file: the file of a listener's join string, which stays the same after a restart.
//!
//! In:    the state folder, the purpose, the grants.
//! Out:   the join string: the one in the file if it is still valid, else a new one.
//! Never: replaces a join string because its grant cannot be read: others hold it.

use std::io;
use std::path::{Path, PathBuf};

use byway_dial::Target;
use byway_link::{Conflict, Fingerprint, JoinString};
use byway_tls::state_file;

use super::grants::{GrantError, Grants, NotGood, Purpose};

/// The location of a join string.
#[derive(Clone, Debug)]
pub struct JoinFile {
    /// The file: `join-serve`, `join-exit`; with the port appended if the node has several
    /// listeners for that purpose.
    pub path: PathBuf,
    /// The file of earlier versions, which had one for all purposes. It is read if the other is
    /// missing, and never written.
    old: PathBuf,
}

impl JoinFile {
    /// The file in the folder `state`.
    pub fn new(state: &Path, purpose: Purpose, port: Option<u16>) -> Self {
        let port = port.map(|port| format!("-{port}")).unwrap_or_default();
        Self {
            path: state.join(format!("join-{purpose}{port}")),
            old: state.join("join"),
        }
    }

    /// The join string in it.
    ///
    /// # Errors
    /// The error of the system.
    pub fn read(&self) -> io::Result<Option<JoinString>> {
        let read = |path| {
            Ok::<_, io::Error>(
                state_file::read(path)?.and_then(|bytes| String::from_utf8(bytes).ok()),
            )
        };
        let text = match read(&self.path)? {
            Some(text) => Some(text),
            None => read(&self.old)?,
        };
        Ok(text.and_then(|text| text.parse().ok()))
    }
}

impl Grants {
    /// The join string in `file`, if it still leads to this node by a valid grant for `purpose`;
    /// with `address` in place of its own. Writes nothing. Waits for the disk.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn kept_join_string(
        &self,
        file: &JoinFile,
        purpose: Purpose,
        pin: Fingerprint,
        address: Target,
    ) -> Result<Option<JoinString>, GrantError> {
        let failed = |source| GrantError::Store {
            path: file.path.clone(),
            source,
        };
        let found = file
            .read()
            .map_err(failed)?
            .filter(|join: &JoinString| join.pin == pin);
        let Some(join) = found else { return Ok(None) };
        match self.check(join.id, join.secret.expose()) {
            Ok(grant) => Ok((grant.purpose == purpose).then_some(JoinString { address, ..join })),
            Err(NotGood::Unknown) => Ok(None),
            // A new grant in its place would make the string that others hold useless.
            Err(NotGood::Unreadable(source)) => Err(GrantError::Store {
                path: self.path(join.id),
                source,
            }),
        }
    }

    /// The same; or else a new one, with a new grant, if there is none. Writes it to `file`. Waits
    /// for the disk.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn join_string(
        &self,
        file: &JoinFile,
        purpose: Purpose,
        pin: Fingerprint,
        address: Target,
    ) -> Result<JoinString, GrantError> {
        let join = match self.kept_join_string(file, purpose, pin, address.clone())? {
            Some(join) => join,
            None => {
                let (id, secret) = self.create(purpose, Conflict::Refuse, 1024..=u16::MAX)?;
                JoinString {
                    pin,
                    id,
                    secret,
                    address,
                }
            }
        };
        let text = format!("{}\n", join.expose());
        // A restart must work on a full disk.
        if state_file::read(&file.path)
            .ok()
            .flatten()
            .is_some_and(|stored| stored == text.as_bytes())
        {
            return Ok(join);
        }
        let failed = |source| GrantError::Store {
            path: file.path.clone(),
            source,
        };
        state_file::replace(&file.path, text.as_bytes()).map_err(failed)?;
        Ok(join)
    }
}

#[cfg(test)]
mod tests {
    use super::super::grants::{Grant, Standing};
    use super::*;

    fn pin() -> Fingerprint {
        Fingerprint::of_spki(b"key")
    }

    fn address() -> Target {
        "127.0.0.1:7000".parse().unwrap()
    }

    fn is_unknown(checked: Result<Grant, NotGood>) -> bool {
        matches!(checked, Err(NotGood::Unknown))
    }

    #[test]
    fn a_grant_that_cannot_be_read_at_the_start_is_not_replaced_by_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = JoinFile::new(folder.path(), Purpose::Serve, None);
        let grants = Grants::new(folder.path());
        let join = grants
            .join_string(&file, Purpose::Serve, pin(), address())
            .unwrap();
        let path = grants.path(join.id);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let refused = Grants::new(folder.path())
            .join_string(&file, Purpose::Serve, pin(), address())
            .unwrap_err();
        assert!(
            refused.to_string().contains(&join.id.to_string()),
            "{refused}"
        );
        assert_eq!(
            std::fs::read_to_string(&file.path).unwrap().trim(),
            join.expose()
        );
    }

    #[test]
    fn the_join_string_is_the_same_after_a_restart_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = JoinFile::new(folder.path(), Purpose::Serve, None);
        let grants = Grants::new(folder.path());
        let first = grants
            .join_string(&file, Purpose::Serve, pin(), address())
            .unwrap();
        let second = Grants::new(folder.path())
            .join_string(&file, Purpose::Serve, pin(), address())
            .unwrap();
        assert_eq!(first.expose(), second.expose());
        assert_eq!(
            std::fs::read_to_string(&file.path).unwrap().trim(),
            first.expose()
        );
        assert_eq!(
            std::fs::metadata(&file.path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let stored =
            std::fs::read_to_string(folder.path().join("grants").join(first.id.to_string()))
                .unwrap();
        assert!(
            !stored.contains(&first.expose()[20..60]),
            "the secret itself is kept nowhere else"
        );
    }

    #[test]
    fn a_join_string_that_is_in_its_file_already_is_not_written_again() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let file = JoinFile::new(folder.path(), Purpose::Serve, None);
        let first = Grants::new(folder.path())
            .join_string(&file, Purpose::Serve, pin(), address())
            .unwrap();
        let inode = || std::fs::metadata(&file.path).unwrap().ino();
        let before = inode();
        let held = std::fs::File::open(&file.path).unwrap();
        let again = Grants::new(folder.path())
            .join_string(&file, Purpose::Serve, pin(), address())
            .unwrap();
        assert_eq!(again.expose(), first.expose());
        assert_eq!(
            inode(),
            before,
            "the file was replaced, which a full disk does not allow"
        );
        drop(held);
    }

    #[test]
    fn another_address_keeps_the_grant_and_another_key_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = JoinFile::new(folder.path(), Purpose::Serve, None);
        let grants = Grants::new(folder.path());
        let first = grants
            .join_string(&file, Purpose::Serve, pin(), address())
            .unwrap();
        let moved = grants
            .join_string(
                &file,
                Purpose::Serve,
                pin(),
                "t.example.com:443".parse().unwrap(),
            )
            .unwrap();
        assert_eq!(
            (moved.id, moved.address.to_string().as_str()),
            (first.id, "t.example.com:443")
        );
        let other_key = Fingerprint::of_spki(b"other");
        assert_ne!(
            grants
                .join_string(&file, Purpose::Serve, other_key, address())
                .unwrap()
                .id,
            first.id
        );
    }

    #[test]
    fn a_revoked_grant_is_refused_and_listed_and_replaced_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let file = JoinFile::new(folder.path(), Purpose::Serve, None);
        let grants = Grants::new(folder.path());
        let join = grants
            .join_string(&file, Purpose::Exit, pin(), address())
            .unwrap();
        assert!(grants.check(join.id, join.secret.expose()).is_ok());
        grants.revoke(join.id).unwrap();
        assert!(
            is_unknown(grants.check(join.id, join.secret.expose()))
                && grants.standing(join.id) == Standing::Revoked
        );
        assert!(matches!(
            grants.revoke(join.id),
            Err(GrantError::Revoked(_))
        ));
        let listed = grants.list().unwrap().grants;
        assert!(listed.len() == 1 && listed[0].revoked && listed[0].purpose == Purpose::Exit);
        assert_ne!(
            grants
                .join_string(&file, Purpose::Exit, pin(), address())
                .unwrap()
                .id,
            join.id
        );
    }

    #[test]
    fn a_join_string_in_the_file_of_an_earlier_version_stays_in_use_for_its_purpose_only() {
        let folder = tempfile::tempdir().unwrap();
        let grants = Grants::new(folder.path());
        let files = [Purpose::Serve, Purpose::Exit]
            .map(|purpose| JoinFile::new(folder.path(), purpose, None));
        let old = grants
            .join_string(&files[1], Purpose::Exit, pin(), address())
            .unwrap();
        std::fs::rename(&files[1].path, folder.path().join("join")).unwrap();
        let serve = grants
            .join_string(&files[0], Purpose::Serve, pin(), address())
            .unwrap();
        assert_ne!(serve.id, old.id);
        assert_eq!(
            grants
                .join_string(&files[1], Purpose::Exit, pin(), address())
                .unwrap()
                .id,
            old.id
        );
        assert_eq!(
            grants
                .join_string(&files[0], Purpose::Serve, pin(), address())
                .unwrap()
                .id,
            serve.id
        );
    }

    #[test]
    fn one_purposes_grant_does_not_serve_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = JoinFile::new(folder.path(), Purpose::Serve, None);
        let grants = Grants::new(folder.path());
        let serve = grants
            .join_string(&file, Purpose::Serve, pin(), address())
            .unwrap();
        assert_ne!(
            grants
                .join_string(&file, Purpose::Exit, pin(), address())
                .unwrap()
                .id,
            serve.id
        );
    }
}
