//! Lookup queue: who may have a look-up running, and who is next.
//!
//! In:    the asker of each look-up.
//! Out:   a [`LookupPermit`], which counts as one running look-up until it is dropped.
//! Never: lets one asker hold more than its share, and never lets the length of one asker's queue
//!        delay another.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// How many look-ups of one asker may wait for a turn; more are refused at once.
pub(super) const WAITING_MAX: usize = 1024;

/// How long a look-up runs before an asker that has none may have its place although each asker has
/// one only. An eighth of the places at most is taken in this way in as much time, so that servers
/// that are slow still answer most look-ups.
const OLD: Duration = Duration::from_secs(1);

/// The user that a name is looked up for. Running look-ups are shared out between askers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Asker {
    /// The program itself: names that its operator wrote down. It may use every place, and a
    /// quarter of them is kept for it.
    #[default]
    Own,
    /// A user that has logged in.
    User(Arc<str>),
    /// A client without a login, by address; see [`Asker::peer`].
    Peer(IpAddr),
}

impl Asker {
    /// The client at `ip`. Addresses of one IPv6 /64 are one asker, because one host can have all
    /// of them.
    pub fn peer(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V6(v6) => {
                Self::Peer(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into())
            }
            v4 => Self::Peer(v4),
        }
    }
}

/// All places for running look-ups of one resolver.
pub(super) struct LookupQueue {
    total: usize,
    /// Whether a look-up that is dropped gives its place back at once.
    can_end: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: usize,
    /// Of them, those of askers other than [`Asker::Own`].
    running_of_others: usize,
    /// Askers that have a look-up running or waiting.
    lines: HashMap<Asker, AskerQueue>,
    /// Askers other than [`Asker::Own`] that have a look-up waiting, by [`AskerQueue::rank`].
    waiting: BTreeMap<Rank, Asker>,
    /// Running look-ups that were not asked to end, the oldest first.
    lookups: BTreeMap<u64, RunningLookup>,
    /// When a look-up was last ended for its age.
    ended_old: Option<Instant>,
    arrivals: u64,
}

struct RunningLookup {
    asker: Asker,
    since: Instant,
    end: oneshot::Sender<()>,
}

/// What the oldest look-up means for an asker that has none.
enum Oldest {
    /// It is asked to end by this.
    Ends(oneshot::Sender<()>),
    /// It may be ended at this time.
    IsOldAt(Instant),
    /// There is none to wait for.
    None,
}

/// Look-ups of the asker that run, whether this one has had its time and was ended, and its
/// arrival. The lowest is next.
type Rank = (usize, bool, u64);

/// One that waits: its arrival, and whether it was ended before.
type Waiter = (u64, bool, oneshot::Sender<LookupPermit>);

#[derive(Default)]
struct AskerQueue {
    running: usize,
    waiting: VecDeque<Waiter>,
    /// Its key in [`State::waiting`].
    key: Option<Rank>,
}

impl AskerQueue {
    /// Of the first that waits.
    fn rank(&self) -> Option<Rank> {
        self.waiting
            .front()
            .map(|(arrival, was_ended, _)| (self.running, *was_ended, *arrival))
    }
}

/// Too many look-ups of one asker wait already.
#[derive(Debug)]
pub(super) struct Full;

/// The permission to have one look-up running. Keep it as long as the work goes on: work that
/// cannot be stopped, such as a thread in `getaddrinfo`, keeps its place until it ends.
#[derive(Debug)]
pub struct LookupPermit {
    queue: Arc<LookupQueue>,
    asker: Asker,
    number: u64,
    end: Option<oneshot::Receiver<()>>,
}

/// A look-up that may run: its number, and when it has to end.
type Started = (u64, oneshot::Receiver<()>);

impl std::fmt::Debug for LookupQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turns")
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

impl LookupQueue {
    /// At most `total` look-ups at once; one asker may have an eighth of them, all but
    /// [`Asker::Own`] three quarters. `can_end`: whether dropping a look-up gives its place back at
    /// once.
    pub(super) fn new(total: usize, can_end: bool) -> Arc<Self> {
        Arc::new(Self {
            total,
            can_end,
            state: Mutex::default(),
        })
    }

