//! Preference: whether new streams use QUIC or TLS, decided by the measured traffic of this side.
//!
//! In:    one window of traffic after the other; the time.
//! Out:   a change with its reason, or none.
//! Never: moves an open stream; starts a trial of TLS without heavy loss of QUIC in two windows of
//!        payload in a row; keeps TLS after fewer than `TRIAL_WINDOWS` windows or for its best one;
//!        takes a trial with less traffic as a result.
//!
//! Loss alone does not decide: QUIC's congestion control may use a lossy path better than TCP does.
//! Loss only starts a trial, in which new streams use TLS; the rates and round trips of both
//! decide. A result holds for a time, which doubles while the results are the same. A result for
//! QUIC ends early once QUIC is much worse, one for TLS once TLS is slower than QUIC was.

use std::fmt;
use std::time::{Duration, Instant};

use crate::traffic::{Moved, Traffic, per_second};

/// A window with less payload does not show a rate, unless more data waits to be sent.
const ENOUGH_BYTES: u64 = 48 * 1024;

/// Per 1,000 packets: from this loss on QUIC may be policed.
const HEAVY_LOSS: u64 = 20;

/// TLS is kept if it moves at least 5 bytes where QUIC moved 4.
const BETTER: (u64, u64) = (5, 4);

/// The same if its round trip is much longer: 3 to 1.
const MUCH_BETTER: (u64, u64) = (3, 1);

/// A round trip is much longer if it is longer by this factor and by [`LONGER_BY`].
const LONGER: u32 = 3;

/// See [`LONGER`].
const LONGER_BY: Duration = Duration::from_millis(50);

/// Windows of TLS that decide a trial. The first one with traffic does not count: TCP has to find
/// its rate.
const TRIAL_WINDOWS: u32 = 3;

/// A trial without enough traffic ends after this time.
const TRIAL_ENDS: Duration = Duration::from_secs(30);

/// The time until TLS is tried again after a trial without a result.
const NO_RESULT_PAUSE: Duration = Duration::from_secs(10);

/// The time until the other carrier is tried again after a result; doubles while the result is the
/// same.
pub const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// The longest such pause.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// QUIC is much worse than it was if its rate has fallen below one part in this many,
const RATE_FELL: u64 = 2;

/// or if its loss is more than 5 where it was 2.
const LOSS_ROSE: (u64, u64) = (5, 2);

/// TLS is left after this many windows in a row in which it is slower than QUIC was.
const SLOW_WINDOWS: u32 = 5;

/// The measurements of QUIC in two windows with loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lossy {
    /// Payload per second, in the better one.
    rate: u64,
    /// Lost packets per 1,000, in the better window and in the worse one.
    loss: (u64, u64),
    round_trip: Option<Duration>,
}

impl Lossy {
    /// The measurements of a window with payload, if its loss is heavy.
    fn of(quic: &Moved, lasted: Duration) -> Option<Self> {
        let loss = quic.lost.saturating_mul(1000) / quic.packets.max(1);
        let seen = Self {
            rate: per_second(quic.payload, lasted),
            loss: (loss, loss),
            round_trip: quic.round_trip,
        };
        (loss >= HEAVY_LOSS).then_some(seen)
    }

    fn and(self, earlier: Self) -> Self {
        Self {
            rate: self.rate.max(earlier.rate),
            loss: (
                self.loss.0.min(earlier.loss.0),
                self.loss.1.max(earlier.loss.1),
            ),
            round_trip: self.round_trip.max(earlier.round_trip),
        }
    }

    /// Whether both windows were much worse than those of `then`.
    const fn is_much_worse_than(&self, then: &Self) -> bool {
        self.rate * RATE_FELL < then.rate || self.loss.0 * LOSS_ROSE.1 > then.loss.1 * LOSS_ROSE.0
    }
}

/// The sum of several windows of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct TlsSum {
    windows: u32,
    payload: u64,
    busy: Duration,
    round_trips: Duration,
    round_trip_windows: u32,
}

impl TlsSum {
    fn add(&mut self, tls: &Moved) {
        self.windows += 1;
        self.payload += tls.payload;
        self.busy += tls.busy;
        self.round_trips += tls.round_trip.unwrap_or_default();
        self.round_trip_windows += u32::from(tls.round_trip.is_some());
    }

    /// Payload per second of the time in which there was data to send.
    fn rate(&self) -> u64 {
        per_second(self.payload, self.busy)
    }

    fn round_trip(&self) -> Option<Duration> {
        self.round_trips.checked_div(self.round_trip_windows)
    }
}

/// Whether a window shows the rate of the carrier.
const fn counts(moved: &Moved) -> bool {
    moved.payload >= ENOUGH_BYTES || moved.is_backlogged
}

