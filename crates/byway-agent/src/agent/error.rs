//! Error: why a request got no response, or a body no end: what failed, on which side, and whether
//! a retry is safe.
//!
//! In:    a failure, and what had been written and read when it happened.
//! Out:   text for people, facts for programs.   Never: holds bytes of a request or a response.

use byway_dial::Broken;
use byway_pool::AcquireError;
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// An error of a connector or a request's body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a request failed. A response with a status of 400 or above is not an error.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Every permitted connection is in use and the queue is full. Our side; nothing was sent.
    #[error(
        "the agent's queue is full ({limit} requests wait): send less at once, or raise queue_len or the limits"
    )]
    QueueFull {
        /// The length of the queue.
        limit: usize,
    },
    /// No connection became free in time. Our side; nothing was sent.
    #[error(
        "no connection became free within {waited:?}: send less at once, or raise queue_wait or the limits"
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
        /// The target.
        target: Box<str>,
        /// What failed; from the built-in connector a [`byway_dial::DialError`].
        source: BoxError,
    },
    /// The connection ended before the response was complete.
    #[error(
        "the origin closed the connection ({}, {bytes_written} bytes sent, {bytes_read} read){}",
        if *.reused { "reused" } else { "new" },
        because(.source.as_ref())
    )]
    ConnectionLost {
        /// Whether the connection had carried a request before.
        reused: bool,
        /// Bytes of this request that the system took.
        bytes_written: u64,
        /// Bytes of the response that arrived, interim responses included. 0 indicates a stale
        /// connection.
        bytes_read: u64,
        /// Whether the request may be repeated, by its method or by exactly one `Idempotency-Key`.
        idempotent: bool,
        /// How it ended; `None` for an orderly FIN.
        source: Option<Broken>,
    },
    /// The stream of the request (HTTP/2) was reset before the response was complete: by the
    /// origin, or by the agent because the origin broke the protocol. Other requests on its
    /// connection continue.
    #[error(
        "the request's stream was reset ({}{}",
        byway_http::h2::ErrorCode(*.code).name(),
        if *.unprocessed { ", unprocessed): try again later" } else { ")" }
    )]
    StreamReset {
        /// The code (RFC 9113 section 7).
        code: u32,
        /// Whether the origin has not processed the request at all: it refused the stream, or
        /// announced that its connection ends, or the connection ended before anything was sent.
        /// The agent itself has tried such a request again, several times: see
        /// [`Retry`](crate::Retry).
        unprocessed: bool,
    },
    /// The origin's response is malformed or ambiguous. Its side; the connection was closed, or the
    /// stream of HTTP/2 reset.
    #[error("the origin's response is not valid HTTP: {0}")]
    Malformed(#[source] BadAnswer),
    /// A peer took too long.
    #[error("{}", late(*.which, *.after))]
    Timeout {
        /// Which step.
        which: Which,
        /// The time that was allowed.
        after: Duration,
    },
    /// The request's own body failed, or did not have the length that its head announced. The
    /// caller's side.
    #[error("the request's body failed: {0}")]
    Body(#[source] BoxError),
    /// The response's body is longer than the caller allows, or not UTF-8.
    #[error("the response's body {0}")]
    Unsuited(Unsuited),
    /// The request is not valid. The caller's side; nothing was sent.
    #[error("the request cannot be sent: {reason}")]
    InvalidRequest {
        /// What is wrong and what to write instead.
        reason: String,
    },
}

/// What is wrong with a response.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadAnswer {
    /// An error in the grammar or the framing.
    #[error("{0}")]
    Codec(#[from] byway_head::Malformed),
    /// 101 to a request without an upgrade.
    #[error("101 to a request without an upgrade")]
    UnaskedUpgrade,
    /// Too many interim responses.
    #[error("{limit} interim responses without a final one")]
    EndlessInterim {
        /// How many are read.
        limit: usize,
    },
    /// A status below 100 or above 999, or a field that `http` cannot hold.
    #[error("a status or field that cannot be represented")]
    Unrepresentable,
}

/// Which timeout expired.
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

/// Why a body is unsuited for [`Body::bytes`](crate::Body::bytes) or
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
            Self::NotText => f.write_str("is not UTF-8: read it with `bytes`"),
        }
    }
}

impl Error {
    /// Whether sending the same request again is safe: the origin cannot have acted on it, or
    /// acting twice has the same effect as once. It does not tell whether a retry will help; wait a
    /// little before you retry.
    ///
    /// True if nothing was sent (queue, connect, shut down), and for an idempotent request whose
    /// connection ended before a byte of the response arrived. (The agent itself retries once in
    /// the case where it helps most: see [`Retry`](crate::Retry).)
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::QueueFull { .. }
            | Self::QueueTimeout { .. }
            | Self::Closed
            | Self::Connect { .. } => true,
            Self::StreamReset { unprocessed, .. } => *unprocessed,
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

    /// Whether the request failed because a limit of this agent was reached.
    pub fn is_queue(&self) -> bool {
        matches!(self, Self::QueueFull { .. } | Self::QueueTimeout { .. })
    }

    /// Whether a timeout expired, in the queue or later.
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

impl From<byway_head::Malformed> for Error {
    fn from(error: byway_head::Malformed) -> Self {
        Self::Malformed(error.into())
    }
}

fn because(source: Option<&Broken>) -> String {
    source.map_or_else(String::new, |broken| format!(": {broken}"))
}

fn late(which: Which, after: Duration) -> String {
    let what = match which {
        Which::Connect => "no connection was opened",
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
    fn a_request_that_was_not_sent_is_retryable_for_any_method() {
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
    fn a_request_that_was_sent_is_retryable_only_if_idempotent_and_unanswered() {
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
    fn the_text_of_a_lost_connection_has_reuse_and_byte_counts() {
        let text = lost(120, 0, true).to_string();
        assert_eq!(
            text,
            "the origin closed the connection (reused, 120 bytes sent, 0 read)"
        );
    }
}
