//! Happy Eyeballs: tries several addresses of one name, so that a dead one costs a quarter of a
//! second (RFC 8305).
//!
//! In:    checked addresses, a connect function, and the delays.
//! Out:   the first established connection, or the result of every attempt.
//! Never: leaves an attempt behind. All of them live in the calling future and end with it. Never
//!        has more than [`ATTEMPTS_MAX`] sockets open.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep};

use crate::rules::CheckedAddr;

/// The range of the delay between two attempts (RFC 8305 section 5).
const ATTEMPT_DELAY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));

/// How many attempts of one dial are open at once.
pub const ATTEMPTS_MAX: usize = 4;
/// How many addresses of one target are tried.
pub const ADDRESSES_MAX: usize = 8;

/// Which address families are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// Both; IPv6 goes first.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

impl Family {
    /// Whether `addr` is of this family.
    pub fn admits(self, addr: SocketAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => addr.is_ipv4(),
            Self::V6 => addr.is_ipv6(),
        }
    }
}

/// The delays of a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptDelays {
    /// Before the next attempt starts while one is pending; clamped to 10 ms to 2 s.
    pub attempt_delay: Duration,
    /// Of the whole race.
    pub connect_timeout: Duration,
}

/// A race without a winner.
#[derive(Debug, Default)]
pub struct Lost {
    /// The failures, in the order in which they happened.
    pub failures: Vec<(SocketAddr, io::Error)>,
    /// Attempts without an answer: closed for another attempt, or pending when the time was over.
    pub unanswered: usize,
}

/// The order in which to try `addrs`: the families alternate, IPv6 first. Within a family the given
/// order stays (RFC 8305 section 4).
pub fn order(addrs: &[CheckedAddr]) -> Vec<CheckedAddr> {
    let of = |v6: bool| {
        addrs
            .iter()
            .copied()
            .filter(move |checked| checked.addr().is_ipv6() == v6)
    };
    let (mut v6, mut v4) = (of(true), of(false));
    let mut ordered = Vec::with_capacity(addrs.len());
    loop {
        let turn = (v6.next(), v4.next());
        ordered.extend(turn.0);
        ordered.extend(turn.1);
        if turn == (None, None) {
            return ordered;
        }
    }
}

/// Connects to the first [`ADDRESSES_MAX`] of `addrs` in their order until one answers. The next
/// attempt starts when one has failed, or after `attempt_delay` while others are pending. Each
/// attempt beyond the first takes a permit of `spare`. When [`ATTEMPTS_MAX`] are open, or no permit
/// is free, the oldest attempt is closed before the next one starts, but not before it is
/// `ATTEMPTS_MAX` delays old. The losers are dropped when one succeeds.
///
/// Cancel safe: dropping the future drops every attempt.
///
/// # Errors
/// [`Lost`] when all have failed or the time is over.
pub async fn race<T, F, Fut>(
    addrs: &[CheckedAddr],
    timing: AttemptDelays,
    spare: &Semaphore,
    connect: F,
) -> Result<(CheckedAddr, T), Lost>
where
    F: Fn(CheckedAddr) -> Fut,
    Fut: Future<Output = io::Result<T>>,
{
    let delay = timing.attempt_delay.clamp(ATTEMPT_DELAY.0, ATTEMPT_DELAY.1);
    let mut deadline = std::pin::pin!(sleep(timing.connect_timeout));
    let mut waiting = addrs.iter().copied().take(ADDRESSES_MAX);
    let mut attempts = Attempts {
        open: VecDeque::new(),
        spare,
        permits: Vec::new(),
    };
    let mut lost = Lost::default();
    loop {
        if waiting.len() > 0 {
            let has_room = attempts.make_room(delay * ATTEMPTS_MAX as u32, &mut lost);
            if has_room && let Some(addr) = waiting.next() {
                attempts.open.push_back(Attempt {
                    addr,
                    began: Instant::now(),
                    connect: Box::pin(connect(addr)),
                });
            }
        }
        let more = waiting.len() > 0;
        tokio::select! {
            biased;
            ended = attempts.next() => match ended {
                None => return Err(lost),
                Some((addr, Ok(open))) => return Ok((addr, open)),
                Some((addr, Err(error))) => lost.failures.push((addr.addr(), error)),
            },
            () = &mut deadline => {
                lost.unanswered += attempts.open.len();
                return Err(lost);
            }
            () = sleep(delay), if more => {}
        }
    }
}

