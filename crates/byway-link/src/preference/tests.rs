//! Tests of the preference: paths with downloads that start and end, window by window.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MIB: u64 = 1024 * 1024;
const RTT: Duration = Duration::from_millis(50);

/// Both carriers of a path; the preferred one moves as much as it can.
#[derive(Clone, Copy)]
struct Path {
    quic: u64,
    quic_loss: u64,
    tls: u64,
    tls_round_trip: Duration,
}

impl Path {
    /// At most 100 Mbit/s and the same delay for both.
    const fn new(quic: u64, quic_loss: u64, tls: u64) -> Self {
        Self {
            quic,
            quic_loss,
            tls,
            tls_round_trip: RTT,
        }
    }

    fn quic(&self) -> Traffic {
        let packets = self.quic / 1200;
        let quic = Moved {
            packets,
            lost: packets * self.quic_loss / 100,
            bytes: self.quic,
            payload: self.quic,
            busy: SECOND,
            is_backlogged: false,
            round_trip: Some(RTT),
            meets_queue: false,
        };
        Traffic {
            lasted: SECOND,
            quic,
            tls: Moved::default(),
        }
    }

    fn tls(&self) -> Traffic {
        let tls = Moved {
            bytes: self.tls,
            payload: self.tls,
            busy: SECOND,
            is_backlogged: true,
            round_trip: Some(self.tls_round_trip),
            ..Moved::default()
        };
        Traffic {
            lasted: SECOND,
            quic: Moved::default(),
            tls,
        }
    }
}

const IDLE: Traffic = Traffic {
    lasted: SECOND,
    quic: Moved {
        packets: 0,
        lost: 0,
        bytes: 0,
        payload: 0,
        busy: Duration::ZERO,
        is_backlogged: false,
        round_trip: None,
        meets_queue: false,
    },
    tls: Moved {
        packets: 0,
        lost: 0,
        bytes: 0,
        payload: 0,
        busy: Duration::ZERO,
        is_backlogged: false,
        round_trip: None,
        meets_queue: false,
    },
};

/// A preference and its clock.
struct Run {
    preference: Preference,
    now: Instant,
}

impl Run {
    fn new() -> Self {
        Self {
            preference: Preference::default(),
            now: Instant::now(),
        }
    }

    fn window(&mut self, traffic: &Traffic) -> Option<Change> {
        self.now += SECOND;
        self.preference.measured(traffic, self.now)
    }

    /// Runs downloads of a second each, one after the other, on the carrier of new streams. Returns
    /// the changes in `seconds`, and for how many of them TLS was preferred.
    fn downloads(&mut self, path: Path, seconds: u32) -> (Vec<(u32, Change)>, u32) {
        let (mut changes, mut by_tls) = (Vec::new(), 0);
        for second in 1..=seconds {
            let traffic = if self.preference.is_tls() {
                path.tls()
            } else {
                path.quic()
            };
            changes.extend(self.window(&traffic).map(|change| (second, change)));
            by_tls += u32::from(self.preference.is_tls());
        }
        (changes, by_tls)
    }

    /// Runs one download that stays on QUIC.
    fn by_quic(&mut self, path: Path, seconds: u32) -> Vec<Change> {
        (0..seconds)
            .filter_map(|_| self.window(&path.quic()))
            .collect()
    }

    fn idle(&mut self, seconds: u32) -> Vec<Change> {
        (0..seconds).filter_map(|_| self.window(&IDLE)).collect()
    }
}

const POLICED: Path = Path::new(125_000, 3, 11 * MIB);
const LOSSY: Path = Path::new(3_170_000, 3, MIB / 8);

#[test]
fn auto_leaves_a_policed_quic_at_one_megabit_if_tls_has_ninety() {
    let (changes, by_tls) = Run::new().downloads(POLICED, 60);
    assert!(
        matches!(changes[0], (2, Change::TryTls(Loses { loss: 20..=30, .. }))),
        "{changes:?}"
    );
    assert!(matches!(changes[1], (6, Change::KeepTls(_))), "{changes:?}");
    assert_eq!((changes.len(), by_tls), (2, 59));
}

#[test]
fn a_lossy_quic_that_is_faster_than_tls_is_used_again_and_tls_is_tried_ever_more_rarely() {
    let (changes, by_tls) = Run::new().downloads(Path::new(7 * MIB, 5, MIB / 8), 3600);
    assert!(by_tls < 60, "TLS was preferred for {by_tls} s of an hour");
    assert!(matches!(changes[1], (_, Change::Quic(_))), "{changes:?}");
}

#[test]
fn quic_is_tried_again_after_a_minute_and_then_ever_more_rarely_while_it_is_policed() {
    let (changes, by_tls) = Run::new().downloads(
        Path {
            quic_loss: 10,
            ..POLICED
        },
        3600,
    );
    let again = changes
        .iter()
        .filter(|(_, change)| *change == Change::TryQuic)
        .count();
    assert!((4..=9).contains(&again), "{again} times in an hour");
    assert!(by_tls > 3500, "{by_tls} of 3600 s");
}

