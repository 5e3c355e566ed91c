//! The spill pipe: one stream's queue, its running operation, and its part of the budgets.
//!
//! Never: spawns a task. If the pipe is dropped, a running operation ends on the spill threads,
//!        where its file is closed and its charge released.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use byway_dial::ClientId;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::budget::Charge;
use super::pool::{Done, SpillEvent, SpillPool, Store};
use super::queue::{Op, OpResult, Refusal, SpillQueue, WriteFailure};
use crate::buffer::Size;
use crate::counters::{RelayCounters, SpillUsage};

/// How a stream spills. Cheap to clone.
///
/// A stream that may not write to disk now (its limit, the budget, no permit for a file, no
/// descriptors, a full disk) goes on with back-pressure, and tries again after a second, or once its reader has
/// taken half of the memory.
#[derive(Clone, Debug)]
pub struct SpillOptions {
    /// The threads that do the file work.
    pub pool: Arc<SpillPool>,
    /// The user whose share of the pool's budget is charged. Default [`ClientId::Own`].
    pub user: ClientId,
    /// What a stream keeps in memory before it spills, at least 1. Default 256 KiB, what a fast flow
    /// has in flight. It holds up to three times that while bytes go to and from the disk.
    pub ring_bytes: usize,
    /// What a stream may have on disk; then its sender waits. Default 1 GiB.
    pub stream_bytes: u64,
    /// How long the memory must have been full before the disk is used, so that a short pause of a
    /// fast reader never touches it. Default 50 ms.
    pub engage_after: Duration,
}

impl SpillOptions {
    /// The defaults, on this pool.
    pub fn new(pool: Arc<SpillPool>) -> Self {
        Self {
            user: ClientId::Own,
            pool,
            ring_bytes: 256 * 1024,
            stream_bytes: 1024 * 1024 * 1024,
            engage_after: Duration::from_millis(50),
        }
    }
}

/// A failure that loses bytes; the stream must be reset.
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// Bytes on disk could not be read back.
    #[error("cannot read spilled bytes back: {0}; check the disk of the spill directory")]
    ReadBack(#[source] io::Error),
    /// The spill threads have ended.
    #[error("the spill threads have stopped")]
    Stopped,
}

/// The spill of one stream.
pub(crate) struct Spill {
    queue: SpillQueue,
    options: SpillOptions,
    /// `None` while an operation has it.
    store: Option<Store>,
    under_way: Option<oneshot::Receiver<Done>>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether a refusal was reported since the last write: those of its retries are not.
    is_refusal_reported: bool,
    memory_reported: u64,
    holding: Option<SpillUsage>,
}

impl Spill {
    pub(crate) fn new(options: SpillOptions, counters: Option<Arc<RelayCounters>>) -> Self {
        Self {
            queue: SpillQueue::new(options.ring_bytes, options.engage_after),
            store: Some(Store::new(Charge::new(
                Arc::clone(options.pool.budget()),
                options.user.clone(),
            ))),
            options,
            under_way: None,
            timer: None,
            is_refusal_reported: false,
            memory_reported: 0,
            holding: counters.map(SpillUsage::new),
        }
    }

    /// Takes results and starts what is due, until nothing more can be done now. Cancel safe.
    pub(crate) fn poll_work(&mut self, cx: &mut Context<'_>) -> Result<(), SpillError> {
        self.queue
            .set_short_of_memory(self.options.pool.budget().is_short_of_memory());
        if self.under_way.is_none() && self.queue.is_at_rest() {
            return Ok(());
        }
        loop {
            if !self.poll_outcome(cx)? {
                return Ok(());
            }
            let now = now();
            match self.queue.next_op(now) {
                Some(op) => self.start(op)?,
                None if self.poll_timer(cx, now) => {}
                None => return Ok(()),
            }
        }
    }

    /// How many more bytes it takes now.
    pub(crate) fn room(&self) -> usize {
        self.queue.room()
    }

    pub(crate) fn space(&mut self, size: Size) -> &mut [u8] {
        self.queue.space(size)
    }

    pub(crate) fn advance(&mut self, n: usize) {
        self.queue.advance(n);
    }

    pub(crate) fn release_unused(&mut self) {
        self.queue.release_unused();
    }