struct Attempt<Fut> {
    addr: CheckedAddr,
    began: Instant,
    connect: Pin<Box<Fut>>,
}

/// The open attempts of one race, the oldest first.
struct Attempts<'a, Fut> {
    open: VecDeque<Attempt<Fut>>,
    spare: &'a Semaphore,
    /// One for each open attempt except one.
    permits: Vec<SemaphorePermit<'a>>,
}

impl<T, Fut: Future<Output = io::Result<T>>> Attempts<'_, Fut> {
    /// Whether another attempt may start now. If there is no other room, closes the oldest attempt
    /// once it is older than `patience`.
    fn make_room(&mut self, patience: Duration, lost: &mut Lost) -> bool {
        let Some(oldest) = self.open.front() else {
            return true;
        };
        if self.open.len() < ATTEMPTS_MAX
            && let Ok(permit) = self.spare.try_acquire()
        {
            self.permits.push(permit);
            return true;
        }
        if oldest.began.elapsed() < patience {
            return false;
        }
        self.open.pop_front();
        lost.unanswered += 1;
        true
    }

    /// The next attempt that ends; `None` if none is open. Cancel safe.
    async fn next(&mut self) -> Option<(CheckedAddr, io::Result<T>)> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(CheckedAddr, io::Result<T>)>> {
        for index in 0..self.open.len() {
            let Some(attempt) = self.open.get_mut(index) else {
                break;
            };
            if let Poll::Ready(result) = attempt.connect.as_mut().poll(cx) {
                let addr = attempt.addr;
                self.open.remove(index);
                self.permits.truncate(self.open.len().saturating_sub(1));
                return Poll::Ready(Some((addr, result)));
            }
        }
        if self.open.is_empty() {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tokio::time::Instant;

    use super::*;
    use crate::rules::AddressRules;

    const TIMING: AttemptDelays = AttemptDelays {
        attempt_delay: Duration::from_millis(250),
        connect_timeout: Duration::from_secs(10),
    };

    fn checked(texts: &[&str]) -> Vec<CheckedAddr> {
        let check = |text: &&str| {
            AddressRules::open()
                .check(SocketAddr::new(text.parse().unwrap(), 80))
                .unwrap()
        };
        texts.iter().map(check).collect()
    }

    fn hosts(addrs: &[CheckedAddr]) -> Vec<String> {
        addrs
            .iter()
            .map(|addr| addr.addr().ip().to_string())
            .collect()
    }

    /// The behaviour of an address: the delay in milliseconds, and the result.
    type Script = [(&'static str, u64, Result<(), io::ErrorKind>)];

    struct Race {
        winner: Option<String>,
        took: Duration,
        /// Each address tried, with the milliseconds since the start.
        tried: Vec<(String, u128)>,
        lost: Option<Lost>,
        /// Attempts that are still open after the race.
        left: usize,
        /// The most attempts that were open at once.
        most: usize,
    }

    struct Open<'a>(&'a Cell<usize>);

    impl Drop for Open<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }

    async fn run(script: &Script) -> Race {
        run_with(script, &Semaphore::new(100)).await
    }

    async fn run_with(script: &Script, spare: &Semaphore) -> Race {
        let (began, tried, open) = (Instant::now(), RefCell::new(Vec::new()), Cell::new(0));
        let most = Cell::new(0);
        let addrs = checked(&script.iter().map(|step| step.0).collect::<Vec<_>>());
        let connect = async |addr: CheckedAddr| {
            let host = addr.addr().ip().to_string();
            let &(_, millis, result) = script.iter().find(|step| step.0 == host).unwrap();
            tried.borrow_mut().push((host, began.elapsed().as_millis()));
            open.set(open.get() + 1);
            most.set(most.get().max(open.get()));
            let _open = Open(&open);
            sleep(Duration::from_millis(millis)).await;
            result.map_err(io::Error::from)
        };
        let ended = race(&addrs, TIMING, spare, connect).await;
        let took = began.elapsed();
        let (winner, lost) = match ended {
            Ok((addr, ())) => (Some(addr.addr().ip().to_string()), None),
            Err(lost) => (None, Some(lost)),
        };
        Race {
            winner,
            took,
            tried: tried.take(),
            lost,
            left: open.get(),
            most: most.get(),
        }
    }

    const REFUSED: Result<(), io::ErrorKind> = Err(io::ErrorKind::ConnectionRefused);
    const FOREVER: u64 = 1_000_000;

    #[test]
    fn families_take_turns_and_ipv6_goes_first() {
        let given = checked(&["1.0.0.1", "1.0.0.2", "1.0.0.3", "2a00::1", "2a00::2"]);
        assert_eq!(
            hosts(&order(&given)),
            ["2a00::1", "1.0.0.1", "2a00::2", "1.0.0.2", "1.0.0.3"]
        );
        assert_eq!(hosts(&order(&given[..2])), ["1.0.0.1", "1.0.0.2"]);
        assert!(order(&[]).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_address_wins_alone_if_it_answers_within_the_delay() {
        let race = run(&[("2a00::1", 200, Ok(())), ("1.0.0.1", 0, Ok(()))]).await;
        assert_eq!(race.winner.as_deref(), Some("2a00::1"));
        assert_eq!(race.tried, [("2a00::1".into(), 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_address_costs_a_quarter_of_a_second_and_the_loser_is_closed() {
        let race = run(&[("2a00::1", FOREVER, Ok(())), ("1.0.0.1", 10, Ok(()))]).await;
        assert_eq!(race.winner.as_deref(), Some("1.0.0.1"));
        assert_eq!(race.tried, [("2a00::1".into(), 0), ("1.0.0.1".into(), 250)]);
        assert_eq!((race.took.as_millis(), race.left), (260, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_starts_the_next_attempt_at_once() {
        let race = run(&[
            ("2a00::1", 5, REFUSED),
            ("1.0.0.1", 5, REFUSED),
            ("2a00::2", 5, Ok(())),
        ])
        .await;
        assert_eq!(race.winner.as_deref(), Some("2a00::2"));
        assert_eq!(
            race.tried.iter().map(|t| t.1).collect::<Vec<_>>(),
            [0, 5, 10]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_early_attempt_may_still_win() {
        let race = run(&[("2a00::1", 300, Ok(())), ("1.0.0.1", FOREVER, Ok(()))]).await;
        assert_eq!(
            (race.winner.as_deref(), race.took.as_millis()),
            (Some("2a00::1"), 300)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_fail_every_failure_is_reported() {
        let race = run(&[
            ("2a00::1", 400, REFUSED),
            ("1.0.0.1", 50, Err(io::ErrorKind::HostUnreachable)),
        ])
        .await;
        let lost = race.lost.unwrap();
        let kinds: Vec<_> = lost
            .failures
            .iter()
            .map(|(_, error)| error.kind())
            .collect();
        assert_eq!(
            kinds,
            [
                io::ErrorKind::HostUnreachable,
                io::ErrorKind::ConnectionRefused
            ]
        );
        assert_eq!((lost.unanswered, race.took.as_millis()), (0, 400));
    }

    #[tokio::test(start_paused = true)]
    async fn the_whole_race_ends_at_the_connect_timeout() {
        let race = run(&[
            ("2a00::1", FOREVER, Ok(())),
            ("1.0.0.1", FOREVER, Ok(())),
            ("2a00::2", 1, REFUSED),
        ])
        .await;
        let lost = race.lost.unwrap();
        assert_eq!((lost.unanswered, lost.failures.len()), (2, 1));
        assert_eq!((race.took.as_secs(), race.left), (10, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_race_without_addresses_fails_at_once() {
        let lost = run(&[]).await.lost.unwrap();
        assert!(lost.failures.is_empty() && lost.unanswered == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_attempt_delay_stays_within_its_bounds() {
        for (configured, kept) in [(0, 10), (5000, 2000)] {
            let began = Instant::now();
            let second = Cell::new(Duration::ZERO);
            let connect = async |addr: CheckedAddr| {
                if addr.addr().is_ipv6() {
                    std::future::pending::<()>().await;
                }
                second.set(began.elapsed());
                Ok(())
            };
            let timing = AttemptDelays {
                attempt_delay: Duration::from_millis(configured),
                ..TIMING
            };
            assert!(
                race(
                    &checked(&["2a00::1", "1.0.0.1"]),
                    timing,
                    &Semaphore::new(100),
                    connect
                )
                .await
                .is_ok()
            );
            assert_eq!(second.get().as_millis(), kept);
        }
    }

    const SILENT: [&str; 20] = [
        "1.0.0.1", "1.0.0.2", "1.0.0.3", "1.0.0.4", "1.0.0.5", "1.0.0.6", "1.0.0.7", "1.0.0.8",
        "1.0.0.9", "1.0.0.10", "1.0.0.11", "1.0.0.12", "1.0.0.13", "1.0.0.14", "1.0.0.15",
        "1.0.0.16", "1.0.0.17", "1.0.0.18", "1.0.0.19", "1.0.0.20",
    ];

    #[tokio::test(start_paused = true)]
    async fn many_silent_addresses_of_one_name_hold_four_sockets_and_eight_are_tried() {
        let script = SILENT.map(|addr| (addr, FOREVER, Ok(())));
        let spare = Semaphore::new(100);
        let race = run_with(&script, &spare).await;
        assert_eq!(
            (race.most, race.tried.len(), race.left),
            (ATTEMPTS_MAX, ADDRESSES_MAX, 0)
        );
        assert_eq!(
            race.tried.iter().map(|tried| tried.1).collect::<Vec<_>>()[3..6],
            [750, 1000, 1250]
        );
        assert_eq!(
            (race.lost.unwrap().unanswered, race.took.as_secs()),
            (ADDRESSES_MAX, 10)
        );
        assert_eq!(spare.available_permits(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn without_spare_permits_a_dial_has_one_attempt_at_a_time_and_still_tries_the_next_address()
     {
        let spare = Semaphore::new(0);
        let script = [
            ("1.0.0.1", FOREVER, Ok(())),
            ("1.0.0.2", FOREVER, Ok(())),
            ("1.0.0.3", 1, Ok(())),
        ];
        let race = run_with(&script, &spare).await;
        assert_eq!((race.winner.as_deref(), race.most), (Some("1.0.0.3"), 1));
        assert_eq!(
            race.tried.iter().map(|tried| tried.1).collect::<Vec<_>>(),
            [0, 1000, 2000]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_failed_gives_its_permit_back() {
        let spare = Semaphore::new(1);
        let script = [
            ("1.0.0.1", 300, REFUSED),
            ("1.0.0.2", FOREVER, Ok(())),
            ("1.0.0.3", 500, Ok(())),
        ];
        let race = run_with(&script, &spare).await;
        assert_eq!((race.winner.as_deref(), race.most), (Some("1.0.0.3"), 2));
        assert_eq!(spare.available_permits(), 1);
    }
}
