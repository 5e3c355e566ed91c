//! Journeys: every journey of the check, and those that move requests and bodies.
//!
//! In:    a scene.
//! Out:   journeys, each with its name, that return what they saw or an error.
//! Never: starts before it is polled.

use anyhow::{bail, ensure};
use byway_dial::Target;
use futures_util::future::BoxFuture;

use super::message::read_to_fin;
use super::pattern::{MIB, Sum};
use super::scene::{Scene, Way};
use super::visitor::Visitor;
use super::{away, blocked, echoes, paused, refusals};

/// One journey.
pub(super) struct Journey<'a> {
    pub(super) name: String,
    /// Runs it.
    pub(super) steps: Steps<'a>,
}

/// What a journey does; returns what it saw.
pub(super) type Steps<'a> = BoxFuture<'a, anyhow::Result<String>>;

impl<'a> Journey<'a> {
    pub(super) fn new(
        name: impl ToString,
        steps: impl Future<Output = anyhow::Result<String>> + Send + 'a,
    ) -> Self {
        Self {
            name: name.to_string(),
            steps: Box::pin(steps),
        }
    }
}

/// MiB each way through one node, and over a link, which costs more: encryption, and another node.
const BULK_MIB: u64 = 64;
const LINKED_BULK_MIB: u64 = 32;

/// The response body that is requested before a FIN.
const HALF_CLOSED_BYTES: u64 = 8 * MIB;

/// All of them, in the order of the output.
pub(super) fn all(scene: &Scene) -> Vec<Journey<'_>> {
    let mut all = Vec::new();
    for way in Way::ALL {
        let mib = if way.carrier().is_some() {
            LINKED_BULK_MIB
        } else {
            BULK_MIB
        };
        all.extend([
            Journey::new(format!("{way}: two small requests"), small(scene, way)),
            Journey::new(
                format!("{way}: {mib} MiB down"),
                down(scene, way, mib * MIB),
            ),
            Journey::new(format!("{way}: {mib} MiB up"), up(scene, way, mib * MIB)),
            Journey::new(
                format!("{way}: FIN after the request"),
                half_closed(scene, way),
            ),
        ]);
    }
    all.push(Journey::new(
        "edge: upstream on a Unix socket",
        over_unix(scene),
    ));
    all.push(Journey::new(
        "edge: a refusing upstream is skipped",
        skip(scene),
    ));
    all.extend(echoes::all(scene));
    all.extend(refusals::all(scene));
    all.extend(paused::all(scene));
    all.extend(away::all(scene));
    all.extend(blocked::all(scene));
    all
}

/// Two requests on one connection: checks keep-alive and the fields of the proxies.
async fn small(scene: &Scene, way: Way) -> anyhow::Result<String> {
    let mut visitor = Visitor::enter(scene, way).await?;
    visitor.fetch("/").await?;
    let (answer, head) = visitor.fetch("/headers").await?;
    visitor.leave();
    let (in_request, in_response) = (
        head.contains("Via: 1.1 byway"),
        answer.field("Via").is_some(),
    );
    ensure!(
        in_request == way.speaks_http() && in_response == way.speaks_http(),
        "the origin saw this head:\n{head}"
    );
    ensure!(
        way.forwards_visitor() == head.contains("X-Forwarded-For: 127.0.0.1"),
        "the origin saw this head:\n{head}"
    );
    Ok(format!(
        "200 twice, {}",
        if in_request {
            "with Via"
        } else {
            "bytes unchanged"
        }
    ))
}

async fn down(scene: &Scene, way: Way, bytes: u64) -> anyhow::Result<String> {
    let mut visitor = Visitor::enter(scene, way).await?;
    visitor.ask("GET", &format!("/bytes/{bytes}"), "").await?;
    let saw = receive(scene, &mut visitor, bytes).await?;
    visitor.leave();
    Ok(saw)
}

