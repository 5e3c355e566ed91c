//! Hold: idle connections that have been used once.
//!
//! In:    how to reach the origin, and how many connections of which kind.
//! Out:   the open connections; dropping them closes them.
//! Never: leaves one unused: each has carried a request, as idle connections of real clients have.

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use super::reach::Reach;
use super::traffic::{Carrier, Traffic};

/// Opens `count` connections and sends one request on each, a few at a time: one after the other,
/// round trips would dominate the time.
pub(crate) async fn open(reach: Reach, count: usize, traffic: &Traffic) -> Result<Vec<Carrier>> {
    const LANES: usize = 50;
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let traffic = traffic.clone();
        lanes.spawn(open_some(
            reach,
            (lane..count).step_by(LANES).count(),
            traffic,
        ));
    }
    let mut held = Vec::with_capacity(count);
    while let Some(opened) = lanes.join_next().await {
        held.extend(opened??);
    }
    Ok(held)
}

async fn open_some(reach: Reach, count: usize, traffic: Traffic) -> Result<Vec<Carrier>> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let mut carrier = traffic.open(reach).await?;
        let answered = carrier.ask().await;
        answered.context("the request on a fresh connection")?;
        held.push(carrier);
    }
    Ok(held)
}
