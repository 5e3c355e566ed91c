//! Liveness: whether the other side still answers, judged by replies alone.
//!
//! In:    the time, replies, and urgency (somebody waits for an answer that does not come).
//! Out:   when to ask, when to look again, and when to give up.
//! Never: takes a write that succeeded, or anything but a reply to its own question, for a sign of
//!        life.
//!
//! The health of a carrier, from best to worst:
//! - *overdue*: a reply is later than usual. New streams go elsewhere. A link is *silent* when all
//!   of its carriers are.
//! - *doubted*: a caller has reason to think that the other side is gone (a newer session has come,
//!   say): one question is asked anew.
//! - *suspected*: it was doubted, and has not answered soon. Opens that wait are given back to
//!   their callers.
//! - given up: the carrier ends, with its streams.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How often whoever dialled asks: it is the one that has to come back. A QUIC server that has
/// restarted answers the first packet with a stateless reset, so an outage is noticed within this
/// time.
pub const DIALLER_ASKS: Duration = Duration::from_secs(1);

/// How often whoever accepted asks: it may have thousands of sessions, and all it does is let one
/// go.
pub const ACCEPTOR_ASKS: Duration = Duration::from_secs(5);

/// A reply may take this long, or three round trips if they are longer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Without a reply for this long, or three round trips if they are longer, a side that is doubted
/// is suspected to be gone.
const DOUBTING_PATIENCE: Duration = Duration::from_millis(300);

/// A reply that is later than this, or than three round trips if they are longer, is overdue: new
/// streams go to another carrier that answers. Open streams are not touched.
const OVERDUE: Duration = Duration::from_millis(500);

/// The same while the round trip is not known.
const FIRST_OVERDUE: Duration = Duration::from_millis(1500);

/// Questions that may be open at once. A reply to any of them counts, however late it is.
const OPEN_QUESTIONS: usize = 8;

/// Whatever the round trip was: later than this is no answer.
const MOST_PATIENCE: Duration = Duration::from_secs(10);

/// Questions in a row without a reply.
const MISSES: u32 = 2;

/// While streams are in use, silence is no reason to give up before this. After 10 s without
/// packets TCP may send its next one up to 10 s later: each of its retransmissions waits twice as
/// long as the one before.
pub const STREAMS_SURVIVE: Duration = Duration::from_secs(24);

/// If nobody asked for the time for so much longer than was agreed on, this process itself stood
/// still (a stopped process, a sleeping laptop), and the silence says nothing of the other side.
const STOOD_STILL: Duration = Duration::from_secs(1);

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingAction {
    /// Ask, with this number.
    Ask(u64),
    /// Nothing until then.
    WaitUntil(Instant),
    /// It was doubted and has not replied yet: a caller that can use another session should. Open
    /// streams go on waiting.
    Suspect,
    /// The other side is gone.
    GiveUp,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Liveness {
    every: Duration,
    /// Not replied to yet, the oldest first.
    pings: VecDeque<SentPing>,
    /// Whether the last question is still within its patience.
    waiting: bool,
    number: u64,
    misses: u32,
    /// Since when no question was answered.
    silent_since: Option<Instant>,
    in_use: bool,
    suspicion: Option<Suspicion>,
    next: Instant,
    /// When the next call was agreed on.
    agreed: Instant,
    round_trip: Option<Duration>,
    /// The last sample: a path may have become slower than its average says.
    latest: Duration,
}

/// Since the other side is doubted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspicion {
    /// A reply is waited for.
    Asking,
    /// None has come in [`DOUBTING_PATIENCE`].
    Suspected,
}

#[derive(Clone, Copy, Debug)]
struct SentPing {
    at: Instant,
    number: u64,
}

