//! Checked request: a validated request, with everything that is decided before a connection is
//! acquired.
//!
//! In:    the parts of an `http::Request` and what is known of its body's length.
//! Out:   group, target, body framing, whether it may be repeated; or what is wrong with it.
//! Never: accepts a request that two parsers could read in two ways; corrects a request silently.

use super::error::Error;
use super::group::Group;
use super::target::Target;
use byway_dial::ServerName;
use byway_head::Framed;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use std::net::IpAddr;
use std::sync::Arc;

/// A request that has passed all checks, with what is decided before a connection is acquired: its
/// group, the framing of its body, and whether it may be repeated.
pub(crate) struct CheckedRequest {
    pub(crate) parts: Parts,
    pub(crate) group: Group,
    pub(crate) outgoing: Framed,
    /// May be repeated, by its method or by exactly one `Idempotency-Key`.
    pub(crate) idempotent: bool,
    pub(crate) expects_continue: bool,
    pub(crate) upgrades: bool,
    /// The caller wants the connection closed after the response.
    pub(crate) closes: bool,
    authority: Authority,
    port: u16,
    tls: bool,
    /// From a Host field that differs from the URL's host.
    server_name: Option<ServerName>,
}

/// The rule of [`AgentBuilder::group_by`](crate::AgentBuilder::group_by).
pub(crate) type GroupBy = Arc<dyn Fn(&Parts) -> Option<Arc<str>> + Send + Sync>;

impl CheckedRequest {
    /// Checks a request. `exact` is the length of its body, if known.
    pub(crate) fn new(
        parts: Parts,
        exact: Option<u64>,
        group_by: Option<&GroupBy>,
    ) -> Result<Self, Error> {
        refuse_version(parts.version)?;
        let tls = is_tls(&parts)?;
        let host = only(&parts.headers, &HOST)?;
        let authority = authority(&parts.uri, host)?;
        let port = port(&authority, tls)?;
        let connection = Connection::of(&parts.headers)?;
        let outgoing = outgoing(&parts, exact)?;
        let server_name = match (tls, host) {
            (true, Some(host)) => server_name_of_host(host, &authority)?,
            _ => None,
        };
        let group = match group_by.and_then(|rule| rule(&parts)) {
            Some(name) => {
                let verified = tls.then(|| {
                    server_name
                        .clone()
                        .map_or_else(|| server_name_of(&authority), Ok)
                });
                Group::custom(name, verified.transpose()?)
            }
            None => Group::origin(authority.clone(), port, tls, server_name.clone()),
        };
        Ok(Self {
            idempotent: is_repeatable(&parts),
            expects_continue: has_body(outgoing) && expects_continue(&parts.headers),
            upgrades: connection.upgrade && parts.headers.contains_key(UPGRADE),
            closes: connection.close,
            parts,
            group,
            outgoing,
            authority,
            port,
            tls,
            server_name,
        })
    }

    /// Where to dial; `fixed` if all requests go to one address.
    pub(crate) fn target(&self, fixed: Option<&byway_dial::Target>) -> Result<Target, Error> {
        let host = bare(self.authority.host()).to_ascii_lowercase();
        let address = match fixed {
            Some(fixed) => fixed.clone(),
            None => self.address()?,
        };
        let server_name = self.verified_name()?;
        Ok(Target {
            host,
            port: self.port,
            address,
            server_name,
            group: self.group.clone(),
        })
    }

    /// The request's own host and port.
    pub(crate) fn address(&self) -> Result<byway_dial::Target, Error> {
        byway_dial::Target::from_host(self.authority.host(), self.port)
            .map_err(|error| Error::invalid(error.to_string()))
    }

    /// The name that the certificate must have; `None` without TLS.
    pub(crate) fn verified_name(&self) -> Result<Option<ServerName>, Error> {
        match (self.tls, &self.server_name) {
            (false, _) => Ok(None),
            (true, Some(name)) => Ok(Some(name.clone())),
            (true, None) => server_name_of(&self.authority).map(Some),
        }
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The value of Host if the caller set none: the authority, without the scheme's default port.
    pub(crate) fn host(&self) -> &str {
        let default = if self.tls { 443 } else { 80 };
        match self.authority.port_u16() {
            Some(port) if port == default && self.parts.method != Method::CONNECT => {
                self.authority.host()
            }
            _ => self.authority.as_str(),
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls
    }
}

fn refuse_version(version: Version) -> Result<(), Error> {
    match version {
        Version::HTTP_11 => Ok(()),
        other => Err(Error::invalid(format!(
            "its version is {other:?}; the agent and the origin agree on HTTP/1.1 or HTTP/2: leave the version out"
        ))),
    }
}

fn is_tls(parts: &Parts) -> Result<bool, Error> {
    match parts.uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => Ok(false),
        Some(scheme) if *scheme == Scheme::HTTPS => Ok(true),
        None => Ok(false), // CONNECT, or a path with a Host field
        Some(other) => Err(Error::invalid(format!(
            "its scheme is `{other}`: write an http:// or https:// URL"
        ))),
    }
}

/// The URL's authority, or that of Host if the request has only a path.
fn authority(uri: &Uri, host: Option<&HeaderValue>) -> Result<Authority, Error> {
    let authority = match (uri.authority(), host) {
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) => Authority::try_from(host.as_bytes())
            .map_err(|_| Error::invalid("its Host field is not a host with an optional port"))?,
        (None, None) => {
            return Err(Error::invalid(
                "it has neither a whole URL nor a Host field: write http://host/path",
            ));
        }
    };
    if authority.as_str().contains('@') {
        return Err(Error::invalid(
            "its URL holds credentials: send them in an Authorization field",
        ));
    }
    if authority.host().is_empty() {
        return Err(Error::invalid("its URL has no host"));
    }
    Ok(authority)
}

