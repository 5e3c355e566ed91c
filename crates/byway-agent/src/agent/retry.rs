//! Retry: when the agent itself retries a request.
//!
//! In:    how an exchange failed.
//! Out:   a retry on a new connection or another stream, or why not.
//! Never: retries twice what may have been processed; retries it after a failure on a new
//!        connection, or after a byte of response.

use super::error::Error;
use super::event::NoRetry;

/// What the agent does when a reused connection turns out to be closed: the origin's FIN and the
/// request crossed. This does not replace the caller's own retries, which can depend on the meaning
/// of a request.
///
/// A request over HTTP/2 that the origin has not processed (REFUSED_STREAM, a GOAWAY with a lower
/// last stream, or a connection that ended before anything was sent) is retried up to three times,
/// whatever its method, except with [`Retry::Never`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// Never retry.
    Never,
    /// Once, on a new connection, if nothing was written.
    Unsent,
    /// Once, on a new connection, if no byte of the response has arrived and either nothing was
    /// written, or the method is idempotent, or the request carries exactly one `Idempotency-Key`
    /// that is not empty; and if the sent part of its body is still kept (up to 64 KiB). The
    /// default.
    #[default]
    Stale,
}

/// How often a request is tried again that the origin has not processed.
pub(crate) const MOST_UNPROCESSED: u32 = 3;

/// Whether the policy allows the next try of a request that the origin has not processed, after
/// `tried` of them.
pub(crate) fn permits_unprocessed(policy: Retry, tried: u32) -> Result<(), NoRetry> {
    match policy {
        Retry::Never => Err(NoRetry::Policy),
        _ if tried >= MOST_UNPROCESSED => Err(NoRetry::Often),
        Retry::Unsent | Retry::Stale => Ok(()),
    }
}

/// Whether `error` means that a reused connection was stale.
pub(crate) fn is_stale(error: &Error) -> bool {
    matches!(
        error,
        Error::ConnectionLost {
            reused: true,
            bytes_read: 0,
            ..
        }
    )
}

/// Whether the policy allows a retry after `error`, for which [`is_stale`] is true.
pub(crate) fn permits(policy: Retry, error: &Error) -> Result<(), NoRetry> {
    let Error::ConnectionLost {
        bytes_written,
        idempotent,
        ..
    } = error
    else {
        return Err(NoRetry::Policy);
    };
    match (policy, *bytes_written, *idempotent) {
        (Retry::Never, ..) => Err(NoRetry::Policy),
        (_, 0, _) => Ok(()),
        (Retry::Unsent, ..) => Err(NoRetry::Policy),
        (Retry::Stale, _, true) => Ok(()),
        (Retry::Stale, _, false) => Err(NoRetry::Method),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(bytes_written: u64, idempotent: bool) -> Error {
        Error::ConnectionLost {
            reused: true,
            bytes_written,
            bytes_read: 0,
            idempotent,
            source: None,
        }
    }

    #[test]
    fn the_policy_decides_by_what_was_written_and_by_the_method() {
        use Retry::{Never, Stale, Unsent};
        for (policy, written, idempotent, expected) in [
            (Never, 0, true, Err(NoRetry::Policy)),
            (Unsent, 0, false, Ok(())),
            (Unsent, 1, true, Err(NoRetry::Policy)),
            (Stale, 0, false, Ok(())),
            (Stale, 1, true, Ok(())),
            (Stale, 1, false, Err(NoRetry::Method)),
        ] {
            assert_eq!(
                permits(policy, &lost(written, idempotent)),
                expected,
                "{policy:?} {written} {idempotent}"
            );
        }
    }

    #[test]
    fn a_new_connection_or_a_byte_of_response_is_not_stale() {
        let of = |reused, bytes_read| Error::ConnectionLost {
            reused,
            bytes_written: 1,
            bytes_read,
            idempotent: true,
            source: None,
        };
        assert!(is_stale(&of(true, 0)));
        assert!(!is_stale(&of(false, 0)));
        assert!(!is_stale(&of(true, 1)));
    }
}
