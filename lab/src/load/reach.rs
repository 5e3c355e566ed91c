//! Reach: how to open a connection to the origin through a measured program.
//!
//! In:    the program's address and protocol, and the origin's address.
//! Out:   a connected socket whose next byte goes to the origin (or to the edge in front of it).
//! Never: measures; handshakes are over before a measurement starts.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::answer::Answer;
use super::keepalive::exchange;
use super::request::Request;

/// How to reach the origin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reach {
    /// By connecting to this address: the origin itself, an edge or a forward.
    Plain(SocketAddr),
    /// By a SOCKS5 CONNECT through this address (RFC 1928), without authentication.
    Socks5(SocketAddr),
    /// By an HTTP CONNECT through this address (RFC 9110 section 9.3.6).
    Connect(SocketAddr),
}

impl Reach {
    /// Opens a connection to `origin`.
    pub(crate) async fn open(self, origin: SocketAddr) -> Result<TcpStream> {
        let (Self::Plain(first) | Self::Socks5(first) | Self::Connect(first)) = self;
        let mut stream = TcpStream::connect(first)
            .await
            .with_context(|| format!("connecting to {first}"))?;
        stream.set_nodelay(true)?;
        match self {
            Self::Plain(_) => {}
            Self::Socks5(_) => socks5(&mut stream, origin)
                .await
                .context("the SOCKS5 handshake")?,
            Self::Connect(_) => connect(&mut stream, origin)
                .await
                .context("the CONNECT request")?,
        }
        Ok(stream)
    }

    /// Opens a connection and returns it if the origin answers a request on it in time.
    pub(crate) async fn answers(self, origin: SocketAddr) -> Option<TcpStream> {
        const PATIENCE: Duration = Duration::from_secs(3);
        let attempt = async {
            let mut stream = self.open(origin).await?;
            exchange(
                &mut stream,
                &Request::get(1, origin).bytes,
                &mut Answer::expecting(1),
            )
            .await?;
            anyhow::Ok(stream)
        };
        timeout(PATIENCE, attempt).await.ok()?.ok()
    }
}

async fn socks5(stream: &mut TcpStream, target: SocketAddr) -> Result<()> {
    let SocketAddr::V4(target) = target else {
        bail!("the lab's origin has an IPv4 address")
    };
    stream.write_all(&[5, 1, 0]).await?;
    let mut method = [0; 2];
    stream.read_exact(&mut method).await?;
    ensure!(
        method == [5, 0],
        "it requires authentication method {}",
        method[1]
    );
    let mut request = vec![5, 1, 0, 1];
    request.extend_from_slice(&target.ip().octets());
    request.extend_from_slice(&target.port().to_be_bytes());
    stream.write_all(&request).await?;
    // Every program here answers with an IPv4 address, so the reply has one length.
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).await?;
    ensure!(
        reply[1] == 0 && reply[3] == 1,
        "it answered with reply {} and address type {}",
        reply[1],
        reply[3]
    );
    Ok(())
}

async fn connect(stream: &mut TcpStream, target: SocketAddr) -> Result<()> {
    stream
        .write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes())
        .await?;
    // Byte by byte, so that nothing after the head is consumed.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < 4096, "the answer's head does not end");
        head.push(stream.read_u8().await?);
    }
    let status = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    ensure!(
        status == b"200",
        "it answered {:?}",
        String::from_utf8_lossy(&head)
            .lines()
            .next()
            .unwrap_or_default()
    );
    Ok(())
}
