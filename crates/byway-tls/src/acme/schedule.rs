//! Schedule: when a certificate is requested, and how long to wait after a failure.
//!
//! In:    the time, the validity of the certificate in use, the authority's suggestions, the
//!        outcome of each try, random numbers.
//! Out:   what to do now, or until when to wait.
//! Never: reads a clock, does I/O; waits longer than its longest delay because a clock was set back.

use std::time::{Duration, SystemTime};

/// The delay after the first failure. It doubles with each further one.
///
/// Five failures within an hour for one name reach a usual limit of authorities: with 2 min, the
/// sixth try comes after 62 min.
pub(crate) const FIRST_DELAY: Duration = Duration::from_secs(120);

/// The longest delay after a failure.
pub(crate) const LONGEST_DELAY: Duration = Duration::from_secs(6 * 3600);

/// The longest time that an authority's Retry-After is obeyed for.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// The least time between two certificates for one name, or a third of the lifetime if that is
/// shorter: by a wrong clock every new certificate may be due at once. Authorities issue five a week
/// for the same name.
pub(crate) const SPACING: Duration = Duration::from_secs(36 * 3600);

/// How often the authority is asked for its suggested window, at least and at most (RFC 9773
/// section 4.3.2 lets clients limit what Retry-After says).
const RENEWAL_INFO_EVERY: (Duration, Duration) =
    (Duration::from_secs(60), Duration::from_secs(24 * 3600));

/// How long after a failed question for the window it is asked again.
const RENEWAL_INFO_RETRY: Duration = Duration::from_secs(3600);

/// From when until when something is valid or suggested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The first moment.
    pub start: SystemTime,
    /// The last moment.
    pub end: SystemTime,
}

impl Period {
    /// Whether `now` is within it.
    pub fn contains(self, now: SystemTime) -> bool {
        self.start <= now && now <= self.end
    }

    fn length(self) -> Duration {
        self.end.duration_since(self.start).unwrap_or_default()
    }

    /// The point at `share`, 0 to 1, of it.
    fn at(self, share: f64) -> SystemTime {
        self.start + self.length().mul_f64(share.clamp(0.0, 1.0))
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Request a certificate now.
    Order,
    /// Ask the authority when to renew (RFC 9773).
    RenewalInfo,
    /// Nothing before this time.
    Wait(SystemTime),
}

/// When one certificate is requested.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    validity: Option<Period>,
    /// Within the validity.
    renew_at: Option<SystemTime>,
    ask_renewal_info_at: Option<SystemTime>,
    failures: u32,
    retry_at: Option<SystemTime>,
}

impl Schedule {
    /// A certificate with this validity is in use, or none. `random` is from 0 to 1.
    pub(crate) fn new(validity: Option<Period>, random: f64) -> Self {
        Self {
            validity,
            renew_at: validity.map(|validity| renewal_by_lifetime(validity, random)),
            ask_renewal_info_at: validity.map(|validity| validity.start),
            failures: 0,
            retry_at: None,
        }
    }

    /// Continues after a restart: a restart is no way round the delay after failures.
    pub(crate) fn with_failures(mut self, failures: u32, retry_at: Option<SystemTime>) -> Self {
        self.failures = failures;
        self.retry_at = retry_at;
        self
    }

    /// What to do now.
    pub(crate) fn step(&mut self, now: SystemTime) -> Step {
        // The clock was set back: what was planned for later than the longest delay is void.
        let longest = match self.failures {
            0 => SPACING,
            _ => LONGEST_RETRY_AFTER,
        };
        if self.retry_at.is_some_and(|at| at > now + longest) {
            self.retry_at = Some(now + longest.min(LONGEST_DELAY));
        }
        let retry_at = self.retry_at.filter(|at| *at > now);
        let Some(validity) = self.validity else {
            return retry_at.map_or(Step::Order, Step::Wait);
        };
        let is_due = self.renew_at.is_none_or(|at| at <= now) || validity.end <= now;
        if is_due {
            return retry_at.map_or(Step::Order, Step::Wait);
        }
        let (_, longest) = RENEWAL_INFO_EVERY;
        if self
            .ask_renewal_info_at
            .is_some_and(|at| at > now + longest)
        {
            self.ask_renewal_info_at = Some(now + longest);
        }
        match self.ask_renewal_info_at {
            Some(at) if at <= now => Step::RenewalInfo,
            ask_at => {
                let renew_at = self.renew_at.into_iter();
                let next = renew_at.chain(ask_at).chain([validity.end]).min();
                Step::Wait(next.unwrap_or(validity.end))
            }
        }
    }