/// The comparison of both carriers in a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Bytes per second.
    pub quic: u64,
    /// Bytes per second.
    pub tls: u64,
    /// The round trips of QUIC and of TLS, if that of TLS was much longer.
    pub round_trips: Option<(Duration, Duration)>,
}

impl Compared {
    fn new(quic: &Lossy, tls: &TlsSum) -> Self {
        let much_longer =
            |(quic, tls): &(Duration, Duration)| *tls > *quic * LONGER && *tls > *quic + LONGER_BY;
        let round_trips = quic.round_trip.zip(tls.round_trip()).filter(much_longer);
        Self {
            quic: quic.rate,
            tls: tls.rate(),
            round_trips,
        }
    }

    const fn is_tls_better(&self) -> bool {
        let (more, than) = if self.round_trips.is_some() {
            MUCH_BETTER
        } else {
            BETTER
        };
        self.tls.saturating_mul(than) >= self.quic.saturating_mul(more)
    }
}

/// The loss of QUIC that starts a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loses {
    /// Lost packets per 1,000.
    pub loss: u64,
    /// Its rate in bytes per second.
    pub rate: u64,
}

impl fmt::Display for Loses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "quic loses {} % of its packets at {} Mbit/s",
            (self.loss + 5) / 10,
            Megabits(self.rate)
        )
    }
}

/// The carrier that new streams use from now on, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// TLS, for a trial: QUIC loses packets.
    TryTls(Loses),
    /// TLS: the trial is over, and TLS was better.
    KeepTls(Compared),
    /// QUIC: the trial is over, and TLS was no better.
    Quic(Compared),
    /// QUIC: there was too little traffic in the trial.
    NoResult,
    /// QUIC is tried again after a time with TLS.
    TryQuic,
    /// QUIC is tried again: TLS is slower now than QUIC was.
    TlsIsSlow {
        /// The rate of QUIC, in bytes per second.
        quic: u64,
        /// The rate of TLS, in bytes per second.
        tls: u64,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TryTls(why) => write!(f, "new streams use tls, for a trial: {why}"),
            Self::KeepTls(Compared { quic, tls, .. }) => {
                write!(
                    f,
                    "tls is kept: {} Mbit/s, quic had {}",
                    Megabits(*tls),
                    Megabits(*quic)
                )
            }
            Self::Quic(Compared {
                quic,
                tls,
                round_trips: None,
            }) => {
                let (quic, tls) = (Megabits(*quic), Megabits(*tls));
                write!(
                    f,
                    "new streams use quic: tls was tried and was no better: {tls} Mbit/s, quic had {quic}"
                )
            }
            Self::Quic(Compared {
                quic,
                tls,
                round_trips: Some(round_trips),
            }) => {
                let (quic, tls) = (Megabits(*quic), Megabits(*tls));
                let (short, long) = (round_trips.0.as_millis(), round_trips.1.as_millis());
                write!(
                    f,
                    "new streams use quic: tls was tried and was no better: {tls} Mbit/s with a round trip of {long} ms, \
                     quic had {quic} with {short} ms"
                )
            }
            Self::NoResult => f.write_str(
                "new streams use quic: the trial of tls had too little traffic for a result",
            ),
            Self::TryQuic => {
                f.write_str("new streams use quic: it is tried again after a time with tls")
            }
            Self::TlsIsSlow { quic, tls } => {
                let (quic, tls) = (Megabits(*quic), Megabits(*tls));
                write!(
                    f,
                    "new streams use quic: it is tried again, since tls has {tls} Mbit/s now, and quic had {quic}"
                )
            }
        }
    }
}

/// Bytes per second, printed as megabits per second; with one decimal below 10.
struct Megabits(u64);

impl fmt::Display for Megabits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0.saturating_add(6_250) / 12_500;
        match (tenths / 10, tenths % 10) {
            (whole, tenths) if whole < 10 && tenths > 0 => write!(f, "{whole}.{tenths}"),
            (whole, tenths) => write!(f, "{}", whole + u64::from(tenths >= 5)),
        }
    }
}

/// A time in which TLS is not tried.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    /// The pause ends early when QUIC is much worse than this.
    of: Lossy,
}

