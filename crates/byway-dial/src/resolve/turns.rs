//! Turns: who may have a look-up running, and who is next.
//!
//! In:    the asker of each look-up.
//! Out:   a [`Turn`], which counts as one running look-up until it is dropped.
//! Never: lets one asker hold more than its share, and never lets the length of one asker's queue delay another.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// How many look-ups of one asker may wait for a turn; more are refused at once.
pub(super) const WAITING_MAX: usize = 1024;

/// The user that a name is looked up for. Running look-ups are shared out between askers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Asker {
    /// The program itself: names that its operator wrote down. It may use every place, and a quarter of them is kept
    /// for it.
    #[default]
    Own,
    /// A user that has logged in.
    User(Arc<str>),
    /// A client without a login, by address; see [`Asker::peer`].
    Peer(IpAddr),
}

impl Asker {
    /// The client at `ip`. Addresses of one IPv6 /64 are one asker, because one host can have all of them.
    pub fn peer(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V6(v6) => Self::Peer(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into()),
            v4 => Self::Peer(v4),
        }
    }
}

/// All places for running look-ups of one resolver.
pub(super) struct Turns {
    total: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: usize,
    /// Of them, those of askers other than [`Asker::Own`].
    running_of_others: usize,
    /// Askers that have a look-up running or waiting.
    lines: HashMap<Asker, Line>,
    arrivals: u64,
}

#[derive(Default)]
struct Line {
    running: usize,
    waiting: VecDeque<(u64, oneshot::Sender<Turn>)>,
}

/// Too many look-ups of one asker wait already.
#[derive(Debug)]
pub(super) struct Full;

/// The permission to have one look-up running. Keep it as long as the work goes on: work that cannot be stopped, such
/// as a thread in `getaddrinfo`, keeps its place until it ends.
#[derive(Debug)]
pub struct Turn {
    turns: Arc<Turns>,
    asker: Asker,
}

impl std::fmt::Debug for Turns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turns").field("total", &self.total).finish_non_exhaustive()
    }
}

impl Turns {
    /// At most `total` look-ups at once; one asker may have an eighth of them, all but [`Asker::Own`] three quarters.
    pub(super) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total, state: Mutex::default() })
    }

    /// How many look-ups one asker may have running.
    pub(super) const fn share(&self) -> usize {
        let share = self.total / 8;
        if share == 0 { 1 } else { share }
    }

    /// Waits for a turn. Turns go to the asker with the fewest look-ups running, then to the one that has waited longest.
    ///
    /// Cancel safe: dropping the future gives the place in the queue up.
    pub(super) async fn take(self: &Arc<Self>, asker: &Asker) -> Result<Turn, Full> {
        let waiting = {
            let mut state = self.state.lock();
            if state.lines.get(asker).is_none_or(|line| line.waiting.is_empty()) && self.has_room(&state, asker) {
                state.start(asker);
                return Ok(self.turn(asker));
            }
            state.arrivals += 1;
            let arrival = state.arrivals;
            let line = state.lines.entry(asker.clone()).or_default();
            if line.waiting.len() >= WAITING_MAX {
                line.waiting.retain(|(_, place)| !place.is_closed());
            }
            if line.waiting.len() >= WAITING_MAX {
                return Err(Full);
            }
            let (place, waiting) = oneshot::channel();
            line.waiting.push_back((arrival, place));
            waiting
        };
        waiting.await.map_err(|_| Full)
    }

    fn turn(self: &Arc<Self>, asker: &Asker) -> Turn {
        Turn { turns: Arc::clone(self), asker: asker.clone() }
    }

    fn has_room(&self, state: &State, asker: &Asker) -> bool {
        if state.running >= self.total {
            return false;
        }
        let own_share = state.lines.get(asker).is_none_or(|line| line.running < self.share());
        *asker == Asker::Own || (own_share && state.running_of_others < self.for_others())
    }

    const fn for_others(&self) -> usize {
        let kept = self.total / 4;
        if kept < self.total { self.total - kept } else { self.total }
    }

    /// Gives a place back and hands it on to those that wait.
    fn release(self: &Arc<Self>, asker: &Asker) {
        let mut state = self.state.lock();
        state.end(asker);
        let next = self.next(&mut state);
        drop(state);
        if let Some((asker, place)) = next {
            // If the waiter has left in the meantime, the turn is dropped and comes back here.
            drop(place.send(self.turn(&asker)));
        }
    }

    /// The waiter that gets the free place; it counts as running from here on.
    fn next(&self, state: &mut State) -> Option<(Asker, oneshot::Sender<Turn>)> {
        loop {
            let candidates = state.lines.iter().filter_map(|(asker, line)| {
                let (arrival, _) = line.waiting.front()?;
                self.has_room(state, asker).then_some((line.running, *arrival, asker))
            });
            let asker = candidates.min_by_key(|(running, arrival, _)| (*running, *arrival))?.2.clone();
            let (_, place) = state.lines.get_mut(&asker)?.waiting.pop_front()?;
            if !place.is_closed() {
                state.start(&asker);
                return Some((asker, place));
            }
            state.forget_if_idle(&asker);
        }
    }
}

