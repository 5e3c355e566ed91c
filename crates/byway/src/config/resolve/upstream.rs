//! Upstream: one `to` of a route.
//!
//! In:    `127.0.0.1:9001`, `10.0.0.5`, `http://name:80`, `https://name`, `unix:/run/app.sock`.
//! Out:   an `UpstreamPlan` with its canonical id.
//! Never: takes a path, a query or credentials, which a route could not apply.

use std::sync::Arc;

use byway_dial::target::{parse_port, split_port};
use byway_dial::{BadTarget, Target};

use super::super::bind::{BadSocketPath, check_socket_path};
use super::super::plan::UpstreamPlan;
use super::super::section::Http2Mode;

/// Why a text is not an upstream.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadUpstream {
    #[error("`{0}` is a port alone: write 127.0.0.1:{0}")]
    PortAlone(u16),
    #[error(
        "`{0}` is the port of TLS, but has no scheme: write https://{1}, or http://{0} if it speaks plain HTTP there"
    )]
    TlsPort(String, String),
    #[error(
        "`{0}://` is not a scheme of an upstream: write http:// or https:// (WebSockets pass through both)"
    )]
    Scheme(String),
    #[error("an upstream is a host and a port, without `{0}`: the request keeps its own path")]
    Path(String),
    #[error("`{0}` is a path: for a Unix socket write unix:{0}")]
    SocketPath(String),
    #[error("an upstream takes no user and no password in its URL")]
    Credentials,
    #[error(transparent)]
    Target(#[from] BadTarget),
    #[error(transparent)]
    Socket(#[from] BadSocketPath),
}

pub(super) fn parse_upstream(text: &str) -> Result<UpstreamPlan, BadUpstream> {
    if text.starts_with("unix:") {
        return unix(text);
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return plain(text);
    };
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return Err(BadUpstream::Scheme(scheme.into())),
    };
    let authority = authority(rest)?;
    let default_port = if tls { 443 } else { 80 };
    let (host, port) = split_port(authority);
    let port = port.map_or(Ok(default_port), parse_port)?;
    Ok(over_tcp(tls, default_port, Target::from_host(host, port)?))
}

/// Without a scheme the protocol is HTTP, and the port is 80 unless another one is given.
fn plain(text: &str) -> Result<UpstreamPlan, BadUpstream> {
    if let Ok(port) = text.parse() {
        return Err(BadUpstream::PortAlone(port));
    }
    if text.starts_with('/') {
        return Err(BadUpstream::SocketPath(text.into()));
    }
    let authority = authority(text)?;
    match split_port(authority) {
        (_, Some("443")) => {
            let target: Target = authority.parse()?;
            let bare = target.to_string();
            let host = bare.trim_end_matches(":443").to_owned();
            Err(BadUpstream::TlsPort(bare, host))
        }
        (host, None) => Ok(over_tcp(false, 80, Target::from_host(host, 80)?)),
        _ => Ok(over_tcp(false, 80, authority.parse()?)),
    }
}

fn unix(text: &str) -> Result<UpstreamPlan, BadUpstream> {
    let target: Target = text.parse()?;
    if let Target::Unix(path) = &target {
        check_socket_path(path)?;
    }
    let id: Arc<str> = target.to_string().into();
    Ok(UpstreamPlan {
        url: Arc::clone(&id),
        id,
        tls: false,
        options: None,
        http2: Http2Mode::Never,
        target,
        authority: "localhost".into(),
    })
}

fn over_tcp(tls: bool, default_port: u16, target: Target) -> UpstreamPlan {
    let whole = target.to_string();
    let scheme = if tls { "https" } else { "http" };
    let authority = whole
        .strip_suffix(&format!(":{default_port}"))
        .unwrap_or(&whole);
    let id: Arc<str> = format!("{scheme}://{whole}").into();
    UpstreamPlan {
        url: Arc::clone(&id),
        id,
        tls,
        options: None,
        http2: Http2Mode::Never,
        authority: authority.into(),
        target,
    }
}