    pub(crate) const fn end(&mut self) {
        self.queue.end();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn queued_bytes(&self) -> u64 {
        self.queue.queued_bytes()
    }

    pub(crate) fn ready_bytes(&self) -> usize {
        self.queue.ready_bytes()
    }

    pub(crate) fn slices<'a>(&'a self, most: usize, slices: &mut [IoSlice<'a>]) -> usize {
        self.queue.slices(most, slices)
    }

    pub(crate) fn consume(&mut self, n: usize) {
        self.queue.consume(n);
    }

    /// The reader takes nothing now.
    pub(crate) const fn held_back(&mut self) {
        self.queue.held_back();
    }

    /// Reports what it holds. Called when its task becomes idle, so that a flow that is not blocked
    /// reports nothing.
    pub(crate) fn report(&mut self) {
        let memory = self.queue.allocated_memory_bytes();
        if memory != self.memory_reported {
            self.options
                .pool
                .budget()
                .shift_memory(&mut self.memory_reported, memory);
        }
        if let Some(holding) = &mut self.holding {
            holding.report(self.queue.memory_bytes(), self.queue.spilled_bytes());
        }
    }

    /// False while an operation is running.
    fn poll_outcome(&mut self, cx: &mut Context<'_>) -> Result<bool, SpillError> {
        let Some(under_way) = &mut self.under_way else {
            return Ok(true);
        };
        let Poll::Ready(done) = Pin::new(under_way).poll(cx) else {
            return Ok(false);
        };
        self.under_way = None;
        let Done { outcome, mut store } = done.map_err(|_| SpillError::Stopped)?;
        if let OpResult::Written { failure, .. } = &outcome {
            self.report_failure(failure.as_ref());
        }
        let taken = self.queue.done(outcome, now());
        store.charge.settle(self.queue.allocated_disk_bytes());
        self.store = Some(store);
        taken.map_err(SpillError::ReadBack)?;
        Ok(true)
    }

    fn start(&mut self, op: Op) -> Result<(), SpillError> {
        let mut store = self.store.take().ok_or(SpillError::Stopped)?;
        if let Op::Write { pieces, .. } = &op {
            let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
            if let Err(refusal) = store.admit(bytes, self.options.stream_bytes) {
                if matches!(refusal, Refusal::NoRoom) {
                    self.options.pool.raise_limit();
                }
                store.charge.settle(self.queue.allocated_disk_bytes());
                self.store = Some(store);
                return self.refuse(op, refusal);
            }
        }
        self.under_way = Some(self.options.pool.submit(op, store));
        Ok(())
    }

    fn refuse(&mut self, op: Op, refusal: Refusal) -> Result<(), SpillError> {
        let Op::Write { pieces, .. } = op else {
            return Ok(());
        };
        let failure = Some(WriteFailure::Refused(refusal));
        self.report_failure(failure.as_ref());
        let refused = OpResult::Written {
            pieces,
            written: 0,
            failure,
        };
        self.queue
            .done(refused, now())
            .map_err(SpillError::ReadBack)
    }

    /// True once the time has come at which the queue wants to be asked again.
    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(at) = self.queue.wakes_at().filter(|&at| at > now) else {
            return false;
        };
        let at = tokio::time::Instant::from_std(at);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx).is_ready()
    }

    /// Reports why bytes were not written; of a refusal that lasts only its beginning.
    fn report_failure(&mut self, failure: Option<&WriteFailure>) {
        let event = match failure {
            None => {
                self.is_refusal_reported = false;
                return;
            }
            Some(WriteFailure::Disk(error)) => SpillEvent::DiskFailed(error),
            Some(WriteFailure::Refused(Refusal::NoRoom)) => return,
            Some(WriteFailure::Refused(_)) if self.is_refusal_reported => return,
            Some(WriteFailure::Refused(Refusal::NoPermit(reason))) => SpillEvent::NoPermit(*reason),
            Some(WriteFailure::Refused(Refusal::NotNow(error))) => SpillEvent::NotNow(error),
        };
        self.is_refusal_reported = true;
        self.options.pool.report(event);
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Drop for Spill {
    fn drop(&mut self) {
        self.options
            .pool
            .budget()
            .shift_memory(&mut self.memory_reported, 0);
        if let Some(store) = self.store.take() {
            self.options.pool.close(store);
        }
    }
}