impl State {
    fn start(&mut self, asker: &Asker) {
        self.running += 1;
        self.running_of_others += usize::from(*asker != Asker::Own);
        self.lines.entry(asker.clone()).or_default().running += 1;
    }

    fn end(&mut self, asker: &Asker) {
        self.running -= 1;
        self.running_of_others -= usize::from(*asker != Asker::Own);
        if let Some(line) = self.lines.get_mut(asker) {
            line.running -= 1;
        }
        self.forget_if_idle(asker);
    }

    fn forget_if_idle(&mut self, asker: &Asker) {
        if self.lines.get(asker).is_some_and(|line| line.running == 0 && line.waiting.is_empty()) {
            self.lines.remove(asker);
        }
    }
}

impl Turn {
    pub(super) const fn asker(&self) -> &Asker {
        &self.asker
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.release(&self.asker);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn user(name: &str) -> Asker {
        Asker::User(name.into())
    }

    fn take(turns: &Arc<Turns>, asker: &Asker) -> Option<Turn> {
        turns.take(asker).now_or_never().map(Result::unwrap)
    }

    #[test]
    fn one_asker_gets_its_share_and_no_more() {
        let turns = Turns::new(64);
        let held: Vec<_> = (0..8).map(|_| take(&turns, &user("a")).unwrap()).collect();
        assert!(take(&turns, &user("a")).is_none());
        assert!(take(&turns, &user("b")).is_some());
        drop(held);
        assert!(turns.state.lock().lines.is_empty(), "a waiter that left must not stay");
    }

    #[tokio::test]
    async fn the_next_turn_goes_to_whoever_has_the_fewest_running_and_not_to_the_longest_queue() {
        let turns = Turns::new(8);
        let [a, b] = ["a", "b"].map(user);
        // Six places are for users; one is a share of eight.
        let mut held: Vec<_> = ["c", "d", "e", "f", "g"].map(|name| take(&turns, &user(name)).unwrap()).into();
        held.push(take(&turns, &a).unwrap());
        let mut crowd: Vec<_> = (0..100).map(|_| Box::pin(turns.take(&a))).collect();
        assert!(crowd.iter_mut().all(|one| one.now_or_never().is_none()));
        let mut late = Box::pin(turns.take(&b));
        assert!(late.as_mut().now_or_never().is_none());
        held.remove(0);
        assert!(late.now_or_never().is_some(), "b has none running");
        assert!(crowd.iter_mut().all(|one| one.now_or_never().is_none()));
    }

    #[test]
    fn a_quarter_of_the_places_is_kept_for_the_program_itself() {
        let turns = Turns::new(64);
        let held: Vec<_> =
            (0..48).map(|n| take(&turns, &user(&format!("u{}", n / 8))).expect("six users, eight each")).collect();
        assert!(take(&turns, &user("another")).is_none());
        let own: Vec<_> = (0..16).map(|_| take(&turns, &Asker::Own).expect("kept for it")).collect();
        assert!(take(&turns, &Asker::Own).is_none());
        drop((held, own));
        assert_eq!(turns.state.lock().running, 0);
    }

    #[test]
    fn the_queue_of_one_asker_is_bounded() {
        let turns = Turns::new(1);
        let asker = user("a");
        let _held = take(&turns, &asker).unwrap();
        let mut waiting: Vec<_> = {
            let a = &asker;
            (0..WAITING_MAX).map(|_| Box::pin(turns.take(a))).collect()
        };
        assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()));
        assert!(turns.take(&asker).now_or_never().unwrap().is_err());
        drop(waiting.pop());
        assert!(turns.take(&asker).now_or_never().is_none(), "a place in the queue has come free");
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_asker() {
        let peer = |text: &str| Asker::peer(text.parse().unwrap());
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
    }
}