/// The part before the path, which may only be `/`.
fn authority(rest: &str) -> Result<&str, BadUpstream> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    if authority.contains('@') {
        return Err(BadUpstream::Credentials);
    }
    match tail {
        "" | "/" => Ok(authority),
        tail => Err(BadUpstream::Path(tail.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> (String, String, bool) {
        let upstream = parse_upstream(text).unwrap();
        (
            upstream.id.to_string(),
            upstream.authority.to_string(),
            upstream.tls,
        )
    }

    #[test]
    fn every_form_has_one_canonical_id() {
        for (text, id, authority, tls) in [
            (
                "127.0.0.1:9001",
                "http://127.0.0.1:9001",
                "127.0.0.1:9001",
                false,
            ),
            (
                "App.internal:80",
                "http://app.internal:80",
                "app.internal",
                false,
            ),
            ("10.0.0.5", "http://10.0.0.5:80", "10.0.0.5", false),
            (
                "App.internal",
                "http://app.internal:80",
                "app.internal",
                false,
            ),
            (
                "[2001:db8::1]",
                "http://[2001:db8::1]:80",
                "[2001:db8::1]",
                false,
            ),
            (
                "http://app.internal",
                "http://app.internal:80",
                "app.internal",
                false,
            ),
            (
                "HTTP://app.internal/",
                "http://app.internal:80",
                "app.internal",
                false,
            ),
            (
                "http://app.internal:443",
                "http://app.internal:443",
                "app.internal:443",
                false,
            ),
            (
                "https://app.internal",
                "https://app.internal:443",
                "app.internal",
                true,
            ),
            (
                "https://192.0.2.1:8443",
                "https://192.0.2.1:8443",
                "192.0.2.1:8443",
                true,
            ),
            (
                "https://[2001:db8::1]",
                "https://[2001:db8::1]:443",
                "[2001:db8::1]",
                true,
            ),
            (
                "unix:/run/app.sock",
                "unix:/run/app.sock",
                "localhost",
                false,
            ),
        ] {
            assert_eq!(
                good(text),
                (id.to_owned(), authority.to_owned(), tls),
                "{text}"
            );
            assert_eq!(
                good(id),
                (id.to_owned(), authority.to_owned(), tls),
                "{id} is its own id"
            );
        }
    }

    #[test]
    fn errors_of_upstreams_suggest_what_to_write() {
        for (text, message) in [
            ("3000", "`3000` is a port alone: write 127.0.0.1:3000"),
            (
                "app:443",
                "`app:443` is the port of TLS, but has no scheme: write https://app, or http://app:443 if it speaks plain HTTP there",
            ),
            (
                "ws://app:80",
                "`ws://` is not a scheme of an upstream: write http:// or https:// (WebSockets pass through both)",
            ),
            (
                "http://app/api",
                "an upstream is a host and a port, without `/api`: the request keeps its own path",
            ),
            (
                "/run/app.sock",
                "`/run/app.sock` is a path: for a Unix socket write unix:/run/app.sock",
            ),
            (
                "http://u:p@app",
                "an upstream takes no user and no password in its URL",
            ),
            (
                "http://app:0",
                "`0` is no port: write a number from 1 to 65535",
            ),
            (
                "app:99999",
                "`99999` is no port: write a number from 1 to 65535",
            ),
            (
                "unix:app.sock",
                "`unix:app.sock` is not absolute: write the whole path, such as unix:/run/app.sock",
            ),
        ] {
            assert_eq!(parse_upstream(text).unwrap_err().to_string(), message);
        }
        for text in [
            "",
            "70000",
            "http://",
            ":80",
            "::1",
            "http://a b",
            "http://[::1",
            "https://[::1]x",
            "unix:",
        ] {
            assert!(parse_upstream(text).is_err(), "{text}");
        }
    }
}
