//! Fault: which side failed and why; `reason` has the table of answers in each protocol.
//!
//! In:    errors of the codec, the dialler, the pool, policy and deadlines.
//! Out:   an HTTP status, a SOCKS reply, a link reset, a Proxy-Status error, and one line for the
//!        log.
//! Never: guesses. What is not in the table is an internal error of this node.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use byway_dial::{DialError, ParentError, PeerText, Target, peer_text};
use byway_head::Malformed;
use byway_link::{Code, OpenError, wire};

mod reason;

pub use reason::{Answer, Reason};

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

/// One failure: the side, the reason and a description.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Which side failed.
    pub who: Who,
    /// Why.
    pub reason: Reason,
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
    pub fn new(who: Who, reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            who,
            reason,
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

    /// How it is answered in each protocol.
    pub fn answer(&self) -> Answer {
        self.reason.answer(self.who)
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.answer().status
    }

    /// Whether the failure is beyond this node on the way to the upstream.
    pub const fn is_of_far_side(&self) -> bool {
        matches!(self.who, Who::Upstream | Who::Link)
    }

    /// As it is sent to the other side of a link, which responds to its own client with it.
    pub fn to_link(&self) -> wire::OpenFault {
        wire::OpenFault {
            code: self.answer().link.number(),
            class: self.reason.word().to_owned(),
            detail: self.detail.clone().into_owned(),
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
                    Reason::LinkLost,
                    "the link was lost before the far side answered",
                );
            }
            OpenError::Timeout => {
                let detail = "the far side of the link is connected but did not respond in time";
                return Self::new(Who::Upstream, Reason::Connect, detail);
            }
            OpenError::Bad(detail) => {
                return Self::new(
                    Who::Link,
                    Reason::LinkAnswer,
                    format!("the other side of the link: {detail}"),
                );
            }
        };
        let reason = Reason::from_word(&fault.class);
        let (who, reason) = match Code::from_number(fault.code) {
            Code::NotFound => (Who::Downstream, Reason::NoRoute),
            Code::Denied => (Who::Downstream, Reason::Denied),
            Code::Unreachable if reason == Some(Reason::NameNotFound) => {
                (Who::Upstream, Reason::NameNotFound)
            }
            Code::Unreachable => (Who::Upstream, Reason::Unreachable),
            Code::Refused => (Who::Upstream, Reason::Refused),
            Code::Timeout if reason == Some(Reason::Resolve) => (Who::Upstream, Reason::Resolve),
            Code::Timeout => (Who::Upstream, Reason::Connect),
            Code::Broken if reason == Some(Reason::Tls) => (Who::Upstream, Reason::Tls),
            Code::Broken | Code::None => (Who::Upstream, Reason::ClosedEarly),
            Code::Busy if reason == Some(Reason::ClientShare) => (Who::Link, Reason::FarSideShare),
            Code::Busy => (Who::Link, Reason::FarSideBusy),
            Code::Lost => (Who::Link, Reason::LinkLost),
            Code::Protocol => (Who::Downstream, Reason::FarSide),
        };
        Self::new(who, reason, fault.detail)
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
    let reason = match error {
        Malformed::HeadTooLarge { .. } | Malformed::TrailersTooLarge { .. } => Reason::HeadTooLarge,
        Malformed::TargetTooLong { .. } => Reason::TargetTooLarge,
        Malformed::VersionUnsupported { .. } => Reason::HttpVersion,
        error => Reason::from_word(error.class()).unwrap_or(Reason::Other),
    };
    Fault::new(who, reason, error.to_string())
}

impl From<DialError> for Fault {
    fn from(error: DialError) -> Self {
        let (who, reason) = match &error {
            _ if let Some(limit) = own_limit(&error) => (Who::Us, limit),
            DialError::NotFound { .. } => (Who::Upstream, Reason::NameNotFound),
            DialError::ResolveTimeout { .. } => (Who::Upstream, Reason::Resolve),
            DialError::Denied(_) => (Who::Downstream, Reason::Denied),
            DialError::Refused { .. } => (Who::Upstream, Reason::Refused),
            DialError::ConnectTimeout { .. } => (Who::Upstream, Reason::Connect),
            DialError::Tls(_) => (Who::Upstream, Reason::Tls),
            _ => (Who::Upstream, Reason::Unreachable),
        };
        let DialError::Parent { source, .. } = &error else {
            return Self::new(who, reason, error.to_string());
        };
        let for_log = Some(error.to_string().into());
        Self {
            for_log,
            ..Self::new(who, reason, through_parent(source))
        }
    }
}

/// The limit of this node that caused `error`, also on the way to a parent.
fn own_limit(error: &DialError) -> Option<Reason> {
    match error {
        DialError::Exhausted(_) | DialError::Unchecked(_) => Some(Reason::Descriptors),
        DialError::TooManyLookups { .. } => Some(Reason::Lookups),
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
mod tests;