#[test]
fn a_path_that_is_policed_no_more_goes_back_to_quic_and_stays_there() {
    let mut run = Run::new();
    run.downloads(
        Path {
            quic_loss: 10,
            ..POLICED
        },
        30,
    );
    assert!(run.preference.is_tls());
    let (changes, _) = run.downloads(Path::new(11 * MIB, 0, 11 * MIB), 600);
    assert!(matches!(changes[..], [(_, Change::TryQuic)]), "{changes:?}");
}

#[test]
fn one_lossy_second_and_the_loss_of_a_few_packets_change_nothing() {
    let mut run = Run::new();
    for second in 1..1000 {
        let bursts = Path::new(MIB, if second % 3 == 0 { 30 } else { 1 }, 0);
        assert_eq!(run.window(&bursts.quic()), None);
        assert_eq!(run.by_quic(Path::new(6000, 100, 0), 1), []);
    }
}

#[test]
fn the_acknowledgements_of_a_side_that_only_receives_start_no_trial() {
    let mut acknowledging = Path::new(30_000, 3, 0).quic();
    (
        acknowledging.quic.packets,
        acknowledging.quic.lost,
        acknowledging.quic.payload,
    ) = (700, 21, 0);
    let mut run = Run::new();
    assert!((0..100).all(|_| run.window(&acknowledging).is_none()));
    acknowledging.quic.payload = ENOUGH_BYTES - 1;
    assert!((0..100).all(|_| run.window(&acknowledging).is_none()));
    acknowledging.quic.payload = ENOUGH_BYTES;
    assert!((0..2).any(|_| run.window(&acknowledging).is_some()));
}

#[test]
fn a_trial_without_traffic_does_not_count_as_lost_by_tls() {
    let mut run = Run::new();
    run.by_quic(LOSSY, 8);
    assert!(run.preference.is_tls());
    assert_eq!(run.idle(60), [Change::NoResult]);
    // The downloads that follow are on a QUIC that is policed meanwhile.
    let (changes, by_tls) = run.downloads(POLICED, 60);
    assert!(
        matches!(
            changes[..],
            [(2, Change::TryTls(_)), (6, Change::KeepTls(_))]
        ),
        "{changes:?}"
    );
    assert_eq!(by_tls, 59);
}

#[test]
fn a_trial_with_little_traffic_has_no_result_and_the_next_one_comes_soon_however_often() {
    let (mut run, mut little) = (Run::new(), Path::new(0, 0, 20_000).tls());
    little.tls.is_backlogged = false;
    for round in 0..20 {
        let begun = (1..100).find(|_| matches!(run.window(&LOSSY.quic()), Some(Change::TryTls(_))));
        assert_eq!(begun, Some(if round == 0 { 2 } else { 10 }), "seconds");
        assert_eq!(
            (1..100).find(|_| run.window(&little) == Some(Change::NoResult)),
            Some(30),
            "seconds"
        );
    }
}

#[test]
fn an_outdated_comparison_does_not_keep_a_policed_quic_in_use() {
    let mut run = Run::new();
    assert!(matches!(run.by_quic(LOSSY, 2)[..], [Change::TryTls(_)]));
    let (changes, _) = run.downloads(LOSSY, 10);
    assert!(matches!(changes[..], [(4, Change::Quic(_))]), "{changes:?}");
    // QUIC is policed now, long before the next trial.
    let (changes, by_tls) = run.downloads(POLICED, 30);
    assert!(
        matches!(
            changes[..],
            [(2, Change::TryTls(_)), (6, Change::KeepTls(_))]
        ),
        "{changes:?}"
    );
    assert_eq!(by_tls, 29);
}

#[test]
fn policing_that_begins_in_a_trial_without_traffic_is_noticed_after_it_at_once() {
    let mut run = Run::new();
    run.by_quic(LOSSY, 2);
    assert_eq!(run.idle(30), [Change::NoResult]);
    let (changes, _) = run.downloads(POLICED, 10);
    assert!(matches!(changes[0], (2, Change::TryTls(_))), "{changes:?}");
}

#[test]
fn a_pause_that_was_decided_on_a_quic_that_loses_little_is_void_when_it_loses_much() {
    let mut run = Run::new();
    run.by_quic(LOSSY, 2);
    run.downloads(LOSSY, 5);
    assert_eq!(
        run.by_quic(
            Path {
                quic_loss: 6,
                ..LOSSY
            },
            20
        ),
        [],
        "twice the loss is the same path"
    );
    // One bad second does not make another path either: every download starts with one.
    for _ in 0..5 {
        assert_eq!(
            run.by_quic(
                Path {
                    quic_loss: 30,
                    ..LOSSY
                },
                1
            ),
            []
        );
        assert_eq!(run.by_quic(LOSSY, 3), []);
    }
    assert!(matches!(
        run.by_quic(
            Path {
                quic_loss: 9,
                ..LOSSY
            },
            2
        )[..],
        [Change::TryTls(_)]
    ));
}

