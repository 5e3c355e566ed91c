//! Hold: idle connections that have been used once.
//!
//! In:    how to reach the origin, and how many connections.
//! Out:   the open sockets; dropping them closes them.
//! Never: leaves one unused: each has carried a request, as idle connections of real clients have.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::answer::Answer;
use super::keepalive::exchange;
use super::reach::Reach;
use super::request::Request;

/// Opens `count` connections and sends one request on each, a few at a time: one after the other,
/// round trips would dominate the time.
pub(crate) async fn open(reach: Reach, count: usize, origin: SocketAddr) -> Result<Vec<TcpStream>> {
    const LANES: usize = 50;
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        lanes.spawn(open_some(
            reach,
            (lane..count).step_by(LANES).count(),
            origin,
        ));
    }
    let mut held = Vec::with_capacity(count);
    while let Some(opened) = lanes.join_next().await {
        held.extend(opened??);
    }
    Ok(held)
}

async fn open_some(reach: Reach, count: usize, origin: SocketAddr) -> Result<Vec<TcpStream>> {
    const BODY_BYTES: u64 = 1024;
    let request = Request::get(BODY_BYTES, origin);
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = reach.open(origin).await?;
        let answered = exchange(
            &mut stream,
            &request.bytes,
            &mut Answer::expecting(BODY_BYTES),
        )
        .await;
        answered.context("the request on a fresh connection")?;
        held.push(stream);
    }
    Ok(held)
}
