//! Wire: a connection of the generator: plain TCP, or TLS over it.
//!
//! In:    bytes to send.
//! Out:   received bytes, decrypted; the socket below, for the kernel's counters.
//! Never: holds a buffer for each connection.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Result;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::reach::Reach;
use super::scratch;
use super::tls::{TlsClient, TlsStream};
use std::net::SocketAddr;

/// A connection that bytes are read from and written to.
pub(crate) trait Wire {
    /// Reads once and passes the bytes to `look`; they are empty at the end of the stream. Cancel
    /// safe.
    async fn read<T>(&mut self, look: impl FnMut(&[u8]) -> T) -> io::Result<T>;

    /// Sends all bytes. Not cancel safe.
    async fn send(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl Wire for TcpStream {
    async fn read<T>(&mut self, look: impl FnMut(&[u8]) -> T) -> io::Result<T> {
        scratch::read(self, look).await
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes).await
    }
}

/// See the top of the file.
pub(crate) enum Connection {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP, after its handshake.
    Tls(Box<TlsStream>),
}

impl Connection {
    /// Opens a connection to `origin`; with `tls`, its handshake is over when this returns.
    pub(crate) async fn open(
        reach: Reach,
        origin: SocketAddr,
        tls: Option<&TlsClient>,
    ) -> Result<Self> {
        let stream = reach.open(origin).await?;
        Ok(match tls {
            None => Self::Plain(stream),
            Some(client) => Self::Tls(Box::new(client.handshake(stream).await?)),
        })
    }
}

impl Wire for Connection {
    async fn read<T>(&mut self, look: impl FnMut(&[u8]) -> T) -> io::Result<T> {
        match self {
            Self::Plain(stream) => stream.read(look).await,
            Self::Tls(stream) => stream.read(look).await,
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.send(bytes).await,
            Self::Tls(stream) => stream.send(bytes).await,
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.as_fd(),
        }
    }
}
