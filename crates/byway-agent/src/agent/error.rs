//! Error: why a request got no response, or a body no end: what failed, whose side, and whether to
//! try again.
//!
//! In:    a failure, and what had been written and read when it happened.
//! Out:   text for people, facts for programs.   Never: holds bytes of a request or a response.

use crate::pool::AcquireError;
use byway_dial::Broken;
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// An error of anybody's: a connector's, a request body's.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a request failed. A response with a status of 400 or above is not an error.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Every permitted connection is in use and the queue has no place left. Our side; nothing was
    /// sent.
    #[error(
        "the agent's queue is full ({limit} requests wait): send less at once, or raise queue_len or the limits"
    )]
    QueueFull {
        /// The length of the queue.
        limit: usize,
    },
    /// No connection came free in time. Our side; nothing was sent.
    #[error(
        "no connection came free within {waited:?}: send less at once, or raise queue_wait or the limits"
    )]
    QueueTimeout {
        /// How long the request waited.
        waited: Duration,
    },
    /// The agent was shut down. Our side; nothing was sent.
    #[error("the agent is shut down: use the one that replaced it")]
    Closed,
    /// No connection could be opened. Nothing was sent.
    #[error("no connection to {target}: {source}")]
    Connect {
        /// Where to.
        target: Box<str>,
        /// What failed; of the built-in connector a [`byway_dial::DialError`].
        source: BoxError,
    },
    /// The connection ended before the response was complete.
    #[error(
        "the origin ended the connection ({}, {bytes_written} bytes sent, {bytes_read} read){}",
        if *.reused { "a kept one" } else { "a new one" },
        because(.source.as_ref())
    )]
    ConnectionLost {
        /// Whether the connection had carried a request before.
        reused: bool,
        /// Bytes of this request that the system had taken.
        bytes_written: u64,
        /// Bytes of the response that had come, interim responses included. 0 is the sign of a
        /// stale connection.
        bytes_read: u64,
        /// Whether the method, or one `Idempotency-Key`, says that doing it twice is as good as
        /// once.
        idempotent: bool,
        /// How it ended; `None` if by an orderly FIN.
        source: Option<Broken>,
    },
    /// The origin's answer cannot be trusted to mean one thing. Its side; the connection was
    /// closed.
    #[error("the origin's answer is not sound HTTP/1: {0}")]
    Malformed(#[source] BadAnswer),
    /// Somebody took too long.
    #[error("{}", late(*.which, *.after))]
    Timeout {
        /// Who, doing what.
        which: Which,
        /// The time that was allowed.
        after: Duration,
    },
    /// The request's own body failed, or did not have the length that its head announced. The
    /// caller's side.
    #[error("the request's body failed: {0}")]
    Body(#[source] BoxError),
    /// The response's body is longer than the caller wants, or no UTF-8.
    #[error("the response's body {0}")]
    Unsuited(Unsuited),
    /// The request cannot be sent as it is. The caller's side; nothing was sent.
    #[error("the request cannot be sent: {reason}")]
    InvalidRequest {
        /// What is wrong and what to write instead.
        reason: String,
    },
}

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadAnswer {
    /// A sin against the grammar or the framing.
    #[error("{0}")]
    Codec(#[from] byway_h1::Malformed),
    /// 101 to a request that asked for no upgrade.
    #[error("101 to a request that asked for no upgrade")]
    UnaskedUpgrade,
    /// Interim responses without end.
    #[error("{limit} interim responses and no final one")]
    EndlessInterim {
        /// How many are read.
        limit: usize,
    },
    /// A status below 100 or above 999, or a field that `http` cannot hold.
    #[error("a status or field that cannot be represented")]
    Unrepresentable,
}

/// Which time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Which {
    /// Opening the connection, TLS included: `connect_timeout`.
    Connect,
    /// The origin took no byte of the request: `body_idle_timeout`.
    RequestBody,
    /// The head of the response: `first_byte_timeout`.
    FirstByte,
    /// The next bytes of the response's body: `body_idle_timeout`.
    ResponseBody,
}

/// What made a body unsuited for [`Body::bytes`](crate::Body::bytes) or
/// [`Body::text`](crate::Body::text).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsuited {
    /// Longer than the limit.
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Not UTF-8.
    NotText,
}

