//! Grants: who may join this node, and what for. A grant is a bearer secret with an id, stored as a
//! digest in the state folder.
//!
//! In:    the folder `grants`, one file per grant; ids and secrets from hellos.
//! Out:   the rights of a grant; the join string, the same after a restart.
//! Never: keeps a secret of a grant anywhere but in the file of the join string, which only its
//!        owner may read; and never treats a grant as revoked because its file cannot be read: only
//!        a file that is missing from the folder in which it was seen means that. A folder that is
//!        missing, or was created anew, counts as unreadable.

use std::collections::HashMap;
use std::fs::Metadata;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use byway_link::{Conflict, GrantId, GrantSecret};
use byway_tls::state_file;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use super::grant::{Grant, Purpose};
use super::grant::{matches, sum};
use crate::observe::log_limit::LogLimit;

/// The grants of a state folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Grants(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    /// Grants that were read, so that they stay valid while their files cannot be read. At most one
    /// per file.
    known: Mutex<HashMap<GrantId, Known>>,
    /// The folders in which the files were seen.
    seen: Mutex<Seen>,
    /// Log limit for files that could not be read.
    failures: LogLimit,
    /// Permits to wait for the disk.
    readers: Arc<Semaphore>,
    /// The threads that have read the files.
    #[cfg(test)]
    reader_threads: Mutex<Vec<String>>,
}

/// The folders in which grants were seen. Another folder in their place proves nothing about them.
#[derive(Debug, Default)]
struct Seen {
    /// The folder for grants that were not seen yet.
    folder: Option<FolderId>,
    /// The folder of each grant that was seen. At most one per file.
    grants: HashMap<GrantId, FolderId>,
}

/// Identifies a folder among those that had the same path. The time is part of it because inodes
/// are reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FolderId {
    device: u64,
    inode: u64,
    made: Option<SystemTime>,
}

impl FolderId {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        #[cfg(unix)]
        let (device, inode) = {
            use std::os::unix::fs::MetadataExt;
            (metadata.dev(), metadata.ino())
        };
        #[cfg(not(unix))]
        let (device, inode) = (0, 0);
        Ok(Self {
            device,
            inode,
            made: metadata.created().ok(),
        })
    }
}

#[derive(Debug)]
struct Known {
    grant: Grant,
    read_at: Stamp,
}

/// How many hellos may wait for the disk at once.
const READERS: usize = 16;

/// How long a hello waits for the disk. Less than the 3 s after which the other side gives up.
const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// The state of a grant that was valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its file exists, or its existence cannot be determined now.
    Good,
    /// Its file is missing from the folder in which it was seen.
    Revoked,
}

/// Why a grant is not accepted.
#[derive(Debug)]
pub enum NotGood {
    /// It does not exist, was revoked, or the secret is wrong.
    Unknown,
    /// Its existence cannot be determined now.
    Unreadable(io::Error),
}

/// Why a join string is not available, or a grant cannot be read or revoked.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The folder cannot be used.
    #[error("cannot use the grants in {}: {source}; {}", path.display(), state_file::advice(source))]
    Store {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// No random numbers.
    #[error("no random numbers are available for a new grant")]
    Random,
    /// No such grant.
    #[error("there is no grant {0} here; `byway token list` shows all grants")]
    Unknown(GrantId),
    /// It is revoked already.
    #[error("the grant {0} was revoked already")]
    Revoked(GrantId),
    /// It is valid, and may be in use.
    #[error(
        "the grant {0} is valid: revoke it first (`byway token revoke {0}`), or do both with `byway token forget --force {0}`"
    )]
    Good(GrantId),
}

