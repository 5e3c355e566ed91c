//! Folder: what is kept of one account, so that no crash loses a certificate or repeats an order.
//!
//! ```text
//! acme/HOST-0123456789abcdef/       one account in one directory
//!     account.json                  its key and URL
//!     certificates/NAME.pem         a key and its chain, replaced as a whole
//!     orders/NAME                   an order under way: its URL, and the key of its certificate
//!     failures/NAME                 failures since the last success, and when to ask again
//! ```
//!
//! All files are readable by their owner only ([`crate::state_file`]).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::name::Name;
use crate::state_file;

/// The most certificates that are loaded at a start.
pub const MOST_CERTIFICATES: usize = 20_000;

/// The folder of an account.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

/// An order that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PendingOrder {
    /// The URL of the order.
    pub url: String,
    /// The key that the certificate is for, as PEM.
    pub key: String,
}

/// What is kept about failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failures {
    pub count: u32,
    pub retry_at: SystemTime,
}

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the folder, and removes what a crash has left of writes.
    pub(crate) fn open(&self) -> io::Result<()> {
        for part in ["certificates", "orders", "failures"] {
            let folder = self.path.join(part);
            state_file::make_folder(&folder)?;
            state_file::remove_scratch(&folder);
        }
        state_file::remove_scratch(&self.path);
        Ok(())
    }

    pub(crate) fn account(&self) -> io::Result<Option<Vec<u8>>> {
        state_file::read(&self.path.join("account.json"))
    }

    pub(crate) fn put_account(&self, json: &[u8]) -> io::Result<()> {
        state_file::replace(&self.path.join("account.json"), json)
    }

    /// Keeps the credentials of an account that the authority does not know (any more).
    pub(crate) fn forget_account(&self) -> io::Result<()> {
        let path = self.path.join("account.json");
        fs::rename(&path, self.path.join("account.json.old"))
    }

    pub(crate) fn bundle(&self, name: &Name) -> io::Result<Option<String>> {
        read_text(&self.bundle_path(name))
    }

    pub(crate) fn put_bundle(&self, name: &Name, text: &str) -> io::Result<()> {
        state_file::replace(&self.bundle_path(name), text.as_bytes())
    }

    /// The names that have a bundle, at most [`MOST_CERTIFICATES`].
    pub(crate) fn names(&self) -> Vec<Name> {
        let Ok(files) = fs::read_dir(self.path.join("certificates")) else {
            return Vec::new();
        };
        files
            .flatten()
            .filter_map(|file| {
                let file = file.file_name().into_string().ok()?;
                Name::from_file_stem(file.strip_suffix(".pem")?)
            })
            .take(MOST_CERTIFICATES)
            .collect()
    }

    pub(crate) fn order(&self, name: &Name) -> io::Result<Option<PendingOrder>> {
        let Some(text) = read_text(&self.order_path(name))? else {
            return Ok(None);
        };
        Ok(text.split_once('\n').map(|(url, key)| PendingOrder {
            url: url.to_owned(),
            key: key.to_owned(),
        }))
    }

    pub(crate) fn put_order(&self, name: &Name, order: &PendingOrder) -> io::Result<()> {
        let text = format!("{}\n{}", order.url, order.key);
        state_file::replace(&self.order_path(name), text.as_bytes())
    }

    pub(crate) fn remove_order(&self, name: &Name) {
        // What stays is tried once more, and refused by the authority then.
        let _ = fs::remove_file(self.order_path(name));
    }

    pub(crate) fn failures(&self, name: &Name) -> Option<Failures> {
        let text = read_text(&self.failures_path(name)).ok()??;
        let (count, retry_at) = text.trim().split_once(' ')?;
        let retry_at = Duration::from_secs(retry_at.parse().ok()?);
        Some(Failures {
            count: count.parse().ok()?,
            retry_at: SystemTime::UNIX_EPOCH.checked_add(retry_at)?,
        })
    }

    pub(crate) fn put_failures(&self, name: &Name, failures: Failures) -> io::Result<()> {
        let retry_at = failures.retry_at.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = retry_at.unwrap_or_default().as_secs();
        let text = format!("{} {seconds}\n", failures.count);
        state_file::replace(&self.failures_path(name), text.as_bytes())
    }

    fn bundle_path(&self, name: &Name) -> PathBuf {
        let file = format!("{}.pem", name.file_stem());
        self.path.join("certificates").join(file)
    }

    fn order_path(&self, name: &Name) -> PathBuf {
        self.path.join("orders").join(name.file_stem())
    }

    fn failures_path(&self, name: &Name) -> PathBuf {
        self.path.join("failures").join(name.file_stem())
    }
}

fn read_text(path: &Path) -> io::Result<Option<String>> {
    let bytes = state_file::read(path)?;
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again_and_only_the_owner_can_read_it() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::new(scratch.path().join("account"));
        folder.open().unwrap();
        let name = Name::new("*.example.com").unwrap();
        let order = PendingOrder {
            url: "https://authority.example/order/1".into(),
            key: "line\nline\n".into(),
        };
        assert_eq!(folder.order(&name).unwrap(), None);
        folder.put_order(&name, &order).unwrap();
        assert_eq!(folder.order(&name).unwrap(), Some(order));
        folder.remove_order(&name);
        assert_eq!(folder.order(&name).unwrap(), None);
        let failures = Failures {
            count: 3,
            retry_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        };
        folder.put_failures(&name, failures).unwrap();
        assert_eq!(folder.failures(&name), Some(failures));
        folder.put_bundle(&name, "secret").unwrap();
        assert_eq!(folder.bundle(&name).unwrap().unwrap(), "secret");
        assert_eq!(folder.names(), std::slice::from_ref(&name));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&folder.bundle_path(&name)), 0o600);
            assert_eq!(mode(folder.path()), 0o700);
        }
    }

    #[test]
    fn files_that_make_no_sense_are_as_good_as_none() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = Folder::new(scratch.path().to_owned());
        folder.open().unwrap();
        let name = Name::new("a.example.com").unwrap();
        for text in ["", "x", "1", "1 -5", "a 1", "1 99999999999999999999999"] {
            fs::write(folder.failures_path(&name), text).unwrap();
            assert_eq!(folder.failures(&name), None, "{text}");
        }
        fs::write(folder.order_path(&name), "no line end").unwrap();
        assert_eq!(folder.order(&name).unwrap(), None);
        fs::write(scratch.path().join("certificates/..pem"), "x").unwrap();
        fs::write(
            scratch
                .path()
                .join("certificates/a.example.com.pem.1.0123abcd.new"),
            "",
        )
        .unwrap();
        assert_eq!(folder.names(), []);
    }
}
