//! Happy Eyeballs: several addresses of one name, tried so that a dead one costs a quarter of a second (RFC 8305).
//!
//! In:    checked addresses, a way to connect to one, and how long to wait.
//! Out:   the first connection that stands, or what became of every attempt.
//! Never: leaves an attempt behind. All of them live in the calling future and end with it.

use std::net::SocketAddr;
use std::time::Duration;
use std::{fmt, io};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;

use crate::rules::CheckedAddr;

/// The shortest and the longest pause between two attempts (RFC 8305 section 5).
const ATTEMPT_DELAY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));

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

/// How long a race waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Before the next attempt starts beside one that has not answered; kept within 10 ms and 2 s.
    pub attempt_delay: Duration,
    /// For the whole race.
    pub connect_timeout: Duration,
}

/// A race without a winner.
#[derive(Debug, Default)]
pub struct Lost {
    /// What failed, in the order in which it failed.
    pub failures: Vec<(SocketAddr, io::Error)>,
    /// Attempts that had no answer when the time was over; 0 if it was not.
    pub unanswered: usize,
}

/// The order to try `addrs` in: the families take turns, IPv6 first; within a family the order given (RFC 8305 section 4).
pub fn order(addrs: &[CheckedAddr]) -> Vec<CheckedAddr> {
    let of = |v6: bool| addrs.iter().copied().filter(move |checked| checked.addr().is_ipv6() == v6);
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

/// Connects to `addrs` in their order until one answers. The next attempt starts when the one before has failed, or
/// after `attempt_delay` beside it. The losers are dropped when a winner is found.
///
/// Cancel safe: dropping the future drops every attempt.
///
/// # Errors
/// [`Lost`] when all have failed or the time is over.
pub async fn race<T, F, Fut>(addrs: &[CheckedAddr], timing: Timing, connect: F) -> Result<(CheckedAddr, T), Lost>
where
    F: Fn(CheckedAddr) -> Fut,
    Fut: Future<Output = io::Result<T>>,
{
    let delay = timing.attempt_delay.clamp(ATTEMPT_DELAY.0, ATTEMPT_DELAY.1);
    let mut deadline = std::pin::pin!(sleep(timing.connect_timeout));
    let mut waiting = addrs.iter().copied();
    let mut attempts = FuturesUnordered::new();
    let mut lost = Lost::default();
    loop {
        if let Some(addr) = waiting.next() {
            let attempt = connect(addr);
            attempts.push(async move { (addr, attempt.await) });
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
                lost.unanswered = attempts.len();
                return Err(lost);
            }
            () = sleep(delay), if more => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tokio::time::Instant;

    use super::*;
    use crate::rules::AddressRules;

    const TIMING: Timing =
        Timing { attempt_delay: Duration::from_millis(250), connect_timeout: Duration::from_secs(10) };

    fn checked(texts: &[&str]) -> Vec<CheckedAddr> {
        let check = |text: &&str| AddressRules::open().check(SocketAddr::new(text.parse().unwrap(), 80)).unwrap();
        texts.iter().map(check).collect()
    }

    fn hosts(addrs: &[CheckedAddr]) -> Vec<String> {
        addrs.iter().map(|addr| addr.addr().ip().to_string()).collect()
    }

    /// What an address does when it is connected to: after how many milliseconds, and whether it works.
    type Script = [(&'static str, u64, Result<(), io::ErrorKind>)];

    struct Race {
        winner: Option<String>,
        took: Duration,
        /// Who was tried, and how many milliseconds after the start.
        tried: Vec<(String, u128)>,
        lost: Option<Lost>,
        /// Attempts that are still open after the race.
        left: usize,
    }

    struct Open<'a>(&'a Cell<usize>);

    impl Drop for Open<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }

    async fn run(script: &Script) -> Race {
        let (began, tried, open) = (Instant::now(), RefCell::new(Vec::new()), Cell::new(0));
        let addrs = checked(&script.iter().map(|step| step.0).collect::<Vec<_>>());
        let connect = async |addr: CheckedAddr| {
            let host = addr.addr().ip().to_string();
            let &(_, millis, result) = script.iter().find(|step| step.0 == host).unwrap();
            tried.borrow_mut().push((host, began.elapsed().as_millis()));
            open.set(open.get() + 1);
            let _open = Open(&open);
            sleep(Duration::from_millis(millis)).await;
            result.map_err(io::Error::from)
        };
        let ended = race(&addrs, TIMING, connect).await;
        let took = began.elapsed();
        let (winner, lost) = match ended {
            Ok((addr, ())) => (Some(addr.addr().ip().to_string()), None),
            Err(lost) => (None, Some(lost)),
        };
        Race { winner, took, tried: tried.take(), lost, left: open.get() }
    }

    const REFUSED: Result<(), io::ErrorKind> = Err(io::ErrorKind::ConnectionRefused);
    const FOREVER: u64 = 1_000_000;

    #[test]
    fn families_take_turns_and_ipv6_goes_first() {
        let given = checked(&["1.0.0.1", "1.0.0.2", "1.0.0.3", "2a00::1", "2a00::2"]);
        assert_eq!(hosts(&order(&given)), ["2a00::1", "1.0.0.1", "2a00::2", "1.0.0.2", "1.0.0.3"]);
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
        let race = run(&[("2a00::1", 5, REFUSED), ("1.0.0.1", 5, REFUSED), ("2a00::2", 5, Ok(()))]).await;
        assert_eq!(race.winner.as_deref(), Some("2a00::2"));
        assert_eq!(race.tried.iter().map(|t| t.1).collect::<Vec<_>>(), [0, 5, 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_early_attempt_may_still_win() {
        let race = run(&[("2a00::1", 300, Ok(())), ("1.0.0.1", FOREVER, Ok(()))]).await;
        assert_eq!((race.winner.as_deref(), race.took.as_millis()), (Some("2a00::1"), 300));
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_fail_every_failure_is_told() {
        let race = run(&[("2a00::1", 400, REFUSED), ("1.0.0.1", 50, Err(io::ErrorKind::HostUnreachable))]).await;
        let lost = race.lost.unwrap();
        let kinds: Vec<_> = lost.failures.iter().map(|(_, error)| error.kind()).collect();
        assert_eq!(kinds, [io::ErrorKind::HostUnreachable, io::ErrorKind::ConnectionRefused]);
        assert_eq!((lost.unanswered, race.took.as_millis()), (0, 400));
    }

    #[tokio::test(start_paused = true)]
    async fn the_whole_race_ends_at_the_connect_timeout() {
        let race = run(&[("2a00::1", FOREVER, Ok(())), ("1.0.0.1", FOREVER, Ok(())), ("2a00::2", 1, REFUSED)]).await;
        let lost = race.lost.unwrap();
        assert_eq!((lost.unanswered, lost.failures.len()), (2, 1));
        assert_eq!((race.took.as_secs(), race.left), (10, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_to_race_is_lost_at_once() {
        let lost = run(&[]).await.lost.unwrap();
        assert!(lost.failures.is_empty() && lost.unanswered == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_attempt_delay_stays_within_its_bounds() {
        for (asked, kept) in [(0, 10), (5000, 2000)] {
            let began = Instant::now();
            let second = Cell::new(Duration::ZERO);
            let connect = async |addr: CheckedAddr| {
                if addr.addr().is_ipv6() {
                    std::future::pending::<()>().await;
                }
                second.set(began.elapsed());
                Ok(())
            };
            let timing = Timing { attempt_delay: Duration::from_millis(asked), ..TIMING };
            assert!(race(&checked(&["2a00::1", "1.0.0.1"]), timing, connect).await.is_ok());
            assert_eq!(second.get().as_millis(), kept);
        }
    }
}
