//! Fault: which side failed and how; and the one table that maps it to the response of each
//! protocol.
//!
//! In:    errors of the codec, the dialler, the pool, policy and deadlines.
//! Out:   an HTTP status, a SOCKS reply, a link reset, a Proxy-Status error, and one line for the
//!        log.
//! Never: guesses. What is not in the table is an internal error of this node.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use byway_dial::socks::ReplyCode as Reply;
use byway_dial::{DialError, ParentError, PeerText, Target, peer_text};
use byway_head::Malformed;
use byway_link::{Code, OpenError, wire};

/// Which side failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// The client.
    Downstream,
    /// The upstream.
    Upstream,
    /// The link between two nodes.
    Link,
    /// This node.
    Us,
}

impl Who {
    /// Every side.
    pub const ALL: [Self; 4] = [Self::Downstream, Self::Upstream, Self::Link, Self::Us];

    /// The word in logs and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Link => "link",
            Self::Us => "byway",
        }
    }
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// It broke the rules of its protocol; the class names the rule.
    Malformed(&'static str),
    /// The request target is longer than allowed.
    TargetTooLarge,
    /// The head is larger than allowed.
    HeadTooLarge,
    /// The head has more fields than allowed.
    TooManyFields,
    /// The body is larger than allowed.
    BodyTooLarge,
    /// An HTTP version that is not supported.
    Version,
    /// A transfer coding or command that is not supported.
    Unsupported(&'static str),
    /// A method that this listener does not serve (CONNECT on an edge).
    MethodNotAllowed,
    /// The request has passed through this proxy too often already.
    Loop,
    /// The request is meant for a scheme other than that of this connection (RFC 9110 section 7.4).
    Misdirected,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// No route matches.
    NoRoute,
    /// Policy refuses the target.
    Denied,
    /// The name has no address.
    NameNotFound,
    /// No route to the address.
    Unreachable,
    /// The target refused the connection.
    Refused,
    /// A deadline passed.
    Deadline(Deadline),
    /// The connection was closed or reset too early.
    ClosedEarly,
    /// TLS failed.
    Tls,
    /// The link is lost.
    Lost,
    /// A limit is reached; its name.
    Overloaded(&'static str),
    /// This node is draining.
    Draining,
    /// Anything that should not have happened.
    Internal,
}

/// Every deadline by its name, so that each time-out can be identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deadline {
    /// A SOCKS or TLS handshake.
    Handshake,
    /// A request head, from its first byte.
    RequestHead,
    /// Bytes of a request body.
    RequestBody,
    /// Enough bytes of a request body.
    RequestRate,
    /// A name look-up.
    Resolve,
    /// A connection to the upstream.
    Connect,
    /// The first byte of a response.
    FirstByte,
    /// Bytes of a response body.
    ResponseBody,
    /// Enough bytes of a response body, read by the client.
    ResponseRate,
    /// A link session that is away.
    Parked,
}

impl Deadline {
    /// The name in logs and responses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::RequestHead => "request-head",
            Self::RequestBody => "request-body",
            Self::RequestRate => "request-rate",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::FirstByte => "first-byte",
            Self::ResponseBody => "response-body",
            Self::ResponseRate => "response-rate",
            Self::Parked => "parked",
        }
    }
}

/// One failure: the side, the kind and a description.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Which side failed.
    pub who: Who,
    /// What failed.
    pub kind: FaultKind,
    /// What failed and what to do next, in a sentence. It may be shown to the peer, so it must not
    /// contain secrets.
    pub detail: Cow<'static, str>,
    /// How long to wait before a retry, if known.
    pub wait: Option<Duration>,
    /// The text for the log instead of `detail`, if that text has addresses which the peer must not
    /// see.
    pub for_log: Option<Box<str>>,
}

