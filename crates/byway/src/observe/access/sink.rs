//! Sink: the destination of the lines of the access log and of the program's log.
//!
//! In:    whole lines, from the writer.
//! Out:   the same on standard output, on standard error or at the end of a file, as far as the
//!        sink takes them.
//! Never: waits longer than the given time, as far as the system can tell beforehand (for a disk it
//!        cannot).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::AccessPlace;

/// A write to a pipe up to this size is atomic (PIPE_BUF of pipe(7)); a larger one could block if
/// other processes write to the pipe, too.
const PIPE_BYTES: usize = 4096;

/// Where the lines of a log are written: standard output, standard error, or a file or FIFO.
#[derive(Debug)]
pub(in crate::observe) struct Sink {
    place: SinkTarget,
    /// Set if a line was cut off, to the length of the file then. The next write begins with a line
    /// end, so that only one line is lost; unless the file was truncated meanwhile, and with it the
    /// beginning of that line.
    torn: Option<u64>,
}

#[derive(Debug)]
enum SinkTarget {
    Standard {
        stream: Stream,
        /// A file takes any number of bytes.
        is_file: bool,
    },
    File {
        path: PathBuf,
        /// `None`: a FIFO without a reader.
        file: Option<File>,
    },
}

/// A standard stream of the process.
#[derive(Clone, Copy, Debug)]
enum Stream {
    Stdout,
    Stderr,
}

impl Sink {
    /// Standard error.
    pub(in crate::observe) fn stderr() -> Self {
        Self {
            place: SinkTarget::standard(Stream::Stderr),
            torn: None,
        }
    }

    /// Opens the sink for `place`; `None` if the log is off.
    ///
    /// # Errors
    /// The file can be neither opened nor created. A FIFO without a reader is not an error: a
    /// reader may open it later.
    pub(super) fn open(place: &AccessPlace) -> io::Result<Option<Self>> {
        let place = match place {
            AccessPlace::Off => return Ok(None),
            AccessPlace::Stdout => SinkTarget::standard(Stream::Stdout),
            AccessPlace::File(path) => SinkTarget::File {
                path: path.clone(),
                file: open(path)?,
            },
        };
        Ok(Some(Self { place, torn: None }))
    }

    /// Opens the file of that name again. The old one stays open if that fails.
    ///
    /// # Errors
    /// See [`Sink::open`].
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let SinkTarget::File { path, file } = &mut self.place {
            *file = open(path)?;
            self.torn = None;
        }
        Ok(())
    }

    /// Writes the beginning of `bytes`, and returns how much: 0 if the sink took nothing for
    /// `patience`.
    ///
    /// # Errors
    /// The disk is full, the reader is gone, or similar.
    pub(super) fn write(&mut self, bytes: &[u8], patience: Duration) -> io::Result<usize> {
        if self.torn.is_some_and(|length| self.length() < length) {
            self.torn = None;
        }
        if self.torn.is_some() {
            if self.write_some(b"\n", patience)? == 0 {
                return Ok(0);
            }
            self.torn = None;
        }
        self.write_some(bytes, patience)
    }

    /// The rest of a line was dropped.
    pub(super) fn tear(&mut self) {
        self.torn = Some(self.length());
    }

    /// The length of the file; 0 if it is not a file.
    fn length(&self) -> u64 {
        match &self.place {
            SinkTarget::Standard { stream, .. } => stream.length(),
            SinkTarget::File { file, .. } => file
                .as_ref()
                .and_then(|file| file.metadata().ok())
                .map_or(0, |data| data.len()),
        }
    }

    fn write_some(&mut self, bytes: &[u8], patience: Duration) -> io::Result<usize> {
        match &mut self.place {
            SinkTarget::Standard { stream, is_file } => {
                if !stream.is_ready(patience)? {
                    return Ok(0);
                }
                let most = if *is_file { bytes.len() } else { PIPE_BYTES };
                stream.write(bytes.get(..most).unwrap_or(bytes))
            }
            SinkTarget::File { path, file } => {
                if file.is_none() {
                    *file = open(path)?;
                }
                let Some(open) = file else {
                    std::thread::park_timeout(patience);
                    return Ok(0);
                };
                if !is_ready(open, patience)? {
                    return Ok(0);
                }
                match open.write(bytes) {
                    Err(error)
                        if matches!(
                            error.kind(),
                            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                        ) =>
                    {
                        Ok(0)
                    }
                    // The reader of the FIFO is gone; another one may open it.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                        *file = None;
                        Err(error)
                    }
                    written => written,
                }
            }
        }
    }
}

/// Opens a file so that no write blocks, if the system supports that. `None`: a FIFO without a
/// reader (ENXIO of open(2)).
fn open(path: &PathBuf) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options
            .mode(0o640)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
    }
    match options.open(path) {
        Ok(file) => Ok(Some(file)),
        #[cfg(unix)]
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error())
                && is_fifo(path) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn is_fifo(path: &PathBuf) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|file| file.file_type().is_fifo())
}

/// Whether a write would not block, now or within `patience`.
#[cfg(unix)]
fn is_ready(fd: &impl std::os::fd::AsFd, patience: Duration) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, poll};
    let limit = rustix::event::Timespec::try_from(patience).ok();
    match poll(&mut [PollFd::new(fd, PollFlags::OUT)], limit.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
fn is_ready<T>(_: &T, _: Duration) -> io::Result<bool> {
    Ok(true)
}

impl SinkTarget {
    fn standard(stream: Stream) -> Self {
        Self::Standard {
            stream,
            is_file: stream.is_file(),
        }
    }
}

#[cfg(unix)]
impl Stream {
    fn is_ready(self, patience: Duration) -> io::Result<bool> {
        match self {
            Self::Stdout => is_ready(&io::stdout(), patience),
            Self::Stderr => is_ready(&io::stderr(), patience),
        }
    }

    /// Bypasses the buffer of the standard library, whose lock and flushes are for interactive
    /// output.
    fn write(self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self {
            Self::Stdout => rustix::io::write(io::stdout(), bytes),
            Self::Stderr => rustix::io::write(io::stderr(), bytes),
        };
        match written {
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(0),
            written => Ok(written?),
        }
    }

    fn length(self) -> u64 {
        let stat = match self {
            Self::Stdout => rustix::fs::fstat(io::stdout()),
            Self::Stderr => rustix::fs::fstat(io::stderr()),
        };
        stat.ok()
            .and_then(|stat| u64::try_from(stat.st_size).ok())
            .unwrap_or_default()
    }

    fn is_file(self) -> bool {
        let stat = match self {
            Self::Stdout => rustix::fs::fstat(io::stdout()),
            Self::Stderr => rustix::fs::fstat(io::stderr()),
        };
        let kind = stat.map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode));
        kind.is_ok_and(|kind| kind == rustix::fs::FileType::RegularFile)
    }
}

#[cfg(not(unix))]
impl Stream {
    fn length(self) -> u64 {
        0
    }

    fn is_ready(self, _patience: Duration) -> io::Result<bool> {
        Ok(true)
    }

    fn write(self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)
                    .and_then(|()| out.flush())
                    .map(|()| bytes.len())
            }
            Self::Stderr => io::stderr().lock().write_all(bytes).map(|()| bytes.len()),
        }
    }

    fn is_file(self) -> bool {
        false
    }
}