/// The output of `byway token list`.
#[derive(Debug, Default)]
pub struct Listed {
    /// Every grant, including revoked ones, the oldest first.
    pub grants: Vec<Grant>,
    /// Files of grants that cannot be read.
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

impl Grants {
    /// The grants in `state`.
    pub fn new(state: &Path) -> Self {
        let folder = state.join("grants");
        let seen = Seen {
            folder: FolderId::of(&folder).ok(),
            grants: HashMap::new(),
        };
        Self(Arc::new(Inner {
            folder,
            known: Mutex::default(),
            seen: Mutex::new(seen),
            // A failure repeats twice a second for each grant in use.
            failures: LogLimit::with_first(1),
            readers: Arc::new(Semaphore::new(READERS)),
            #[cfg(test)]
            reader_threads: Mutex::default(),
        }))
    }

    /// The rights of `id`, if `secret` is its secret and it was not revoked. The result is the same
    /// for an unknown id and for a wrong secret. Waits for the disk.
    ///
    /// # Errors
    /// [`NotGood`].
    pub fn check(&self, id: GrantId, secret: &[u8]) -> Result<Grant, NotGood> {
        judge(self.look_up(id), secret)
    }

    /// The same on a thread that may wait for the disk. If the disk does not respond, a known grant
    /// stays as it was.
    ///
    /// # Errors
    /// [`NotGood`].
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn check_on(
        &self,
        runtime: &Handle,
        id: GrantId,
        secret: &[u8],
    ) -> Result<Grant, NotGood> {
        let looked = async {
            let permit = Arc::clone(&self.0.readers)
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            let grants = self.clone();
            let looking = runtime.spawn_blocking(move || {
                let _permit = permit;
                grants.look_up(id)
            });
            looking.await.map_err(io::Error::other)?
        };
        let looked = match timeout(DISK_PATIENCE, looked).await {
            Ok(looked) => looked,
            Err(_) => self.remembered(id, io::ErrorKind::TimedOut.into()),
        };
        judge(looked, secret)
    }

    /// Whether `id` is still valid. Waits for the disk, and needs no descriptor.
    pub fn standing(&self, id: GrantId) -> Standing {
        #[cfg(test)]
        self.note_thread();
        match std::fs::metadata(self.path(id)) {
            Ok(_) => {
                self.note_seen(id);
                Standing::Good
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.log_failure(&self.path(id), &error);
                Standing::Good
            }
            Err(_) => match self.missing(id) {
                Ok(None) => Standing::Revoked,
                Ok(Some(_)) | Err(_) => Standing::Good,
            },
        }
    }

    /// Records that the file of `id` exists in the current folder.
    fn note_seen(&self, id: GrantId) {
        let Ok(folder) = FolderId::of(&self.0.folder) else {
            return;
        };
        let mut seen = self.0.seen.lock();
        let before = seen.grants.insert(id, folder);
        // The folder contains a grant that was seen before, so it is the original one, mounted
        // again or restored.
        if before.is_some() || seen.folder.is_none() {
            seen.folder = Some(folder);
        }
    }

    /// Whether a missing file means that `id` was revoked.
    ///
    /// # Errors
    /// Why it cannot be determined: the folder is missing, or is another one.
    fn is_revoked(&self, id: GrantId) -> io::Result<bool> {
        let folder = FolderId::of(&self.0.folder)?;
        let is_there = |path: &Path| std::fs::metadata(path).is_ok();
        if is_there(&self.revoked_path(id)) {
            return Ok(true);
        }
        let expected = {
            let mut seen = self.0.seen.lock();
            let folder = *seen.folder.get_or_insert(folder);
            seen.grants.get(&id).copied().unwrap_or(folder)
        };
        // Checked again: the disk may have been mounted in the meantime.
        let is_missing = !is_there(&self.path(id));
        if folder != expected || FolderId::of(&self.0.folder)? != folder {
            let text = "it is not the folder that held the grants before; put their files back, or restart to use it";
            return Err(io::Error::other(text));
        }
        Ok(is_missing)
    }