impl Pause {
    fn holds(&self, quic: &Lossy, now: Instant) -> bool {
        now < self.until && !quic.is_much_worse_than(&self.of)
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Quic {
        /// The last window with payload, if it had heavy loss.
        lossy: Option<Lossy>,
        pause: Option<Pause>,
    },
    Trial {
        since: Instant,
        quic: Lossy,
        /// Whether the first window of TLS is over.
        has_started: bool,
        tls: TlsSum,
    },
    Tls {
        until: Instant,
        /// The rate of QUIC, in bytes per second.
        quic: u64,
        /// The sum of the last windows, all of which were slower than QUIC.
        slow: TlsSum,
    },
}

/// Decides whether new streams of a link use QUIC or TLS, from the traffic measured in one window
/// after the other. Open streams stay on their carrier.
#[derive(Debug)]
pub struct Preference {
    state: State,
    /// Whether TLS was better in the last trial with a result, and how long that result holds.
    last: Option<(bool, Duration)>,
}

impl Default for Preference {
    fn default() -> Self {
        Self {
            state: State::Quic {
                lossy: None,
                pause: None,
            },
            last: None,
        }
    }
}

impl Preference {
    /// Whether new streams use TLS where it is attached.
    pub const fn is_tls(&self) -> bool {
        matches!(self.state, State::Trial { .. } | State::Tls { .. })
    }

    /// Whether TLS is used for a trial.
    pub const fn is_trial(&self) -> bool {
        matches!(self.state, State::Trial { .. })
    }

    /// Takes one window of traffic that has ended at `now`.
    pub fn measured(&mut self, traffic: &Traffic, now: Instant) -> Option<Change> {
        match self.state {
            State::Quic { lossy, pause } => self.with_quic(traffic, now, lossy, pause),
            State::Trial {
                since,
                quic,
                has_started,
                tls,
            } => self.in_trial(traffic, now, since, quic, has_started, tls),
            State::Tls { until, quic, slow } => self.with_tls(&traffic.tls, now, until, quic, slow),
        }
    }

    fn with_quic(
        &mut self,
        traffic: &Traffic,
        now: Instant,
        earlier: Option<Lossy>,
        pause: Option<Pause>,
    ) -> Option<Change> {
        if traffic.quic.payload < ENOUGH_BYTES {
            return None;
        }
        let lossy = Lossy::of(&traffic.quic, traffic.lasted);
        self.state = State::Quic { lossy, pause };
        let both = lossy?.and(earlier?);
        if pause.is_some_and(|pause| pause.holds(&both, now)) {
            return None;
        }
        self.state = State::Trial {
            since: now,
            quic: both,
            has_started: false,
            tls: TlsSum::default(),
        };
        Some(Change::TryTls(Loses {
            loss: both.loss.1,
            rate: both.rate,
        }))
    }

    fn in_trial(
        &mut self,
        traffic: &Traffic,
        now: Instant,
        since: Instant,
        quic: Lossy,
        has_started: bool,
        mut tls: TlsSum,
    ) -> Option<Change> {
        let counts = counts(&traffic.tls);
        if counts && has_started {
            tls.add(&traffic.tls);
        }
        self.state = State::Trial {
            since,
            quic,
            has_started: has_started || counts,
            tls,
        };
        let is_over = now.saturating_duration_since(since) >= TRIAL_ENDS;
        if tls.windows < TRIAL_WINDOWS {
            return is_over.then(|| {
                self.state = back_to_quic(quic, now + NO_RESULT_PAUSE);
                Change::NoResult
            });
        }
        let compared = Compared::new(&quic, &tls);
        let until = now + self.holds_for(compared.is_tls_better());
        if compared.is_tls_better() {
            self.state = State::Tls {
                until,
                quic: quic.rate,
                slow: TlsSum::default(),
            };
            return Some(Change::KeepTls(compared));
        }
        self.state = back_to_quic(quic, until);
        Some(Change::Quic(compared))
    }

    fn with_tls(
        &mut self,
        tls: &Moved,
        now: Instant,
        until: Instant,
        quic: u64,
        mut slow: TlsSum,
    ) -> Option<Change> {
        if counts(tls) {
            slow.add(tls);
            let is_slow = per_second(tls.payload, tls.busy) < quic;
            self.state = State::Tls {
                until,
                quic,
                slow: if is_slow { slow } else { TlsSum::default() },
            };
            if is_slow && slow.windows >= SLOW_WINDOWS {
                self.state = State::Quic {
                    lossy: None,
                    pause: None,
                };
                return Some(Change::TlsIsSlow {
                    quic,
                    tls: slow.rate(),
                });
            }
        }
        (now >= until).then(|| {
            self.state = State::Quic {
                lossy: None,
                pause: None,
            };
            Change::TryQuic
        })
    }

    /// How long a result holds.
    fn holds_for(&mut self, is_tls_better: bool) -> Duration {
        let pause = match self.last {
            Some((was_better, pause)) if was_better == is_tls_better => {
                (pause * 2).min(LONGEST_PAUSE)
            }
            _ => FIRST_PAUSE,
        };
        self.last = Some((is_tls_better, pause));
        pause
    }
}

const fn back_to_quic(of: Lossy, until: Instant) -> State {
    State::Quic {
        lossy: None,
        pause: Some(Pause { until, of }),
    }
}

#[cfg(test)]
mod tests;