impl Fault {
    /// A fault with its description.
    pub fn new(who: Who, kind: FaultKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            who,
            kind,
            detail: detail.into(),
            wait: None,
            for_log: None,
        }
    }

    /// The same, with how long to wait before a retry.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self {
            wait: Some(wait),
            ..self
        }
    }

    /// Why `target` was not dialled. If it is a name, the text for the peer omits its addresses.
    pub fn dialling(target: &Target, error: DialError) -> Self {
        let detail = match &error {
            _ if !matches!(target, Target::Host { .. }) => return error.into(),
            DialError::Denied(denied) | DialError::Unchecked(denied) => {
                denied.without_address(target)
            }
            DialError::Refused { .. } => {
                format!("{target} refused the connection; nothing listens there")
            }
            DialError::Unreachable { .. } => format!("{target} cannot be reached"),
            DialError::Io { .. } => format!("the connection to {target} failed"),
            _ => return error.into(),
        };
        let for_log = Some(format!("{target}: {error}").into());
        Self {
            detail: detail.into(),
            for_log,
            ..Self::from(error)
        }
    }

    /// The part of the reason that the peer may see, escaped and truncated as in a log line.
    pub fn for_peer(&self) -> PeerText<'_> {
        peer_text(&*self.detail).at_most(MOST_SENTENCE_BYTES)
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match (self.who, self.kind) {
            (
                Who::Upstream,
                FaultKind::Malformed(_)
                | FaultKind::HeadTooLarge
                | FaultKind::TooManyFields
                | FaultKind::Version
                | FaultKind::Unsupported(_),
            ) => 502,
            (_, FaultKind::Malformed(_)) => 400,
            (_, FaultKind::TargetTooLarge) => 414,
            (_, FaultKind::HeadTooLarge | FaultKind::TooManyFields) => 431,
            (_, FaultKind::BodyTooLarge) => 413,
            (_, FaultKind::Version) => 505,
            (_, FaultKind::Unsupported(_)) => 501,
            (_, FaultKind::MethodNotAllowed) => 405,
            (_, FaultKind::Loop) => 508,
            (_, FaultKind::Misdirected) => 421,
            (_, FaultKind::Unauthorized) => 407,
            (_, FaultKind::NoRoute) => 404,
            (_, FaultKind::Denied) => 403,
            (Who::Downstream, FaultKind::Deadline(_) | FaultKind::ClosedEarly) => 408,
            (Who::Us, FaultKind::Deadline(_))
            | (Who::Link, FaultKind::Deadline(Deadline::Parked)) => 503,
            (_, FaultKind::Deadline(_)) => 504,
            (
                _,
                FaultKind::NameNotFound
                | FaultKind::Unreachable
                | FaultKind::Refused
                | FaultKind::ClosedEarly
                | FaultKind::Tls,
            ) => 502,
            (_, FaultKind::Lost) => 502,
            (_, FaultKind::Overloaded(_) | FaultKind::Draining) => 503,
            (_, FaultKind::Internal) => 500,
        }
    }

    /// The SOCKS5 reply (RFC 1928 section 6).
    pub fn socks5(&self) -> Reply {
        match (self.who, self.kind) {
            (_, FaultKind::NoRoute | FaultKind::Denied | FaultKind::Unauthorized) => {
                Reply::NotAllowed
            }
            (_, FaultKind::NameNotFound) => Reply::HostUnreachable,
            (_, FaultKind::Unreachable) => Reply::NetworkUnreachable,
            (Who::Upstream, FaultKind::Deadline(_)) => Reply::HostUnreachable,
            (_, FaultKind::Refused) => Reply::ConnectionRefused,
            (Who::Upstream, _) => Reply::ConnectionRefused,
            (_, FaultKind::Unsupported("socks-address-type")) => Reply::AddressTypeNotSupported,
            (_, FaultKind::Unsupported(_)) => Reply::CommandNotSupported,
            _ => Reply::GeneralFailure,
        }
    }

    /// The code that a link stream ends with.
    pub fn link_code(&self) -> Code {
        match (self.who, self.kind) {
            (Who::Downstream, _)
                if self.status() < 500
                    && !matches!(self.kind, FaultKind::Denied | FaultKind::NoRoute) =>
            {
                Code::Protocol
            }
            (_, FaultKind::NoRoute) => Code::NotFound,
            (_, FaultKind::Denied | FaultKind::Unauthorized) => Code::Denied,
            (_, FaultKind::NameNotFound | FaultKind::Unreachable) => Code::Unreachable,
            (_, FaultKind::Refused) => Code::Refused,
            (Who::Upstream, FaultKind::Deadline(_)) => Code::Timeout,
            (Who::Link, FaultKind::Deadline(_)) | (_, FaultKind::Lost) => Code::Lost,
            (_, FaultKind::Overloaded(_) | FaultKind::Draining | FaultKind::Deadline(_)) => {
                Code::Busy
            }
            _ => Code::Broken,
        }
    }

    /// As it is sent to the other side of a link, which responds to its own client with it.
    pub fn to_link(&self) -> wire::OpenFault {
        let (class, detail) = (self.class().to_owned(), self.detail.clone().into_owned());
        wire::OpenFault {
            code: self.link_code().number(),
            class,
            detail,
        }
    }

    /// As it came from the other side of a link. The response is the same here as it would have
    /// been there.
    pub fn from_link(error: OpenError) -> Self {
        let fault = match error {
            OpenError::Fault(fault) => fault,
            OpenError::Lost => {
                return Self::new(
                    Who::Link,
                    FaultKind::Lost,
                    "the link was lost before the far side answered",
                );
            }
            OpenError::Timeout => {
                let detail = "the far side of the link is connected but did not respond in time";
                return Self::new(
                    Who::Upstream,
                    FaultKind::Deadline(Deadline::Connect),
                    detail,
                );
            }
            OpenError::Bad(detail) => {
                return Self::new(
                    Who::Link,
                    FaultKind::Malformed("link-answer"),
                    format!("the other side of the link: {detail}"),
                );
            }
        };
        let (who, kind) = match (Code::from_number(fault.code), fault.class.as_str()) {
            (Code::NotFound, _) => (Who::Downstream, FaultKind::NoRoute),
            (Code::Denied, _) => (Who::Downstream, FaultKind::Denied),
            (Code::Unreachable, "name-not-found") => (Who::Upstream, FaultKind::NameNotFound),
            (Code::Unreachable, _) => (Who::Upstream, FaultKind::Unreachable),
            (Code::Refused, _) => (Who::Upstream, FaultKind::Refused),
            (Code::Timeout, "resolve") => (Who::Upstream, FaultKind::Deadline(Deadline::Resolve)),
            (Code::Timeout, _) => (Who::Upstream, FaultKind::Deadline(Deadline::Connect)),
            (Code::Broken, "tls") => (Who::Upstream, FaultKind::Tls),
            (Code::Broken, _) => (Who::Upstream, FaultKind::ClosedEarly),
            (Code::Busy, _) => (Who::Link, FaultKind::Overloaded("far-side-busy")),
            (Code::Lost, _) => (Who::Link, FaultKind::Lost),
            (Code::Protocol, _) => (Who::Downstream, FaultKind::Malformed("far-side")),
            (Code::None, _) => (Who::Upstream, FaultKind::ClosedEarly),
        };
        Self::new(who, kind, fault.detail)
    }

    /// The error type of the Proxy-Status field (RFC 9209 section 2.3).
    pub fn proxy_status(&self) -> &'static str {
        match (self.who, self.kind) {
            (
                Who::Upstream,
                FaultKind::Malformed(_) | FaultKind::Version | FaultKind::Unsupported(_),
            ) => "http_protocol_error",
            (Who::Upstream, FaultKind::HeadTooLarge | FaultKind::TooManyFields) => {
                "http_response_header_section_size"
            }
            (_, FaultKind::Denied) => "destination_ip_prohibited",
            (_, FaultKind::Unauthorized) => "http_request_denied",
            (_, FaultKind::NoRoute) => "destination_not_found",
            (_, FaultKind::NameNotFound) => "dns_error",
            (_, FaultKind::Deadline(Deadline::Resolve)) => "dns_timeout",
            (_, FaultKind::Deadline(Deadline::Connect)) => "connection_timeout",
            (Who::Upstream, FaultKind::Deadline(_)) => "http_response_timeout",
            (_, FaultKind::Unreachable) => "destination_ip_unroutable",
            (_, FaultKind::Refused) => "connection_refused",
            (Who::Upstream, FaultKind::ClosedEarly) => "connection_terminated",
            (_, FaultKind::Tls) => "tls_protocol_error",
            (_, FaultKind::Lost) => "destination_unavailable",
            (_, FaultKind::Loop) => "proxy_loop_detected",
            (_, FaultKind::Overloaded(_)) => "connection_limit_reached",
            (_, FaultKind::Draining | FaultKind::Internal) => "proxy_internal_error",
            _ => "http_request_error",
        }
    }

    /// The reason class: one kebab-case word for logs, metrics and responses.
    pub fn class(&self) -> &'static str {
        match self.kind {
            FaultKind::Malformed(class) => class,
            FaultKind::TargetTooLarge => "target-too-large",
            FaultKind::HeadTooLarge => "head-too-large",
            FaultKind::TooManyFields => "too-many-fields",
            FaultKind::BodyTooLarge => "body-too-large",
            FaultKind::Version => "http-version",
            FaultKind::Unsupported(what) => what,
            FaultKind::MethodNotAllowed => "method-not-allowed",
            FaultKind::Loop => "loop",
            FaultKind::Misdirected => "misdirected",
            FaultKind::Unauthorized => "unauthorized",
            FaultKind::NoRoute => "no-route",
            FaultKind::Denied => "denied",
            FaultKind::NameNotFound => "name-not-found",
            FaultKind::Unreachable => "unreachable",
            FaultKind::Refused => "refused",
            FaultKind::Deadline(deadline) => deadline.name(),
            FaultKind::ClosedEarly => "closed-early",
            FaultKind::Tls => "tls",
            FaultKind::Lost => "link-lost",
            FaultKind::Overloaded(limit) => limit,
            FaultKind::Draining => "draining",
            FaultKind::Internal => "internal",
        }
    }

    /// Seconds for Retry-After, if a retry makes sense: 1 to 60.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let seconds = self.wait.map_or(1, |wait| {
            wait.as_millis().div_ceil(1000).clamp(1, 60) as u64
        });
        (self.status() == 503).then_some(seconds)
    }
}

