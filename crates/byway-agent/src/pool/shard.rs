//! Shard: one worker's part of the pool: its shelves behind their lock, and how a connection goes
//! in and out.
//!
//! In:    connections that come back.   Out:   connections to lend, or their permits.
//! Never: holds two of the pool's locks, or one while a connection is probed or dropped.

use crate::pool::Acquired;
use crate::pool::bank::Given;
use crate::pool::client::Client;
use crate::pool::conn::{Conn, Key, Probe};
use crate::pool::event::{Event, Reason, tell};
use crate::pool::hub::Hub;
use crate::pool::lease::{Held, Lease, OpenPermit};
use crate::pool::now;
use crate::pool::shelves::Shelves;
use crate::pool::sync::{Mutex, Padded};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub(crate) struct Shard<K: Key, C: Conn> {
    pub(crate) shelves: Padded<Mutex<Shelves<K, C>>>,
    pub(crate) number: usize,
    pub(crate) hub: Arc<Hub<K, C>>,
}

/// How putting a connection into its shard went.
enum Put<K: Key, C: Conn> {
    /// Done, and perhaps another one has to go.
    Kept(Option<Box<Held<K, C>>>),
    /// Somebody may have better use for it.
    Asked(Box<Held<K, C>>),
    /// It is not kept.
    Refused(Box<Held<K, C>>),
}

/// Lending.
impl<K: Key, C: Conn> Shard<K, C> {
    /// An idle connection of this origin; if there are only unfit ones, the permit of the last of
    /// them.
    pub(crate) fn lend(&self, key: &K, client: Client, now: Instant) -> Option<Acquired<K, C>> {
        let turn = C::turn();
        let held = self.shelves.lock().lend(key, turn)?;
        match self.look_at(held, client, now) {
            Ok(lease) => Some(Acquired::Lease(lease)),
            Err(unfit) => {
                self.hub.lent_in_vain.fetch_add(1, Ordering::Relaxed);
                Some(self.replace(unfit, client, now))
            }
        }
    }

    /// A connection that was handed to a waiter, or what takes its place if it is unfit.
    pub(crate) fn receive(
        &self,
        held: Box<Held<K, C>>,
        client: Client,
        now: Instant,
    ) -> Acquired<K, C> {
        match self.look_at(held, client, now) {
            Ok(lease) => {
                self.hub.handed.fetch_add(1, Ordering::Relaxed);
                Acquired::Lease(lease)
            }
            Err(unfit) => self.replace(unfit, client, now),
        }
    }

    /// Another idle connection instead of an unfit one, or its permit for a new one.
    fn replace(&self, mut unfit: Box<Held<K, C>>, client: Client, now: Instant) -> Acquired<K, C> {
        let turn = C::turn();
        loop {
            let next = self.shelves.lock().lend(unfit.key(), turn);
            let Some(next) = next else {
                return Acquired::Open(OpenPermit::new((*unfit).hollow(client)));
            };
            drop(unfit);
            match self.look_at(next, client, now) {
                Ok(lease) => return Acquired::Lease(lease),
                Err(next) => unfit = next,
            }
            self.hub.lent_in_vain.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn look_at(
        &self,
        mut held: Box<Held<K, C>>,
        client: Client,
        now: Instant,
    ) -> Result<Lease<K, C>, Box<Held<K, C>>> {
        if held.good_until() <= now {
            return Err(held.closed_for_age(now));
        }
        if held.is_void() {
            return Err(held.closed_for(Reason::Evicted));
        }
        let conn = held.conn_mut();
        if conn.may_have_news() && conn.probe() == Probe::Dirty {
            self.hub.stale.fetch_add(1, Ordering::Relaxed);
            return Err(held.closed_for(Reason::Stale));
        }
        held.permit().lend_to(client);
        tell(&self.hub.watch, || Event::Reused {
            key: held.key(),
            requests: held.requests(),
        });
        Ok(Lease::new(held))
    }
}

/// Taking back.
impl<K: Key, C: Conn> Shard<K, C> {
    /// Its user is done with it, and says that it can be kept.
    pub(crate) fn take_back(mut held: Box<Held<K, C>>, idle: Option<Duration>) {
        let shard = Arc::clone(held.shard());
        let now = now();
        held.permit().settle();
        let idle = idle
            .unwrap_or(shard.hub.limits.idle_timeout)
            .min(super::LONGEST);
        match held.permit().rest(now, idle) {
            Ok(()) => shard.put(held),
            Err(reason) => drop(held.closed_for(reason)),
        }
    }

    /// A hand-over whose waiter was cancelled: it goes on as if the waiter had never been there.
    pub(crate) fn put_back(mut held: Box<Held<K, C>>) {
        let shard = Arc::clone(held.shard());
        let now = now();
        held.permit().rests_since(now);
        match held.good_until() > now {
            true => shard.put(held),
            false => drop(held.closed_for_age(now)),
        }
    }

    /// To whoever waits for it, or else onto its shelf.
    fn put(&self, mut held: Box<Held<K, C>>) {
        let mut unneeded_by = 0;
        loop {
            held = match self.try_put(held, unneeded_by) {
                Put::Kept(over) => return drop(over),
                Put::Refused(held) => return drop(held.closed_for(Reason::Evicted)),
                Put::Asked(held) => held,
            };
            match self.hub.bank(|bank| bank.give(self.number, held)) {
                Given::Over(waker) => {
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                    return;
                }
                Given::Close(held) => {
                    let closed = self.shelves.lock().shut;
                    let reason = if closed {
                        Reason::Closed
                    } else {
                        Reason::Reclaimed
                    };
                    return drop(held.closed_for(reason));
                }
                Given::Keep(back, demand) => {
                    held = back;
                    unneeded_by = demand;
                }
            }
        }
    }

    /// The look at generation and demand has to be under the lock, see [`bank`](crate::pool::bank).
    fn try_put(&self, mut held: Box<Held<K, C>>, unneeded_by: usize) -> Put<K, C> {
        let turn = C::turn();
        let mut shelves = self.shelves.lock();
        if held.is_void() {
            return Put::Refused(held);
        }
        let Some(berth) = held.berth() else {
            return Put::Refused(held);
        };
        let demand = self.hub.demand();
        if shelves.shut || (demand != 0 && demand != unneeded_by) {
            return Put::Asked(held);
        }
        Put::Kept(shelves.keep(held, berth, turn))
    }
}
