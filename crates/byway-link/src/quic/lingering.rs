//! Lingering: the streams of one connection that were closed in order here and that the peer has
//! not finished.
//!
//! In:    streams that begin to linger, and those that have ended.
//! Out:   which of them to stop.
//! Never: lets more than [`LINGERING_STREAMS`] linger: the oldest is stopped for a new one.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::mux::core::LINGERING_STREAMS;

/// The streams of one connection that were closed in order here and that the peer has not finished,
/// at most `LINGERING_STREAMS`: one more stops the oldest. Clones share the list.
#[derive(Clone, Default)]
pub(super) struct Lingering(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    next: u64,
    /// By when they began, the oldest first. Dropping a sender stops its stream.
    streams: BTreeMap<u64, oneshot::Sender<()>>,
}

/// One stream that lingers; dropping it removes the stream.
pub(super) struct LingeringStream {
    lingering: Lingering,
    number: u64,
    stop: oneshot::Receiver<()>,
}

impl Lingering {
    pub(super) fn add(&self) -> LingeringStream {
        let (sender, stop) = oneshot::channel();
        let mut state = self.0.lock();
        let number = state.next;
        state.next += 1;
        state.streams.insert(number, sender);
        let oldest = match state.streams.len() > LINGERING_STREAMS {
            true => state.streams.pop_first(),
            false => None,
        };
        drop(state);
        drop(oldest);
        LingeringStream {
            lingering: self.clone(),
            number,
            stop,
        }
    }
}

impl LingeringStream {
    /// Resolves when the stream has to be stopped. Cancel safe.
    pub(super) async fn stopped(&mut self) {
        // Nothing is ever sent: the sender is dropped.
        let _ = (&mut self.stop).await;
    }
}

impl Drop for LingeringStream {
    fn drop(&mut self) {
        self.lingering.0.lock().streams.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_oldest_is_stopped_for_a_new_one_and_those_that_have_ended_leave_room() {
        let lingering = Lingering::default();
        let mut streams: Vec<_> = (0..LINGERING_STREAMS).map(|_| lingering.add()).collect();
        drop(streams.remove(7));
        streams.push(lingering.add());
        let is_stopped = |stream: &mut LingeringStream| stream.stopped().now_or_never().is_some();
        assert!(!streams.iter_mut().any(is_stopped));
        streams.push(lingering.add());
        let stopped: Vec<_> = streams.iter_mut().map(is_stopped).collect();
        assert!(stopped[0] && !stopped[1..].contains(&true));
        drop(streams);
        assert!(lingering.0.lock().streams.is_empty());
    }
}
