//! Retry: when a request is sent a second time by the agent itself.
//!
//! In:    how an exchange on a kept connection failed.
//! Out:   once more on a new connection, or why not.
//! Never: more than one second try; one on a new connection that failed; one after a byte of
//!        response.

use super::error::Error;
use super::event::NoRetry;

/// What the agent does when a kept connection proves closed: the origin's FIN and our request have
/// passed each other. Nothing of this replaces retries of the caller's own, which know what a
/// request means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// Never a second try.
    Never,
    /// Once, on a new connection, if nothing was written.
    Unsent,
    /// Once, on a new connection, if no byte of response has come and either nothing was written,
    /// or the method is idempotent, or the request carries exactly one `Idempotency-Key` that is
    /// not empty; and if what was sent of its body is still there (64 KiB are kept). The default.
    #[default]
    Stale,
}

/// Whether an exchange that ended so was one on a stale connection.
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

/// Whether the policy allows a second try after `error`, of which [`is_stale`] holds.
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
