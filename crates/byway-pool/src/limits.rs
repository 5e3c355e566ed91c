//! Limits: the number of connections, how long they are kept, and how long acquires wait for them.
//!
//! Never: replaces a number silently.

use std::time::Duration;
use thiserror::Error;

/// The limits of a [`Pool`](crate::Pool). Checked by [`Pool::new`](crate::Pool::new).
///
/// Zero is an error everywhere: in other clients it means "none", "unlimited" or "the default"
/// (Node's `maxFreeSockets: 0` is 256). A limit that another limit makes unreachable is an error
/// too, so set related limits with [`Limits::capped`]. Durations above one year count as one year.
///
/// The caps hold for all shards of a pool together, exactly. The two limits on idle connections, if
/// lower than the caps, are split evenly over the shards and rounded up: a pool of `n` shards
/// exceeds them by at most `n - 1`. Idle sessions have these limits for themselves, over all shards,
/// beside those of idle connections.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Connections of all origins together: connecting, active, idle and upgraded. Default 1024:
    /// what one process can hold without raising its file limit much. At the limit, the least
    /// recently used idle connection of any origin is closed to make room.
    #[doc(alias = "maxTotalSockets")]
    #[doc(alias = "max_connections")]
    pub max_total: usize,
    /// Connections of one origin, counted in the same way. Default 128: one slow origin takes an
    /// eighth of the total.
    #[doc(alias = "maxSockets")]
    #[doc(alias = "MaxConnsPerHost")]
    #[doc(alias = "connections")]
    pub max_per_origin: usize,
    /// Idle connections of one origin; at the limit the oldest is closed. Default 128, the same as
    /// `max_per_origin`: a lower number closes connections after each burst and reopens them in the
    /// next (Go's default of 2 is known for using up local ports).
    #[doc(alias = "maxFreeSockets")]
    #[doc(alias = "MaxIdleConnsPerHost")]
    #[doc(alias = "pool_max_idle_per_host")]
    pub max_idle_per_origin: usize,
    /// Idle connections of all origins together; at the limit the least recently used is closed.
    /// Default `None`: the same as `max_total`, since an idle connection costs little, and is
    /// closed when its permit is needed.
    #[doc(alias = "MaxIdleConns")]
    pub max_idle_total: Option<usize>,
    /// How long a connection stays idle before it is closed, if the origin gave no hint. Default 4
    /// s: below the 5 s after which a Node server closes, so that no request meets the close.
    #[doc(alias = "keepAliveTimeout")]
    #[doc(alias = "IdleConnTimeout")]
    #[doc(alias = "pool_idle_timeout")]
    pub idle_timeout: Duration,
    /// Age from which a connection is not reused; one in use is closed when it is released. Default
    /// `None`. Set it if names change their addresses: a connection in steady use never repeats the
    /// lookup.
    #[doc(alias = "clientTtl")]
    pub max_lifetime: Option<Duration>,
    /// The random part of `max_lifetime`, from 0 to 1: each connection lives for `max_lifetime`
    /// less up to this fraction. Default 0.1, so that connections opened together, in a burst or
    /// after a restart of the origin, are not all replaced together.
    pub lifetime_jitter: f64,
    /// Requests on one connection before it is closed; for a session, streams until it gets no more.
    /// Default `None`.
    #[doc(alias = "maxRequestsPerClient")]
    pub max_requests: Option<u64>,
    /// Acquires that may wait at the same time, of all origins together. Default 1024, one for each
    /// connection.
    #[doc(alias = "max_pending_requests")]
    pub queue_len: usize,
    /// How long one acquire waits. Default 5 s: a user who has waited that long has left or will
    /// retry.
    #[doc(alias = "wait_timeout")]
    pub queue_wait: Duration,
    /// Which idle connection is reused first. Default [`Scheduling::Lifo`].
    #[doc(alias = "lifo")]
    #[doc(alias = "fifo")]
    pub scheduling: Scheduling,
    /// Which waiter is served first. Default [`QueueOrder::Fair`].
    pub queue_order: QueueOrder,
    /// Whether a connection that was taken out by [`Lease::detach`](crate::Lease::detach) still
    /// counts against the caps, until its [`Detached`](crate::Detached) is dropped. Default `true`:
    /// a tunnel is a socket like any other, at both ends. With `false` it stops counting at once,
    /// as in Node.
    pub count_upgraded: bool,
}

