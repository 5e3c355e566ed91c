//! Paused: journeys of a reader that pauses: the origin finishes before the reader reads a byte.
//!
//! In:    a scene.   Out: journeys.   Never: reads before the origin's connection has ended.

use anyhow::{Context, ensure};
use byway_link::CarrierKind;

use super::journeys::{Journey, receive};
use super::pattern::MIB;
use super::scene::{Scene, Way};
use super::visitor::Visitor;

/// The response body: far more than sockets and rings hold together.
const PAUSED_BYTES: u64 = 100 * MIB;

/// Ways that park bytes for a slow reader; those of two hops do it at the exit.
pub(super) fn all(scene: &Scene) -> Vec<Journey<'_>> {
    let paused = |way| Journey::new(format!("{way}: a reader that pauses"), paused(scene, way));
    let ways = [
        Way::Socks5,
        Way::Absolute,
        Way::DeskSocks5(CarrierKind::Quic),
        Way::DeskConnect(CarrierKind::Tls),
    ];
    ways.map(paused).into()
}

async fn paused(scene: &Scene, way: Way) -> anyhow::Result<String> {
    let mark = format!("paused-{:08x}", fastrand::u32(..));
    let ended = scene.origin.common.endings.expect(&mark);
    let mut visitor = Visitor::enter(scene, way).await?;
    visitor
        .ask(
            "GET",
            &format!("/bytes/{PAUSED_BYTES}?close&mark={mark}"),
            "",
        )
        .await?;
    // FIN, so that both sides of the origin's connection end before a byte is read here.
    visitor.finish().await?;
    ended
        .await
        .context("the origin's connection broke before its response was sent")?;
    let parked_mib = scene.parked_bytes(way) / MIB;
    ensure!(
        parked_mib > 0,
        "none of it is on the disk of the node that dials"
    );
    let saw = receive(scene, &mut visitor, PAUSED_BYTES).await?;
    visitor.leave();
    Ok(format!(
        "origin finished with {parked_mib} MiB of all readers on disk, then {saw}"
    ))
}
