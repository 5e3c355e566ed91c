//! Grants: who may join this node, and what for: bearer secrets with an id, kept as digests in the state folder.
//!
//! In:    the folder `grants`, one file a grant; ids and secrets from hellos.
//! Out:   the rights of a grant that is known and not revoked; the join string, the same after a restart.
//! Never: keeps a secret of a grant anywhere but in the file of the join string, which its owner alone may read.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use byway_dial::Target;
pub use byway_link::Purpose;
use byway_link::{Conflict, Fingerprint, GrantId, GrantSecret, JoinString, store};
use parking_lot::Mutex;

/// What whoever holds a grant may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// What it is for.
    pub purpose: Purpose,
    /// Public ports that it may ask for. Default: from 1024.
    pub ports: RangeInclusive<u16>,
    /// What happens when it asks for a name that another identity of it holds. Default: it is refused.
    pub conflict: Conflict,
    /// When it was made, in seconds since 1970.
    pub created_s: u64,
    /// Whether it was revoked.
    pub revoked: bool,
    secret_sha256: [u8; 32],
}

/// The grants of a state folder.
#[derive(Debug)]
pub struct Grants {
    folder: PathBuf,
    looked: Mutex<Looked>,
}

/// What the folder was like when it was last looked at.
#[derive(Debug)]
struct Looked {
    at: Instant,
    changed: Option<SystemTime>,
    version: u64,
}

/// How often the folder is looked at, however many sessions ask.
const LOOK: Duration = Duration::from_millis(300);

/// Why a join string cannot be had, or a grant not be read or revoked.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The folder cannot be used.
    #[error("cannot use the grants in {}: {source}; look at the folder's owner and permissions", path.display())]
    Store {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No random numbers.
    #[error("no random numbers could be had for a new grant")]
    Random,
    /// No such grant.
    #[error("there is no grant {0} here; `byway token list` shows those there are")]
    Unknown(GrantId),
    /// Already.
    #[error("the grant {0} was revoked already")]
    Revoked(GrantId),
}

impl Grants {
    /// The grants in `state`.
    pub fn new(state: &Path) -> Self {
        let folder = state.join("grants");
        let looked = Looked { at: Instant::now(), changed: modified(&folder), version: 0 };
        Self { folder, looked: Mutex::new(looked) }
    }

    /// The rights of `id`, if `secret` is its secret and it was not revoked. The same time and the same answer for an id
    /// that is not known and for a secret that is wrong.
    pub fn check(&self, id: GrantId, secret: &[u8]) -> Option<Grant> {
        let known = self.read(&self.path(id), id);
        let shown = digest(&SHA256, secret);
        let expected = known.as_ref().map_or([0; 32], |grant| grant.secret_sha256);
        let matches = verify_slices_are_equal(shown.as_ref(), &expected).is_ok();
        known.filter(|_| matches)
    }

    /// A number that moves when grants were made or revoked: sessions that are there already then look at theirs.
    pub fn version(&self) -> u64 {
        let mut looked = self.looked.lock();
        if looked.at.elapsed() >= LOOK {
            looked.at = Instant::now();
            let changed = modified(&self.folder);
            if changed != looked.changed {
                looked.changed = changed;
                looked.version += 1;
            }
        }
        looked.version
    }

    /// Whether `id` is still good.
    pub fn is_good(&self, id: GrantId) -> bool {
        self.path(id).exists()
    }

