//! Credit: flow control of the streams of a QUIC carrier: the mux's windows, with credit sent in
//! control messages.
//!
//! In:    what streams send and consume; grants from the other side.
//! Out:   when a stream may send; grants for the other side.
//! Never: lets a stream that is not read hold more than its [`Window`], or use up what another
//!        stream may send.
//!
//! QUIC's own windows cannot do this. A stream's window is fixed when the connection starts: too
//! small for a long path or, a thousand times over, too large for a node. A connection window below
//! the sum of its streams' windows lets paused readers stall other streams. So QUIC's windows only
//! bound a peer that violates these rules.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::client_key::ClientKey;
use crate::fair_budget::FairBudget;
use crate::mux::core::Side;
use crate::window::{INITIAL_BYTES, Window};
use crate::wire::{Credit, MOST_GRANTS, StreamCredit};

/// The round trip before one was measured.
const ROUND_TRIP_GUESS: Duration = Duration::from_millis(100);

/// The value for a round trip that was not measured yet.
const UNMEASURED_US: u64 = u64::MAX;

/// The credits of one carrier. Clones share them.
#[derive(Clone)]
pub(crate) struct Credits(Arc<Inner>);

struct Inner {
    /// Bit 0 of the ids of streams that the peer opens (RFC 9000 section 2.1).
    theirs: u64,
    sending: Mutex<Streams>,
    /// By stream, the credit that was granted and not sent yet.
    ungranted: Mutex<HashMap<u64, u32>>,
    has_credit: Notify,
    budget: Arc<FairBudget>,
    round_trip_us: AtomicU64,
}

#[derive(Default)]
struct Streams {
    known: HashMap<u64, Arc<Sending>>,
    /// Credit for streams of the peer that were not accepted yet: control messages are sent before
    /// stream data.
    early: HashMap<u64, u64>,
    /// The most streams of the peer, and so the most entries of `early`.
    allowed: usize,
    /// Streams of the peer are accepted in the order of their ids; this is the first id that was
    /// not accepted yet.
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
    /// Credits without streams, for the carrier's `side`; windows grow from `budget`.
    pub(crate) fn new(side: Side, budget: Arc<FairBudget>) -> Self {
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

    /// The credits of one stream.
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

    /// Sets the last measured round trip.
    pub(crate) fn set_round_trip(&self, round_trip: Duration) {
        let us = u64::try_from(round_trip.as_micros()).unwrap_or(UNMEASURED_US - 1);
        self.0.round_trip_us.store(us, Ordering::Relaxed);
    }

    fn round_trip(&self) -> Option<Duration> {
        let us = self.0.round_trip_us.load(Ordering::Relaxed);
        (us != UNMEASURED_US).then(|| Duration::from_micros(us))
    }

    /// The bytes by which the windows of all streams have grown.
    pub(crate) fn grown(&self) -> u64 {
        self.0.budget.used()
    }

    /// Applies grants of the other side. Grants for streams that are over are ignored.
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

    /// Resolves when there is credit to send. Cancel safe.
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

    /// The number of streams that it knows.
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
    /// The offset up to which the peer may send.
    granted: Arc<AtomicU64>,
    window: Window,
}

impl StreamCredits {
    /// The number of bytes that may be sent now, at least one.
    pub(crate) fn poll_left(&self, cx: &Context<'_>) -> Poll<usize> {
        if let Some(left) = self.left() {
            return Poll::Ready(left);
        }
        *self.sending.writer.lock() = Some(cx.waker().clone());
        // A grant that came in between found no waker.
        self.left().map_or(Poll::Pending, Poll::Ready)
    }

    fn left(&self) -> Option<usize> {
        let left = self.sending.left.load(Ordering::Acquire);
        (left > 0).then(|| usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Subtracts `bytes` that were sent from the credit.
    pub(crate) fn spend(&self, bytes: usize) {
        // Only the stream itself subtracts, and never more than is left.
        self.sending.left.fetch_sub(bytes as u64, Ordering::AcqRel);
    }

    /// Counts `bytes` that were received and consumed. `false`: the peer had no credit for them.
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

    /// See [`LinkStream::set_client`](crate::stream::LinkStream::set_client).
    pub(crate) fn set_client(&mut self, client: ClientKey) {
        self.window.set_client(client);
    }

    /// See [`Window::settle`].
    pub(crate) fn settle(&mut self) {
        self.window.settle();
    }

    /// See [`LinkStream::widen`](crate::stream::LinkStream::widen).
    pub(crate) fn widen(&mut self, is_used: bool) {
        if let Some(grant) = self
            .credits
            .round_trip()
            .and_then(|round_trip| self.window.widen(round_trip, is_used))
        {
            self.announce(grant);
        }
    }

    /// The bytes that the peer may have sent and that are not consumed.
    pub(crate) fn window(&self) -> u32 {
        self.window.size()
    }

    /// The offset up to which the peer may send, kept up to date.
    pub(crate) fn granted(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.granted)
    }

    fn announce(&self, grant: u32) {
        // Before the peer can learn of it.
        self.granted.fetch_add(grant.into(), Ordering::AcqRel);
        let mut ungranted = self.credits.0.ungranted.lock();
        let pending = ungranted.entry(self.id).or_default();
        *pending = pending.saturating_add(grant);
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
    use crate::fair_budget::Limits;

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
        let credits = Credits::new(Side::Dialler, FairBudget::node(Limits::NONE));
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
        let credits = Credits::new(Side::Dialler, FairBudget::node(Limits::NONE));
        let mut streams: Vec<_> = (0..3).map(|id| credits.stream(id)).collect();
        for stream in &mut streams {
            assert!(stream.consume(INITIAL_BYTES as usize / 2));
            assert!(stream.consume(INITIAL_BYTES as usize / 2));
        }
        let credit = credits.next_credit().await;
        assert_eq!(
            credit
                .grants
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
        let credits = Credits::new(Side::Dialler, FairBudget::node(Limits::NONE));
        credits.allow(100);
        credits.granted(&grant(5, 100)).unwrap();
        credits.granted(&grant(5, 10)).unwrap();
        assert_eq!(left(&credits.stream(1)), Some(INITIAL_BYTES as usize));
        assert_eq!(left(&credits.stream(5)), Some(INITIAL_BYTES as usize + 110));
        // Credit for streams that are over, or that only we may open, is not kept.
        for stream in [1, 5, 4] {
            credits.granted(&grant(stream, 100)).unwrap();
        }
        assert!(credits.0.sending.lock().early.is_empty());
    }

    #[test]
    fn credit_for_streams_that_never_come_is_kept_up_to_the_stream_limit() {
        let credits = Credits::new(Side::Dialler, FairBudget::node(Limits::NONE));
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
    fn a_peer_that_sends_beyond_its_credit_or_grants_too_much_is_detected() {
        let credits = Credits::new(Side::Dialler, FairBudget::node(Limits::NONE));
        let mut stream = credits.stream(0);
        assert!(!stream.consume(INITIAL_BYTES as usize + 1));
        assert_eq!(credits.granted(&grant(0, u32::MAX)), Err(Overflow));
    }
}