impl Liveness {
    /// Begins by asking at once, which measures the round trip.
    pub const fn new(every: Duration, now: Instant) -> Self {
        Self {
            every,
            pings: VecDeque::new(),
            waiting: false,
            number: 0,
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
        if now.saturating_duration_since(self.agreed) > STOOD_STILL {
            (self.waiting, self.misses, self.silent_since, self.next) = (false, 0, None, now);
        }
        if let Some(pings) = self.pings.back().copied().filter(|_| self.waiting) {
            let suspect = pings.at + self.patience_from(DOUBTING_PATIENCE);
            if self.suspicion == Some(Suspicion::Asking) && now >= suspect {
                self.suspicion = Some(Suspicion::Suspected);
                return PingAction::Suspect;
            }
            let late = pings.at + self.patience();
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
            if self.suspicion.is_some() || (self.misses >= MISSES && !survives) {
                return PingAction::GiveUp;
            }
            self.next = now;
        }
        if now < self.next {
            return self.wait(self.next);
        }
        self.number += 1;
        if self.pings.len() >= OPEN_QUESTIONS {
            self.pings.pop_front();
        }
        self.pings.push_back(SentPing {
            at: now,
            number: self.number,
        });
        self.silent_since.get_or_insert(now);
        self.waiting = true;
        self.agreed = now + self.patience();
        PingAction::Ask(self.number)
    }

    /// A reply has come. Returns the round trip if it answers an open question, however late: the
    /// other side lives. Later questions stay open; without one, the next is asked after the usual
    /// time.
    pub fn reply(&mut self, number: u64, now: Instant) -> Option<Duration> {
        let place = self.pings.iter().position(|pings| pings.number == number)?;
        let pings = self.pings.drain(..=place).next_back()?;
        let round_trip = now.saturating_duration_since(pings.at);
        (self.misses, self.suspicion, self.latest) = (0, None, round_trip);
        self.silent_since = self.pings.front().map(|pings| pings.at);
        self.waiting &= !self.pings.is_empty();
        if !self.waiting {
            self.next = now + self.every;
            self.agreed = self.next;
        }
        // A smoothed round trip, as TCP has it (RFC 6298 section 2).
        let smooth = self
            .round_trip
            .map_or(round_trip, |known| (known * 7 + round_trip) / 8);
        self.round_trip = Some(smooth);
        Some(smooth)
    }

    /// Whether streams that were answered are open: then a longer silence is waited out.
    pub const fn set_in_use(&mut self, in_use: bool) {
        self.in_use = in_use;
    }

    /// When the oldest open question is overdue, or was; none without an open question.
    pub fn overdue_at(&self) -> Option<Instant> {
        let least = if self.round_trip.is_some() {
            OVERDUE
        } else {
            FIRST_OVERDUE
        };
        Some(self.pings.front()?.at + self.patience_from(least))
    }

    /// Somebody waits: ask now, unless a question is open.
    pub fn ping_now(&mut self, now: Instant) {
        self.next = self.next.min(now);
        self.agreed = now;
    }

    /// There is reason to think that the other side is gone: ask anew, and wait for one answer
    /// alone. Only an answer to this question takes the doubt away: those to older ones may have
    /// been under way when it died.
    pub fn suspect(&mut self, now: Instant) {
        self.pings.clear();
        (self.waiting, self.suspicion) = (false, Some(Suspicion::Asking));
        self.ping_now(now);
    }

    fn patience(&self) -> Duration {
        self.patience_from(PATIENCE)
    }

    fn patience_from(&self, least: Duration) -> Duration {
        let known = self
            .round_trip
            .map_or(Duration::ZERO, |round_trip| round_trip * 3);
        known.max(self.latest * 2).clamp(least, MOST_PATIENCE)
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
            other => panic!("{other:?} instead of a question"),
        }
    }

    #[test]
    fn it_asks_at_once_and_then_every_second_while_it_is_answered() {
        let mut now = Instant::now();
        let mut liveness = Liveness::new(DIALLER_ASKS, now);
        for _ in 0..100 {
            let number = ask(&mut liveness, now);
            assert_eq!(liveness.reply(number, now + SECOND / 10), Some(SECOND / 10));
            now += SECOND / 10;
            assert_eq!(liveness.poll(now), PingAction::WaitUntil(now + SECOND));
            now += SECOND;
        }
    }

