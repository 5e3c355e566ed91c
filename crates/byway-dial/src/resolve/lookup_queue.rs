//! Lookup queue: limits running look-ups and chooses the next client.
//!
//! In:    the client of each look-up.
//! Out:   a [`LookupPermit`], which counts as one running look-up until it is dropped.
//! Never: gives one client more than its share, or delays a client by the queue length of another.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// How many look-ups of one client may wait for a permit; more are refused at once.
pub(super) const WAITING_MAX: usize = 1024;

/// How long a look-up runs before it may be cancelled for a client without one, even if no client
/// has several. At most an eighth of the slots is taken this way in this time, so that slow servers
/// can still answer most look-ups.
const OLD: Duration = Duration::from_secs(1);

/// Who takes a share of a resource that is divided between clients: look-ups, and the disk for slow
/// readers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClientId {
    /// The program itself: names from the operator's configuration. It may use every slot, and a
    /// quarter of them is reserved for it.
    #[default]
    Own,
    /// An authenticated user.
    User(Arc<str>),
    /// A client without authentication, by address; see [`ClientId::peer`].
    Peer(IpAddr),
}

impl ClientId {
    /// The client at `ip`. All addresses of an IPv6 /64 are one client, because one host can use all
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

/// The running and waiting look-ups of one resolver.
pub(super) struct LookupQueue {
    total: usize,
    /// Whether a dropped look-up frees its slot at once.
    can_end: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: usize,
    /// The running look-ups of clients other than [`ClientId::Own`].
    running_of_others: usize,
    /// Clients with a running or waiting look-up.
    clients: HashMap<ClientId, ClientQueue>,
    /// Clients other than [`ClientId::Own`] with a waiting look-up, by [`ClientQueue::rank`].
    waiting: BTreeMap<Rank, ClientId>,
    /// Running look-ups that were not cancelled, the oldest first.
    lookups: BTreeMap<u64, RunningLookup>,
    /// When a look-up was last cancelled for its age.
    ended_old: Option<Instant>,
    arrivals: u64,
}

struct RunningLookup {
    client: ClientId,
    since: Instant,
    end: oneshot::Sender<()>,
}

/// How a client without a running look-up can get the slot of the oldest one.
enum Oldest {
    /// Cancels the oldest look-up.
    Ends(oneshot::Sender<()>),
    /// The oldest look-up may be cancelled at this time.
    IsOldAt(Instant),
    /// There is no look-up to wait for.
    None,
}

/// The number of running look-ups of the client, whether this look-up was cancelled before, and its
/// arrival. The lowest rank is next.
type Rank = (usize, bool, u64);

/// A waiter: its arrival, and whether it was cancelled before.
type Waiter = (u64, bool, oneshot::Sender<LookupPermit>);

#[derive(Default)]
struct ClientQueue {
    running: usize,
    waiting: VecDeque<Waiter>,
    /// Its key in [`State::waiting`].
    key: Option<Rank>,
}

impl ClientQueue {
    /// Of the first waiter.
    fn rank(&self) -> Option<Rank> {
        self.waiting
            .front()
            .map(|(arrival, was_ended, _)| (self.running, *was_ended, *arrival))
    }
}

/// Too many look-ups of the client are waiting.
#[derive(Debug)]
pub(super) struct Full;

/// The permission to run one look-up. Keep it until the work has ended: work that cannot be
/// cancelled, such as a thread in `getaddrinfo`, occupies its slot until it ends.
#[derive(Debug)]
pub struct LookupPermit {
    queue: Arc<LookupQueue>,
    client: ClientId,
    number: u64,
    end: Option<oneshot::Receiver<()>>,
}

/// A started look-up: its number, and the signal to end it.
type Started = (u64, oneshot::Receiver<()>);

impl std::fmt::Debug for LookupQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turns")
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

impl LookupQueue {
    /// Allows `total` look-ups at once: an eighth for one client, three quarters for all except
    /// [`ClientId::Own`]. `can_end`: whether dropping a look-up frees its slot at once.
    pub(super) fn new(total: usize, can_end: bool) -> Arc<Self> {
        Arc::new(Self {
            total,
            can_end,
            state: Mutex::default(),
        })
    }