    /// How many look-ups one asker may have running.
    pub(super) const fn share(&self) -> usize {
        let share = self.total / 8;
        if share == 0 { 1 } else { share }
    }

    /// Waits for a turn. Turns go to the asker with the fewest look-ups running, then to the one
    /// that has waited longest. If all places are taken and `asker` has none, the oldest look-up of
    /// the asker with the most, at least two, is asked to end. If no asker has two, the oldest
    /// look-up of all is, once it has run for [`OLD`], and as often as
    /// [`LookupQueue::between_ends`] allows.
    ///
    /// With `was_ended` the look-up was asked to end before. It waits behind those that were not,
    /// and ends no other one: else look-ups would end each other in turn, and none that takes
    /// longer than [`OLD`] would be answered.
    ///
    /// Cancel safe: dropping the future gives the place in the queue up.
    pub(super) async fn take(
        self: &Arc<Self>,
        asker: &Asker,
        was_ended: bool,
    ) -> Result<LookupPermit, Full> {
        let now = Instant::now();
        let (mut waiting, mut end, waits_for_old) = {
            let mut state = self.state.lock();
            state.skip_closed(asker);
            if state
                .lines
                .get(asker)
                .is_none_or(|line| line.waiting.is_empty())
                && self.has_room(&state, asker)
            {
                let started = state.start(asker, now);
                return Ok(self.permit(asker, started));
            }
            state.arrivals += 1;
            let arrival = state.arrivals;
            let line = state.lines.entry(asker.clone()).or_default();
            if line.waiting.len() >= WAITING_MAX {
                line.waiting.retain(|(_, _, place)| !place.is_closed());
            }
            if line.waiting.len() >= WAITING_MAX {
                return Err(Full);
            }
            let has_none = line.running == 0 && line.waiting.is_empty();
            let (place, waiting) = oneshot::channel();
            line.waiting.push_back((arrival, was_ended, place));
            state.index(asker);
            let may_end = has_none && self.can_end && !was_ended;
            let end = if may_end { state.end_one() } else { None };
            (waiting, end, may_end)
        };
        let mut ends_old = waits_for_old && end.is_none();
        loop {
            if let Some(end) = end.take() {
                // If it has ended in the meantime, its place is free already.
                let _ = end.send(());
            }
            if !ends_old {
                return waiting.await.map_err(|_| Full);
            }
            let oldest = self
                .state
                .lock()
                .end_old(asker, self.between_ends(), Instant::now());
            let old_at = match oldest {
                Oldest::Ends(oldest) => {
                    (end, ends_old) = (Some(oldest), false);
                    continue;
                }
                Oldest::IsOldAt(at) => at,
                Oldest::None => {
                    ends_old = false;
                    continue;
                }
            };
            if let Ok(permit) = timeout_at(old_at, &mut waiting).await {
                return permit.map_err(|_| Full);
            }
        }
    }

    fn permit(self: &Arc<Self>, asker: &Asker, (number, end): Started) -> LookupPermit {
        LookupPermit {
            queue: Arc::clone(self),
            asker: asker.clone(),
            number,
            end: Some(end),
        }
    }

    fn has_room(&self, state: &State, asker: &Asker) -> bool {
        if state.running >= self.total {
            return false;
        }
        let own_share = state
            .lines
            .get(asker)
            .is_none_or(|line| line.running < self.share());
        *asker == Asker::Own || (own_share && state.running_of_others < self.for_others())
    }

    /// The least time between two look-ups that are ended for their age: an eighth of the places in
    /// each [`OLD`].
    fn between_ends(&self) -> Duration {
        OLD / u32::try_from(self.for_others() / 8)
            .unwrap_or(u32::MAX)
            .max(1)
    }

    const fn for_others(&self) -> usize {
        let kept = self.total / 4;
        if kept < self.total {
            self.total - kept
        } else {
            self.total
        }
    }

    /// Gives a place back and hands it on to those that wait.
    fn release(self: &Arc<Self>, asker: &Asker, number: u64) {
        let mut state = self.state.lock();
        state.end(asker, number);
        let next = self.next(&mut state);
        drop(state);
        if let Some((asker, place, started)) = next {
            // If the waiter has left in the meantime, the turn is dropped and comes back here.
            drop(place.send(self.permit(&asker, started)));
        }
    }