    /// A certificate was issued. Returns before when no other one is requested.
    pub(crate) fn issued(&mut self, now: SystemTime, validity: Period, random: f64) -> SystemTime {
        *self = Self::new(Some(validity), random);
        let at = now + SPACING.min(validity.length() / 3);
        self.retry_at = Some(at);
        at
    }

    /// A request failed. `retry_after` is what the authority asked for. Returns when the next one
    /// is made.
    pub(crate) fn failed(
        &mut self,
        now: SystemTime,
        retry_after: Option<Duration>,
        random: f64,
    ) -> SystemTime {
        let doubled = FIRST_DELAY.saturating_mul(1 << self.failures.min(16));
        let delay = doubled.min(LONGEST_DELAY).mul_f64(1.0 + random * 0.25);
        let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
        self.failures = self.failures.saturating_add(1);
        let at = now + delay.max(asked);
        self.retry_at = Some(at);
        at
    }

    /// The authority suggests to renew within `window`, and to ask again after `ask_after`. A
    /// random moment of the window is selected; one in the past means now (RFC 9773 section 4.2).
    pub(crate) fn renewal_info(
        &mut self,
        now: SystemTime,
        window: Period,
        ask_after: Duration,
        random: f64,
    ) {
        let (least, most) = RENEWAL_INFO_EVERY;
        self.ask_renewal_info_at = Some(now + ask_after.clamp(least, most));
        // A moment that was selected before stays as long as the window has it.
        if !self.renew_at.is_some_and(|at| window.contains(at)) {
            self.renew_at = Some(window.at(random));
        }
        // A window after the expiry, or shortly before it, would leave no time for retries.
        if let (Some(validity), Some(at)) = (self.validity, self.renew_at) {
            let latest = validity.end.checked_sub(validity.length() / 10);
            self.renew_at = Some(latest.map_or(at, |latest| at.min(latest)));
        }
    }

    /// The authority could not be asked, or (`is_unsupported`) has no such suggestions: the
    /// lifetime decides.
    pub(crate) fn no_renewal_info(&mut self, now: SystemTime, is_unsupported: bool) {
        self.ask_renewal_info_at = (!is_unsupported).then(|| now + RENEWAL_INFO_RETRY);
    }

    /// Requests a certificate at the next step, whatever was planned.
    pub(crate) fn hurry(&mut self) {
        self.renew_at = None;
        self.retry_at = None;
    }

    /// Failures since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// After a failure, when the next request is made.
    pub(crate) fn retry_at(&self) -> Option<SystemTime> {
        self.retry_at.filter(|_| self.failures > 0)
    }

    /// When the certificate is renewed, unless the authority suggests something else.
    pub(crate) fn renew_at(&self) -> Option<SystemTime> {
        self.renew_at
    }
}

/// When a third of the lifetime is left, or half of one below ten days; earlier by up to a
/// thirtieth, so that certificates that were issued together are not renewed together.
fn renewal_by_lifetime(validity: Period, random: f64) -> SystemTime {
    let length = validity.length();
    let used = match length < Duration::from_secs(10 * 24 * 3600) {
        true => 0.5,
        false => 2.0 / 3.0,
    };
    validity.start + length.mul_f64(used - random.clamp(0.0, 1.0) / 30.0)
}

#[cfg(test)]
#[path = "schedule/tests.rs"]
mod tests;