async fn up(scene: &Scene, way: Way, bytes: u64) -> anyhow::Result<String> {
    let mut visitor = Visitor::enter(scene, way).await?;
    visitor
        .ask("PUT", "/sink", &format!("Content-Length: {bytes}\r\n"))
        .await?;
    visitor.send_pattern(bytes).await?;
    let answer = visitor.answer("PUT").await?;
    let text = visitor.text(&answer).await?;
    visitor.leave();
    let sum = scene.origin.common.pattern_sum(bytes).await?;
    let expected = format!("{bytes} bytes, sha256 {sum}\n");
    ensure!(
        answer.status == 200 && text == expected,
        "status {}: {}",
        answer.status,
        text.trim()
    );
    Ok(format!("200, {bytes} bytes, sha256 {}", prefix(&sum)))
}

/// The visitor sends FIN after the request, and still receives the whole response, then FIN.
async fn half_closed(scene: &Scene, way: Way) -> anyhow::Result<String> {
    let mut visitor = Visitor::enter(scene, way).await?;
    visitor
        .ask("GET", &format!("/bytes/{HALF_CLOSED_BYTES}"), "")
        .await?;
    visitor.finish().await?;
    let saw = receive(scene, &mut visitor, HALF_CLOSED_BYTES).await?;
    let extra = read_to_fin(&mut visitor.conn, 0).await?;
    ensure!(extra == 0, "{extra} bytes came after the response");
    Ok(format!("{saw}, then FIN"))
}

/// Reads a response of `bytes` bytes of the pattern.
pub(super) async fn receive(
    scene: &Scene,
    visitor: &mut Visitor,
    bytes: u64,
) -> anyhow::Result<String> {
    let answer = visitor.answer("GET").await?;
    if answer.status != 200 {
        bail!(
            "status {}: {}",
            answer.status,
            visitor.text(&answer).await?.trim()
        );
    }
    let sum = visitor.sum(&answer).await?;
    let expected = scene.origin.common.pattern_sum(bytes).await?;
    Ok(format!("200, {}", compared(sum, bytes, &expected)?))
}

/// `N bytes, sha256 ABCD…`, if `sum` matches.
pub(super) fn compared(sum: Sum, bytes: u64, expected: &str) -> anyhow::Result<String> {
    let (came, hex) = (sum.bytes(), sum.hex());
    ensure!(came == bytes, "{came} bytes came instead of {bytes}");
    ensure!(
        hex == expected,
        "the bytes came changed: sha256 {hex} instead of {expected}"
    );
    Ok(format!("{came} bytes, sha256 {}", prefix(&hex)))
}

fn prefix(hex: &str) -> &str {
    hex.get(..12).unwrap_or(hex)
}

async fn over_unix(scene: &Scene) -> anyhow::Result<String> {
    let stream = scene.direct(&Target::Addr(scene.at.edge)).await?;
    let mut visitor = Visitor::on(stream, scene.at.edge);
    let (answer, _) = visitor.fetch("/unix/headers").await?;
    visitor.leave();
    let socket = answer.field("X-Origin").unwrap_or_default();
    ensure!(
        socket == "unix",
        "the origin answered on its {socket} socket"
    );
    Ok("200 from the Unix socket".into())
}

/// Twice as many requests as upstreams: round robin picks the refusing one at least once.
async fn skip(scene: &Scene) -> anyhow::Result<String> {
    let mut visitor = Visitor::enter(scene, Way::Edge).await?;
    for _ in 0..4 {
        visitor.fetch("/skip/headers").await?;
    }
    visitor.leave();
    Ok("200 four times, one of two upstreams refuses".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_or_changed_bytes_are_an_error() {
        let of = |bytes: &[u8]| {
            let mut sum = Sum::new();
            sum.add(bytes);
            sum
        };
        let expected = of(b"abc").hex();
        assert_eq!(
            compared(of(b"abc"), 3, &expected).unwrap(),
            "3 bytes, sha256 ba7816bf8f01"
        );
        assert!(
            compared(of(b"ab"), 3, &expected)
                .unwrap_err()
                .to_string()
                .starts_with("2 bytes came instead of 3")
        );
        assert!(
            compared(of(b"abd"), 3, &expected)
                .unwrap_err()
                .to_string()
                .starts_with("the bytes came changed")
        );
    }
}
