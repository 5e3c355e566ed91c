//! Preference: whether new streams use QUIC or TLS, decided by what the traffic of this side has measured.
//!
//! In:    once a window, what was sent and lost by QUIC and sent by TLS; the time.
//! Out:   a change with its reason, or none.
//! Never: moves an open stream; never changes on less than two windows of loss; never tries TLS again sooner than
//!        [`FIRST_PAUSE`] after a trial in which it was no better, nor QUIC after one in which it was worse.
//!
//! Loss alone does not decide: QUIC's congestion control may use a lossy path better than TCP does. It only begins a trial,
//! in which new streams use TLS, and the rates of both decide.

use std::fmt;
use std::time::{Duration, Instant};

/// A window with fewer packets by QUIC says nothing of its loss.
const ENOUGH_PACKETS: u64 = 40;

/// In percent: loss from which on QUIC may be policed.
const HEAVY_LOSS: u64 = 2;

/// Windows in a row with heavy loss begin a trial.
const LOSSY_WINDOWS: u32 = 2;

/// TLS is kept if it moves at least 5 bytes where QUIC moved 4.
const BETTER: (u64, u64) = (5, 4);

/// A window in which TLS has sent less does not count as one of a trial.
const ENOUGH_BYTES: u64 = 64 * 1024;

/// Windows of traffic that a trial has to show that TLS is better.
const TRIAL_WINDOWS: u32 = 5;

/// A trial without traffic ends after this.
const TRIAL_ENDS: Duration = Duration::from_secs(30);

/// After it the other carrier is tried again; doubles each time that the outcome is the same.
pub const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// The longest such pause.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What one window of traffic was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// How long it was.
    pub lasted: Duration,
    /// Packets sent by QUIC.
    pub quic_packets: u64,
    /// Those of them, or of earlier ones, that were found lost in it.
    pub quic_lost: u64,
    /// Bytes sent by QUIC less those lost.
    pub quic_bytes: u64,
    /// Bytes sent by TLS.
    pub tls_bytes: u64,
}

impl Window {
    fn is_lossy(&self) -> bool {
        self.quic_packets >= ENOUGH_PACKETS && self.quic_lost * 100 >= self.quic_packets * HEAVY_LOSS
    }

    fn rate(&self, bytes: u64) -> u64 {
        let ms = u64::try_from(self.lasted.as_millis()).unwrap_or(u64::MAX).max(1);
        bytes.saturating_mul(1000) / ms
    }
}

/// What new streams use from now on, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// TLS, for a trial: QUIC loses packets.
    TryTls {
        /// In percent.
        loss: u64,
        /// Bytes per second that QUIC moves.
        quic: u64,
    },
    /// QUIC: the trial is over, and TLS was no better.
    Quic {
        /// Bytes per second.
        quic: u64,
        /// Bytes per second.
        tls: u64,
    },
    /// QUIC is tried again after a time with TLS.
    TryQuic,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TryTls { loss, quic } => {
                write!(f, "new streams use tls where it is attached: quic loses {loss} % of its packets at {quic} B/s")
            }
            Self::Quic { quic, tls } => {
                write!(f, "new streams use quic: tls was tried and was no better ({tls} B/s, quic {quic} B/s)")
            }
            Self::TryQuic => f.write_str("new streams use quic: it is tried again"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Quic { lossy: u32, trial_from: Option<Instant> },
    Trial { since: Instant, windows: u32, best: u64 },
    Tls { until: Instant },
}

/// See the head of the file.
#[derive(Debug)]
pub struct Preference {
    state: State,
    /// The best rate of QUIC in the windows that began the trial.
    quic_rate: u64,
    pause: Duration,
}

impl Default for Preference {
    fn default() -> Self {
        Self { state: State::Quic { lossy: 0, trial_from: None }, quic_rate: 0, pause: FIRST_PAUSE }
    }
}

impl Preference {
    /// Whether new streams use TLS where it is attached.
    pub const fn is_tls(&self) -> bool {
        matches!(self.state, State::Trial { .. } | State::Tls { .. })
    }

    /// Whether TLS is only tried, and QUIC may be back soon.
    pub const fn is_trial(&self) -> bool {
        matches!(self.state, State::Trial { .. })
    }

    /// Takes one window of traffic that has ended `now`.
    pub fn measured(&mut self, window: &Window, now: Instant) -> Option<Change> {
        match &mut self.state {
            State::Quic { lossy, trial_from } => {
                if window.quic_packets < ENOUGH_PACKETS {
                    return None;
                }
                if !window.is_lossy() {
                    *lossy = 0;
                    return None;
                }
                let rate = window.rate(window.quic_bytes);
                self.quic_rate = if *lossy == 0 { rate } else { self.quic_rate.max(rate) };
                *lossy += 1;
                if *lossy < LOSSY_WINDOWS || trial_from.is_some_and(|from| now < from) {
                    return None;
                }
                self.state = State::Trial { since: now, windows: 0, best: 0 };
                let loss = window.quic_lost * 100 / window.quic_packets;
                Some(Change::TryTls { loss, quic: self.quic_rate })
            }
            State::Trial { since, windows, best } => {
                *best = (*best).max(window.rate(window.tls_bytes));
                *windows += u32::from(window.tls_bytes >= ENOUGH_BYTES);
                if *windows > 0 && best.saturating_mul(BETTER.1) >= self.quic_rate.saturating_mul(BETTER.0) {
                    self.state = State::Tls { until: now + self.pause };
                    self.lengthen();
                    return None;
                }
                if *windows < TRIAL_WINDOWS && now.saturating_duration_since(*since) < TRIAL_ENDS {
                    return None;
                }
                let (quic, tls) = (self.quic_rate, *best);
                self.state = State::Quic { lossy: 0, trial_from: Some(now + self.pause) };
                self.lengthen();
                Some(Change::Quic { quic, tls })
            }
            State::Tls { until } if now >= *until => {
                self.state = State::Quic { lossy: 0, trial_from: None };
                Some(Change::TryQuic)
            }
            State::Tls { .. } => None,
        }
    }