/// Which waiter is served next when a permit becomes free. Both orders skip an origin at its own
/// cap.
///
/// In both orders a released connection may go to a waiter of its own origin and shard although
/// another waiter is next, a few times in a row: a queue must not turn reuse into dialling. See
/// [`Pool`](crate::Pool).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum QueueOrder {
    /// Origins take turns, and the waiters of one origin are served in order of arrival: a flood of
    /// requests for one origin delays those for another by a single turn.
    #[default]
    Fair,
    /// In order of arrival, for any origin: this minimises the longest wait. Costs one check of
    /// each origin that has waiters.
    Fifo,
}

/// Which of an origin's idle connections is reused first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scheduling {
    /// The most recently used: least likely to have been closed by the origin, and surplus
    /// connections expire in quiet times. If reactor ticks are known
    /// ([`Conn::reactor_tick`](crate::Conn::reactor_tick)), one that the reactor has polled since
    /// comes first.
    #[default]
    Lifo,
    /// The least recently used: spreads the load over all connections, and so over the backends of
    /// a load balancer.
    Fifo,
}

/// What is wrong with [`Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidLimits {
    /// A limit of zero.
    #[error(
        "{option} is 0: leave it out for the default, or set it to at least 1 (durations: above 0 s)"
    )]
    Zero {
        /// The field's name.
        option: &'static str,
    },
    /// One limit can never be reached because of another one.
    #[error(
        "{option} ({value}) is above {bound} ({limit}) and could never be reached: lower it, or raise {bound}"
    )]
    Unreachable {
        /// The field that is too large.
        option: &'static str,
        /// Its value; milliseconds for durations.
        value: u128,
        /// The field that bounds it.
        bound: &'static str,
        /// Its value; milliseconds for durations.
        limit: u128,
    },
    /// `lifetime_jitter` is not between 0 and 1.
    #[error(
        "lifetime_jitter is not between 0 and 1: 0.1 lets connections end up to a tenth of max_lifetime early"
    )]
    Jitter,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_total: 1024,
            max_per_origin: 128,
            max_idle_per_origin: 128,
            max_idle_total: None,
            idle_timeout: Duration::from_secs(4),
            max_lifetime: None,
            lifetime_jitter: 0.1,
            max_requests: None,
            queue_len: 1024,
            queue_wait: Duration::from_secs(5),
            scheduling: Scheduling::Lifo,
            queue_order: QueueOrder::Fair,
            count_upgraded: true,
        }
    }
}

impl Limits {
    /// The defaults with these two caps, and `max_idle_per_origin` equal to `max_per_origin`.
    pub fn capped(max_total: usize, max_per_origin: usize) -> Self {
        Self {
            max_total,
            max_per_origin,
            max_idle_per_origin: max_per_origin,
            ..Self::default()
        }
    }

    /// Returns an error for a zero, or for a limit that another limit makes unreachable.
    pub fn validate(&self) -> Result<(), InvalidLimits> {
        self.validate_zeros()?;
        within(
            ("max_per_origin", self.max_per_origin as u128),
            ("max_total", self.max_total as u128),
        )?;
        within(
            ("max_idle_per_origin", self.max_idle_per_origin as u128),
            ("max_per_origin", self.max_per_origin as u128),
        )?;
        if let Some(idle) = self.max_idle_total {
            within(
                ("max_idle_total", idle as u128),
                ("max_total", self.max_total as u128),
            )?;
            within(
                ("max_idle_per_origin", self.max_idle_per_origin as u128),
                ("max_idle_total", idle as u128),
            )?;
        }
        if !(0.0..=1.0).contains(&self.lifetime_jitter) {
            return Err(InvalidLimits::Jitter);
        }
        let Some(lifetime) = self.max_lifetime else {
            return Ok(());
        };
        within(
            ("idle_timeout", self.idle_timeout.as_millis()),
            ("max_lifetime", lifetime.as_millis()),
        )
    }

