//! Credit: what may be sent on each stream of a QUIC carrier, by the windows that the mux has, told
//! by control messages.
//!
//! In:    what streams send and consume; grants that the other side has told.
//! Out:   when a stream may send; grants to tell.
//! Never: lets a stream that nobody reads hold more than its [`Window`], or take from what another
//!        one may send.
//!
//! QUIC's own windows cannot do this: a stream's is fixed when the connection begins, so it is
//! either too small for a long path or, a thousand times over, too much for a node; and the
//! connection's, if it is less than all streams' together, lets paused readers stall the others.
//! Here they only bound what a peer may do that breaks these rules.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::mux::core::Side;
use crate::window::{Budget, INITIAL_BYTES, Window};
use crate::wire::{Credit, MOST_GRANTS, StreamCredit};

/// Before a round trip was measured.
const ROUND_TRIP_GUESS: Duration = Duration::from_millis(100);

/// Stands for a round trip that was not measured yet.
const UNMEASURED_US: u64 = u64::MAX;

/// The credits of one carrier. Clones are the same.
#[derive(Clone)]
pub(crate) struct Credits(Arc<Inner>);

struct Inner {
    /// Bit 0 of the ids of streams that the peer opens (RFC 9000 section 2.1).
    theirs: u64,
    sending: Mutex<Streams>,
    /// By stream, what was granted and not told yet.
    ungranted: Mutex<HashMap<u64, u32>>,
    has_credit: Notify,
    budget: Arc<Budget>,
    round_trip_us: AtomicU64,
}

#[derive(Default)]
struct Streams {
    known: HashMap<u64, Arc<Sending>>,
    /// Credit for streams of the peer that were not accepted yet: control is sent before them.
    early: HashMap<u64, u64>,
    /// Streams that the peer may have open, and so the most that `early` may hold.
    allowed: usize,
    /// Streams of the peer are accepted in the order of their ids; this is the first one that was
    /// not.
    next: u64,
}

/// What one stream may send.
#[derive(Default)]
struct Sending {
    left: AtomicU64,
    writer: Mutex<Option<Waker>>,
}

/// More credit was granted than a stream can have, or for more streams than there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

impl Credits {
    /// No stream yet, on the carrier whose end `side` we are; windows grow from `budget`.
    pub(crate) fn new(side: Side, budget: Arc<Budget>) -> Self {
        Self(Arc::new(Inner {
            theirs: match side {
                Side::Dialler => 1,
                Side::Acceptor => 0,
            },
            sending: Mutex::default(),
            ungranted: Mutex::default(),
            has_credit: Notify::new(),
            budget,
            round_trip_us: AtomicU64::new(UNMEASURED_US),
        }))
    }

    /// From now on the peer may have at most `streams` streams open; before, none.
    pub(crate) fn allow(&self, streams: u32) {
        self.0.sending.lock().allowed = streams as usize;
    }

    /// One stream's part of it.
    pub(crate) fn stream(&self, id: u64) -> StreamCredits {
        let mut streams = self.0.sending.lock();
        let mut left = u64::from(INITIAL_BYTES);
        if self.is_theirs(id) {
            streams.next = streams.next.max(id + 1);
            left += streams.early.remove(&id).unwrap_or_default();
        }
        let sending = Arc::new(Sending {
            left: AtomicU64::new(left),
            ..Sending::default()
        });
        streams.known.insert(id, Arc::clone(&sending));
        drop(streams);
        let granted = Arc::new(AtomicU64::new(INITIAL_BYTES.into()));
        StreamCredits {
            credits: self.clone(),
            id,
            sending,
            granted,
            window: Window::new(Arc::clone(&self.0.budget)),
        }
    }

    fn is_theirs(&self, id: u64) -> bool {
        id & 1 == self.0.theirs
    }

    /// The round trip as it was last measured.
    pub(crate) fn set_round_trip(&self, round_trip: Duration) {
        let us = u64::try_from(round_trip.as_micros()).unwrap_or(UNMEASURED_US - 1);
        self.0.round_trip_us.store(us, Ordering::Relaxed);
    }

    fn round_trip(&self) -> Option<Duration> {
        let us = self.0.round_trip_us.load(Ordering::Relaxed);
        (us != UNMEASURED_US).then(|| Duration::from_micros(us))
    }