    /// The join string in `file`, if it still says how to reach this node by a good grant for `purpose`; else a new one,
    /// with a new grant if need be.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn join_string(
        &self,
        file: &Path,
        purpose: Purpose,
        pin: Fingerprint,
        address: Target,
    ) -> Result<JoinString, GrantError> {
        let failed = |source| GrantError::Store { path: file.to_owned(), source };
        let old = store::read(file).map_err(failed)?.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok());
        let kept = old.filter(|join: &JoinString| {
            let good = self.check(join.id, join.secret.expose());
            join.pin == pin && good.is_some_and(|grant| grant.purpose == purpose)
        });
        let join = match kept {
            Some(join) => JoinString { address, ..join },
            None => {
                let (id, secret) = self.create(purpose, Conflict::Refuse, 1024..=u16::MAX)?;
                JoinString { pin, id, secret, address }
            }
        };
        store::replace(file, format!("{}\n", join.expose()).as_bytes()).map_err(failed)?;
        Ok(join)
    }

    /// Makes a grant.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn create(
        &self,
        purpose: Purpose,
        conflict: Conflict,
        ports: RangeInclusive<u16>,
    ) -> Result<(GrantId, GrantSecret), GrantError> {
        let (mut id, mut secret) = ([0; 6], [0; 24]);
        let random = SystemRandom::new();
        random.fill(&mut id).and_then(|()| random.fill(&mut secret)).map_err(|_| GrantError::Random)?;
        let mut secret_sha256 = [0; 32];
        secret_sha256.copy_from_slice(digest(&SHA256, &secret).as_ref());
        let id = GrantId::from_bytes(id);
        let created_s = now_s();
        let grant = Grant { id, purpose, ports, conflict, created_s, revoked: false, secret_sha256 };
        let path = self.path(id);
        store::create_new(&path, grant.text().as_bytes()).map_err(|source| GrantError::Store { path, source })?;
        Ok((id, GrantSecret::from_bytes(secret)))
    }

    /// Every grant, revoked ones too, the oldest first.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn list(&self) -> Result<Vec<Grant>, GrantError> {
        let failed = |source| GrantError::Store { path: self.folder.clone(), source };
        let files = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            files => files.map_err(failed)?,
        };
        let mut grants = Vec::new();
        for file in files {
            let path = file.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let (id, revoked) = name.strip_suffix(REVOKED).map_or((name, false), |id| (id, true));
            let grant = id.parse().ok().and_then(|id| self.read(&path, id));
            grants.extend(grant.map(|grant| Grant { revoked, ..grant }));
        }
        grants.sort_by_key(|grant| (grant.created_s, *grant.id.as_bytes()));
        Ok(grants)
    }

    /// Revokes a grant: from now on nobody joins by it, and a node that serves ends the sessions that did within a second.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn revoke(&self, id: GrantId) -> Result<(), GrantError> {
        let (path, gone) = (self.path(id), self.folder.join(format!("{id}{REVOKED}")));
        match std::fs::rename(&path, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && gone.exists() => Err(GrantError::Revoked(id)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(GrantError::Unknown(id)),
            renamed => renamed.map_err(|source| GrantError::Store { path, source }),
        }
    }

    fn path(&self, id: GrantId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    fn read(&self, path: &Path, id: GrantId) -> Option<Grant> {
        let bytes = store::read(path).ok().flatten()?;
        Grant::from_text(id, &String::from_utf8(bytes).ok()?)
    }
}

fn modified(folder: &Path) -> Option<SystemTime> {
    std::fs::metadata(folder).and_then(|metadata| metadata.modified()).ok()
}

