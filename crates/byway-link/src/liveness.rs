//! Liveness: whether the other side still answers, judged by replies alone.
//!
//! In:    the time, replies, and requests to ping now (a caller waits for an answer that does not
//!        come).
//! Out:   when to ping, when to poll again, and when to give up.
//! Never: treats a successful write, or anything but a reply to its own ping, as a sign of life.
//!
//! The health of a carrier, from best to worst:
//! - *overdue*: a reply is later than usual. New streams use another carrier. A link is *silent*
//!   when all of its carriers are overdue.
//! - *under suspicion*: a caller has reason to think that the other side is gone (for example, a
//!   newer session exists): one new ping is sent.
//! - *suspected*: that ping had no reply in a short time. Pending opens are returned to their
//!   callers.
//! - given up: the carrier ends, with its streams.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// The ping interval of the dialling side, which has to reconnect. A QUIC server that has restarted
/// answers the first packet with a stateless reset, so an outage is noticed within this time.
pub const DIALLER_PING_INTERVAL: Duration = Duration::from_secs(1);

/// The ping interval of the accepting side: it may have thousands of sessions, and only has to
/// release dead ones.
pub const ACCEPTOR_PING_INTERVAL: Duration = Duration::from_secs(5);

/// A reply may take this long, or three round trips if they are longer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(3);

/// A side under suspicion that has not replied for this long, or for three round trips if they are
/// longer, is suspected to be gone.
const SUSPECT_AFTER: Duration = Duration::from_millis(300);

/// A reply that is later than this, or than three round trips if they are longer, is overdue: new
/// streams use another carrier that answers. Open streams are not touched.
const OVERDUE: Duration = Duration::from_millis(500);

/// The same while the round trip is not known.
const FIRST_OVERDUE: Duration = Duration::from_millis(1500);

/// The most pings that may be open at once. A reply to any of them counts, however late it is.
const MAX_OPEN_PINGS: usize = 8;

/// The longest time that a reply may take, whatever the round trip is.
const MAX_REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// The number of pings in a row without a reply that ends the carrier.
const MAX_MISSES: u32 = 2;

/// While streams are in use, a silence shorter than this does not end the carrier. After 10 s
/// without packets TCP may send its next one up to 10 s later, because each retransmission waits
/// twice as long as the one before.
pub const STREAMS_SURVIVE: Duration = Duration::from_secs(24);

/// If the next call comes this much later than agreed, this process was suspended (stopped, or the
/// machine slept), and the silence does not count.
const SUSPENDED: Duration = Duration::from_secs(1);

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingAction {
    /// Send a ping with this number.
    Ask(u64),
    /// Nothing until then.
    WaitUntil(Instant),
    /// There was no reply under suspicion: a caller that can use another session should. Open
    /// streams continue to wait.
    Suspect,
    /// The other side is gone.
    GiveUp,
}

/// Decides when to ping the other side of a carrier, and when to give it up. Only replies to its
/// own pings count as signs of life. It does no I/O and takes the time as an argument.
#[derive(Debug)]
pub struct Liveness {
    every: Duration,
    /// Pings without a reply, the oldest first.
    pings: VecDeque<SentPing>,
    /// Whether the last ping may still be answered in time.
    waiting: bool,
    /// How many questions there were.
    sent: u64,
    /// Hashes that count to the numbers of the pings, so that a peer cannot predict them.
    numbers: RandomState,
    misses: u32,
    /// Since when there was no reply to any ping.
    silent_since: Option<Instant>,
    in_use: bool,
    suspicion: Option<Suspicion>,
    next: Instant,
    /// When the next call was agreed.
    agreed: Instant,
    round_trip: Option<Duration>,
    /// The last sample: a path may have become slower than its average.
    latest: Duration,
}

/// The state of a suspicion that the other side is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspicion {
    /// Waiting for a reply.
    Asking,
    /// None has come in [`SUSPECT_AFTER`].
    Suspected,
}

#[derive(Clone, Copy, Debug)]
struct SentPing {
    at: Instant,
    number: u64,
}