    /// What the windows of all streams have grown by.
    pub(crate) fn grown(&self) -> u64 {
        self.0.budget.used()
    }

    /// The other side has granted. What is for streams that are over is dropped.
    pub(crate) fn granted(&self, credit: &Credit) -> Result<(), Overflow> {
        credit.grants.iter().try_for_each(|grant| self.grant(grant))
    }

    fn grant(&self, grant: &StreamCredit) -> Result<(), Overflow> {
        let mut streams = self.0.sending.lock();
        let Some(sending) = streams.known.get(&grant.stream).cloned() else {
            if !self.is_theirs(grant.stream) || grant.stream < streams.next {
                return Ok(());
            }
            if streams.early.len() >= streams.allowed && !streams.early.contains_key(&grant.stream)
            {
                return Err(Overflow);
            }
            let early = streams.early.entry(grant.stream).or_default();
            *early += u64::from(grant.bytes);
            return if *early > u64::from(u32::MAX - INITIAL_BYTES) {
                Err(Overflow)
            } else {
                Ok(())
            };
        };
        drop(streams);
        let before = sending.left.fetch_add(grant.bytes.into(), Ordering::AcqRel);
        if before + u64::from(grant.bytes) > u64::from(u32::MAX) {
            return Err(Overflow);
        }
        let writer = sending.writer.lock().take();
        if let Some(writer) = writer {
            writer.wake();
        }
        Ok(())
    }

    /// Resolves when there is something to tell. Cancel safe.
    pub(crate) async fn next_credit(&self) -> Credit {
        loop {
            let grants = self.take_some();
            if !grants.is_empty() {
                return Credit { grants };
            }
            self.0.has_credit.notified().await;
        }
    }

    fn take_some(&self) -> Vec<StreamCredit> {
        let mut ungranted = self.0.ungranted.lock();
        let some: Vec<u64> = ungranted.keys().copied().take(MOST_GRANTS).collect();
        let grants = some.into_iter().filter_map(|stream| {
            let bytes = ungranted.remove(&stream)?;
            Some(StreamCredit { stream, bytes })
        });
        let grants = grants.collect();
        if !ungranted.is_empty() {
            self.0.has_credit.notify_one();
        }
        grants
    }

    /// How many streams it knows.
    #[cfg(test)]
    fn count(&self) -> usize {
        self.0.sending.lock().known.len()
    }
}

/// See [`Credits::stream`]. Dropping it forgets the stream.
pub(crate) struct StreamCredits {
    credits: Credits,
    id: u64,
    sending: Arc<Sending>,
    /// The offset that the peer may send up to.
    granted: Arc<AtomicU64>,
    window: Window,
}

impl StreamCredits {
    /// How many bytes may be sent now, at least one.
    pub(crate) fn poll_left(&self, cx: &Context<'_>) -> Poll<usize> {
        if let Some(left) = self.left() {
            return Poll::Ready(left);
        }
        *self.sending.writer.lock() = Some(cx.waker().clone());
        // A grant that came in between has found no waker.
        self.left().map_or(Poll::Pending, Poll::Ready)
    }

