//! Wire: one end of a TCP connection, with raw access for tests.
//!
//! In:    bytes to send, together or one by one; FIN; reset.
//! Out:   received bytes, and how they ended.
//! Never: waits longer than `PATIENCE`.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::PATIENCE;

/// One end of a connection, with what was read from it and not used yet.
pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// How the other side ended its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By a FIN.
    Fin,
    /// By a reset.
    Reset,
}

impl Wire {
    /// Takes over an open connection.
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    /// An unconnected wire, which replaces the real one when it is moved out.
    pub(crate) fn unconnected() -> Self {
        Self::new(
            Socket::new(Domain::IPV4, Type::STREAM, None)
                .unwrap()
                .into(),
        )
    }

    /// Sends all of `bytes`.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).expect("sending");
        self
    }

    /// Sends each byte in its own packet.
    #[track_caller]
    pub fn send_bytewise(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        for byte in bytes.as_ref() {
            self.stream.write_all(&[*byte]).expect("sending a byte");
        }
        self
    }

    /// Sends as long as the other side accepts it; returns whether all was sent.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends until it would wait longer than `wait` for room; returns how much was sent.
    pub fn send_until_full(&mut self, mut bytes: &[u8], wait: Duration) -> usize {
        let all = bytes.len();
        self.stream.set_write_timeout(Some(wait)).unwrap();
        while let Ok(n) = self.stream.write(bytes) {
            bytes = &bytes[n..];
            if bytes.is_empty() {
                break;
            }
        }
        self.stream.set_write_timeout(Some(PATIENCE)).unwrap();
        all - bytes.len()
    }

    /// Sends FIN; reading continues.
    pub fn finish(&mut self) -> &mut Self {
        // The other side may have closed already; then the test checks for that.
        let _ = self.stream.shutdown(Shutdown::Write);
        self
    }

    /// Resets the connection.
    pub fn reset(self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// Reads exactly `n` bytes.
    #[track_caller]
    pub fn exactly(&mut self, n: usize) -> Vec<u8> {
        while self.unread.len() < n {
            assert!(
                self.more(),
                "the stream ended after {:?}, {n} bytes were expected",
                self.shown()
            );
        }
        self.unread.drain(..n).collect()
    }

    /// Reads exactly `n` bytes; `None` if the stream ends before.
    #[track_caller]
    pub fn try_exactly(&mut self, n: usize) -> Option<Vec<u8>> {
        while self.unread.len() < n {
            if !self.more() {
                return None;
            }
        }
        Some(self.unread.drain(..n).collect())
    }

    /// Reads exactly `n` bytes, piece by piece.
    #[track_caller]
    pub fn exactly_each(&mut self, n: u64, mut take: impl FnMut(&[u8])) {
        let mut left = n;
        while left > 0 {
            assert!(self.fill(), "the stream ended {left} bytes early");
            let len = self
                .unread
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            take(&self.unread[..len]);
            self.unread.drain(..len);
            left -= len as u64;
        }
    }

    /// Reads up to and including the first `mark`.
    #[track_caller]
    pub fn until(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self
                .unread
                .windows(mark.len())
                .position(|window| window == mark)
            {
                return self.unread.drain(..at + mark.len()).collect();
            }
            assert!(
                self.more(),
                "the stream ended after {:?}, {:?} was expected",
                self.shown(),
                mark.escape_ascii()
            );
        }
    }

    /// Reads `bytes` and nothing else.
    #[track_caller]
    pub fn expect(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        let came = self.exactly(bytes.len());
        assert_eq!(
            came.escape_ascii().to_string(),
            bytes.escape_ascii().to_string()
        );
        self
    }

    /// Reads to the end; returns the bytes and how it ended.
    #[track_caller]
    pub fn to_end(&mut self) -> (Vec<u8>, Ending) {
        loop {
            match self.read() {
                Ok(0) => return (std::mem::take(&mut self.unread), Ending::Fin),
                Ok(_) => {}
                Err(Reset) => return (std::mem::take(&mut self.unread), Ending::Reset),
            }
        }
    }

    /// Reads the end of the connection, with nothing before it.
    #[track_caller]
    pub fn ended(&mut self) -> Ending {
        let (rest, ending) = self.to_end();
        assert!(
            rest.is_empty(),
            "received before the end: {:?}",
            rest.escape_ascii().to_string()
        );
        ending
    }

    /// Whether nothing was received so far and the other side has not ended. Does not wait.
    pub fn is_silent(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let looked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        self.unread.is_empty() && looked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Takes the unread bytes, without waiting for more.
    pub fn taken(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    /// Waits for at least one unread byte; false if the stream ended.
    #[track_caller]
    pub fn fill(&mut self) -> bool {
        !self.unread.is_empty() || self.more()
    }

    /// The address of this end.
    pub fn local(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    #[track_caller]
    fn more(&mut self) -> bool {
        self.read().is_ok_and(|n| n > 0)
    }

    #[track_caller]
    fn read(&mut self) -> Result<usize, Reset> {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(n) => {
                self.unread.extend_from_slice(&buffer[..n]);
                Ok(n)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!(
                    "nothing was received within {PATIENCE:?}; so far: {:?}",
                    self.shown()
                )
            }
            Err(_) => Err(Reset),
        }
    }

    fn shown(&self) -> String {
        self.unread[..self.unread.len().min(500)]
            .escape_ascii()
            .to_string()
    }
}

struct Reset;
