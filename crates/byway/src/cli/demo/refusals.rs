//! Refusals: journeys that must be refused: a target that refuses, one that policy denies, a wrong
//! password, a name that no agent exposes.
//!
//! In:    a scene.
//! Out:   journeys that pass if each protocol's reply is the one that it defines for the case.
//! Never: accepts another failure: the reason must be the right one.

use std::net::SocketAddr;

use anyhow::{anyhow, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use byway_dial::{DialError, ParentError, Scheme, Stream, Target};
use byway_link::CarrierKind;

use super::journeys::Journey;
use super::plan::{DOMAIN, USER};
use super::scene::{Scene, Way};
use super::visitor::Visitor;

/// An address of a private network, and the metadata service of clouds, which holds secrets.
const PRIVATE: &str = "10.0.0.1:80";
const METADATA: &str = "169.254.169.254:80";

/// Every refusal.
pub(super) fn all(scene: &Scene) -> Vec<Journey<'_>> {
    let mut all = by_one_node(scene);
    for carrier in [CarrierKind::Quic, CarrierKind::Tls] {
        all.extend(by_the_exit(scene, carrier));
    }
    all.extend(by_the_server(scene));
    all
}

fn by_one_node(scene: &Scene) -> Vec<Journey<'_>> {
    let (at, refusing) = (&scene.at, scene.origin.refusing);
    let wrong = BASE64_STANDARD.encode(format!("{USER}:wrong"));
    let basic = format!("Proxy-Authorization: Basic {wrong}\r\n");
    let origin = scene.origin.http.to_string();
    let connect = |to: &str| Ask::connect(at.open, to);
    let absolute = |to: &str| Ask::get(at.open, &format!("http://{to}/"), to);
    let guarded = |ask: Ask, fields: String| Ask {
        at: at.guarded,
        fields,
        ..ask
    };
    let edge_connect = Ask::connect(at.edge, &origin);
    vec![
        Journey::new(
            "refused target: SOCKS5",
            socks5(scene, at.open, refusing.to_string(), Reply::Refused),
        ),
        Journey::new("refused target: SOCKS4a", socks4a(scene, refusing)),
        Journey::new(
            "refused target: CONNECT",
            answered(scene, connect(&refusing.to_string()), 502, REFUSED),
        ),
        Journey::new(
            "refused target: absolute form",
            answered(scene, absolute(&refusing.to_string()), 502, REFUSED),
        ),
        Journey::new(
            "refused upstream: edge",
            answered(scene, Ask::get(at.edge, "/refused/", &origin), 502, REFUSED),
        ),
        Journey::new(
            "denied target: SOCKS5, private network",
            socks5(scene, at.open, PRIVATE.into(), Reply::Denied),
        ),
        Journey::new(
            "denied target: CONNECT, metadata service",
            answered(scene, connect(METADATA), 403, DENIED),
        ),
        Journey::new(
            "denied target: absolute form",
            answered(scene, absolute(PRIVATE), 403, DENIED),
        ),
        Journey::new("wrong password: SOCKS5", log_in(scene, Some("wrong"))),
        Journey::new("no password: SOCKS5", log_in(scene, None)),
        Journey::new(
            "wrong password: CONNECT",
            answered(scene, guarded(connect(&origin), basic), 407, UNAUTHORIZED),
        ),
        Journey::new(
            "no password: absolute form",
            answered(
                scene,
                guarded(absolute(&origin), String::new()),
                407,
                UNAUTHORIZED,
            ),
        ),
        Journey::new(
            "CONNECT to the edge",
            answered(scene, edge_connect, 405, "http_request_error"),
        ),
    ]
}

/// The desk returns the exit's refusals as its own.
fn by_the_exit(scene: &Scene, carrier: CarrierKind) -> Vec<Journey<'_>> {
    let (desk, refusing) = (
        scene.at.over(carrier).desk,
        scene.origin.refusing.to_string(),
    );
    let named = |what: &str| format!("{what}, {carrier}");
    let absolute = Ask::get(desk, &format!("http://{refusing}/"), &refusing);
    vec![
        Journey::new(
            named("refused target: desk, SOCKS5"),
            socks5(scene, desk, refusing.clone(), Reply::Refused),
        ),
        Journey::new(
            named("refused target: desk, CONNECT"),
            answered(scene, Ask::connect(desk, &refusing), 502, REFUSED),
        ),
        Journey::new(
            named("refused target: desk, absolute form"),
            answered(scene, absolute, 502, REFUSED),
        ),
        Journey::new(
            named("denied by the exit: SOCKS5"),
            socks5(scene, desk, PRIVATE.into(), Reply::Denied),
        ),
        Journey::new(
            named("denied by the exit: CONNECT"),
            answered(scene, Ask::connect(desk, METADATA), 403, DENIED),
        ),
    ]
}

