//! Liveness: whether the other side still answers, judged by replies alone.
//!
//! In:    the time, replies, and urgency (somebody waits for an answer that does not come).
//! Out:   when to ask, when to look again, and when to give up.
//! Never: takes a write that succeeded, or anything but a reply to its own question, for a sign of life.

use std::time::{Duration, Instant};

/// How often whoever dialled asks: it is the one that has to come back. A QUIC server that has restarted answers the
/// first packet with a stateless reset, so an outage is noticed within this time.
pub const DIALLER_ASKS: Duration = Duration::from_secs(1);

/// How often whoever accepted asks: it may have thousands of sessions, and all it does is let one go.
pub const ACCEPTOR_ASKS: Duration = Duration::from_secs(5);

/// A reply may take this long, or three round trips if they are longer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The same while there is reason to think that the other side is gone; and then one question is enough.
const DOUBTING_PATIENCE: Duration = Duration::from_millis(300);

/// Whatever the round trip was: later than this is no answer.
const MOST_PATIENCE: Duration = Duration::from_secs(10);

/// Questions in a row without a reply.
const MISSES: u32 = 2;

/// If nobody asked for the time for so much longer than was agreed on, this process itself stood still (a stopped process,
/// a sleeping laptop), and the silence says nothing of the other side.
const STOOD_STILL: Duration = Duration::from_secs(1);

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Do {
    /// Ask, with this number.
    Ask(u64),
    /// Nothing until then.
    WaitUntil(Instant),
    /// The other side is gone.
    GiveUp,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Liveness {
    every: Duration,
    asked: Option<Asked>,
    number: u64,
    misses: u32,
    doubted: bool,
    next: Instant,
    /// When the next call was agreed on.
    agreed: Instant,
    round_trip: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    number: u64,
}

impl Liveness {
    /// Begins by asking at once, which measures the round trip.
    pub const fn new(every: Duration, now: Instant) -> Self {
        Self { every, asked: None, number: 0, misses: 0, doubted: false, next: now, agreed: now, round_trip: None }
    }

    /// What to do at `now`.
    pub fn poll(&mut self, now: Instant) -> Do {
        if now.saturating_duration_since(self.agreed) > STOOD_STILL {
            (self.asked, self.misses, self.next) = (None, 0, now);
        }
        if let Some(asked) = self.asked {
            let late = asked.at + self.patience();
            if now < late {
                return self.wait(late);
            }
            self.asked = None;
            self.misses += 1;
            if self.misses >= MISSES || self.doubted {
                return Do::GiveUp;
            }
            self.next = now;
        }
        if now < self.next {
            return self.wait(self.next);
        }
        self.number += 1;
        self.asked = Some(Asked { at: now, number: self.number });
        self.agreed = now + self.patience();
        Do::Ask(self.number)
    }

    /// A reply has come. Says how long the round trip was, if it answers the last question.
    pub fn reply(&mut self, number: u64, now: Instant) -> Option<Duration> {
        let asked = self.asked.filter(|asked| asked.number == number)?;
        let round_trip = now.saturating_duration_since(asked.at);
        (self.asked, self.misses, self.doubted) = (None, 0, false);
        self.next = now + self.every;
        self.agreed = self.next;
        // A smoothed round trip, as TCP has it (RFC 6298 section 2).
        let smooth = self.round_trip.map_or(round_trip, |known| (known * 7 + round_trip) / 8);
        self.round_trip = Some(smooth);
        Some(smooth)
    }

    /// Somebody waits: ask now, unless a question is open.
    pub fn urge(&mut self, now: Instant) {
        self.next = self.next.min(now);
        self.agreed = now;
    }

    /// There is reason to think that the other side is gone: ask anew, and wait for this one answer alone.
    pub fn doubt(&mut self, now: Instant) {
        (self.asked, self.doubted) = (None, true);
        self.urge(now);
    }

    fn patience(&self) -> Duration {
        let least = if self.doubted { DOUBTING_PATIENCE } else { PATIENCE };
        self.round_trip.map_or(least, |round_trip| (round_trip * 3).clamp(least, MOST_PATIENCE))
    }

    fn wait(&mut self, until: Instant) -> Do {
        self.agreed = until;
        Do::WaitUntil(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ask(liveness: &mut Liveness, now: Instant) -> u64 {
        match liveness.poll(now) {
            Do::Ask(number) => number,
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
            assert_eq!(liveness.poll(now), Do::WaitUntil(now + SECOND));
            now += SECOND;
        }
    }

    #[test]
    fn two_questions_without_a_reply_are_the_end() {
        let start = Instant::now();
        let mut liveness = Liveness::new(DIALLER_ASKS, start);
        let first = ask(&mut liveness, start);
        assert_eq!(liveness.poll(start + SECOND), Do::WaitUntil(start + 3 * SECOND));
        let second = ask(&mut liveness, start + 3 * SECOND);
        assert_eq!(liveness.reply(first, start + 4 * SECOND), None, "a late reply to an older question");
        assert_ne!(first, second);
        assert_eq!(liveness.poll(start + 6 * SECOND), Do::GiveUp);
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
        assert_eq!(liveness.poll(start + 3 * SECOND), Do::WaitUntil(start + 9 * SECOND));
    }

    #[test]
    fn urgency_asks_now_and_does_not_ask_twice() {
        let start = Instant::now();
        let mut liveness = Liveness::new(ACCEPTOR_ASKS, start);
        let number = ask(&mut liveness, start);
        liveness.urge(start);
        assert_eq!(liveness.poll(start), Do::WaitUntil(start + 3 * SECOND));
        liveness.reply(number, start);
        assert_eq!(liveness.poll(start), Do::WaitUntil(start + 5 * SECOND));
        liveness.urge(start + SECOND);
        ask(&mut liveness, start + SECOND);
    }

    #[test]
    fn who_is_doubted_is_asked_anew_and_answers_soon_or_is_gone() {
        let start = Instant::now();
        let mut liveness = Liveness::new(ACCEPTOR_ASKS, start);
        let old = ask(&mut liveness, start);
        liveness.doubt(start + SECOND);
        let new = ask(&mut liveness, start + SECOND);
        assert_eq!(liveness.reply(old, start + SECOND), None);
        assert_eq!(liveness.poll(start + SECOND), Do::WaitUntil(start + SECOND + DOUBTING_PATIENCE));
        // An answer takes the doubt away.
        assert!(liveness.reply(new, start + SECOND).is_some());
        ask(&mut liveness, start + 6 * SECOND);
        assert_eq!(liveness.poll(start + 6 * SECOND), Do::WaitUntil(start + 9 * SECOND));
        liveness.doubt(start + 7 * SECOND);
        ask(&mut liveness, start + 7 * SECOND);
        assert_eq!(liveness.poll(start + 7 * SECOND + DOUBTING_PATIENCE), Do::GiveUp);
    }

    #[test]
    fn a_process_that_stood_still_asks_again_before_it_gives_up() {
        let start = Instant::now();
        let mut liveness = Liveness::new(DIALLER_ASKS, start);
        ask(&mut liveness, start);
        assert_eq!(liveness.poll(start), Do::WaitUntil(start + 3 * SECOND));
        // Stopped for an hour, with the reply in the socket all the while.
        let woken = start + 3600 * SECOND;
        let number = ask(&mut liveness, woken);
        assert!(liveness.reply(number, woken + SECOND).is_some());
    }
}