    /// The grant `id`, from memory if its file has not changed or cannot be read now.
    fn look_up(&self, id: GrantId) -> io::Result<Option<Grant>> {
        #[cfg(test)]
        self.note_thread();
        let path = self.path(id);
        let stamp = match std::fs::metadata(&path) {
            Ok(metadata) => {
                self.note_seen(id);
                Stamp::of(&metadata)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.missing(id),
            Err(error) => return self.remembered(id, error),
        };
        if let Some(known) = self
            .0
            .known
            .lock()
            .get(&id)
            .filter(|known| known.read_at == stamp)
        {
            return Ok(Some(known.grant.clone()));
        }
        match read(&path, id) {
            Ok(Some(grant)) => {
                self.0.known.lock().insert(
                    id,
                    Known {
                        grant: grant.clone(),
                        read_at: stamp,
                    },
                );
                Ok(Some(grant))
            }
            Ok(None) => self.missing(id),
            Err(error) => self.remembered(id, error),
        }
    }

    /// The file does not exist: the grant was revoked, unless the whole folder is missing (a disk
    /// that is not mounted) or is another one.
    fn missing(&self, id: GrantId) -> io::Result<Option<Grant>> {
        match self.is_revoked(id) {
            Ok(true) => {
                self.0.known.lock().remove(&id);
                self.0.seen.lock().grants.remove(&id);
                Ok(None)
            }
            Ok(false) => self.last_read(id, io::ErrorKind::Interrupted.into()),
            Err(error) => {
                self.log_failure(&self.0.folder, &error);
                self.last_read(id, error)
            }
        }
    }

    /// The file cannot be read: the grant is as it was when it was last read.
    fn remembered(&self, id: GrantId, error: io::Error) -> io::Result<Option<Grant>> {
        self.log_failure(&self.path(id), &error);
        self.last_read(id, error)
    }

    fn last_read(&self, id: GrantId, error: io::Error) -> io::Result<Option<Grant>> {
        let known = self
            .0
            .known
            .lock()
            .get(&id)
            .map(|known| known.grant.clone());
        known.map_or(Err(error), |grant| Ok(Some(grant)))
    }

    fn log_failure(&self, path: &Path, error: &io::Error) {
        if let Some(line) = self.0.failures.count() {
            let (path, left_out) = (path.display(), line.left_out);
            tracing::error!(
                left_out,
                "cannot read {path}: {error}; sessions continue, and a grant that was not read before is refused as busy"
            );
        }
    }

    /// Creates a grant.
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
        random
            .fill(&mut id)
            .and_then(|()| random.fill(&mut secret))
            .map_err(|_| GrantError::Random)?;
        let id = GrantId::from_bytes(id);
        let created_s = now_s();
        let grant = Grant {
            id,
            purpose,
            ports,
            conflict,
            created_s,
            revoked: false,
            secret_sha256: sum(&secret),
        };
        let path = self.path(id);
        state_file::create_new(&path, grant.text().as_bytes())
            .map_err(|source| GrantError::Store { path, source })?;
        self.note_seen(id);
        Ok((id, GrantSecret::from_bytes(secret)))
    }

    /// Every grant, and the files that cannot be read.
    ///
    /// # Errors
    /// [`GrantError`], if the folder cannot be read.
    pub fn list(&self) -> Result<Listed, GrantError> {
        let failed = |source| GrantError::Store {
            path: self.0.folder.clone(),
            source,
        };
        let files = match std::fs::read_dir(&self.0.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Listed::default()),
            files => files.map_err(failed)?,
        };
        let mut listed = Listed::default();
        for file in files {
            let path = file.map_err(failed)?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let (id, revoked) = name
                .strip_suffix(REVOKED)
                .map_or((name, false), |id| (id, true));
            // Any other file is not a grant.
            let Ok(id) = id.parse() else { continue };
            match read(&path, id) {
                Ok(grant) => listed
                    .grants
                    .extend(grant.map(|grant| Grant { revoked, ..grant })),
                Err(error) => listed.unreadable.push((path, error)),
            }
        }
        listed
            .grants
            .sort_by_key(|grant| (grant.created_s, *grant.id.as_bytes()));
        Ok(listed)
    }