fn by_the_server(scene: &Scene) -> Vec<Journey<'_>> {
    let ask = |label: &str| Ask::get(scene.at.visitors, "/", &format!("{label}.{DOMAIN}"));
    vec![
        Journey::new(
            "exposed HTTP: the service refuses",
            answered(scene, ask("refused"), 502, REFUSED),
        ),
        Journey::new(
            "exposed HTTP: an unknown name",
            answered(scene, ask("unknown"), 404, "destination_not_found"),
        ),
    ]
}

/// A request as it is sent.
struct Ask {
    at: SocketAddr,
    method: &'static str,
    target: String,
    host: String,
    fields: String,
}

impl Ask {
    fn connect(at: SocketAddr, to: &str) -> Self {
        Self {
            at,
            method: "CONNECT",
            target: to.into(),
            host: to.into(),
            fields: String::new(),
        }
    }

    fn get(at: SocketAddr, target: &str, host: &str) -> Self {
        Self {
            at,
            method: "GET",
            target: target.into(),
            host: host.into(),
            fields: String::new(),
        }
    }
}

/// A SOCKS5 reply that refuses.
#[derive(Clone, Copy)]
enum Reply {
    Refused,
    Denied,
}

/// Error types of Proxy-Status (RFC 9209).
const REFUSED: &str = "connection_refused";
const DENIED: &str = "destination_ip_prohibited";
const UNAUTHORIZED: &str = "http_request_denied";

/// Expects a response with `status`, and `error` in its Proxy-Status (RFC 9209).
async fn answered(scene: &Scene, ask: Ask, status: u16, error: &str) -> anyhow::Result<String> {
    let stream = scene.direct(&Target::Addr(ask.at)).await?;
    let mut visitor = Visitor::on(stream, ask.host);
    visitor.ask(ask.method, &ask.target, &ask.fields).await?;
    let answer = visitor.answer(ask.method).await?;
    visitor.text(&answer).await?;
    visitor.leave();
    let proxy_status = answer.field("Proxy-Status").unwrap_or_default();
    ensure!(
        answer.status == status,
        "status {} instead of {status} ({proxy_status})",
        answer.status
    );
    ensure!(
        proxy_status.contains(&format!("error={error};")),
        "Proxy-Status: {proxy_status} does not have {error}"
    );
    ensure!(
        status != 407 || answer.field("Proxy-Authenticate").is_some(),
        "407 without Proxy-Authenticate"
    );
    Ok(format!("{status}, {error}"))
}

/// Expects that the egress refused with the right reply, which `answer` describes.
fn refused(
    opened: anyhow::Result<Stream>,
    answer: &str,
    is_right: impl FnOnce(&ParentError) -> bool,
) -> anyhow::Result<String> {
    let Err(error) = opened else {
        bail!("a stream was opened")
    };
    match error.downcast::<DialError>()? {
        DialError::Parent { source, .. } if is_right(&source) => Ok(answer.to_owned()),
        other => Err(anyhow!(other).context(format!("not answered with {answer}"))),
    }
}

async fn socks5(
    scene: &Scene,
    at: SocketAddr,
    target: String,
    reply: Reply,
) -> anyhow::Result<String> {
    let opened = scene
        .through_parent(Scheme::Socks5h, at, None, &target.parse()?)
        .await;
    match reply {
        Reply::Refused => refused(opened, "reply 05, connection refused", |error| {
            matches!(error, ParentError::Refused)
        }),
        Reply::Denied => refused(opened, "reply 02, not allowed", |error| {
            matches!(error, ParentError::Denied)
        }),
    }
}

async fn log_in(scene: &Scene, password: Option<&str>) -> anyhow::Result<String> {
    let credentials = password.map(|password| (USER.to_owned(), password.to_owned()));
    let target = Target::Addr(scene.origin.http);
    let opened = scene
        .through_parent(Scheme::Socks5h, scene.at.guarded, credentials, &target)
        .await;
    // A refused login (RFC 1929) and a greeting without the method (RFC 1928) each have a status of
    // their own.
    let answer = if password.is_some() {
        "login refused"
    } else {
        "ff, no acceptable method"
    };
    refused(opened, answer, |error| {
        matches!(error, ParentError::Credentials)
    })
}

async fn socks4a(scene: &Scene, refusing: SocketAddr) -> anyhow::Result<String> {
    let opened = scene.through(Way::Socks4a, refusing).await;
    refused(opened, "reply 91, rejected", |error| {
        matches!(error, ParentError::Failed { status: None })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_passes_for_the_right_reason_only() {
        let failed = |source| {
            Err(DialError::Parent {
                parent: Target::Unix("/x".into()),
                source,
            }
            .into())
        };
        let is_denied = |error: &ParentError| matches!(error, ParentError::Denied);
        assert_eq!(
            refused(failed(ParentError::Denied), "reply 02", is_denied).unwrap(),
            "reply 02"
        );
        let wrong = refused(failed(ParentError::Refused), "reply 02", is_denied).unwrap_err();
        assert!(
            format!("{wrong:#}").starts_with("not answered with reply 02: "),
            "{wrong:#}"
        );
    }
}