/// The longest description of a fault that is shown.
const MOST_SENTENCE_BYTES: usize = 1000;

/// The full reason, for the log and for the operator; [`Fault::for_peer`] is the part for the peer.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Text of a peer was escaped where it was added; this escapes what was missed.
        peer_text(self.for_log.as_deref().unwrap_or(&self.detail))
            .at_most(MOST_SENTENCE_BYTES)
            .fmt(f)
    }
}

impl std::error::Error for Fault {}

/// A malformed message, attributed to its sender.
pub fn malformed(who: Who, error: &Malformed) -> Fault {
    let kind = match error.status() {
        414 => FaultKind::TargetTooLarge,
        431 if error.class() == "too-many-fields" => FaultKind::TooManyFields,
        431 => FaultKind::HeadTooLarge,
        501 => FaultKind::Unsupported(error.class()),
        505 => FaultKind::Version,
        _ => FaultKind::Malformed(error.class()),
    };
    Fault::new(who, kind, error.to_string())
}

impl From<DialError> for Fault {
    fn from(error: DialError) -> Self {
        let (who, kind) = match &error {
            _ if let Some(limit) = own_limit(&error) => (Who::Us, limit),
            DialError::NotFound { .. } => (Who::Upstream, FaultKind::NameNotFound),
            DialError::ResolveTimeout { .. } => {
                (Who::Upstream, FaultKind::Deadline(Deadline::Resolve))
            }
            DialError::Denied(_) => (Who::Downstream, FaultKind::Denied),
            DialError::Refused { .. } => (Who::Upstream, FaultKind::Refused),
            DialError::ConnectTimeout { .. } => {
                (Who::Upstream, FaultKind::Deadline(Deadline::Connect))
            }
            DialError::Tls(_) => (Who::Upstream, FaultKind::Tls),
            _ => (Who::Upstream, FaultKind::Unreachable),
        };
        let DialError::Parent { source, .. } = &error else {
            return Self::new(who, kind, error.to_string());
        };
        let for_log = Some(error.to_string().into());
        Self {
            for_log,
            ..Self::new(who, kind, through_parent(source))
        }
    }
}