fn port(authority: &Authority, tls: bool) -> Result<u16, Error> {
    let host_len = authority.host().len();
    match (authority.port_u16(), authority.as_str().len() > host_len) {
        (Some(port @ 1..), _) => Ok(port),
        (None, false) => Ok(if tls { 443 } else { 80 }),
        _ => Err(Error::invalid(format!(
            "`{authority}` has no valid port: write a number from 1 to 65535"
        ))),
    }
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(host)
}

fn server_name_of(authority: &Authority) -> Result<ServerName, Error> {
    let host = bare(authority.host());
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(ServerName::Ip(ip)),
        Err(_) => host
            .parse()
            .map(ServerName::Host)
            .map_err(|error| Error::invalid(format!("{error}"))),
    }
}

/// The name in Host, if it differs from the URL's: the certificate must then have that name (as in
/// Node).
fn server_name_of_host(
    host: &HeaderValue,
    authority: &Authority,
) -> Result<Option<ServerName>, Error> {
    let host = Authority::try_from(host.as_bytes())
        .map_err(|_| Error::invalid("its Host field is not a host with an optional port"))?;
    match host.host().eq_ignore_ascii_case(authority.host()) {
        true => Ok(None),
        false => server_name_of(&host).map(Some),
    }
}

/// The only value of a field that may occur once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Error> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(Error::invalid(format!("it has more than one {name} field"))),
    }
}

/// The relevant options of the caller's Connection fields.
#[derive(Default)]
struct Connection {
    close: bool,
    upgrade: bool,
}

impl Connection {
    fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let mut listed = Self::default();
        for option in headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        {
            let option = option.trim_ascii();
            listed.close |= option.eq_ignore_ascii_case(b"close");
            listed.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
            if option.eq_ignore_ascii_case(b"host")
                || option.eq_ignore_ascii_case(b"content-length")
            {
                return Err(Error::invalid(
                    "its Connection field lists a field that must reach the origin",
                ));
            }
        }
        Ok(listed)
    }
}

fn outgoing(parts: &Parts, exact: Option<u64>) -> Result<Framed, Error> {
    let length = only(&parts.headers, &CONTENT_LENGTH)?;
    let coding = only(&parts.headers, &TRANSFER_ENCODING)?;
    let bodiless = [Method::CONNECT, Method::TRACE].contains(&parts.method);
    if bodiless && (exact != Some(0) || length.is_some() || coding.is_some()) {
        return Err(Error::invalid(format!("{} takes no body", parts.method)));
    }
    match (length, coding) {
        (Some(_), Some(_)) => Err(Error::invalid(
            "it has both Content-Length and Transfer-Encoding: leave both out",
        )),
        (None, Some(coding)) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(Framed::Chunked)
        }
        (None, Some(_)) => Err(Error::invalid(
            "its Transfer-Encoding is not `chunked`: leave it out",
        )),
        (Some(length), None) => announced(length, exact).map(Framed::Length),
        (None, None) => Ok(match exact {
            // POST, PUT and PATCH announce an empty body (RFC 9110 section 8.6).
            Some(0) if [Method::POST, Method::PUT, Method::PATCH].contains(&parts.method) => {
                Framed::Length(0)
            }
            Some(0) => Framed::None,
            Some(exact) => Framed::Length(exact),
            None => Framed::Chunked,
        }),
    }
}

/// The caller's own Content-Length, which the body must match.
fn announced(length: &HeaderValue, exact: Option<u64>) -> Result<u64, Error> {
    let digits = length
        .to_str()
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let Some(announced) = digits
        .and_then(|text| text.parse::<u64>().ok())
        .filter(|n| *n <= i64::MAX as u64)
    else {
        return Err(Error::invalid(
            "its Content-Length is not a number: leave it out",
        ));
    };
    match exact {
        Some(exact) if exact != announced => Err(Error::invalid(format!(
            "its Content-Length is {announced} but its body has {exact} bytes: leave the field out"
        ))),
        _ => Ok(announced),
    }
}