impl fmt::Display for Unsuited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => write!(
                f,
                "is longer than {limit} bytes: allow more, or read it frame by frame"
            ),
            Self::NotText => f.write_str("is no UTF-8: read it with `bytes`"),
        }
    }
}

impl Error {
    /// Whether sending the same request again is safe: nothing of it can have been acted upon, or
    /// acting twice is as good as once. It says nothing of whether it will help; wait a little
    /// before you do.
    ///
    /// True if nothing was sent (queue, connect, shut down), and for an idempotent request whose
    /// connection ended before a byte of the response came. (The agent itself tries once more in
    /// the case that helps most: see [`Retry`](crate::Retry).)
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::QueueFull { .. }
            | Self::QueueTimeout { .. }
            | Self::Closed
            | Self::Connect { .. } => true,
            Self::Timeout { which, .. } => *which == Which::Connect,
            Self::ConnectionLost {
                bytes_written,
                bytes_read,
                idempotent,
                ..
            } => *bytes_written == 0 || (*idempotent && *bytes_read == 0),
            _ => false,
        }
    }

    /// Whether the request was given up because a limit of this agent was reached.
    pub fn is_queue(&self) -> bool {
        matches!(self, Self::QueueFull { .. } | Self::QueueTimeout { .. })
    }

    /// Whether a time ran out, in the queue or later.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::QueueTimeout { .. } | Self::Timeout { .. })
    }

    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self::InvalidRequest {
            reason: reason.into(),
        }
    }
}

impl From<AcquireError> for Error {
    fn from(error: AcquireError) -> Self {
        match error {
            AcquireError::QueueFull { limit } | AcquireError::ClientShare { limit } => {
                Self::QueueFull { limit }
            }
            AcquireError::QueueTimeout { waited } => Self::QueueTimeout { waited },
            AcquireError::Closed => Self::Closed,
        }
    }
}

impl From<byway_h1::Malformed> for Error {
    fn from(error: byway_h1::Malformed) -> Self {
        Self::Malformed(error.into())
    }
}

fn because(source: Option<&Broken>) -> String {
    source.map_or_else(String::new, |broken| format!(": {broken}"))
}

fn late(which: Which, after: Duration) -> String {
    let what = match which {
        Which::Connect => "no connection stood",
        Which::RequestBody => "the origin took no byte of the request",
        Which::FirstByte => "the origin sent no response",
        Which::ResponseBody => "the origin sent no more of the response's body",
    };
    let option = match which {
        Which::Connect => "connect_timeout",
        Which::FirstByte => "first_byte_timeout",
        Which::RequestBody | Which::ResponseBody => "body_idle_timeout",
    };
    format!("{what} within {after:?} ({option})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(bytes_written: u64, bytes_read: u64, idempotent: bool) -> Error {
        Error::ConnectionLost {
            reused: true,
            bytes_written,
            bytes_read,
            idempotent,
            source: None,
        }
    }

    #[test]
    fn what_was_not_sent_may_be_sent_again_whatever_the_method() {
        assert!(Error::QueueFull { limit: 1 }.is_retryable());
        assert!(
            Error::Connect {
                target: "a:1".into(),
                source: "refused".into()
            }
            .is_retryable()
        );
        assert!(
            Error::Timeout {
                which: Which::Connect,
                after: Duration::from_secs(1)
            }
            .is_retryable()
        );
        assert!(lost(0, 0, false).is_retryable());
    }

    #[test]
    fn what_was_sent_may_be_sent_again_only_if_idempotent_and_unanswered() {
        assert!(lost(10, 0, true).is_retryable());
        assert!(!lost(10, 0, false).is_retryable());
        assert!(!lost(10, 1, true).is_retryable());
        assert!(
            !Error::Timeout {
                which: Which::FirstByte,
                after: Duration::from_secs(1)
            }
            .is_retryable()
        );
        assert!(!Error::Malformed(BadAnswer::UnaskedUpgrade).is_retryable());
    }

    #[test]
    fn a_lost_connection_says_whether_it_was_kept_and_how_far_it_came() {
        let text = lost(120, 0, true).to_string();
        assert_eq!(
            text,
            "the origin ended the connection (a kept one, 120 bytes sent, 0 read)"
        );
    }
}