/// The limit of this node that caused `error`, also on the way to a parent.
fn own_limit(error: &DialError) -> Option<FaultKind> {
    match error {
        DialError::Exhausted(_) | DialError::Unchecked(_) => {
            Some(FaultKind::Overloaded("descriptors"))
        }
        DialError::TooManyLookups { .. } => Some(FaultKind::Overloaded("lookups")),
        DialError::Parent {
            source: ParentError::Dial(source),
            ..
        } => own_limit(source),
        _ => None,
    }
}

/// The text for the client when a parent opened no stream: what the parent reports about the
/// target, but nothing about the parent itself or the way to it, which only the operator may see.
fn through_parent(error: &ParentError) -> String {
    match error {
        ParentError::Denied
        | ParentError::Unreachable { .. }
        | ParentError::Refused
        | ParentError::TargetTimeout
        | ParentError::Failed { .. }
        | ParentError::Unsupported { .. } => format!("through a parent proxy of this node: {error}"),
        _ => "the parent proxy of this node for the target cannot be used now; see the log of this node".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_has_its_response_in_each_protocol() {
        use super::Deadline::{Connect, FirstByte, Parked, RequestHead, RequestRate, ResponseBody};
        use FaultKind::*;
        use Who::*;
        let rows = [
            (
                Downstream,
                Malformed("x"),
                400,
                Reply::GeneralFailure,
                "PROTOCOL",
            ),
            (
                Downstream,
                TargetTooLarge,
                414,
                Reply::GeneralFailure,
                "PROTOCOL",
            ),
            (
                Downstream,
                HeadTooLarge,
                431,
                Reply::GeneralFailure,
                "PROTOCOL",
            ),
            (
                Downstream,
                TooManyFields,
                431,
                Reply::GeneralFailure,
                "PROTOCOL",
            ),
            (
                Downstream,
                Misdirected,
                421,
                Reply::GeneralFailure,
                "PROTOCOL",
            ),
            (
                Downstream,
                Deadline(RequestRate),
                408,
                Reply::GeneralFailure,
                "PROTOCOL",
            ),
            (
                Upstream,
                TooManyFields,
                502,
                Reply::ConnectionRefused,
                "BROKEN",
            ),
            (
                Downstream,
                BodyTooLarge,
                413,
                Reply::GeneralFailure,
                "PROTOCOL",
            ),
            (
                Downstream,
                Deadline(RequestHead),
                408,
                Reply::GeneralFailure,
                "PROTOCOL",
            ),
            (Downstream, NoRoute, 404, Reply::NotAllowed, "NOT_FOUND"),
            (Downstream, Denied, 403, Reply::NotAllowed, "DENIED"),
            (
                Upstream,
                NameNotFound,
                502,
                Reply::HostUnreachable,
                "UNREACHABLE",
            ),
            (
                Upstream,
                Unreachable,
                502,
                Reply::NetworkUnreachable,
                "UNREACHABLE",
            ),
            (Upstream, Refused, 502, Reply::ConnectionRefused, "REFUSED"),
            (
                Upstream,
                Deadline(Connect),
                504,
                Reply::HostUnreachable,
                "TIMEOUT",
            ),
            (
                Upstream,
                Deadline(FirstByte),
                504,
                Reply::HostUnreachable,
                "TIMEOUT",
            ),
            (
                Upstream,
                Deadline(ResponseBody),
                504,
                Reply::HostUnreachable,
                "TIMEOUT",
            ),
            (
                Upstream,
                Malformed("x"),
                502,
                Reply::ConnectionRefused,
                "BROKEN",
            ),
            (Upstream, Tls, 502, Reply::ConnectionRefused, "BROKEN"),
            (
                Upstream,
                ClosedEarly,
                502,
                Reply::ConnectionRefused,
                "BROKEN",
            ),
            (Link, Lost, 502, Reply::GeneralFailure, "LOST"),
            (Link, Deadline(Parked), 503, Reply::GeneralFailure, "LOST"),
            (
                Us,
                Overloaded("queue-full"),
                503,
                Reply::GeneralFailure,
                "BUSY",
            ),
            (
                Us,
                Overloaded("lookups"),
                503,
                Reply::GeneralFailure,
                "BUSY",
            ),
            (
                Us,
                Overloaded("max-per-origin"),
                503,
                Reply::GeneralFailure,
                "BUSY",
            ),
            (Us, Draining, 503, Reply::GeneralFailure, "BUSY"),
        ];
        for (who, kind, status, socks, link) in rows {
            let fault = Fault::new(who, kind, "");
            let answers = (fault.status(), fault.socks5(), fault.link_code().name());
            assert_eq!(answers, (status, socks, link), "{who:?} {kind:?}");
        }
    }

    #[test]
    fn a_fault_of_the_far_side_has_the_same_response_here_as_there() {
        use super::Deadline::{Connect, Resolve};
        for (who, kind) in [
            (Who::Downstream, FaultKind::NoRoute),
            (Who::Downstream, FaultKind::Denied),
            (Who::Upstream, FaultKind::NameNotFound),
            (Who::Upstream, FaultKind::Unreachable),
            (Who::Upstream, FaultKind::Refused),
            (Who::Upstream, FaultKind::Deadline(Connect)),
            (Who::Upstream, FaultKind::Deadline(Resolve)),
            (Who::Upstream, FaultKind::Tls),
            (Who::Upstream, FaultKind::ClosedEarly),
            (Who::Link, FaultKind::Lost),
            (Who::Us, FaultKind::Draining),
        ] {
            let there = Fault::new(who, kind, "why");
            let here = Fault::from_link(OpenError::Fault(there.to_link()));
            let answers = |fault: &Fault| (fault.status(), fault.socks5(), fault.detail.clone());
            assert_eq!(answers(&here), answers(&there), "{who:?} {kind:?}");
        }
    }

    #[test]
    fn a_description_from_the_far_side_is_one_line_of_bounded_length() {
        let there = wire::OpenFault {
            code: 0,
            class: String::new(),
            detail: "no\n2026 INFO forged\u{1b}[2J".repeat(1000),
        };
        let shown = Fault::from_link(OpenError::Fault(there)).to_string();
        assert!(
            shown.starts_with(r"no\n2026 INFO forged\u{1b}[2J")
                && shown.len() <= MOST_SENTENCE_BYTES + 3,
            "{shown}"
        );
        assert!(!shown.chars().any(char::is_control), "{shown}");
    }

    #[test]
    fn a_limit_of_this_node_that_a_dial_reaches_is_not_the_upstreams_fault() {
        use crate::outbound::pooled::is_worth_another_upstream;
        let target: Target = "a.example:80".parse().unwrap();
        let lookups = || DialError::TooManyLookups {
            name: "a.example".parse().unwrap(),
        };
        let descriptors = || DialError::Exhausted(std::io::Error::from_raw_os_error(24));
        let by_parent = |error| {
            let source = ParentError::Dial(Box::new(error));
            DialError::Parent {
                parent: "parent.example:3128".parse().unwrap(),
                source,
            }
        };
        for (error, limit) in [
            (lookups(), "lookups"),
            (by_parent(lookups()), "lookups"),
            (descriptors(), "descriptors"),
            (by_parent(descriptors()), "descriptors"),
        ] {
            let fault = Fault::dialling(&target, error);
            let reported = (
                fault.who,
                fault.class(),
                fault.status(),
                fault.retry_after_seconds(),
            );
            assert_eq!(reported, (Who::Us, limit, 503, Some(1)), "{fault}");
            assert!(!is_worth_another_upstream(&fault), "{fault}");
        }
        let refused = DialError::Refused {
            addr: target.clone(),
            tried: 1,
        };
        let fault = Fault::dialling(&target, by_parent(refused));
        assert_eq!((fault.who, fault.status()), (Who::Upstream, 502));
    }

    #[test]
    fn overload_has_a_retry_after() {
        let overloaded = Fault::new(Who::Us, FaultKind::Overloaded("queue-full"), "");
        assert_eq!(overloaded.retry_after_seconds(), Some(1));
        for (millis, seconds) in [(1, 1), (1000, 1), (1001, 2), (5000, 5), (3_600_000, 60)] {
            let fault = overloaded
                .clone()
                .retry_after(Duration::from_millis(millis));
            assert_eq!(fault.retry_after_seconds(), Some(seconds));
        }
        assert_eq!(
            Fault::new(Who::Upstream, FaultKind::Refused, "").retry_after_seconds(),
            None
        );
    }
}
