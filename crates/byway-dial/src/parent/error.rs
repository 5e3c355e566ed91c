//! Parent error: why a parent proxy did not open a stream.

use std::time::Duration;

use crate::answer_head::BadHead;
use crate::error::DialError;
use crate::socks::SocksError;
use crate::stream::Broken;

/// Why a parent did not open a stream.
#[derive(Debug, thiserror::Error)]
pub enum ParentError {
    /// The connection to the parent failed.
    #[error("{0}")]
    Dial(#[source] Box<DialError>),
    /// It did not answer in time.
    #[error("no answer to the request within {} s; the parent or its connection to the target does not respond", after.as_secs_f32())]
    Timeout {
        /// The time allowed.
        after: Duration,
    },
    /// It closed the connection instead of answering.
    #[error("it closed the connection before its answer was complete")]
    Closed,
    /// The connection to it broke.
    #[error("the connection to it broke: {0}")]
    Broken(#[from] Broken),
    /// Its answer is not SOCKS.
    #[error("{0}; is it a SOCKS proxy of the configured version?")]
    Socks(#[source] SocksError),
    /// Its answer is not HTTP.
    #[error("{0}; is it an HTTP proxy?")]
    Http(#[source] BadHead),
    /// It requires credentials, or rejects ours.
    #[error(
        "it does not accept our credentials; set or correct the user and password of this parent"
    )]
    Credentials,
    /// It forbids the target.
    #[error("its rules forbid the target")]
    Denied,
    /// It has no route to the target, or does not know the name.
    #[error("it cannot reach the target{}", code(*.status))]
    Unreachable {
        /// The HTTP status, if it is an HTTP proxy.
        status: Option<u16>,
    },
    /// The target refused its connection.
    #[error("the target refused its connection")]
    Refused,
    /// The target did not answer it in time.
    #[error("the target did not answer it in time")]
    TargetTimeout,
    /// It failed for another reason.
    #[error("it failed without a reason{}", code(*.status))]
    Failed {
        /// The HTTP status, if it is an HTTP proxy.
        status: Option<u16>,
    },
    /// It does not support CONNECT, or this kind of address.
    #[error("it does not support such a request{}", code(*.status))]
    Unsupported {
        /// The HTTP status, if it is an HTTP proxy.
        status: Option<u16>,
    },
    /// The request does not fit the protocol.
    #[error("the request cannot be made: {0}")]
    Request(String),
}

fn code(status: Option<u16>) -> String {
    status
        .map(|status| format!(" (HTTP status {status})"))
        .unwrap_or_default()
}