    fn left(&self) -> Option<usize> {
        let left = self.sending.left.load(Ordering::Acquire);
        (left > 0).then(|| usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// `bytes` of what was left were sent.
    pub(crate) fn spend(&self, bytes: usize) {
        // Only the stream itself takes away, and never more than there is.
        self.sending.left.fetch_sub(bytes as u64, Ordering::AcqRel);
    }

    /// `bytes` have come and been consumed. `false`: the peer had no credit for them.
    pub(crate) fn consume(&mut self, bytes: usize) -> bool {
        if !self.window.receive(bytes) {
            return false;
        }
        let round_trip = self.credits.round_trip().unwrap_or(ROUND_TRIP_GUESS);
        if let Some(grant) = self.window.consume(bytes, Instant::now(), round_trip) {
            self.announce(grant);
        }
        true
    }

    /// See [`LinkStream::widen`](crate::stream::LinkStream::widen).
    pub(crate) fn widen(&mut self) {
        if let Some(grant) = self
            .credits
            .round_trip()
            .and_then(|round_trip| self.window.widen(round_trip))
        {
            self.announce(grant);
        }
    }

    /// How much the peer may send that is not consumed.
    pub(crate) fn window(&self) -> u32 {
        self.window.size()
    }

    /// The offset that the peer may send up to, kept up to date.
    pub(crate) fn granted(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.granted)
    }

    fn announce(&self, grant: u32) {
        // Before the peer can know of it.
        self.granted.fetch_add(grant.into(), Ordering::AcqRel);
        let mut ungranted = self.credits.0.ungranted.lock();
        let told = ungranted.entry(self.id).or_default();
        *told = told.saturating_add(grant);
        drop(ungranted);
        self.credits.0.has_credit.notify_one();
    }
}

impl Drop for StreamCredits {
    fn drop(&mut self) {
        self.credits.0.sending.lock().known.remove(&self.id);
        self.credits.0.ungranted.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(stream: &StreamCredits) -> Option<usize> {
        match stream.poll_left(&Context::from_waker(Waker::noop())) {
            Poll::Ready(left) => Some(left),
            Poll::Pending => None,
        }
    }

    fn grant(stream: u64, bytes: u32) -> Credit {
        Credit {
            grants: vec![StreamCredit { stream, bytes }],
        }
    }

    #[test]
    fn a_stream_sends_what_it_has_credit_for_and_waits_for_more() {
        let credits = Credits::new(Side::Dialler, Budget::new(0));
        let stream = credits.stream(4);
        assert_eq!(left(&stream), Some(INITIAL_BYTES as usize));
        stream.spend(INITIAL_BYTES as usize);
        assert_eq!(left(&stream), None);
        credits.granted(&grant(4, 100)).unwrap();
        credits.granted(&grant(8, 100)).unwrap();
        assert_eq!(left(&stream), Some(100));
    }

    #[tokio::test]
    async fn what_was_consumed_is_granted_again_in_one_message_for_many_streams() {
        let credits = Credits::new(Side::Dialler, Budget::new(0));
        let mut streams: Vec<_> = (0..3).map(|id| credits.stream(id)).collect();
        for stream in &mut streams {
            assert!(stream.consume(INITIAL_BYTES as usize / 2));
            assert!(stream.consume(INITIAL_BYTES as usize / 2));
        }
        let told = credits.next_credit().await;
        assert_eq!(
            told.grants
                .iter()
                .map(|grant| grant.bytes)
                .collect::<Vec<_>>(),
            [INITIAL_BYTES; 3]
        );
        drop(streams);
        assert_eq!(credits.count(), 0);
    }

    #[test]
    fn credit_that_overtakes_the_stream_of_the_peer_is_kept_for_it() {
        let credits = Credits::new(Side::Dialler, Budget::new(0));
        credits.allow(100);
        credits.granted(&grant(5, 100)).unwrap();
        credits.granted(&grant(5, 10)).unwrap();
        assert_eq!(left(&credits.stream(1)), Some(INITIAL_BYTES as usize));
        assert_eq!(left(&credits.stream(5)), Some(INITIAL_BYTES as usize + 110));
        // Over, and never opened by us: neither is waited for.
        for stream in [1, 5, 4] {
            credits.granted(&grant(stream, 100)).unwrap();
        }
        assert!(credits.0.sending.lock().early.is_empty());
    }

    #[test]
    fn credit_for_streams_that_never_come_is_kept_for_as_many_as_there_can_be() {
        let credits = Credits::new(Side::Dialler, Budget::new(0));
        assert_eq!(
            credits.granted(&grant(1, 1)),
            Err(Overflow),
            "the peer may open none yet"
        );
        credits.allow(100);
        for number in 0..100 {
            credits.granted(&grant(number * 4 + 1, 1)).unwrap();
        }
        assert_eq!(credits.granted(&grant(1 << 30 | 1, 1)), Err(Overflow));
        assert_eq!(credits.granted(&grant(1, u32::MAX)), Err(Overflow));
    }

    #[test]
    fn a_peer_that_sends_beyond_its_credit_or_grants_beyond_reason_is_found_out() {
        let credits = Credits::new(Side::Dialler, Budget::new(0));
        let mut stream = credits.stream(0);
        assert!(!stream.consume(INITIAL_BYTES as usize + 1));
        assert_eq!(credits.granted(&grant(0, u32::MAX)), Err(Overflow));
    }
}