#[test]
fn tls_does_not_win_by_one_window_of_buffered_data() {
    // The first window delivers what the kernel and the path had buffered; afterwards the path has
    // less than QUIC.
    let path = Path::new(160_000, 3, 138_000);
    let mut run = Run::new();
    run.by_quic(path, 2);
    let mut first = path.tls();
    first.tls.payload = 400_000;
    assert_eq!(run.window(&first), None);
    let (changes, _) = run.downloads(path, 10);
    assert!(
        matches!(
            changes[..],
            [(3, Change::Quic(Compared { tls: 138_000, .. }))]
        ),
        "{changes:?}"
    );
}

#[test]
fn tls_does_not_win_by_its_best_window() {
    let mut run = Run::new();
    run.by_quic(Path::new(160_000, 3, 0), 2);
    let changes: Vec<_> = [300_000, 100_000, 230_000, 110_000]
        .into_iter()
        .filter_map(|tls| run.window(&Path::new(0, 0, tls).tls()))
        .collect();
    assert!(matches!(changes[..], [Change::Quic(_)]), "{changes:?}");
}

#[test]
fn a_carrier_whose_round_trip_is_several_times_the_others_is_not_better_for_a_little_more() {
    let slow = Duration::from_millis(737);
    let trial = |tls: u64, tls_round_trip: Duration| {
        let path = Path {
            tls_round_trip,
            ..Path::new(160_000, 3, tls)
        };
        Run::new().downloads(path, 6).0[1].1
    };
    assert!(matches!(trial(210_000, RTT), Change::KeepTls(_)));
    assert!(matches!(trial(210_000, RTT * 2), Change::KeepTls(_)));
    let change = trial(210_000, slow);
    assert_eq!(
        change.to_string(),
        "new streams use quic: tls was tried and was no better: 1.7 Mbit/s with a round trip of 737 ms, quic had 1.3 with \
         50 ms"
    );
    // A rate many times as high outweighs the round trip.
    assert!(matches!(trial(MIB, slow), Change::KeepTls(_)));
}

#[test]
fn time_in_which_nothing_was_to_be_sent_does_not_count_against_tls() {
    let mut run = Run::new();
    run.by_quic(POLICED, 2);
    let mut short = Path::new(0, 0, 100_000).tls();
    (short.tls.busy, short.tls.is_backlogged) = (SECOND / 5, false);
    let changes: Vec<_> = (0..5).filter_map(|_| run.window(&short)).collect();
    assert!(
        matches!(
            changes[..],
            [Change::KeepTls(Compared { tls: 500_000, .. })]
        ),
        "{changes:?}"
    );
}

#[test]
fn a_tls_that_moves_next_to_nothing_while_more_waits_loses_its_trial() {
    let path = Path::new(125_000, 3, 10_000);
    let (changes, _) = Run::new().downloads(path, 10);
    assert!(matches!(changes[1], (6, Change::Quic(_))), "{changes:?}");
}

#[test]
fn tls_that_has_become_slower_than_quic_was_is_left_after_five_windows() {
    let mut run = Run::new();
    run.downloads(POLICED, 20);
    assert!(run.preference.is_tls() && !run.preference.is_trial());
    let (changes, _) = run.downloads(
        Path {
            tls: 60_000,
            ..POLICED
        },
        5,
    );
    assert!(
        matches!(changes[..], [(5, Change::TlsIsSlow { .. })]),
        "{changes:?}"
    );
    assert!(!run.preference.is_tls());
}

#[test]
fn a_result_that_is_not_the_same_as_the_last_one_begins_with_a_short_pause_again() {
    let mut run = Run::new();
    run.downloads(LOSSY, 2000);
    let (changes, _) = run.downloads(POLICED, 120);
    let kept = changes
        .iter()
        .find(|(_, change)| matches!(change, Change::KeepTls(_)))
        .unwrap()
        .0;
    let again = changes
        .iter()
        .find(|(_, change)| *change == Change::TryQuic)
        .unwrap()
        .0;
    assert_eq!(again - kept, 60, "{changes:?}");
}

#[test]
fn rates_are_printed_in_megabits() {
    let change = Change::KeepTls(Compared {
        quic: 125_000,
        tls: 3_400_000,
        round_trips: None,
    });
    assert_eq!(change.to_string(), "tls is kept: 27 Mbit/s, quic had 1");
    let change = Change::TryTls(Loses {
        loss: 29,
        rate: 187_500,
    });
    assert_eq!(
        change.to_string(),
        "new streams use tls, for a trial: quic loses 3 % of its packets at 1.5 Mbit/s"
    );
    let all = [0, 6_249, 12_500, 125_000, 1_237_500, 1_250_000, 1_312_500]
        .map(|rate| Megabits(rate).to_string());
    assert_eq!(all, ["0", "0", "0.1", "1", "9.9", "10", "11"]);
}