    fn validate_zeros(&self) -> Result<(), InvalidLimits> {
        let zeros = [
            ("max_total", self.max_total == 0),
            ("max_per_origin", self.max_per_origin == 0),
            ("max_idle_per_origin", self.max_idle_per_origin == 0),
            ("max_idle_total", self.max_idle_total == Some(0)),
            ("idle_timeout", self.idle_timeout.is_zero()),
            ("max_lifetime", self.max_lifetime == Some(Duration::ZERO)),
            ("max_requests", self.max_requests == Some(0)),
            ("queue_len", self.queue_len == 0),
            ("queue_wait", self.queue_wait.is_zero()),
        ];
        match zeros.into_iter().find(|(_, zero)| *zero) {
            Some((option, _)) => Err(InvalidLimits::Zero { option }),
            None => Ok(()),
        }
    }
}

fn within(
    (option, value): (&'static str, u128),
    (bound, limit): (&'static str, u128),
) -> Result<(), InvalidLimits> {
    if value <= limit {
        Ok(())
    } else {
        Err(InvalidLimits::Unreachable {
            option,
            value,
            bound,
            limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound() {
        assert_eq!(Limits::default().validate(), Ok(()));
        assert_eq!(Limits::capped(1, 1).validate(), Ok(()));
    }

    #[test]
    fn zero_is_an_error_for_every_option() {
        let base = Limits::default;
        let cases = [
            (
                "max_total",
                Limits {
                    max_total: 0,
                    ..base()
                },
            ),
            (
                "max_per_origin",
                Limits {
                    max_per_origin: 0,
                    ..base()
                },
            ),
            (
                "max_idle_per_origin",
                Limits {
                    max_idle_per_origin: 0,
                    ..base()
                },
            ),
            (
                "max_idle_total",
                Limits {
                    max_idle_total: Some(0),
                    ..base()
                },
            ),
            (
                "idle_timeout",
                Limits {
                    idle_timeout: Duration::ZERO,
                    ..base()
                },
            ),
            (
                "max_lifetime",
                Limits {
                    max_lifetime: Some(Duration::ZERO),
                    ..base()
                },
            ),
            (
                "max_requests",
                Limits {
                    max_requests: Some(0),
                    ..base()
                },
            ),
            (
                "queue_len",
                Limits {
                    queue_len: 0,
                    ..base()
                },
            ),
            (
                "queue_wait",
                Limits {
                    queue_wait: Duration::ZERO,
                    ..base()
                },
            ),
        ];
        for (option, limits) in cases {
            assert_eq!(limits.validate(), Err(InvalidLimits::Zero { option }));
        }
    }

    #[test]
    fn a_limit_that_another_one_makes_unreachable_is_an_error_that_names_both() {
        let limits = Limits {
            max_total: 64,
            max_per_origin: 65,
            ..Limits::default()
        };
        let text = limits.validate().unwrap_err().to_string();
        assert!(
            text.contains("max_per_origin (65) is above max_total (64)"),
            "{text}"
        );

        let limits = Limits {
            max_idle_per_origin: 7,
            ..Limits::capped(64, 6)
        };
        assert!(matches!(
            limits.validate(),
            Err(InvalidLimits::Unreachable {
                option: "max_idle_per_origin",
                ..
            })
        ));

        let limits = Limits {
            max_lifetime: Some(Duration::from_secs(3)),
            ..Limits::default()
        };
        assert!(matches!(
            limits.validate(),
            Err(InvalidLimits::Unreachable {
                option: "idle_timeout",
                ..
            })
        ));

        let limits = Limits {
            max_idle_total: Some(65),
            ..Limits::capped(64, 6)
        };
        assert!(matches!(
            limits.validate(),
            Err(InvalidLimits::Unreachable {
                option: "max_idle_total",
                ..
            })
        ));

        let limits = Limits {
            max_idle_total: Some(5),
            ..Limits::capped(64, 6)
        };
        assert!(matches!(
            limits.validate(),
            Err(InvalidLimits::Unreachable {
                option: "max_idle_per_origin",
                ..
            })
        ));
    }

    #[test]
    fn a_jitter_outside_0_to_1_is_an_error() {
        for lifetime_jitter in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(
                Limits {
                    lifetime_jitter,
                    ..Limits::default()
                }
                .validate(),
                Err(InvalidLimits::Jitter)
            );
        }
        assert_eq!(
            Limits {
                lifetime_jitter: 1.0,
                ..Limits::default()
            }
            .validate(),
            Ok(())
        );
    }
}
