//! State file: small files of the state folder: keys, epochs, reservations.
//!
//! In:    a path and its whole new content.
//! Out:   the whole content, new or old; only the owner can read it.
//! Never: leaves a partly written file, even if the machine crashes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest file of the folder, in bytes: a longer one is neither read nor written. This bounds
/// the cost of a wrong path such as `/dev/zero`.
pub const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// The content of `path`, or `None` if there is no such file.
///
/// # Errors
/// `FileTooLarge` above [`MOST_BYTES`]; else the system error.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    check_length(&bytes)?;
    Ok(Some(bytes))
}

/// A file that could not be read again is not written.
fn check_length(content: &[u8]) -> io::Result<()> {
    if content.len() as u64 > MOST_BYTES {
        let text = format!("the file is longer than {MOST_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(())
}

/// Writes a file that must not exist yet.
///
/// # Errors
/// `AlreadyExists` if it does, `FileTooLarge` above [`MOST_BYTES`]; else the system error.
pub fn create_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let scratch = scratch_of(path);
    // A hard link fails where a rename would replace.
    let linked = write_whole(&scratch, content).and_then(|()| fs::hard_link(&scratch, path));
    // If this fails, the next start removes it.
    let _ = fs::remove_file(&scratch);
    linked
}

/// Replaces the content of `path`, or creates it.
///
/// # Errors
/// `FileTooLarge` above [`MOST_BYTES`]; else the system error. The old content is then still
/// there.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let scratch = scratch_of(path);
    let replaced = write_whole(&scratch, content).and_then(|()| fs::rename(&scratch, path));
    if replaced.is_err() {
        // If this fails, the next start removes it.
        let _ = fs::remove_file(&scratch);
    }
    replaced
}

/// What to do about a file of the state folder that cannot be read or written.
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => "free some space on its disk",
        io::ErrorKind::QuotaExceeded => "free some space, or raise the quota",
        io::ErrorKind::ReadOnlyFilesystem => {
            "its file system is mounted read-only: mount it for writing"
        }
        _ => "look at the folder's owner and permissions",
    }
}

/// Older scratch files were left behind by processes that were killed.
const SCRATCH_AGE: Duration = Duration::from_secs(600);

/// Removes the scratch files in `folder` that killed processes have left behind. Files that cannot
/// be removed stay.
pub fn remove_scratch(folder: &Path) {
    let Ok(files) = fs::read_dir(folder) else {
        return;
    };
    for file in files.flatten() {
        let is_old = || {
            let metadata = file.metadata().ok().filter(fs::Metadata::is_file)?;
            metadata.modified().ok()?.elapsed().ok()
        };
        if file.file_name().to_str().is_some_and(is_scratch)
            && is_old().is_some_and(|age| age > SCRATCH_AGE)
        {
            let _ = fs::remove_file(file.path());
        }
    }
}

/// Whether a file of this name was made by [`scratch_of`].
fn is_scratch(name: &str) -> bool {
    let mut parts = name.rsplit('.');
    let (end, random, process) = (parts.next(), parts.next(), parts.next());
    let is_random =
        |part: &str| part.len() == 8 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_process = |part: &str| part.parse::<u32>().is_ok();
    end == Some("new")
        && random.is_some_and(is_random)
        && process.is_some_and(is_process)
        && parts.next().is_some()
}

/// Waits for a lock that one process of this machine can hold at a time. It is held until the file
/// is dropped.
///
/// # Errors
/// The system error.
pub fn lock(path: &Path) -> io::Result<File> {
    make_folder_of(path)?;
    let file = private()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    file.lock()?;
    Ok(file)
}

fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    check_length(content)?;
    make_folder_of(path)?;
    let mut file = private()
        .create(true)
        .truncate(true)
        .write(true)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn make_folder_of(path: &Path) -> io::Result<()> {
    match path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        Some(folder) => make_folder(folder),
        None => Ok(()),
    }
}

/// Creates `folder`, accessible to its owner only, unless it exists.
///
/// # Errors
/// The system error.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn scratch_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(
        ".{}.{:08x}.new",
        std::process::id(),
        fastrand::u32(..)
    ));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_no_scratch_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        assert_eq!(read(&path).unwrap(), None);
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_too_long_to_be_read_is_an_error_and_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b");
        let most = vec![b'x'; MOST_BYTES as usize];
        replace(&path, &most).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().len(), most.len());
        let more = [&most[..], b"y"].concat();
        assert_eq!(
            replace(&path, &more).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        assert_eq!(
            read(&path).unwrap().unwrap().len(),
            most.len(),
            "the old content is still there"
        );
        fs::write(&path, &more).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_replacement_that_fails_leaves_no_scratch_file_behind_and_old_ones_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b");
        fs::create_dir(&path).unwrap();
        replace(&path, b"one").unwrap_err();
        create_new(&path, b"one").unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let old = std::time::SystemTime::now() - Duration::from_secs(3600);
        for (name, modified) in [
            ("names.12.0123abcd.new", Some(old)),
            ("names.13.0123abcd.new", None),
            ("mine.new", Some(old)),
            ("names", Some(old)),
        ] {
            fs::write(folder.path().join(name), "x").unwrap();
            let file = File::options()
                .write(true)
                .open(folder.path().join(name))
                .unwrap();
            modified
                .into_iter()
                .for_each(|modified| file.set_modified(modified).unwrap());
        }
        remove_scratch(folder.path());
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["b", "mine.new", "names", "names.13.0123abcd.new"]);
    }

    #[test]
    fn a_file_that_exists_is_not_created_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b");
        create_new(&path, b"one").unwrap();
        assert_eq!(
            create_new(&path, b"two").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(read(&path).unwrap().unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