    /// The waiter that gets the free place; it counts as running from here on.
    fn next(&self, state: &mut State) -> Option<(Asker, oneshot::Sender<LookupPermit>, Started)> {
        loop {
            // If the first of the others has no room, none of them has.
            let other = state
                .waiting
                .first_key_value()
                .map(|(rank, asker)| (*rank, asker.clone()));
            let own = state
                .lines
                .get(&Asker::Own)
                .and_then(AskerQueue::rank)
                .map(|rank| (rank, Asker::Own));
            let candidates = [other, own]
                .into_iter()
                .flatten()
                .filter(|(_, asker)| self.has_room(state, asker));
            let (_, asker) = candidates.min_by_key(|(rank, _)| *rank)?;
            let (_, _, place) = state.lines.get_mut(&asker)?.waiting.pop_front()?;
            if !place.is_closed() {
                let started = state.start(&asker, Instant::now());
                return Some((asker, place, started));
            }
            state.index(&asker);
            state.forget_if_idle(&asker);
        }
    }
}

impl State {
    fn start(&mut self, asker: &Asker, now: Instant) -> Started {
        self.running += 1;
        self.running_of_others += usize::from(*asker != Asker::Own);
        self.lines.entry(asker.clone()).or_default().running += 1;
        self.index(asker);
        self.arrivals += 1;
        let (end, ended) = oneshot::channel();
        self.lookups.insert(
            self.arrivals,
            RunningLookup {
                asker: asker.clone(),
                since: now,
                end,
            },
        );
        (self.arrivals, ended)
    }

    fn end(&mut self, asker: &Asker, number: u64) {
        self.lookups.remove(&number);
        self.running -= 1;
        self.running_of_others -= usize::from(*asker != Asker::Own);
        if let Some(line) = self.lines.get_mut(asker) {
            line.running -= 1;
        }
        self.index(asker);
        self.forget_if_idle(asker);
    }

    /// Corrects the place of `asker` in [`State::waiting`] after a change of its line.
    fn index(&mut self, asker: &Asker) {
        let Some(line) = self.lines.get_mut(asker) else {
            return;
        };
        let rank = line.rank().filter(|_| *asker != Asker::Own);
        if let Some(key) = std::mem::replace(&mut line.key, rank) {
            self.waiting.remove(&key);
        }
        if let Some(rank) = rank {
            self.waiting.insert(rank, asker.clone());
        }
    }

    /// Removes waiters that have left from the front of the queue of `asker`.
    fn skip_closed(&mut self, asker: &Asker) {
        let Some(line) = self.lines.get_mut(asker) else {
            return;
        };
        while line
            .waiting
            .front()
            .is_some_and(|(_, _, place)| place.is_closed())
        {
            line.waiting.pop_front();
        }
        self.index(asker);
    }

    /// The oldest look-up of the asker with the most, at least two; those of [`Asker::Own`] are not
    /// ended.
    fn end_one(&mut self) -> Option<oneshot::Sender<()>> {
        // The walk is as long as there are places.
        let mut askers = HashMap::<&Asker, (usize, u64)>::new();
        for (number, RunningLookup { asker, .. }) in &self.lookups {
            if *asker != Asker::Own {
                askers.entry(asker).or_insert((0, *number)).0 += 1;
            }
        }
        let several = askers.into_values().filter(|(count, _)| *count > 1);
        let (_, oldest) = several.max_by_key(|(count, oldest)| (*count, Reverse(*oldest)))?;
        self.lookups.remove(&oldest).map(|lookup| lookup.end)
    }

    /// The oldest look-up of all but [`Asker::Own`], if it is old and `asker` still has none.
    fn end_old(&mut self, asker: &Asker, between: Duration, now: Instant) -> Oldest {
        if self.lines.get(asker).is_some_and(|line| line.running > 0) {
            return Oldest::None;
        }
        let Some((number, lookup)) = self
            .lookups
            .iter()
            .find(|(_, lookup)| lookup.asker != Asker::Own)
        else {
            return Oldest::None;
        };
        let next_end = self.ended_old.map_or(now, |ended| ended + between);
        let at = next_end.max(lookup.since + OLD);
        if at > now {
            return Oldest::IsOldAt(at);
        }
        let number = *number;
        self.ended_old = Some(now);
        self.lookups
            .remove(&number)
            .map_or(Oldest::None, |lookup| Oldest::Ends(lookup.end))
    }

