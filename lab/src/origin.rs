//! Origin: the HTTP/1.1 service behind every measured program, with as little work per request as
//! possible.
//!
//! In:    `GET /N` (answered with N bytes; with `Connection: close` the connection is closed
//!        afterwards), `GET /ws` (a WebSocket echo), and `PUT /` or `POST /` with a Content-Length
//!        (the body is discarded).
//! Out:   correct keep-alive responses with the few fields that an ordinary origin sends.
//! Never: reads a request that the lab itself would not send; anything else closes the connection.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result};
use memchr::memmem;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::load::{scratch, websocket};

/// A running origin, on the same thread as the load generator, so that neither has to wake the
/// other. Dropping it ends it.
pub(crate) struct Origin {
    addresses: Vec<SocketAddr>,
    counts: Arc<Counts>,
    _accepting: JoinSet<()>,
}

/// What the origin has counted since its start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    answered: AtomicU64,
}

impl Counts {
    /// Requests that were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }
}

impl Origin {
    /// Starts it on a free port of 127.0.0.1.
    pub(crate) fn start() -> Result<Self> {
        Self::start_many(1)
    }

    /// Starts it on a free port of this address.
    pub(crate) fn start_at(address: Ipv4Addr) -> Result<Self> {
        Self::start_on(address, 1)
    }

    /// Starts it on `count` ports, as that many origins for clients that pool connections.
    pub(crate) fn start_many(count: usize) -> Result<Self> {
        Self::start_on(Ipv4Addr::LOCALHOST, count)
    }

    fn start_on(address: Ipv4Addr, count: usize) -> Result<Self> {
        let answers: Answers = Arc::new(
            [1024, 64 << 10, 1 << 20]
                .map(|length| (length, answer(length)))
                .into(),
        );
        let counts = Arc::new(Counts::default());
        let (mut addresses, mut accepting) = (Vec::with_capacity(count), JoinSet::new());
        for _ in 0..count {
            let listener = listen(address).context("opening the origin's port")?;
            addresses.push(listener.local_addr()?);
            accepting.spawn(accept(listener, Arc::clone(&answers), Arc::clone(&counts)));
        }
        Ok(Self {
            addresses,
            counts,
            _accepting: accepting,
        })
    }

    /// The address it listens on; the first, if it has several ports.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses
            .first()
            .copied()
            .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Every address that it listens on.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Its counters.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }
}

fn listen(address: Ipv4Addr) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((address, 0)).into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

async fn accept(listener: TcpListener, answers: Answers, counts: Arc<Counts>) {
    let mut serving = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    serving.spawn(serve(stream, Arc::clone(&answers), Arc::clone(&counts)));
                }
                // Out of descriptors. The case that opens too many connections reports that itself;
                // do not spin.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            Some(_) = serving.join_next() => {}
        }
    }
}

type Answers = Arc<HashMap<u64, Vec<u8>>>;

/// Serves one connection until it ends.
async fn serve(mut stream: TcpStream, answers: Answers, counts: Arc<Counts>) {
    let _ = stream.set_nodelay(true);
    let mut head = Vec::with_capacity(1024);
    while let Ok(Some(request)) = next_request(&mut stream, &mut head).await {
        let served = match request {
            Request::Get { length, last } => {
                let sent = match answers.get(&length) {
                    Some(answer) => stream.write_all(answer).await,
                    None => send_long(&mut stream, length).await,
                };
                if last {
                    counts.answered.fetch_add(1, Relaxed);
                    return;
                }
                sent
            }
            Request::Body => stream.write_all(answer_head(0).as_bytes()).await,
            // The client of the echo ends it by closing the connection.
            Request::Echo => return drop(websocket::echo(&mut stream).await),
        };
        if served.is_err() {
            return;
        }
        counts.answered.fetch_add(1, Relaxed);
    }
}

enum Request {
    Get {
        length: u64,
        /// Whether the connection is closed after the response.
        last: bool,
    },
    /// A PUT or a POST whose body has been read.
    Body,
    /// An upgrade to the WebSocket protocol.
    Echo,
}

