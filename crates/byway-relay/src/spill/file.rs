//! The spill file: unnamed, private, written at its end and read from the front.
//!
//! Never: has a name after it was opened, and never runs in a task: every call here may block.

use std::fs::File;
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::unnamed_file;
use crate::buffer::Buffer;

/// Opens an unnamed file in `directory`, mode 0600.
pub(super) fn open(directory: &Path) -> io::Result<File> {
    unnamed_file::open(directory).or_else(|_| open_and_unlink(directory))
}

/// Whether a file can be opened and written in `directory`.
pub(super) fn probe(directory: &Path) -> io::Result<()> {
    open(directory)?.write_all(b"byway")
}

/// Writes all of `pieces` at offset `at` and consumes the written bytes from them. Returns how many
/// those were, and the error if not all.
pub(super) fn write(mut file: &File, at: u64, pieces: &mut [Buffer]) -> (u64, io::Result<()>) {
    let mut written = 0;
    let mut run = || -> io::Result<()> {
        file.seek(SeekFrom::Start(at))?;
        while pieces.iter().any(|piece| !piece.is_empty()) {
            let slices: Vec<_> = pieces
                .iter()
                .map(|piece| IoSlice::new(piece.filled()))
                .collect();
            match file.write_vectored(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    written += n as u64;
                    consume(pieces, n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    let result = run();
    (written, result)
}

/// Reads `len` bytes at offset `at` into `piece`.
pub(super) fn read(file: &File, at: u64, len: usize, piece: &mut Buffer) -> io::Result<()> {
    let space = piece
        .space()
        .get_mut(..len)
        .ok_or(io::ErrorKind::InvalidInput)?;
    file.read_exact_at(space, at)?;
    piece.advance(len);
    Ok(())
}

fn consume(pieces: &mut [Buffer], mut n: usize) {
    for piece in pieces {
        let part = n.min(piece.len());
        piece.consume(part);
        n -= part;
    }
}

/// For file systems without unnamed files: the name exists only between these two calls, and
/// carries no information.
fn open_and_unlink(directory: &Path) -> io::Result<File> {
    let path = directory.join(format!(".spill-{:016x}", fastrand::u64(..)));
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Size;

    fn piece(bytes: &[u8]) -> Buffer {
        let mut piece = Buffer::take(Size::Small);
        piece.space()[..bytes.len()].copy_from_slice(bytes);
        piece.advance(bytes.len());
        piece
    }

    #[test]
    fn what_is_written_is_read_back() {
        let scratch = tempfile::tempdir().unwrap();
        for open in [open, open_and_unlink] {
            let file = open(scratch.path()).unwrap();
            assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
            let (written, result) = write(&file, 3, &mut [piece(b"spilled "), piece(b"bytes")]);
            result.unwrap();
            assert_eq!(written, 13);
            let mut back = piece(b"");
            read(&file, 5, 8, &mut back).unwrap();
            assert_eq!(back.filled(), b"illed by");
            assert!(read(&file, 5, 100, &mut back).is_err());
        }
    }

    #[test]
    fn a_failed_write_leaves_the_rest_in_the_pieces() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("read-only");
        std::fs::write(&path, "").unwrap();
        let mut pieces = [piece(b"kept")];
        let (written, result) = write(&File::open(&path).unwrap(), 0, &mut pieces);
        assert!(result.is_err());
        assert_eq!((written, pieces[0].filled()), (0, &b"kept"[..]));
    }
}