    fn forget_if_idle(&mut self, asker: &Asker) {
        if self
            .lines
            .get(asker)
            .is_some_and(|line| line.running == 0 && line.waiting.is_empty())
        {
            self.lines.remove(asker);
        }
    }
}

impl LookupPermit {
    pub(super) const fn asker(&self) -> &Asker {
        &self.asker
    }

    /// Resolves when the look-up has to end because another asker needs its place; else never.
    pub(super) fn end(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let end = self.end.take();
        async move {
            let is_asked = match end {
                Some(end) => end.await.is_ok(),
                None => false,
            };
            if !is_asked {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for LookupPermit {
    fn drop(&mut self) {
        self.queue.release(&self.asker, self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn user(name: &str) -> Asker {
        Asker::User(name.into())
    }

    fn take(queue: &Arc<LookupQueue>, asker: &Asker) -> Option<LookupPermit> {
        queue.take(asker, false).now_or_never().map(Result::unwrap)
    }

    #[test]
    fn one_asker_gets_its_share_and_no_more() {
        let queue = LookupQueue::new(64, true);
        let held: Vec<_> = (0..8).map(|_| take(&queue, &user("a")).unwrap()).collect();
        assert!(take(&queue, &user("a")).is_none());
        assert!(take(&queue, &user("b")).is_some());
        drop(held);
        assert!(
            queue.state.lock().lines.is_empty(),
            "a waiter that left must not stay"
        );
    }

    #[tokio::test]
    async fn the_next_turn_goes_to_whoever_has_the_fewest_running_and_not_to_the_longest_queue() {
        let queue = LookupQueue::new(8, true);
        let [a, b] = ["a", "b"].map(user);
        // Six places are for users; one is a share of eight.
        let mut held: Vec<_> = ["c", "d", "e", "f", "g"]
            .map(|name| take(&queue, &user(name)).unwrap())
            .into();
        held.push(take(&queue, &a).unwrap());
        let mut crowd: Vec<_> = (0..100).map(|_| Box::pin(queue.take(&a, false))).collect();
        assert!(crowd.iter_mut().all(|one| one.now_or_never().is_none()));
        let mut late = Box::pin(queue.take(&b, false));
        assert!(late.as_mut().now_or_never().is_none());
        held.remove(0);
        assert!(late.now_or_never().is_some(), "b has none running");
        assert!(crowd.iter_mut().all(|one| one.now_or_never().is_none()));
    }

    #[test]
    fn a_quarter_of_the_places_is_kept_for_the_program_itself() {
        let queue = LookupQueue::new(64, true);
        let held: Vec<_> = (0..48)
            .map(|n| take(&queue, &user(&format!("u{}", n / 8))).expect("six users, eight each"))
            .collect();
        assert!(take(&queue, &user("another")).is_none());
        let own: Vec<_> = (0..16)
            .map(|_| take(&queue, &Asker::Own).expect("kept for it"))
            .collect();
        assert!(take(&queue, &Asker::Own).is_none());
        drop((held, own));
        assert_eq!(queue.state.lock().running, 0);
    }

    #[test]
    fn the_queue_of_one_asker_is_bounded() {
        let queue = LookupQueue::new(1, true);
        let asker = user("a");
        let _held = take(&queue, &asker).unwrap();
        let mut waiting: Vec<_> = {
            let a = &asker;
            (0..WAITING_MAX)
                .map(|_| Box::pin(queue.take(a, false)))
                .collect()
        };
        assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()));
        assert!(queue.take(&asker, false).now_or_never().unwrap().is_err());
        drop(waiting.pop());
        assert!(
            queue.take(&asker, false).now_or_never().is_none(),
            "a place in the queue has come free"
        );
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_asker() {
        let peer = |text: &str| Asker::peer(text.parse().unwrap());
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
    }

    #[test]
    fn an_asker_without_a_place_has_the_oldest_look_up_of_the_asker_with_the_most_ended() {
        let queue = LookupQueue::new(64, true);
        let mut held: Vec<_> = (0..47)
            .map(|n| take(&queue, &user(&format!("u{}", n / 8))).unwrap())
            .collect();
        held.push(take(&queue, &user("single")).unwrap());
        let mut ends: Vec<_> = held
            .iter_mut()
            .map(|permit| Box::pin(permit.end()))
            .collect();
        let mut ended = || {
            ends.iter_mut()
                .map(|end| end.now_or_never().is_some())
                .collect::<Vec<_>>()
        };
        let [a, b] = ["a", "b"].map(user);
        let mut first = Box::pin(queue.take(&a, false));
        assert!(first.as_mut().now_or_never().is_none());
        let mut again = Box::pin(queue.take(&a, false));
        assert!(
            again.as_mut().now_or_never().is_none(),
            "the second of one asker ends none"
        );
        assert_eq!(ended().iter().filter(|ended| **ended).count(), 1);
        let mut second = Box::pin(queue.take(&b, false));
        assert!(second.as_mut().now_or_never().is_none());
        drop(held.remove(0));
        let first = first
            .now_or_never()
            .expect("it has the place that came free");
        assert!(again.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        drop(held.remove(7));
        let second = second
            .now_or_never()
            .expect("it has none running, and `a` has one");
        drop(again);
        drop((first, second, held));
        let state = queue.state.lock();
        assert!(state.waiting.is_empty() && state.lookups.is_empty() && state.lines.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_waits_no_longer_than_a_second_for_askers_that_have_one_silent_look_up_each()
    {
        let queue = LookupQueue::new(8, true);
        let mut held: Vec<_> = (0..6)
            .map(|n| take(&queue, &user(&format!("u{n}"))).unwrap())
            .collect();
        let mut ends: Vec<_> = held
            .iter_mut()
            .map(|permit| Box::pin(permit.end()))
            .collect();
        let mut ended = || {
            let at = ends.iter_mut().position(|end| end.now_or_never().is_some());
            at.inspect(|at| drop(ends.remove(*at)))
        };
        let newcomer = user("new");
        let mut waiting = Box::pin(queue.take(&newcomer, false));
        assert!(waiting.as_mut().now_or_never().is_none());
        tokio::time::advance(OLD - Duration::from_millis(1)).await;
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(ended(), None, "a look-up that may be answered soon goes on");
        tokio::time::advance(Duration::from_millis(2)).await;
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(ended(), Some(0), "the oldest");
        tokio::time::advance(OLD).await;
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(ended(), None, "one newcomer ends one look-up");
        drop(held.remove(0));
        assert!(waiting.now_or_never().is_some());
    }

    /// A look-up that starts again each time it is asked to end. Returns how often that was.
    async fn look_up(queue: Arc<LookupQueue>, asker: Asker, takes: Duration) -> usize {
        let mut ends = 0;
        loop {
            let mut permit = queue.take(&asker, ends > 0).await.unwrap();
            tokio::select! {
                () = tokio::time::sleep(takes) => return ends,
                () = permit.end() => ends += 1,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn look_ups_that_take_longer_than_a_second_do_not_end_each_other_in_a_circle() {
        let (queue, begun) = (LookupQueue::new(24, true), Instant::now());
        let all =
            (0..40).map(|n| look_up(Arc::clone(&queue), user(&format!("u{n}")), OLD * 13 / 10));
        let ends: usize = futures_util::future::join_all(all).await.iter().sum();
        assert!(
            begun.elapsed() < super::super::DEADLINE,
            "{:?}",
            begun.elapsed()
        );
        assert!(ends <= 8, "{ends} were ended within {:?}", begun.elapsed());
    }

    #[test]
    fn a_newcomer_goes_before_a_look_up_that_has_had_its_time() {
        let queue = LookupQueue::new(8, true);
        let mut held: Vec<_> = (0..6)
            .map(|n| take(&queue, &user(&format!("u{n}"))).unwrap())
            .collect();
        let (ended, newcomer) = (user("ended"), user("new"));
        let mut again = Box::pin(queue.take(&ended, true));
        let mut first = Box::pin(queue.take(&newcomer, false));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        assert!(again.as_mut().now_or_never().is_none() && first.as_mut().now_or_never().is_none());
        drop(held.remove(0));
        assert!(again.as_mut().now_or_never().is_none());
        assert!(first.now_or_never().is_some());
    }
}