    fn lengthen(&mut self) {
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MIB: u64 = 1024 * 1024;

    /// Both carriers of a path, of which the preferred one moves as much as it can.
    struct Path {
        quic: u64,
        quic_loss: u64,
        tls: u64,
    }

    impl Path {
        fn window(&self, preference: &Preference) -> Window {
            let quic_bytes = if preference.is_tls() { 0 } else { self.quic };
            let quic_packets = quic_bytes / 1200;
            Window {
                lasted: SECOND,
                quic_packets,
                quic_lost: quic_packets * self.quic_loss / 100,
                quic_bytes,
                tls_bytes: if preference.is_tls() { self.tls } else { 0 },
            }
        }

        /// The changes of `seconds`, and how many of them TLS was preferred.
        fn run(&self, preference: &mut Preference, seconds: u32) -> (Vec<(u32, Change)>, u32) {
            let (start, mut changes, mut by_tls) = (Instant::now(), Vec::new(), 0);
            for second in 1..=seconds {
                let window = self.window(preference);
                changes.extend(preference.measured(&window, start + second * SECOND).map(|change| (second, change)));
                by_tls += u32::from(preference.is_tls());
            }
            (changes, by_tls)
        }
    }

    #[test]
    fn auto_stayed_on_a_policed_quic_at_one_megabit_where_tls_had_ninety() {
        let path = Path { quic: 125_000, quic_loss: 3, tls: 11 * MIB };
        let (changes, by_tls) = path.run(&mut Preference::default(), 60);
        assert!(matches!(changes[..], [(2, Change::TryTls { loss: 2..=3, .. })]), "{changes:?}");
        assert_eq!(by_tls, 59);
    }

    #[test]
    fn a_lossy_quic_that_is_faster_than_tls_is_used_again_and_tls_is_tried_ever_more_rarely() {
        let path = Path { quic: 7 * MIB, quic_loss: 5, tls: MIB / 8 };
        let (changes, by_tls) = path.run(&mut Preference::default(), 3600);
        assert!(by_tls < 60, "TLS was preferred for {by_tls} s of an hour");
        assert!(matches!(changes[1], (_, Change::Quic { .. })), "{changes:?}");
    }

    #[test]
    fn quic_is_tried_again_after_a_minute_and_then_ever_more_rarely_while_it_is_policed() {
        let path = Path { quic: 125_000, quic_loss: 10, tls: 11 * MIB };
        let (changes, by_tls) = path.run(&mut Preference::default(), 3600);
        let again = changes.iter().filter(|(_, change)| *change == Change::TryQuic).count();
        assert!((4..=9).contains(&again), "{again} times in an hour");
        assert!(by_tls > 3500, "{by_tls} of 3600 s");
    }

    #[test]
    fn a_path_that_is_policed_no_more_goes_back_to_quic_and_stays_there() {
        let mut preference = Preference::default();
        Path { quic: 125_000, quic_loss: 10, tls: 11 * MIB }.run(&mut preference, 30);
        assert!(preference.is_tls());
        let healed = Path { quic: 11 * MIB, quic_loss: 0, tls: 11 * MIB };
        let (changes, _) = healed.run(&mut preference, 600);
        assert!(matches!(changes[..], [(_, Change::TryQuic)]), "{changes:?}");
    }

    #[test]
    fn one_lossy_second_and_the_loss_of_a_few_packets_change_nothing() {
        let (mut preference, start) = (Preference::default(), Instant::now());
        for second in 1..1000 {
            let (packets, lost) = if second % 3 == 0 { (1000, 300) } else { (1000, 10) };
            let bursts = Window { lasted: SECOND, quic_packets: packets, quic_lost: lost, ..Window::default() };
            assert_eq!(preference.measured(&bursts, start + second * SECOND), None);
            let few = Window { lasted: SECOND, quic_packets: 5, quic_lost: 5, ..Window::default() };
            assert_eq!(Preference::default().measured(&few, start + second * SECOND), None);
        }
    }

    #[test]
    fn a_trial_in_which_nobody_opens_a_stream_ends() {
        let (mut preference, start) = (Preference::default(), Instant::now());
        let lossy = Window { lasted: SECOND, quic_packets: 100, quic_lost: 10, quic_bytes: 100_000, tls_bytes: 0 };
        preference.measured(&lossy, start);
        assert!(preference.measured(&lossy, start + SECOND).is_some());
        let silent = Window { lasted: SECOND, ..Window::default() };
        let back = (2..60).find_map(|second| preference.measured(&silent, start + second * SECOND));
        assert!(matches!(back, Some(Change::Quic { tls: 0, .. })), "{back:?}");
        assert!(!preference.is_tls());
    }
}