    #[test]
    fn two_questions_without_a_reply_are_the_end() {
        let start = Instant::now();
        let mut liveness = Liveness::new(DIALLER_ASKS, start);
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
    fn a_lost_reply_is_forgiven_once() {
        let start = Instant::now();
        let mut liveness = Liveness::new(DIALLER_ASKS, start);
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
        let mut liveness = Liveness::new(DIALLER_ASKS, start);
        let number = ask(&mut liveness, start);
        assert_eq!(liveness.reply(number, start + 2 * SECOND), Some(2 * SECOND));
        ask(&mut liveness, start + 3 * SECOND);
        assert_eq!(
            liveness.poll(start + 3 * SECOND),
            PingAction::WaitUntil(start + 9 * SECOND)
        );
    }

    #[test]
    fn urgency_asks_now_and_does_not_ask_twice() {
        let start = Instant::now();
        let mut liveness = Liveness::new(ACCEPTOR_ASKS, start);
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
    fn who_is_doubted_is_suspected_soon_and_given_up_after_the_usual_patience() {
        let start = Instant::now();
        let mut liveness = Liveness::new(ACCEPTOR_ASKS, start);
        let old = ask(&mut liveness, start);
        liveness.suspect(start + SECOND);
        let new = ask(&mut liveness, start + SECOND);
        assert_eq!(liveness.reply(old, start + SECOND), None);
        assert_eq!(
            liveness.poll(start + SECOND),
            PingAction::WaitUntil(start + SECOND + DOUBTING_PATIENCE)
        );
        // An answer takes the doubt away.
        assert!(liveness.reply(new, start + SECOND).is_some());
        ask(&mut liveness, start + 6 * SECOND);
        assert_eq!(
            liveness.poll(start + 6 * SECOND),
            PingAction::WaitUntil(start + 9 * SECOND)
        );
        liveness.suspect(start + 7 * SECOND);
        ask(&mut liveness, start + 7 * SECOND);
        assert_eq!(
            liveness.poll(start + 7 * SECOND + DOUBTING_PATIENCE),
            PingAction::Suspect
        );
        assert_eq!(
            liveness.poll(start + 8 * SECOND),
            PingAction::WaitUntil(start + 10 * SECOND)
        );
        assert_eq!(liveness.poll(start + 10 * SECOND), PingAction::GiveUp);
    }

    #[test]
    fn an_older_session_with_a_slow_path_that_answers_late_outlives_a_doubt() {
        let start = Instant::now();
        let mut liveness = Liveness::new(ACCEPTOR_ASKS, start);
        let number = ask(&mut liveness, start);
        liveness.reply(number, start + SECOND / 20);
        liveness.suspect(start + SECOND);
        let number = ask(&mut liveness, start + SECOND);
        assert_eq!(
            liveness.poll(start + SECOND + DOUBTING_PATIENCE),
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
        for every in [DIALLER_ASKS, ACCEPTOR_ASKS] {
            let start = Instant::now();
            let mut liveness = Liveness::new(every, start);
            let number = ask(&mut liveness, start);
            liveness.reply(number, start + SECOND / 100);
            // From now on each reply takes four seconds: two there and two back.
            let (mut now, mut replies) = (start + every, VecDeque::new());
            for _ in 0..1000 {
                while let Some(&(at, number)) = replies.front()
                    && at <= now
                {
                    replies.pop_front();
                    assert!(
                        liveness.reply(number, now).is_some(),
                        "a late reply was thrown away"
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
    fn questions_that_are_never_answered_are_not_kept_without_end() {
        let start = Instant::now();
        let mut liveness = Liveness::new(DIALLER_ASKS, start);
        for hour in 0..100 {
            ask(&mut liveness, start + hour * 3600 * SECOND);
        }
        assert!(liveness.pings.len() <= OPEN_QUESTIONS);
    }

    #[test]
    fn a_process_that_stood_still_asks_again_before_it_gives_up() {
        let start = Instant::now();
        let mut liveness = Liveness::new(DIALLER_ASKS, start);
        ask(&mut liveness, start);
        assert_eq!(
            liveness.poll(start),
            PingAction::WaitUntil(start + 3 * SECOND)
        );
        // Stopped for an hour, with the reply in the socket all the while.
        let woken = start + 3600 * SECOND;
        let number = ask(&mut liveness, woken);
        assert!(liveness.reply(number, woken + SECOND).is_some());
    }

    /// Polls through a silence that begins with `liveness` polled at `now`; says when it was given
    /// up.
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
    fn streams_were_cut_after_seven_seconds_of_silence_and_now_outlive_ten_and_the_retransmission_after_it()
     {
        for every in [DIALLER_ASKS, ACCEPTOR_ASKS] {
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
        let mut liveness = Liveness::new(DIALLER_ASKS, start);
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
        let mut liveness = Liveness::new(DIALLER_ASKS, start);
        assert_eq!(liveness.overdue_at(), None);
        let number = ask(&mut liveness, start);
        assert_eq!(liveness.overdue_at(), Some(start + FIRST_OVERDUE));
        liveness.reply(number, start + SECOND / 100);
        assert_eq!(liveness.overdue_at(), None);
        let number = ask(&mut liveness, start + 2 * SECOND);
        assert_eq!(liveness.overdue_at(), Some(start + 2 * SECOND + OVERDUE));
        // The path has become slow: from now on more is normal.
        liveness.reply(number, start + 4 * SECOND);
        let pings = start + 5 * SECOND;
        ask(&mut liveness, pings);
        assert_eq!(liveness.overdue_at(), Some(pings + 4 * SECOND));
    }
}
