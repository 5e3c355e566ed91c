//! Loss: what the losses of a round show about the path.
//!
//! In:    bytes acknowledged and lost in a round, whether there was a queue, and whether more than
//!        the path's rate was sent on purpose.
//! Out:   a [`Verdict`].
//!
//! Radio links and bad lines lose packets at any rate, and a sender that slows down because of that
//! gains nothing. So the share that is lost while less than the path's rate is sent is learned as
//! the usual loss of the path, and only losses beyond it count: with a queue, because a full buffer
//! drops; without, because a policer or a shallow buffer may.

/// Losses beyond the usual ones up to this share are no sign of congestion, as in the draft.
const TOLERATED: f64 = 0.02;

/// Beyond this share they are a sign even without a queue and without a probe.
const SEVERE: f64 = 0.20;

/// How fast the usual share follows the measured one.
const LEARNING: f64 = 1.0 / 4.0;

/// Rounds with fewer bytes than this many packets are too short to be evaluated.
const LEAST_PACKETS: u64 = 4;

/// Fewer lost packets than this are ignored as chance.
const LEAST_LOST_PACKETS: u64 = 2;

/// What the losses of a round mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No more than the usual losses of the path.
    Usual,
    /// A buffer is full, or what was sent beyond the path's rate was dropped.
    Congested,
    /// More is lost than when less is sent, although there is no queue.
    Excess,
    /// So much is lost without a queue that the rate must have fallen.
    Severe,
}

/// Counts the bytes acknowledged and lost in a round, learns the usual loss of the path, and
/// decides at the end of the round whether its losses exceed that.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    acked: u64,
    lost: u64,
    marked: bool,
    /// The usual share, and how many rounds it was learned from.
    usual: f64,
    rounds: u32,
}

/// How a round was sent, for evaluating its losses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sending {
    /// No packet of it had a round trip near the smallest of the path.
    pub(super) queue: bool,
    /// More than the path's rate was sent on purpose.
    pub(super) probing: bool,
    /// Other flows keep a queue: they suffer the same losses.
    pub(super) crowded: bool,
    /// Less than the path's rate was sent, or the rate still grows with what is sent: its losses
    /// are the usual ones.
    pub(super) learns: bool,
    /// Bytes of a packet.
    pub(super) mtu: u64,
}

impl Losses {
    pub(super) fn on_ack(&mut self, bytes: u64) {
        self.acked = self.acked.saturating_add(bytes);
    }

    pub(super) fn on_lost(&mut self, bytes: u64) {
        self.lost = self.lost.saturating_add(bytes);
    }

    /// The network has marked packets instead of dropping them.
    pub(super) fn on_mark(&mut self) {
        self.marked = true;
    }

    /// Whether anything was lost in this round.
    pub(super) fn any(&self) -> bool {
        self.lost > 0
    }

    /// Bytes acknowledged in this round.
    pub(super) fn acked(&self) -> u64 {
        self.acked
    }

    /// Ends the round and evaluates its losses.
    pub(super) fn end_round(&mut self, sending: Sending) -> Verdict {
        let (acked, lost) = (
            std::mem::take(&mut self.acked),
            std::mem::take(&mut self.lost),
        );
        if std::mem::take(&mut self.marked) {
            return Verdict::Congested;
        }
        let mtu = sending.mtu.max(1);
        let packets = acked.saturating_add(lost) / mtu;
        if packets < LEAST_PACKETS {
            return Verdict::Usual;
        }
        let share = lost as f64 / acked.saturating_add(lost) as f64;
        // Two standard deviations of the usual share in this many packets.
        let chance = 2.0
            * (self.usual * (1.0 - self.usual) / packets as f64)
                .max(0.0)
                .sqrt();
        let excess = share - self.usual - chance;
        if sending.learns && !sending.queue {
            self.rounds = self.rounds.saturating_add(1);
            self.usual += (share - self.usual) * LEARNING.max(1.0 / f64::from(self.rounds));
        }
        let tolerated = if sending.crowded { 0.0 } else { TOLERATED };
        if lost < LEAST_LOST_PACKETS * mtu || excess <= tolerated {
            Verdict::Usual
        } else if sending.queue || sending.probing {
            Verdict::Congested
        } else if excess > SEVERE {
            Verdict::Severe
        } else if sending.learns {
            Verdict::Usual
        } else {
            Verdict::Excess
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Sending = Sending {
        queue: false,
        probing: false,
        crowded: false,
        learns: true,
        mtu: 1200,
    };

    fn round(losses: &mut Losses, packets: u64, lost: u64, sending: Sending) -> Verdict {
        losses.on_ack((packets - lost) * sending.mtu);
        losses.on_lost(lost * sending.mtu);
        losses.end_round(sending)
    }

    #[test]
    fn the_usual_losses_of_a_path_are_learned_and_are_not_congestion() {
        let mut losses = Losses::default();
        for lost in [5, 4, 6, 5, 5, 7, 3, 5] {
            assert_eq!(round(&mut losses, 100, lost, QUIET), Verdict::Usual);
        }
        assert_eq!(
            round(
                &mut losses,
                100,
                6,
                Sending {
                    queue: true,
                    ..QUIET
                }
            ),
            Verdict::Usual
        );
        assert_eq!(
            round(
                &mut losses,
                100,
                8,
                Sending {
                    probing: true,
                    ..QUIET
                }
            ),
            Verdict::Usual
        );
        assert_eq!(
            round(
                &mut losses,
                100,
                20,
                Sending {
                    queue: true,
                    ..QUIET
                }
            ),
            Verdict::Congested
        );
    }

    #[test]
    fn a_full_buffer_and_a_policer_are_congestion() {
        let mut losses = Losses::default();
        for _ in 0..5 {
            assert_eq!(round(&mut losses, 100, 0, QUIET), Verdict::Usual);
        }
        assert_eq!(
            round(
                &mut losses,
                100,
                4,
                Sending {
                    queue: true,
                    ..QUIET
                }
            ),
            Verdict::Congested
        );
        assert_eq!(
            round(
                &mut losses,
                100,
                15,
                Sending {
                    probing: true,
                    ..QUIET
                }
            ),
            Verdict::Congested
        );
        assert_eq!(round(&mut losses, 100, 50, QUIET), Verdict::Severe);
        let holding = Sending {
            learns: false,
            ..QUIET
        };
        let mut losses = Losses::default();
        assert_eq!(round(&mut losses, 100, 10, holding), Verdict::Excess);
        assert_eq!(round(&mut losses, 100, 10, QUIET), Verdict::Usual);
        assert_eq!(
            round(&mut losses, 100, 10, holding),
            Verdict::Usual,
            "it is usual now"
        );
    }

    #[test]
    fn single_losses_and_short_rounds_are_ignored_and_a_mark_is_congestion() {
        let mut losses = Losses::default();
        let queue = Sending {
            queue: true,
            ..QUIET
        };
        assert_eq!(round(&mut losses, 10, 1, queue), Verdict::Usual);
        assert_eq!(round(&mut losses, 3, 3, queue), Verdict::Usual);
        losses.on_mark();
        assert_eq!(losses.end_round(QUIET), Verdict::Congested);
    }
}