fn has_body(outgoing: Framed) -> bool {
    !matches!(outgoing, Framed::None | Framed::Length(0))
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn is_repeatable(parts: &Parts) -> bool {
    let keys = parts.headers.get_all("idempotency-key");
    byway_head::is_repeatable(
        parts.method.as_str().as_bytes(),
        keys.iter().map(HeaderValue::as_bytes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn check(
        build: impl FnOnce(http::request::Builder) -> http::request::Builder,
        exact: Option<u64>,
    ) -> Result<CheckedRequest, String> {
        let (parts, ()) = build(Request::builder().uri("http://a.example/"))
            .body(())
            .unwrap()
            .into_parts();
        CheckedRequest::new(parts, exact, None).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(
        build: impl FnOnce(http::request::Builder) -> http::request::Builder,
        exact: Option<u64>,
    ) -> String {
        check(build, exact).err().expect("refused")
    }

    #[test]
    fn the_body_is_framed_by_what_is_known_about_it() {
        let post = |r: http::request::Builder| r.method("POST");
        assert_eq!(check(|r| r, Some(0)).ok().unwrap().outgoing, Framed::None);
        assert_eq!(
            check(post, Some(0)).ok().unwrap().outgoing,
            Framed::Length(0)
        );
        assert_eq!(
            check(|r| r, Some(5)).ok().unwrap().outgoing,
            Framed::Length(5)
        );
        assert_eq!(check(post, None).ok().unwrap().outgoing, Framed::Chunked);
        assert_eq!(
            check(|r| r.header("content-length", "7"), None)
                .ok()
                .unwrap()
                .outgoing,
            Framed::Length(7)
        );
    }

    #[test]
    fn contradictory_lengths_are_refused() {
        refused(
            |r| {
                r.header("content-length", "5")
                    .header("transfer-encoding", "chunked")
            },
            Some(5),
        );
        refused(
            |r| {
                r.header("content-length", "5")
                    .header("content-length", "5")
            },
            Some(5),
        );
        refused(|r| r.header("content-length", "6"), Some(5));
        refused(|r| r.header("content-length", "+5"), Some(5));
        refused(|r| r.header("transfer-encoding", "gzip, chunked"), Some(5));
        refused(|r| r.method("TRACE"), Some(5));
        refused(|r| r.method("CONNECT").uri("a.example:1"), None);
    }

    #[test]
    fn a_request_without_a_valid_target_is_refused() {
        assert!(refused(|r| r.uri("/path"), Some(0)).contains("Host"));
        assert!(refused(|r| r.uri("ftp://a.example/"), Some(0)).contains("ftp"));
        assert!(
            refused(|r| r.uri("http://user:secret@a.example/"), Some(0)).contains("Authorization")
        );
        assert!(refused(|r| r.uri("http://a.example:0/"), Some(0)).contains("port"));
        refused(|r| r.version(Version::HTTP_2), Some(0));
        refused(
            |r| r.header("host", "a.example").header("host", "b.example"),
            Some(0),
        );
        assert!(check(|r| r.uri("/path").header("host", "a.example:81"), Some(0)).is_ok());
    }

    #[test]
    fn only_a_request_with_a_body_waits_for_a_100() {
        let expecting =
            |r: http::request::Builder| r.method("POST").header("expect", "100-Continue");
        assert!(check(expecting, Some(5)).ok().unwrap().expects_continue);
        assert!(check(expecting, None).ok().unwrap().expects_continue);
        assert!(!check(expecting, Some(0)).ok().unwrap().expects_continue);
    }

    #[test]
    fn host_leaves_out_the_default_port_and_nothing_else() {
        let host = |uri: &str| {
            check(|r| r.uri(uri), Some(0))
                .ok()
                .unwrap()
                .host()
                .to_owned()
        };
        assert_eq!(host("http://a.example:80/"), "a.example");
        assert_eq!(host("https://a.example:443/"), "a.example");
        assert_eq!(host("https://a.example:80/"), "a.example:80");
        assert_eq!(host("http://[::1]:80/"), "[::1]");
    }

    #[test]
    fn the_name_to_verify_comes_from_host_and_may_be_an_address() {
        let name = |r: Result<CheckedRequest, String>| {
            r.ok().unwrap().target(None).unwrap().server_name().cloned()
        };
        let host = |text: &str| Some(ServerName::Host(text.parse().unwrap()));
        assert_eq!(
            name(check(|r| r.uri("https://A.example/"), Some(0))),
            host("a.example")
        );
        assert_eq!(
            name(check(
                |r| r.uri("https://127.0.0.1/").header("host", "b.example:1"),
                Some(0)
            )),
            host("b.example")
        );
        let ip = name(check(|r| r.uri("https://[::1]/"), Some(0)));
        assert_eq!(ip, Some(ServerName::Ip("::1".parse().unwrap())));
        assert_eq!(name(check(|r| r, Some(0))), None);
    }
}