/// The ending of a revoked grant's file.
const REVOKED: &str = ".revoked";

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Grant {
    fn text(&self) -> String {
        let conflict = match self.conflict {
            Conflict::Refuse => "refuse",
            Conflict::Share => "share",
            Conflict::Take => "take",
        };
        let sum: String = self.secret_sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        let (from, to) = (self.ports.start(), self.ports.end());
        format!(
            "purpose {}\nsecret-sha256 {sum}\ncreated {}\nports {from}-{to}\nconflict {conflict}\n",
            self.purpose, self.created_s
        )
    }

    fn from_text(id: GrantId, text: &str) -> Option<Self> {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        let purpose = match value("purpose")? {
            "serve" => Purpose::Serve,
            "exit" => Purpose::Exit,
            _ => return None,
        };
        let conflict = match value("conflict")? {
            "refuse" => Conflict::Refuse,
            "share" => Conflict::Share,
            "take" => Conflict::Take,
            _ => return None,
        };
        let secret_sha256 = *Fingerprint::from_hex(value("secret-sha256")?)?.as_bytes();
        let (from, to) = value("ports")?.split_once('-')?;
        let ports = from.parse().ok()?..=to.parse().ok()?;
        let created_s = value("created")?.parse().ok()?;
        Some(Self { id, purpose, ports, conflict, created_s, revoked: false, secret_sha256 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin() -> Fingerprint {
        Fingerprint::of_spki(b"key")
    }

    fn address() -> Target {
        "127.0.0.1:7000".parse().unwrap()
    }

    #[test]
    fn the_join_string_is_the_same_after_a_restart_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("join");
        let grants = Grants::new(folder.path());
        let first = grants.join_string(&file, Purpose::Serve, pin(), address()).unwrap();
        let second = Grants::new(folder.path()).join_string(&file, Purpose::Serve, pin(), address()).unwrap();
        assert_eq!(first.expose(), second.expose());
        assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), first.expose());
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let stored = std::fs::read_to_string(folder.path().join("grants").join(first.id.to_string())).unwrap();
        assert!(!stored.contains(&first.expose()[20..60]), "the secret itself is kept nowhere else");
    }

    #[test]
    fn another_address_keeps_the_grant_and_another_key_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("join");
        let grants = Grants::new(folder.path());
        let first = grants.join_string(&file, Purpose::Serve, pin(), address()).unwrap();
        let moved = grants.join_string(&file, Purpose::Serve, pin(), "t.example.com:443".parse().unwrap()).unwrap();
        assert_eq!((moved.id, moved.address.to_string().as_str()), (first.id, "t.example.com:443"));
        let other_key = Fingerprint::of_spki(b"other");
        assert_ne!(grants.join_string(&file, Purpose::Serve, other_key, address()).unwrap().id, first.id);
    }

    #[test]
    fn a_revoked_grant_is_refused_and_listed_and_replaced_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("join");
        let grants = Grants::new(folder.path());
        let join = grants.join_string(&file, Purpose::Exit, pin(), address()).unwrap();
        assert!(grants.check(join.id, join.secret.expose()).is_some());
        grants.revoke(join.id).unwrap();
        assert!(grants.check(join.id, join.secret.expose()).is_none() && !grants.is_good(join.id));
        assert!(matches!(grants.revoke(join.id), Err(GrantError::Revoked(_))));
        let listed = grants.list().unwrap();
        assert!(listed.len() == 1 && listed[0].revoked && listed[0].purpose == Purpose::Exit);
        assert_ne!(grants.join_string(&file, Purpose::Exit, pin(), address()).unwrap().id, join.id);
    }

    #[test]
    fn a_wrong_secret_and_an_unknown_id_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let grants = Grants::new(folder.path());
        let (id, _) = grants.create(Purpose::Serve, Conflict::Share, 2000..=3000).unwrap();
        assert!(grants.check(id, &[0; 24]).is_none());
        assert!(grants.check(GrantId::from_bytes([9; 6]), &[0; 24]).is_none());
        assert!(matches!(grants.revoke(GrantId::from_bytes([9; 6])), Err(GrantError::Unknown(_))));
        let grant = &grants.list().unwrap()[0];
        assert_eq!((grant.conflict, grant.ports.clone()), (Conflict::Share, 2000..=3000));
    }

    #[test]
    fn one_purposes_grant_does_not_serve_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("join");
        let grants = Grants::new(folder.path());
        let serve = grants.join_string(&file, Purpose::Serve, pin(), address()).unwrap();
        assert_ne!(grants.join_string(&file, Purpose::Exit, pin(), address()).unwrap().id, serve.id);
    }
}
