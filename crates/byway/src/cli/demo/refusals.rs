//! Refusals: journeys that must not arrive: a target that refuses, one that policy denies, a wrong password.
//!
//! In:    a scene.   Out: journeys that hold if the answer on each wire is the one that its protocol has for the case.
//! Never: content with any failure: the reason must be the right one.

use std::net::SocketAddr;

use anyhow::{anyhow, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use byway_dial::{DialError, ParentError, Scheme, Stream, Target};

use super::journeys::Journey;
use super::plan::USER;
use super::scene::{Scene, Way};
use super::visitor::Visitor;

/// An address of a private network, and the address at which clouds tell machines their secrets.
const PRIVATE: &str = "10.0.0.1:80";
const METADATA: &str = "169.254.169.254:80";

/// Every refusal.
pub(super) fn all(scene: &Scene) -> Vec<Journey<'_>> {
    let (at, refusing) = (&scene.at, scene.origin.refusing);
    let through_open = move |target: String| async move {
        let target: Target = target.parse()?;
        scene.through_parent(Scheme::Socks5, at.open, None, &target).await
    };
    let connect = |to: String| Ask { at: at.open, method: "CONNECT", target: to, fields: String::new() };
    let absolute =
        |to: &str| Ask { at: at.open, method: "GET", target: format!("http://{to}/"), fields: String::new() };
    let edge = |method, target: &str| Ask { at: at.edge, method, target: target.into(), fields: String::new() };
    let wrong = BASE64_STANDARD.encode(format!("{USER}:wrong"));
    let origin = scene.origin.http.to_string();
    let guarded = |ask: Ask, fields: String| Ask { at: at.guarded, fields, ..ask };
    let basic = format!("Proxy-Authorization: Basic {wrong}\r\n");

    let (refused, denied, unauthorized) = ("connection_refused", "destination_ip_prohibited", "http_request_denied");
    vec![
        Journey::new("refused target: SOCKS5", async move {
            told(through_open(refusing.to_string()).await, "reply 05, connection refused", |error| {
                matches!(error, ParentError::Refused)
            })
        }),
        Journey::new("refused target: SOCKS4a", socks4a(scene, refusing)),
        Journey::new("refused target: CONNECT", answered(scene, connect(refusing.to_string()), 502, refused)),
        Journey::new("refused target: absolute form", answered(scene, absolute(&refusing.to_string()), 502, refused)),
        Journey::new("refused upstream: edge", answered(scene, edge("GET", "/refused/"), 502, refused)),
        Journey::new("denied target: SOCKS5, private network", async move {
            told(through_open(PRIVATE.into()).await, "reply 02, not allowed", |error| {
                matches!(error, ParentError::Denied)
            })
        }),
        Journey::new(
            "denied target: CONNECT, metadata service",
            answered(scene, connect(METADATA.into()), 403, denied),
        ),
        Journey::new("denied target: absolute form", answered(scene, absolute(PRIVATE), 403, denied)),
        Journey::new("wrong password: SOCKS5", log_in(scene, Some("wrong"))),
        Journey::new("no password: SOCKS5", log_in(scene, None)),
        Journey::new(
            "wrong password: CONNECT",
            answered(scene, guarded(connect(origin.clone()), basic), 407, unauthorized),
        ),
        Journey::new(
            "no password: absolute form",
            answered(scene, guarded(absolute(&origin), String::new()), 407, unauthorized),
        ),
        Journey::new("CONNECT to the edge", answered(scene, edge("CONNECT", &origin), 405, "http_request_error")),
    ]
}

/// A request as it stands on the wire.
struct Ask {
    at: SocketAddr,
    method: &'static str,
    target: String,
    fields: String,
}

/// The answer has that status, and its Proxy-Status (RFC 9209) says why in that word.
async fn answered(scene: &Scene, ask: Ask, status: u16, error: &str) -> anyhow::Result<String> {
    let stream = scene.straight(&Target::Addr(ask.at)).await?;
    let host = if ask.method == "CONNECT" { ask.target.clone() } else { scene.origin.http.to_string() };
    let mut visitor = Visitor::on(stream, host);
    visitor.ask(ask.method, &ask.target, &ask.fields).await?;
    let answer = visitor.answer(ask.method).await?;
    visitor.text(&answer).await?;
    visitor.leave();
    let said = answer.field("Proxy-Status").unwrap_or_default();
    ensure!(answer.status == status, "status {} instead of {status} ({said})", answer.status);
    ensure!(said.contains(&format!("error={error};")), "Proxy-Status: {said} does not say {error}");
    ensure!(status != 407 || answer.field("Proxy-Authenticate").is_some(), "407 without Proxy-Authenticate");
    Ok(format!("{status}, {error}"))
}

/// The egress said no, in the right word: `answer` is what to call it.
fn told(
    opened: anyhow::Result<Stream>,
    answer: &str,
    is_right: impl FnOnce(&ParentError) -> bool,
) -> anyhow::Result<String> {
    let Err(error) = opened else { bail!("a stream was opened") };
    match error.downcast::<DialError>()? {
        DialError::Parent { source, .. } if is_right(&source) => Ok(answer.to_owned()),
        other => Err(anyhow!(other).context(format!("not answered with {answer}"))),
    }
}

async fn log_in(scene: &Scene, password: Option<&str>) -> anyhow::Result<String> {
    let credentials = password.map(|password| (USER.to_owned(), password.to_owned()));
    let target = Target::Addr(scene.origin.http);
    let opened = scene.through_parent(Scheme::Socks5, scene.at.guarded, credentials, &target).await;
    // A refused login has a status of its own (RFC 1929), and so has a greeting without the method (RFC 1928).
    let answer = if password.is_some() { "login refused" } else { "ff, no acceptable method" };
    told(opened, answer, |error| matches!(error, ParentError::Credentials))
}

async fn socks4a(scene: &Scene, refusing: SocketAddr) -> anyhow::Result<String> {
    match scene.through(Way::Socks4a, refusing).await {
        Ok(_) => bail!("a stream was opened"),
        Err(error) if error.to_string().contains("reply 91") => Ok(error.to_string()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_holds_for_the_right_reason_only() {
        let refused = |source| Err(DialError::Parent { parent: Target::Unix("/x".into()), source }.into());
        let is_denied = |error: &ParentError| matches!(error, ParentError::Denied);
        assert_eq!(told(refused(ParentError::Denied), "reply 02", is_denied).unwrap(), "reply 02");
        let wrong = told(refused(ParentError::Refused), "reply 02", is_denied).unwrap_err();
        assert!(format!("{wrong:#}").starts_with("not answered with reply 02: "), "{wrong:#}");
    }
}
