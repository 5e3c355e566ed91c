//! Websocket: the few frames of RFC 6455 that an echo needs.
//!
//! In:    a connection to the origin, through a proxy or directly.
//! Out:   an open WebSocket; masked messages sent, and their echoes compared.
//! Never: a message longer than a short frame holds (125 bytes), or a fragment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::reach::Reach;
use super::scratch;

/// The path on which the origin upgrades to WebSocket.
pub(crate) const PATH: &str = "/ws";

/// The length of a message.
pub(crate) const MESSAGE_BYTES: usize = 100;

/// Key and response of the example in RFC 6455 section 1.3: the lab needs no new key each time, and
/// so no SHA-1.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const TEXT: u8 = 0x81;
/// Two bytes of head and four of mask.
const MASKED_HEAD_BYTES: usize = 6;
const MOST_HEAD_BYTES: usize = 4096;

/// Many WebSockets, each sending its next message as soon as the last one was echoed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Websockets {
    /// The origin, which echoes.
    pub(crate) origin: SocketAddr,
    /// Open at once.
    pub(crate) count: usize,
    /// How long messages are counted.
    pub(crate) window: Duration,
}

impl Websockets {
    /// Runs the load. `measured` starts after all are open and warm, and gets the count of echoes.
    pub(crate) async fn run<T>(
        &self,
        reach: Reach,
        measured: impl AsyncFnOnce(&AtomicU64) -> Result<T>,
    ) -> Result<T> {
        let (echoed, leaving) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        // No WebSocket sends before all are open: the last ones would have to wait behind the
        // messages of the others.
        let mut streams = Vec::with_capacity(self.count);
        for _ in 0..self.count {
            streams.push(open(reach, self.origin).await?);
        }
        let talk = |stream| talk(stream, Arc::clone(&echoed), Arc::clone(&leaving));
        let mut talking: JoinSet<Result<()>> = streams.into_iter().map(talk).collect();
        let load = async {
            sleep(self.window / 6).await;
            measured(&echoed).await
        };
        let result = tokio::select! {
            result = load => result,
            broken = talking.join_next() => match broken.context("no WebSockets were requested")?? {
                Ok(()) => bail!("a WebSocket ended early"),
                Err(error) => Err(error),
            },
        }?;
        leaving.store(true, Relaxed);
        let _ = timeout(Duration::from_secs(2), async {
            while talking.join_next().await.is_some() {}
        })
        .await;
        Ok(result)
    }
}

async fn talk(
    mut stream: TcpStream,
    echoed: Arc<AtomicU64>,
    leaving: Arc<AtomicBool>,
) -> Result<()> {
    let (message, expected) = (masked(), unmasked());
    let mut echo = vec![0; expected.len()];
    while !leaving.load(Relaxed) {
        stream.write_all(&message).await?;
        stream.read_exact(&mut echo).await?;
        ensure!(echo == expected, "an echo is not what was sent");
        echoed.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// Opens one through `reach`.
pub(crate) async fn open(reach: Reach, origin: SocketAddr) -> Result<TcpStream> {
    let mut stream = reach.open(origin).await?;
    let request = format!(
        "GET {PATH} HTTP/1.1\r\nHost: {origin}\r\nUser-Agent: lab/1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    // The origin sends nothing after its response until the client does, so only the head can
    // arrive.
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(
            head.len() < MOST_HEAD_BYTES,
            "the answer's head does not end"
        );
        let n = scratch::read(&mut stream, |bytes| {
            head.extend_from_slice(bytes);
            bytes.len()
        });
        ensure!(n.await? > 0, "the connection was closed before the upgrade");
    }
    let first = String::from_utf8_lossy(&head)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    ensure!(
        first.starts_with("HTTP/1.1 101 "),
        "the upgrade was answered {first:?}"
    );
    ensure!(
        memmem::find(&head, ACCEPT.as_bytes()).is_some(),
        "the answer has a wrong Sec-WebSocket-Accept"
    );
    Ok(stream)
}

/// The origin's side: the upgrade response, then an echo of every message until the client closes.
pub(crate) async fn echo(stream: &mut TcpStream) -> Result<()> {
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;
    let mut frame = [0; MASKED_HEAD_BYTES + MESSAGE_BYTES];
    loop {
        stream.read_exact(&mut frame).await?;
        let (head, body) = frame.split_at_mut(MASKED_HEAD_BYTES);
        ensure!(
            head.starts_with(&[TEXT, 0x80 | MESSAGE_BYTES as u8]),
            "this is not a message of the lab"
        );
        let mask = [head[2], head[3], head[4], head[5]];
        body.iter_mut()
            .zip(mask.iter().cycle())
            .for_each(|(byte, mask)| *byte ^= mask);
        let answer = [&[TEXT, MESSAGE_BYTES as u8], &*body].concat();
        stream.write_all(&answer).await?;
    }
}

/// The frame that a client sends.
fn masked() -> Vec<u8> {
    let mut frame = vec![TEXT, 0x80 | MESSAGE_BYTES as u8];
    frame.extend(MASK);
    frame.extend(
        text()
            .zip(MASK.into_iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// The frame that the origin returns.
fn unmasked() -> Vec<u8> {
    [TEXT, MESSAGE_BYTES as u8]
        .into_iter()
        .chain(text())
        .collect()
}

fn text() -> impl Iterator<Item = u8> {
    (b'a'..=b'z').cycle().take(MESSAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::Origin;

    #[tokio::test]
    async fn the_origin_echoes_message_after_message() {
        let origin = Origin::start().unwrap();
        let mut stream = open(Reach::Plain(origin.address()), origin.address())
            .await
            .unwrap();
        for _ in 0..3 {
            stream.write_all(&masked()).await.unwrap();
            let mut echo = vec![0; unmasked().len()];
            stream.read_exact(&mut echo).await.unwrap();
            assert_eq!(echo, unmasked());
        }
    }

    #[test]
    fn a_masked_message_is_not_readable_and_has_the_length_of_its_head() {
        let frame = masked();
        assert_eq!(
            usize::from(frame[1] & 0x7f),
            frame.len() - MASKED_HEAD_BYTES
        );
        assert_ne!(frame[MASKED_HEAD_BYTES..], unmasked()[2..]);
    }
}