    /// How many look-ups of one client may run.
    pub(super) const fn share(&self) -> usize {
        let share = self.total / 8;
        if share == 0 { 1 } else { share }
    }

    /// Waits for a permit. Permits go to the client with the fewest running look-ups, then to the
    /// one that has waited longest. If all slots are taken and `client` has none, the oldest look-up
    /// of the client with the most, at least two, is cancelled. If no client has two, the oldest
    /// look-up of all is cancelled, once it has run for [`OLD`], and at most once every
    /// [`LookupQueue::between_ends`].
    ///
    /// `was_ended`: the look-up was cancelled before. It waits behind those that were not, and
    /// cancels no other one. Otherwise look-ups would cancel each other in turn, and none that
    /// takes longer than [`OLD`] would be answered.
    ///
    /// Cancel safe: dropping the future leaves the queue.
    pub(super) async fn take(
        self: &Arc<Self>,
        client: &ClientId,
        was_ended: bool,
    ) -> Result<LookupPermit, Full> {
        let now = Instant::now();
        let (mut waiting, mut end, waits_for_old) = {
            let mut state = self.state.lock();
            state.skip_closed(client);
            if state
                .clients
                .get(client)
                .is_none_or(|queue| queue.waiting.is_empty())
                && self.has_room(&state, client)
            {
                let started = state.start(client, now);
                return Ok(self.permit(client, started));
            }
            state.arrivals += 1;
            let arrival = state.arrivals;
            let queue = state.clients.entry(client.clone()).or_default();
            if queue.waiting.len() >= WAITING_MAX {
                queue.waiting.retain(|(_, _, sender)| !sender.is_closed());
            }
            if queue.waiting.len() >= WAITING_MAX {
                return Err(Full);
            }
            let has_none = queue.running == 0 && queue.waiting.is_empty();
            let (sender, waiting) = oneshot::channel();
            queue.waiting.push_back((arrival, was_ended, sender));
            state.index(client);
            let may_end = has_none && self.can_end && !was_ended;
            let end = if may_end { state.end_one() } else { None };
            (waiting, end, may_end)
        };
        let mut ends_old = waits_for_old && end.is_none();
        loop {
            if let Some(end) = end.take() {
                // If it has ended in the meantime, its slot is free already.
                let _ = end.send(());
            }
            if !ends_old {
                return waiting.await.map_err(|_| Full);
            }
            let oldest = self
                .state
                .lock()
                .end_old(client, self.between_ends(), Instant::now());
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

    fn permit(self: &Arc<Self>, client: &ClientId, (number, end): Started) -> LookupPermit {
        LookupPermit {
            queue: Arc::clone(self),
            client: client.clone(),
            number,
            end: Some(end),
        }
    }

    fn has_room(&self, state: &State, client: &ClientId) -> bool {
        if state.running >= self.total {
            return false;
        }
        let own_share = state
            .clients
            .get(client)
            .is_none_or(|queue| queue.running < self.share());
        *client == ClientId::Own || (own_share && state.running_of_others < self.for_others())
    }

    /// The least time between two look-ups that are cancelled for their age: an eighth of the slots
    /// in each [`OLD`].
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

    /// Frees a slot and passes it to the next waiter.
    fn release(self: &Arc<Self>, client: &ClientId, number: u64) {
        let mut state = self.state.lock();
        state.end(client, number);
        let next = self.next(&mut state);
        drop(state);
        if let Some((client, sender, started)) = next {
            // If the waiter has left in the meantime, the permit is dropped and this function runs
            // again.
            drop(sender.send(self.permit(&client, started)));
        }
    }

    /// The waiter that gets the free slot. It counts as running from here on.
    fn next(
        &self,
        state: &mut State,
    ) -> Option<(ClientId, oneshot::Sender<LookupPermit>, Started)> {
        loop {
            // If the first of the others has no room, none of them has.
            let other = state
                .waiting
                .first_key_value()
                .map(|(rank, client)| (*rank, client.clone()));
            let own = state
                .clients
                .get(&ClientId::Own)
                .and_then(ClientQueue::rank)
                .map(|rank| (rank, ClientId::Own));
            let candidates = [other, own]
                .into_iter()
                .flatten()
                .filter(|(_, client)| self.has_room(state, client));
            let (_, client) = candidates.min_by_key(|(rank, _)| *rank)?;
            let (_, _, sender) = state.clients.get_mut(&client)?.waiting.pop_front()?;
            if !sender.is_closed() {
                let started = state.start(&client, Instant::now());
                return Some((client, sender, started));
            }
            state.index(&client);
            state.forget_if_idle(&client);
        }
    }
}

impl State {
    fn start(&mut self, client: &ClientId, now: Instant) -> Started {
        self.running += 1;
        self.running_of_others += usize::from(*client != ClientId::Own);
        self.clients.entry(client.clone()).or_default().running += 1;
        self.index(client);
        self.arrivals += 1;
        let (end, ended) = oneshot::channel();
        self.lookups.insert(
            self.arrivals,
            RunningLookup {
                client: client.clone(),
                since: now,
                end,
            },
        );
        (self.arrivals, ended)
    }

    fn end(&mut self, client: &ClientId, number: u64) {
        self.lookups.remove(&number);
        self.running -= 1;
        self.running_of_others -= usize::from(*client != ClientId::Own);
        if let Some(queue) = self.clients.get_mut(client) {
            queue.running -= 1;
        }
        self.index(client);
        self.forget_if_idle(client);
    }

    /// Updates the entry of `client` in [`State::waiting`] after a change of its queue.
    fn index(&mut self, client: &ClientId) {
        let Some(queue) = self.clients.get_mut(client) else {
            return;
        };
        let rank = queue.rank().filter(|_| *client != ClientId::Own);
        if let Some(key) = std::mem::replace(&mut queue.key, rank) {
            self.waiting.remove(&key);
        }
        if let Some(rank) = rank {
            self.waiting.insert(rank, client.clone());
        }
    }

    /// Removes waiters that have left from the front of the queue of `client`.
    fn skip_closed(&mut self, client: &ClientId) {
        let Some(queue) = self.clients.get_mut(client) else {
            return;
        };
        while queue
            .waiting
            .front()
            .is_some_and(|(_, _, sender)| sender.is_closed())
        {
            queue.waiting.pop_front();
        }
        self.index(client);
    }

    /// The oldest look-up of the client with the most, at least two; those of [`ClientId::Own`] are
    /// never cancelled.
    fn end_one(&mut self) -> Option<oneshot::Sender<()>> {
        // The loop is bounded by the number of slots.
        let mut clients = HashMap::<&ClientId, (usize, u64)>::new();
        for (number, RunningLookup { client, .. }) in &self.lookups {
            if *client != ClientId::Own {
                clients.entry(client).or_insert((0, *number)).0 += 1;
            }
        }
        let several = clients.into_values().filter(|(count, _)| *count > 1);
        let (_, oldest) = several.max_by_key(|(count, oldest)| (*count, Reverse(*oldest)))?;
        self.lookups.remove(&oldest).map(|lookup| lookup.end)
    }

    /// The oldest look-up except those of [`ClientId::Own`], if it is old and `client` still has none.
    fn end_old(&mut self, client: &ClientId, between: Duration, now: Instant) -> Oldest {
        if self
            .clients
            .get(client)
            .is_some_and(|queue| queue.running > 0)
        {
            return Oldest::None;
        }
        let Some((number, lookup)) = self
            .lookups
            .iter()
            .find(|(_, lookup)| lookup.client != ClientId::Own)
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

    fn forget_if_idle(&mut self, client: &ClientId) {
        if self
            .clients
            .get(client)
            .is_some_and(|queue| queue.running == 0 && queue.waiting.is_empty())
        {
            self.clients.remove(client);
        }
    }
}

impl LookupPermit {
    pub(super) const fn client(&self) -> &ClientId {
        &self.client
    }

    /// Resolves when the look-up must end because another client needs its slot; otherwise never.
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
        self.queue.release(&self.client, self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn user(name: &str) -> ClientId {
        ClientId::User(name.into())
    }

    fn take(queue: &Arc<LookupQueue>, client: &ClientId) -> Option<LookupPermit> {
        queue.take(client, false).now_or_never().map(Result::unwrap)
    }

    #[test]
    fn one_client_gets_its_share_and_no_more() {
        let queue = LookupQueue::new(64, true);
        let held: Vec<_> = (0..8).map(|_| take(&queue, &user("a")).unwrap()).collect();
        assert!(take(&queue, &user("a")).is_none());
        assert!(take(&queue, &user("b")).is_some());
        drop(held);
        assert!(
            queue.state.lock().clients.is_empty(),
            "a waiter that left must not stay"
        );
    }

    #[tokio::test]
    async fn the_next_permit_goes_to_the_client_with_the_fewest_running_and_not_to_the_longest_queue()
     {
        let queue = LookupQueue::new(8, true);
        let [a, b] = ["a", "b"].map(user);
        // Users have six slots; the share of one is an eighth of eight.
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
    fn a_quarter_of_the_slots_is_reserved_for_the_program_itself() {
        let queue = LookupQueue::new(64, true);
        let held: Vec<_> = (0..48)
            .map(|n| take(&queue, &user(&format!("u{}", n / 8))).expect("six users, eight each"))
            .collect();
        assert!(take(&queue, &user("another")).is_none());
        let own: Vec<_> = (0..16)
            .map(|_| take(&queue, &ClientId::Own).expect("reserved for it"))
            .collect();
        assert!(take(&queue, &ClientId::Own).is_none());
        drop((held, own));
        assert_eq!(queue.state.lock().running, 0);
    }

    #[test]
    fn the_queue_of_one_client_is_bounded() {
        let queue = LookupQueue::new(1, true);
        let client = user("a");
        let _held = take(&queue, &client).unwrap();
        let mut waiting: Vec<_> = {
            let a = &client;
            (0..WAITING_MAX)
                .map(|_| Box::pin(queue.take(a, false)))
                .collect()
        };
        assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()));
        assert!(queue.take(&client, false).now_or_never().unwrap().is_err());
        drop(waiting.pop());
        assert!(
            queue.take(&client, false).now_or_never().is_none(),
            "a queue entry is free again"
        );
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let peer = |text: &str| ClientId::peer(text.parse().unwrap());
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
    }

    #[test]
    fn a_client_without_a_slot_cancels_the_oldest_look_up_of_the_client_with_the_most() {
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
            "the second of one client cancels none"
        );
        assert_eq!(ended().iter().filter(|ended| **ended).count(), 1);
        let mut second = Box::pin(queue.take(&b, false));
        assert!(second.as_mut().now_or_never().is_none());
        drop(held.remove(0));
        let first = first.now_or_never().expect("it has the freed slot");
        assert!(again.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        drop(held.remove(7));
        let second = second
            .now_or_never()
            .expect("it has none running, and `a` has one");
        drop(again);
        drop((first, second, held));
        let state = queue.state.lock();
        assert!(state.waiting.is_empty() && state.lookups.is_empty() && state.clients.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_waits_no_longer_than_a_second_for_clients_that_have_one_silent_look_up_each()
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
        assert_eq!(ended(), None, "a recent look-up continues");
        tokio::time::advance(Duration::from_millis(2)).await;
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(ended(), Some(0), "the oldest");
        tokio::time::advance(OLD).await;
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(ended(), None, "one newcomer cancels one look-up");
        drop(held.remove(0));
        assert!(waiting.now_or_never().is_some());
    }

    /// A look-up that restarts each time it is cancelled. Returns how often that was.
    async fn look_up(queue: Arc<LookupQueue>, client: ClientId, takes: Duration) -> usize {
        let mut ends = 0;
        loop {
            let mut permit = queue.take(&client, ends > 0).await.unwrap();
            tokio::select! {
                () = tokio::time::sleep(takes) => return ends,
                () = permit.end() => ends += 1,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn look_ups_that_take_longer_than_a_second_do_not_cancel_each_other_in_turn() {
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
    fn a_newcomer_goes_before_a_look_up_that_was_cancelled() {
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