impl Liveness {
    /// The first poll sends a ping at once, which measures the round trip.
    pub fn new(every: Duration, now: Instant) -> Self {
        Self {
            every,
            pings: VecDeque::new(),
            waiting: false,
            sent: 0,
            numbers: RandomState::new(),
            misses: 0,
            silent_since: None,
            in_use: false,
            suspicion: None,
            next: now,
            agreed: now,
            round_trip: None,
            latest: Duration::ZERO,
        }
    }

    /// What to do at `now`.
    pub fn poll(&mut self, now: Instant) -> PingAction {
        if now.saturating_duration_since(self.agreed) > SUSPENDED {
            (self.waiting, self.misses, self.silent_since, self.next) = (false, 0, None, now);
        }
        if let Some(ping) = self.pings.back().copied().filter(|_| self.waiting) {
            let suspect = ping.at + self.timeout_from(SUSPECT_AFTER);
            if self.suspicion == Some(Suspicion::Asking) && now >= suspect {
                self.suspicion = Some(Suspicion::Suspected);
                return PingAction::Suspect;
            }
            let late = ping.at + self.reply_timeout();
            if now < late {
                return self.wait(if self.suspicion == Some(Suspicion::Asking) {
                    suspect
                } else {
                    late
                });
            }
            self.waiting = false;
            self.misses += 1;
            let silent = self
                .silent_since
                .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            let survives = self.in_use && silent < STREAMS_SURVIVE;
            if self.suspicion.is_some() || (self.misses >= MAX_MISSES && !survives) {
                return PingAction::GiveUp;
            }
            self.next = now;
        }
        if now < self.next {
            return self.wait(self.next);
        }
        self.sent += 1;
        let number = self.numbers.hash_one(self.sent);
        if self.pings.len() >= MAX_OPEN_PINGS {
            self.pings.pop_front();
        }
        self.pings.push_back(SentPing { at: now, number });
        self.silent_since.get_or_insert(now);
        self.waiting = true;
        self.agreed = now + self.reply_timeout();
        PingAction::Ask(number)
    }

    /// Handles a reply. Returns the smoothed round trip if it answers an open ping, however late:
    /// the other side is alive. Later pings stay open; if there is none, the next is sent after the
    /// usual interval.
    pub fn reply(&mut self, number: u64, now: Instant) -> Option<Duration> {
        let place = self.pings.iter().position(|ping| ping.number == number)?;
        let ping = self.pings.drain(..=place).next_back()?;
        let round_trip = now.saturating_duration_since(ping.at);
        (self.misses, self.suspicion, self.latest) = (0, None, round_trip);
        self.silent_since = self.pings.front().map(|ping| ping.at);
        self.waiting &= !self.pings.is_empty();
        if !self.waiting {
            self.next = now + self.every;
            self.agreed = self.next;
        }
        // A smoothed round trip, as in TCP (RFC 6298 section 2).
        let smooth = self
            .round_trip
            .map_or(round_trip, |known| (known * 7 + round_trip) / 8);
        self.round_trip = Some(smooth);
        Some(smooth)
    }

    /// Sets whether streams that were answered are open: then a longer silence is tolerated.
    pub const fn set_in_use(&mut self, in_use: bool) {
        self.in_use = in_use;
    }

    /// When the oldest open ping becomes or became overdue; `None` without an open ping.
    pub fn overdue_at(&self) -> Option<Instant> {
        let least = if self.round_trip.is_some() {
            OVERDUE
        } else {
            FIRST_OVERDUE
        };
        Some(self.pings.front()?.at + self.timeout_from(least))
    }

    /// A caller waits: pings now, unless a ping is open.
    pub fn ping_now(&mut self, now: Instant) {
        self.next = self.next.min(now);
        self.agreed = now;
    }

    /// The other side may be gone: pings again, and accepts only the reply to this ping. Replies to
    /// older ones may have been in flight when it died.
    pub fn suspect(&mut self, now: Instant) {
        self.pings.clear();
        (self.waiting, self.suspicion) = (false, Some(Suspicion::Asking));
        self.ping_now(now);
    }

