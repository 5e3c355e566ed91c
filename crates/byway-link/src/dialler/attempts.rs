//! Attempts: the connections of one try, over one kind of carrier or both, in overlapping rounds.
//!
//! In:    a dialler; the time.
//! Out:   each authenticated connection, or its error, as it completes.
//! Never: starts more than [`MOST_ROUNDS`] rounds, nor a round after every attempt has failed: the
//!        caller decides when to try again.

use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;

use super::{Authenticating, Carriers, Dialler, TLS_STARTS};
use crate::authenticated::Authenticated;
use crate::carrier::CarrierKind;
use crate::error::LinkError;
use crate::segments::SegmentSize;

/// A new round starts after this time, while unanswered connections of earlier rounds go on.
pub(super) const NEXT_ROUND: Duration = Duration::from_millis(1500);

/// The most rounds of one try: the number that fits into the longest try, of 20 s.
const MOST_ROUNDS: u32 = 14;

/// The attempts of one try to connect, by QUIC, TLS or both. While some have no result, a new round
/// of them starts every `NEXT_ROUND`, up to `MOST_ROUNDS`. Dropping it cancels them.
pub(super) struct Attempts<'a> {
    dialler: &'a Dialler,
    size: SegmentSize,
    by_quic: FuturesUnordered<Authenticating>,
    by_tls: FuturesUnordered<Authenticating>,
    rounds: u32,
    next_round: Pin<Box<Sleep>>,
}

impl<'a> Attempts<'a> {
    /// Starts the first round. TLS connections use segments of size `size`.
    pub(super) fn new(dialler: &'a Dialler, size: SegmentSize) -> Self {
        let mut this = Self {
            dialler,
            size,
            by_quic: FuturesUnordered::new(),
            by_tls: FuturesUnordered::new(),
            rounds: 0,
            next_round: Box::pin(sleep(NEXT_ROUND)),
        };
        this.begin();
        this
    }

    fn begin(&mut self) {
        self.rounds += 1;
        self.next_round.as_mut().reset(Instant::now() + NEXT_ROUND);
        let quic_failed = CancellationToken::new();
        if self.dialler.carriers != Carriers::Tls {
            let (dialling, failed) = (self.dialler.by_quic(), quic_failed.clone());
            self.by_quic.push(Box::pin(async move {
                dialling.await.inspect_err(|_| failed.cancel())
            }));
        }
        if self.dialler.carriers != Carriers::Quic {
            let (dialler, size) = (self.dialler.clone(), self.size);
            let is_alone = dialler.carriers == Carriers::Tls;
            self.by_tls.push(Box::pin(async move {
                if !is_alone {
                    // If QUIC fails, TLS does not wait any longer.
                    tokio::select! {
                        () = sleep(TLS_STARTS) => {}
                        () = quic_failed.cancelled() => {}
                    }
                }
                dialler.by_tls(size).await
            }));
        }
    }

    /// The next connection that is authenticated or has failed; `None` when all have failed. Cancel
    /// safe.
    pub(super) async fn next(&mut self) -> Option<(CarrierKind, Result<Authenticated, LinkError>)> {
        loop {
            // Each arm is cancel safe: an attempt that is under way stays in its set, and the timer of
            // the next round goes on.
            tokio::select! {
                biased;
                Some(first) = self.by_quic.next() => return Some((CarrierKind::Quic, first)),
                Some(first) = self.by_tls.next() => return Some((CarrierKind::Tls, first)),
                () = &mut self.next_round, if !self.is_over() => self.begin(),
                else => return None,
            }
        }
    }

    fn is_over(&self) -> bool {
        let nothing_left = self.by_quic.is_empty() && self.by_tls.is_empty();
        nothing_left || self.rounds >= MOST_ROUNDS
    }

    /// Whether an attempt by QUIC is under way.
    pub(super) fn is_quic_under_way(&self) -> bool {
        !self.by_quic.is_empty()
    }

    /// Returns the attempts by QUIC that are under way; drops those by TLS.
    pub(super) fn quic_under_way(self) -> FuturesUnordered<Authenticating> {
        self.by_quic
    }
}
