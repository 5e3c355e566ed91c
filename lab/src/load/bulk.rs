//! Bulk: one large body on one connection, down or up.
//!
//! In:    an open connection to the origin.
//! Out:   returns when the whole body has arrived.
//! Never: counts a handshake.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::answer::Answer;
use super::request::Request;
use super::{keepalive, scratch};

/// The direction of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the origin.
    Down,
    /// To the origin, which responds after the last byte.
    Up,
}

/// Moves `length` bytes and waits until the last has arrived.
pub(crate) async fn transfer(
    stream: &mut TcpStream,
    way: Way,
    length: u64,
    origin: SocketAddr,
) -> Result<()> {
    if way == Way::Down {
        let request = Request::get(length, origin);
        return keepalive::exchange(stream, &request.bytes, &mut Answer::expecting(length)).await;
    }
    let head = format!("PUT / HTTP/1.1\r\nHost: {origin}\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    scratch::write(stream, length).await?;
    let mut answer = Answer::expecting(0);
    while !scratch::read(stream, |bytes| answer.feed(bytes)).await?? {}
    Ok(())
}