    fn reply_timeout(&self) -> Duration {
        self.timeout_from(REPLY_TIMEOUT)
    }

    fn timeout_from(&self, least: Duration) -> Duration {
        let known = self
            .round_trip
            .map_or(Duration::ZERO, |round_trip| round_trip * 3);
        known.max(self.latest * 2).clamp(least, MAX_REPLY_TIMEOUT)
    }

    fn wait(&mut self, until: Instant) -> PingAction {
        self.agreed = until;
        PingAction::WaitUntil(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ask(liveness: &mut Liveness, now: Instant) -> u64 {
        match liveness.poll(now) {
            PingAction::Ask(number) => number,
            other => panic!("{other:?} instead of a ping"),
        }
    }

    #[test]
    fn it_pings_at_once_and_then_every_second_while_replies_come() {
        let mut now = Instant::now();
        let mut liveness = Liveness::new(DIALLER_PING_INTERVAL, now);
        for _ in 0..100 {
            let number = ask(&mut liveness, now);
            assert_eq!(liveness.reply(number, now + SECOND / 10), Some(SECOND / 10));
            now += SECOND / 10;
            assert_eq!(liveness.poll(now), PingAction::WaitUntil(now + SECOND));
            now += SECOND;
        }
    }

    #[test]
    fn two_pings_without_a_reply_end_the_carrier() {
        let start = Instant::now();
        let mut liveness = Liveness::new(DIALLER_PING_INTERVAL, start);
        let first = ask(&mut liveness, start);
        assert_eq!(
            liveness.poll(start + SECOND),
            PingAction::WaitUntil(start + 3 * SECOND)
        );
        let second = ask(&mut liveness, start + 3 * SECOND);
        assert_ne!(first, second);
        assert_eq!(liveness.poll(start + 6 * SECOND), PingAction::GiveUp);
    }

    #[test]
    fn a_peer_that_has_read_one_ping_cannot_answer_the_later_ones_unread() {
        let start = Instant::now();
        let mut liveness = Liveness::new(DIALLER_PING_INTERVAL, start);
        let first = ask(&mut liveness, start);
        ask(&mut liveness, start + 3 * SECOND);
        for guess in (1..100).chain((1..100).map(|n| first.wrapping_add(n))) {
            assert_eq!(
                liveness.reply(guess, start + 3 * SECOND),
                None,
                "{guess} of {first}"
            );
        }
        assert_eq!(liveness.poll(start + 6 * SECOND), PingAction::GiveUp);
    }

    #[test]
    fn one_lost_reply_is_tolerated() {
        let start = Instant::now();
        let mut liveness = Liveness::new(DIALLER_PING_INTERVAL, start);
        ask(&mut liveness, start);
        let second = ask(&mut liveness, start + 3 * SECOND);
        assert!(liveness.reply(second, start + 3 * SECOND).is_some());
        let third = ask(&mut liveness, start + 4 * SECOND);
        let fourth = ask(&mut liveness, start + 7 * SECOND);
        assert_ne!(third, fourth);
    }

    #[test]
    fn a_long_round_trip_is_waited_for() {
        let start = Instant::now();
        let mut liveness = Liveness::new(DIALLER_PING_INTERVAL, start);
        let number = ask(&mut liveness, start);
        assert_eq!(liveness.reply(number, start + 2 * SECOND), Some(2 * SECOND));
        ask(&mut liveness, start + 3 * SECOND);
        assert_eq!(
            liveness.poll(start + 3 * SECOND),
            PingAction::WaitUntil(start + 9 * SECOND)
        );
    }

    #[test]
    fn ping_now_pings_at_once_and_not_twice() {
        let start = Instant::now();
        let mut liveness = Liveness::new(ACCEPTOR_PING_INTERVAL, start);
        let number = ask(&mut liveness, start);
        liveness.ping_now(start);
        assert_eq!(
            liveness.poll(start),
            PingAction::WaitUntil(start + 3 * SECOND)
        );
        liveness.reply(number, start);
        assert_eq!(
            liveness.poll(start),
            PingAction::WaitUntil(start + 5 * SECOND)
        );
        liveness.ping_now(start + SECOND);
        ask(&mut liveness, start + SECOND);
    }

    #[test]
    fn a_peer_under_suspicion_is_suspected_soon_and_given_up_after_the_usual_timeout() {
        let start = Instant::now();
        let mut liveness = Liveness::new(ACCEPTOR_PING_INTERVAL, start);
        let old = ask(&mut liveness, start);
        liveness.suspect(start + SECOND);
        let new = ask(&mut liveness, start + SECOND);
        assert_eq!(liveness.reply(old, start + SECOND), None);
        assert_eq!(
            liveness.poll(start + SECOND),
            PingAction::WaitUntil(start + SECOND + SUSPECT_AFTER)
        );
        // A reply ends the suspicion.
        assert!(liveness.reply(new, start + SECOND).is_some());
        ask(&mut liveness, start + 6 * SECOND);
        assert_eq!(
            liveness.poll(start + 6 * SECOND),
            PingAction::WaitUntil(start + 9 * SECOND)
        );
        liveness.suspect(start + 7 * SECOND);
        ask(&mut liveness, start + 7 * SECOND);
        assert_eq!(
            liveness.poll(start + 7 * SECOND + SUSPECT_AFTER),
            PingAction::Suspect
        );
        assert_eq!(
            liveness.poll(start + 8 * SECOND),
            PingAction::WaitUntil(start + 10 * SECOND)
        );
        assert_eq!(liveness.poll(start + 10 * SECOND), PingAction::GiveUp);
    }

    #[test]
    fn an_older_session_on_a_slow_path_that_replies_late_survives_a_suspicion() {
        let start = Instant::now();
        let mut liveness = Liveness::new(ACCEPTOR_PING_INTERVAL, start);
        let number = ask(&mut liveness, start);
        liveness.reply(number, start + SECOND / 20);
        liveness.suspect(start + SECOND);
        let number = ask(&mut liveness, start + SECOND);
        assert_eq!(
            liveness.poll(start + SECOND + SUSPECT_AFTER),
            PingAction::Suspect
        );
        assert!(liveness.reply(number, start + 3 * SECOND).is_some());
        assert!(matches!(
            liveness.poll(start + 3 * SECOND),
            PingAction::WaitUntil(_)
        ));
    }

    #[test]
    fn a_path_whose_delay_rises_to_two_seconds_is_not_given_up_while_every_reply_arrives() {
        for every in [DIALLER_PING_INTERVAL, ACCEPTOR_PING_INTERVAL] {
            let start = Instant::now();
            let mut liveness = Liveness::new(every, start);
            let number = ask(&mut liveness, start);
            liveness.reply(number, start + SECOND / 100);
            // From now on each reply takes four seconds: two in each direction.
            let (mut now, mut replies) = (start + every, VecDeque::new());
            for _ in 0..1000 {
                while let Some(&(at, number)) = replies.front()
                    && at <= now
                {
                    replies.pop_front();
                    assert!(
                        liveness.reply(number, now).is_some(),
                        "a late reply was ignored"
                    );
                }
                let wake = match liveness.poll(now) {
                    PingAction::Ask(number) => {
                        replies.push_back((now + 4 * SECOND, number));
                        now
                    }
                    PingAction::WaitUntil(at) => at,
                    other => panic!("{other:?} after {:?}", now - start),
                };
                now = replies
                    .front()
                    .map_or(wake, |(at, _)| wake.min(*at))
                    .max(now);
            }
            assert!(now > start + 600 * SECOND);
            assert!(liveness.round_trip.is_some_and(|known| known > 3 * SECOND));
        }
    }

    #[test]
    fn unanswered_pings_are_kept_up_to_a_limit() {
        let start = Instant::now();
        let mut liveness = Liveness::new(DIALLER_PING_INTERVAL, start);
        for hour in 0..100 {
            ask(&mut liveness, start + hour * 3600 * SECOND);
        }
        assert!(liveness.pings.len() <= MAX_OPEN_PINGS);
    }

    #[test]
    fn a_process_that_was_suspended_pings_again_before_it_gives_up() {
        let start = Instant::now();
        let mut liveness = Liveness::new(DIALLER_PING_INTERVAL, start);
        ask(&mut liveness, start);
        assert_eq!(
            liveness.poll(start),
            PingAction::WaitUntil(start + 3 * SECOND)
        );
        // Suspended for an hour; the reply is in the socket.
        let woken = start + 3600 * SECOND;
        let number = ask(&mut liveness, woken);
        assert!(liveness.reply(number, woken + SECOND).is_some());
    }

    /// Polls through a silence that starts with `liveness` polled at `now`; returns when it was
    /// given up.
    fn given_up_after(liveness: &mut Liveness, mut now: Instant) -> Duration {
        let begun = now;
        loop {
            match liveness.poll(now) {
                PingAction::WaitUntil(at) => now = at,
                PingAction::GiveUp => return now - begun,
                PingAction::Ask(_) | PingAction::Suspect => {}
            }
        }
    }

    #[test]
    fn streams_survive_ten_seconds_of_silence_and_the_retransmission_after_it() {
        for every in [DIALLER_PING_INTERVAL, ACCEPTOR_PING_INTERVAL] {
            let start = Instant::now();
            let mut liveness = Liveness::new(every, start);
            let number = ask(&mut liveness, start);
            liveness.reply(number, start + SECOND / 20);
            liveness.set_in_use(true);
            let lasted = given_up_after(&mut liveness, start + SECOND / 20);
            assert!(
                lasted >= STREAMS_SURVIVE && lasted <= STREAMS_SURVIVE + 10 * SECOND,
                "{lasted:?}"
            );
            // A carrier without streams ends as early as before.
            let mut liveness = Liveness::new(every, start);
            let number = ask(&mut liveness, start);
            liveness.reply(number, start + SECOND / 20);
            assert_eq!(
                given_up_after(&mut liveness, start + SECOND / 20),
                every + 6 * SECOND
            );
        }
    }

    #[test]
    fn a_reply_after_ten_seconds_of_silence_counts_and_the_next_silence_is_waited_for_as_long() {
        let start = Instant::now();
        let mut liveness = Liveness::new(DIALLER_PING_INTERVAL, start);
        liveness.set_in_use(true);
        let mut now = start;
        for _ in 0..100 {
            let (begun, mut last) = (now, 0);
            while now < begun + 10 * SECOND {
                match liveness.poll(now) {
                    PingAction::Ask(number) => last = number,
                    PingAction::WaitUntil(at) => now = at,
                    other => panic!("{other:?} after {:?}", now - begun),
                }
            }
            assert!(liveness.reply(last, now).is_some());
        }
    }

    #[test]
    fn a_reply_is_overdue_after_three_round_trips_and_not_before_half_a_second() {
        let start = Instant::now();
        let mut liveness = Liveness::new(DIALLER_PING_INTERVAL, start);
        assert_eq!(liveness.overdue_at(), None);
        let number = ask(&mut liveness, start);
        assert_eq!(liveness.overdue_at(), Some(start + FIRST_OVERDUE));
        liveness.reply(number, start + SECOND / 100);
        assert_eq!(liveness.overdue_at(), None);
        let number = ask(&mut liveness, start + 2 * SECOND);
        assert_eq!(liveness.overdue_at(), Some(start + 2 * SECOND + OVERDUE));
        // The path has become slow: from now on a longer round trip is normal.
        liveness.reply(number, start + 4 * SECOND);
        let ping_at = start + 5 * SECOND;
        ask(&mut liveness, ping_at);
        assert_eq!(liveness.overdue_at(), Some(ping_at + 4 * SECOND));
    }
}