    /// Revokes a grant: from now on it admits no sessions, and a running node ends its sessions
    /// within a second.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn revoke(&self, id: GrantId) -> Result<(), GrantError> {
        let (path, revoked) = (self.path(id), self.revoked_path(id));
        match std::fs::rename(&path, &revoked) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && revoked.exists() => {
                Err(GrantError::Revoked(id))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(GrantError::Unknown(id)),
            renamed => renamed.map_err(|source| GrantError::Store { path, source }),
        }
    }

    /// Removes the file of a revoked grant, so that [`Grants::list`] does not show it any more.
    /// With `is_forced` a valid grant is revoked first.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn forget(&self, id: GrantId, is_forced: bool) -> Result<(), GrantError> {
        let path = self.revoked_path(id);
        if !path.exists() {
            if self.path(id).exists() && !is_forced {
                return Err(GrantError::Good(id));
            }
            self.revoke(id)?;
        }
        std::fs::remove_file(&path).map_err(|source| GrantError::Store { path, source })
    }

    #[cfg(test)]
    fn note_thread(&self) {
        self.0
            .reader_threads
            .lock()
            .extend(std::thread::current().name().map(str::to_owned));
    }

    /// The names of the threads that have read the files.
    #[cfg(test)]
    pub(super) fn reader_threads(&self) -> Vec<String> {
        self.0.reader_threads.lock().clone()
    }

    pub(super) fn path(&self, id: GrantId) -> PathBuf {
        self.0.folder.join(id.to_string())
    }

    fn revoked_path(&self, id: GrantId) -> PathBuf {
        self.0.folder.join(format!("{id}{REVOKED}"))
    }
}

fn judge(looked: io::Result<Option<Grant>>, secret: &[u8]) -> Result<Grant, NotGood> {
    let known = looked.map_err(NotGood::Unreadable)?;
    let right = matches(known.as_ref(), secret);
    known.filter(|_| right).ok_or(NotGood::Unknown)
}

fn read(path: &Path, id: GrantId) -> io::Result<Option<Grant>> {
    let Some(bytes) = state_file::read(path)? else {
        return Ok(None);
    };
    Grant::from_text(id, &String::from_utf8_lossy(&bytes)).map(Some)
}

/// The properties in which a changed or replaced file differs from the one that was read.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Self {
            inode,
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

/// The ending of a revoked grant's file.
const REVOKED: &str = ".revoked";