/// Reads one request, body included. `None`: the connection has ended, or this is not a request of
/// the lab.
async fn next_request(
    stream: &mut TcpStream,
    head: &mut Vec<u8>,
) -> std::io::Result<Option<Request>> {
    head.clear();
    loop {
        // A read may also contain the body; only its length matters.
        let n = scratch::read(stream, |bytes| {
            let found = if head.is_empty() {
                memmem::find(bytes, b"\r\n\r\n")
            } else {
                None
            };
            if found.is_none_or(|end| end + 4 < bytes.len()) || !bytes.starts_with(b"GET ") {
                head.extend_from_slice(bytes);
                return Seen::Kept(bytes.len());
            }
            Seen::Get(get_request(bytes))
        });
        match n.await? {
            Seen::Get(request) => return Ok(request),
            Seen::Kept(0) => return Ok(None),
            Seen::Kept(_) => {}
        }
        if let Some(end) = memmem::find(head, b"\r\n\r\n") {
            return finish_request(stream, head, end + 4).await;
        }
    }
}

/// What one read contained: a whole GET (the usual case, nothing is copied), or bytes that were
/// kept for later.
enum Seen {
    Get(Option<Request>),
    Kept(usize),
}

async fn finish_request(
    stream: &mut TcpStream,
    head: &[u8],
    end: usize,
) -> std::io::Result<Option<Request>> {
    if head.starts_with(b"GET ") {
        return Ok(get_request(head));
    }
    let Some(length) = content_length(head.get(..end).unwrap_or_default()) else {
        return Ok(None);
    };
    let mut left = length.saturating_sub((head.len() - end) as u64);
    while left > 0 {
        match scratch::read(stream, |bytes| bytes.len() as u64).await? {
            0 => return Ok(None),
            n => left = left.saturating_sub(n),
        }
    }
    Ok(Some(Request::Body))
}

/// A GET of a body or of the echo.
fn get_request(head: &[u8]) -> Option<Request> {
    if let Some(length) = get_length(head) {
        // Exactly as the lab writes it; no other client uses this origin.
        let last = memmem::find(head, b"\r\nConnection: close\r\n").is_some();
        return Some(Request::Get { length, last });
    }
    let target = head
        .strip_prefix(b"GET ")?
        .strip_prefix(websocket::PATH.as_bytes())?;
    target.starts_with(b" ").then_some(Request::Echo)
}

/// The N of `GET /N `.
fn get_length(head: &[u8]) -> Option<u64> {
    let target = head.strip_prefix(b"GET /")?;
    let end = memchr::memchr(b' ', target)?;
    std::str::from_utf8(target.get(..end)?).ok()?.parse().ok()
}

/// The value of the Content-Length field of a head.
pub(crate) fn content_length(head: &[u8]) -> Option<u64> {
    let value = head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        name.eq_ignore_ascii_case(b"content-length:")
            .then_some(value)
    })?;
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

fn answer(length: u64) -> Vec<u8> {
    let mut answer = answer_head(length).into_bytes();
    answer.resize(answer.len() + length as usize, b'.');
    answer
}

fn answer_head(length: u64) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nServer: lab\r\nDate: Fri, 20 Nov 2026 00:00:00 GMT\r\nContent-Type: text/plain\r\n\
         Content-Length: {length}\r\nCache-Control: max-age=60\r\n\r\n"
    )
}

/// Sends a body that is not kept in memory.
async fn send_long(stream: &mut TcpStream, length: u64) -> std::io::Result<()> {
    stream.write_all(answer_head(length).as_bytes()).await?;
    scratch::write(stream, length).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_request_is_the_length_of_the_response() {
        assert_eq!(get_length(b"GET /1024 HTTP/1.1\r\n\r\n"), Some(1024));
        assert_eq!(get_length(b"GET /x HTTP/1.1\r\n\r\n"), None);
        assert_eq!(get_length(b"POST /1 HTTP/1.1\r\n\r\n"), None);
    }

    #[test]
    fn a_content_length_is_found_in_any_case() {
        assert_eq!(
            content_length(b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-LENGTH: 17\r\n\r\n"),
            Some(17)
        );
        assert_eq!(
            content_length(b"HTTP/1.1 200 OK\r\nX-Content-Length: 17\r\n\r\n"),
            None
        );
    }
}
