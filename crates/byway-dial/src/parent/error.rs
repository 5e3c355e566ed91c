//! Parent error: what a parent proxy did instead of opening a stream.

use std::time::Duration;

use crate::answer_head::BadHead;
use crate::error::DialError;
use crate::socks::SocksError;
use crate::stream::Broken;

/// What a parent did instead of opening the stream.
#[derive(Debug, thiserror::Error)]
pub enum ParentError {
    /// The parent itself could not be dialled.
    #[error("{0}")]
    Dial(#[source] Box<DialError>),
    /// It did not answer in time.
    #[error("no answer to the request within {} s; the parent or its way to the target is stuck", after.as_secs_f32())]
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
    /// Its answer is no SOCKS.
    #[error("{0}; is it a SOCKS proxy of the version that was written down?")]
    Socks(#[source] SocksError),
    /// Its answer is no HTTP.
    #[error("{0}; is it an HTTP proxy?")]
    Http(#[source] BadHead),
    /// It wants credentials that we do not have, or others.
    #[error(
        "it does not accept our credentials; set or correct the user and password of this parent"
    )]
    Credentials,
    /// It forbids the target.
    #[error("its rules forbid the target")]
    Denied,
    /// It found no way to the target, or no such name.
    #[error("it cannot reach the target{}", code(*.status))]
    Unreachable {
        /// The HTTP status, if it is an HTTP proxy.
        status: Option<u16>,
    },
    /// The target refused its connection.
    #[error("the target refused the connection that it made")]
    Refused,
    /// The target did not answer it in time.
    #[error("the target did not answer it in time")]
    TargetTimeout,
    /// It failed for a reason of its own.
    #[error("it failed, without saying why{}", code(*.status))]
    Failed {
        /// The HTTP status, if it is an HTTP proxy.
        status: Option<u16>,
    },
    /// It does not know CONNECT, or not this kind of address.
    #[error("it does not support such a request{}", code(*.status))]
    Unsupported {
        /// The HTTP status, if it is an HTTP proxy.
        status: Option<u16>,
    },
    /// What we were to send does not fit the protocol.
    #[error("the request cannot be made: {0}")]
    Request(String),
}

fn code(status: Option<u16>) -> String {
    status
        .map(|status| format!(" (HTTP status {status})"))
        .unwrap_or_default()
}