pub(crate) fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_unknown(checked: Result<Grant, NotGood>) -> bool {
        matches!(checked, Err(NotGood::Unknown))
    }

    #[test]
    fn a_grant_whose_file_cannot_be_read_does_not_count_as_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let grants = Grants::new(folder.path());
        let (id, secret) = grants
            .create(Purpose::Serve, Conflict::Refuse, 1024..=2000)
            .unwrap();
        let (path, aside) = (grants.path(id), folder.path().join("aside"));
        // A folder in the file's place: the file exists, and reading it fails.
        let break_it = || {
            std::fs::rename(&path, &aside).unwrap();
            std::fs::create_dir(&path).unwrap();
        };
        break_it();
        assert!(matches!(
            grants.check(id, secret.expose()),
            Err(NotGood::Unreadable(_))
        ));
        assert_eq!(grants.standing(id), Standing::Good);
        assert_eq!(
            grants.list().unwrap().unreadable.len(),
            1,
            "`token list` shows it as unreadable"
        );
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(&aside, &path).unwrap();
        assert!(grants.check(id, secret.expose()).is_ok());
        break_it();
        assert!(
            grants.check(id, secret.expose()).is_ok(),
            "a grant that was read stays valid"
        );
        assert!(is_unknown(grants.check(id, &[0; 24])));
        std::fs::remove_dir(&path).unwrap();
        assert!(
            is_unknown(grants.check(id, secret.expose())),
            "a missing file means a revoked grant"
        );
        std::fs::remove_dir(folder.path().join("grants")).unwrap();
        assert!(
            matches!(
                grants.check(id, secret.expose()),
                Err(NotGood::Unreadable(_))
            ),
            "a disk that is not mounted"
        );
        assert_eq!(
            grants.standing(id),
            Standing::Good,
            "a missing folder revokes nothing"
        );
    }

    #[test]
    fn a_folder_that_is_missing_for_some_seconds_or_was_created_anew_revokes_nothing() {
        let state = tempfile::tempdir().unwrap();
        let (folder, aside) = (state.path().join("grants"), state.path().join("aside"));
        let made = [1, 2, 3].map(|_| {
            let first = Grants::new(state.path());
            first
                .create(Purpose::Serve, Conflict::Refuse, 1024..=2000)
                .unwrap()
        });
        let grants = Grants::new(state.path());
        let is_good = |(id, secret): &(GrantId, GrantSecret)| {
            grants.standing(*id) == Standing::Good && grants.check(*id, secret.expose()).is_ok()
        };
        assert!(made.iter().all(is_good));
        std::fs::rename(&folder, &aside).unwrap();
        assert!(made.iter().all(is_good), "the disk is not mounted");
        std::fs::create_dir(&folder).unwrap();
        assert!(made.iter().all(is_good), "the folder was created anew");
        let added = Grants::new(state.path())
            .create(Purpose::Serve, Conflict::Refuse, 1024..=2000)
            .unwrap();
        assert!(
            is_good(&added) && made.iter().all(is_good),
            "a grant was added there"
        );
        // One file is back: that does not revoke the others. A grant that is revoked there is
        // revoked.
        std::fs::copy(aside.join(made[0].0.to_string()), grants.path(made[0].0)).unwrap();
        assert!(made.iter().all(is_good));
        Grants::new(state.path()).revoke(made[0].0).unwrap();
        assert_eq!(grants.standing(made[0].0), Standing::Revoked);
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::rename(&aside, &folder).unwrap();
        assert!(made[1..].iter().all(is_good), "the disk is mounted again");
        for (id, secret) in &made[1..] {
            Grants::new(state.path()).revoke(*id).unwrap();
            assert!(
                grants.standing(*id) == Standing::Revoked
                    && is_unknown(grants.check(*id, secret.expose()))
            );
        }
    }

    #[test]
    fn a_second_change_is_noticed_however_coarse_the_times_of_the_file_system_are() {
        let folder = tempfile::tempdir().unwrap();
        let grants = Grants::new(folder.path());
        let made = [1, 2].map(|_| {
            grants
                .create(Purpose::Serve, Conflict::Refuse, 1024..=2000)
                .unwrap()
        });
        let coarse = || {
            let file = std::fs::File::open(folder.path().join("grants")).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_000))
                .unwrap();
        };
        for (id, secret) in &made {
            assert!(grants.check(*id, secret.expose()).is_ok());
            coarse();
        }
        for (id, secret) in &made {
            Grants::new(folder.path()).revoke(*id).unwrap();
            coarse();
            assert!(
                grants.standing(*id) == Standing::Revoked
                    && is_unknown(grants.check(*id, secret.expose()))
            );
        }
    }

    #[test]
    fn a_wrong_secret_and_an_unknown_id_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let grants = Grants::new(folder.path());
        let (id, _) = grants
            .create(Purpose::Serve, Conflict::Share, 2000..=3000)
            .unwrap();
        assert!(is_unknown(grants.check(id, &[0; 24])));
        assert!(is_unknown(
            grants.check(GrantId::from_bytes([9; 6]), &[0; 24])
        ));
        assert!(matches!(
            grants.revoke(GrantId::from_bytes([9; 6])),
            Err(GrantError::Unknown(_))
        ));
        let grant = &grants.list().unwrap().grants[0];
        assert_eq!(
            (grant.conflict, grant.ports.clone()),
            (Conflict::Share, 2000..=3000)
        );
    }
}
