//! Pipe: the two ends of a byte pipe in memory, so small that every write blocks sooner or later.
//!
//! In:    bytes, FINs, resets with their codes and lost sessions, from a test.
//! Out:   the same on the other end, exactly: a FIN after the data, a reset or a lost session
//!        before it.
//! Never: uses a socket, a clock or a thread of its own.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use byway_dial::{Broken, Pipe, Read, Stream};
use parking_lot::Mutex;

/// What a direction of [`pair`] holds before a write blocks.
pub const CAPACITY_BYTES: usize = 8;

/// Two connected ends whose directions hold [`CAPACITY_BYTES`] each.
pub fn pair() -> (MemoryPipe, MemoryPipe) {
    pair_of(CAPACITY_BYTES)
}

/// Two connected ends whose directions hold `capacity_bytes` each.
pub fn pair_of(capacity_bytes: usize) -> (MemoryPipe, MemoryPipe) {
    let wire = Arc::new(Mutex::new(Wire {
        lost: false,
        ends: [End::default(), End::default()],
        lanes: [Lane::new(capacity_bytes), Lane::new(capacity_bytes)],
    }));
    let other = MemoryPipe {
        wire: Arc::clone(&wire),
        me: 1,
        closing: false,
    };
    (
        MemoryPipe {
            wire,
            me: 0,
            closing: false,
        },
        other,
    )
}

/// Two connected streams of [`pair`].
pub fn streams() -> (Stream, Stream) {
    let (one, other) = pair();
    (one.into_stream(), other.into_stream())
}

/// One end. Dropping it before its FIN resets the other end, as every stream does.
pub struct MemoryPipe {
    wire: Arc<Mutex<Wire>>,
    me: usize,
    closing: bool,
}

impl MemoryPipe {
    /// Makes this end hold up to `bytes` of what it writes until it is flushed or finished, as TLS
    /// does.
    #[must_use]
    pub fn holding_until_flush(self, bytes: usize) -> Self {
        self.lane().held_limit = bytes;
        self
    }

    /// A handle to this end, which remains usable after the end was moved into a [`Stream`].
    pub fn control(&self) -> Control {
        Control {
            wire: Arc::clone(&self.wire),
            me: self.me,
        }
    }

    /// This end as a stream.
    pub fn into_stream(self) -> Stream {
        Stream::other(Box::new(self))
    }

    fn lane(&self) -> parking_lot::MappedMutexGuard<'_, Lane> {
        parking_lot::MutexGuard::map(self.wire.lock(), |wire| &mut wire.lanes[self.me])
    }
}

/// Controls and inspects one end from outside.
#[derive(Clone)]
pub struct Control {
    wire: Arc<Mutex<Wire>>,
    me: usize,
}

impl Control {
    /// Resets this end: the other end receives `code` at once, and nothing of what was in flight.
    pub fn reset(&self, code: u32) {
        self.wire.lock().reset_by(self.me, code);
    }

    /// Loses the session that carries the pipe, for both ends.
    pub fn lose_session(&self) {
        let mut wire = self.wire.lock();
        wire.lost = true;
        wire.ends.iter_mut().for_each(End::wake_all);
    }

    /// From now on this end reads nothing, whatever has arrived, until [`Control::resume_reads`].
    pub fn pause_reads(&self) {
        self.wire.lock().ends[self.me].paused = true;
    }

    /// Ends [`Control::pause_reads`].
    pub fn resume_reads(&self) {
        let mut wire = self.wire.lock();
        wire.ends[self.me].paused = false;
        wire.ends[self.me].wake_all();
    }

    /// Bytes that have arrived at this end and were not read.
    pub fn unread_bytes(&self) -> usize {
        self.wire.lock().lanes[1 - self.me].bytes.len()
    }

    /// Whether the direction towards this end is full, so that the other end cannot write.
    pub fn is_full(&self) -> bool {
        self.wire.lock().lanes[1 - self.me].room() == 0
    }

    /// The clients that [`Pipe::count_for`] was called with on this end, in order.
    pub fn counted_for(&self) -> Vec<u64> {
        self.wire.lock().ends[self.me].counted_for.clone()
    }

    /// Whether the other end was dropped, with or without a close.
    pub fn peer_is_gone(&self) -> bool {
        self.wire.lock().ends[1 - self.me].gone
    }
}

/// Both directions and both ends. `lanes[n]` is written by end `n` and read by the other.
struct Wire {
    lost: bool,
    ends: [End; 2],
    lanes: [Lane; 2],
}

/// What one end has received, and its wakers.
#[derive(Default)]
struct End {
    /// The reset of either end.
    reset: Option<u32>,
    gone: bool,
    paused: bool,
    counted_for: Vec<u64>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    watcher: Option<Waker>,
}

/// One direction.
struct Lane {
    bytes: VecDeque<u8>,
    capacity_bytes: usize,
    /// Written but not flushed.
    held: VecDeque<u8>,
    held_limit: usize,
    fin: bool,
}

impl Wire {
    fn reset_by(&mut self, end: usize, code: u32) {
        self.ends[1 - end].reset.get_or_insert(code);
        self.ends[end].reset.get_or_insert(code);
        for lane in &mut self.lanes {
            lane.bytes.clear();
            lane.held.clear();
        }
        self.ends.iter_mut().for_each(End::wake_all);
    }

    fn check(&self, end: usize) -> Result<(), Broken> {
        if self.lost {
            return Err(Broken::SessionLost);
        }
        self.ends[end]
            .reset
            .map_or(Ok(()), |code| Err(Broken::Reset(code)))
    }

    /// Moves the held bytes of `end` to its lane; true once none is held.
    fn release(&mut self, end: usize) -> bool {
        let lane = &mut self.lanes[end];
        let moved = lane.held.len().min(lane.room());
        lane.bytes.extend(lane.held.drain(..moved));
        if moved > 0 {
            End::wake(&mut self.ends[1 - end].reader);
        }
        self.lanes[end].held.is_empty()
    }
}

impl End {
    fn wake(waiting: &mut Option<Waker>) {
        if let Some(waker) = waiting.take() {
            waker.wake();
        }
    }

    fn wake_all(&mut self) {
        Self::wake(&mut self.reader);
        Self::wake(&mut self.writer);
        Self::wake(&mut self.watcher);
    }
}

impl Lane {
    fn new(capacity_bytes: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            capacity_bytes,
            held: VecDeque::new(),
            held_limit: 0,
            fin: false,
        }
    }

    fn room(&self) -> usize {
        self.capacity_bytes.saturating_sub(self.bytes.len())
    }
}

impl Pipe for MemoryPipe {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<Read, Broken>> {
        let mut wire = self.wire.lock();
        wire.check(self.me)?;
        let wire = &mut *wire;
        let lane = &mut wire.lanes[1 - self.me];
        let me = &mut wire.ends[self.me];
        if me.paused || (lane.bytes.is_empty() && !lane.fin) {
            me.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if lane.bytes.is_empty() {
            return Poll::Ready(Ok(Read::Fin));
        }
        let n = lane.bytes.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(lane.bytes.drain(..n)) {
            *to = from;
        }
        End::wake(&mut wire.ends[1 - self.me].writer);
        Poll::Ready(Ok(Read::Data(n)))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        let mut wire = self.wire.lock();
        wire.check(self.me)?;
        if wire.ends[1 - self.me].gone || wire.lanes[self.me].fin {
            return Poll::Ready(Err(Broken::Reset(0)));
        }
        let held_limit = wire.lanes[self.me].held_limit;
        if held_limit > 0 {
            wire.release(self.me);
        }
        let lane = &mut wire.lanes[self.me];
        let room = if held_limit > 0 {
            held_limit.saturating_sub(lane.held.len())
        } else {
            lane.room()
        };
        if room == 0 {
            wire.ends[self.me].writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let to = if held_limit > 0 {
            &mut lane.held
        } else {
            &mut lane.bytes
        };
        let before = to.len();
        to.extend(bufs.iter().flat_map(|buf| buf.iter()).take(room));
        let written = to.len() - before;
        if held_limit == 0 {
            End::wake(&mut wire.ends[1 - self.me].reader);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let mut wire = self.wire.lock();
        wire.check(self.me)?;
        if wire.release(self.me) {
            return Poll::Ready(Ok(()));
        }
        wire.ends[self.me].writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        std::task::ready!(self.poll_flush(cx))?;
        let mut wire = self.wire.lock();
        wire.lanes[self.me].fin = true;
        End::wake(&mut wire.ends[1 - self.me].reader);
        drop(wire);
        self.closing = true;
        Poll::Ready(Ok(()))
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let mut wire = self.wire.lock();
        if let Err(broken) = wire.check(self.me) {
            return Poll::Ready(broken);
        }
        wire.ends[self.me].watcher = Some(cx.waker().clone());
        Poll::Pending
    }

    fn reset(&mut self, code: u32) {
        self.wire.lock().reset_by(self.me, code);
    }

    fn count_for(&mut self, client: u64) {
        self.wire.lock().ends[self.me].counted_for.push(client);
    }

    fn close_on_drop(&mut self) {
        self.closing = true;
    }

    fn reset_on_drop(&mut self) {
        let has_sent_fin = self.lane().fin;
        self.closing = has_sent_fin;
    }

    fn is_acknowledged(&self) -> Option<bool> {
        let lane = self.lane();
        Some(lane.bytes.is_empty() && lane.held.is_empty())
    }
}

impl Drop for MemoryPipe {
    fn drop(&mut self) {
        let mut wire = self.wire.lock();
        wire.ends[self.me].gone = true;
        if !self.closing {
            wire.reset_by(self.me, 0);
        }
        // A regular close: what was written is delivered, then the FIN; later writes of the other
        // end fail with a reset.
        let lane = &mut wire.lanes[self.me];
        let held = std::mem::take(&mut lane.held);
        lane.bytes.extend(held);
        lane.fin = true;
        wire.ends[1 - self.me].wake_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_come_before_the_fin_and_the_other_direction_stays_open() {
        let (mut near, mut far) = streams();
        near.write_all(b"8 bytes!").await.unwrap();
        near.finish().await.unwrap();
        let mut buf = [0; 16];
        assert_eq!(far.read(&mut buf).await.unwrap(), Read::Data(8));
        assert_eq!(far.read(&mut buf).await.unwrap(), Read::Fin);
        assert_eq!(far.read(&mut buf).await.unwrap(), Read::Fin);
        far.write_all(b"back").await.unwrap();
        assert_eq!(near.read(&mut buf).await.unwrap(), Read::Data(4));
    }

    #[tokio::test]
    async fn a_reset_overtakes_the_data_and_carries_its_code() {
        let (near, far) = pair();
        let control = near.control();
        let (mut near, mut far) = (near.into_stream(), far.into_stream());
        near.write_all(b"unread").await.unwrap();
        control.reset(7);
        assert!(matches!(far.read(&mut [0; 8]).await, Err(Broken::Reset(7))));
        assert!(matches!(far.write_all(b"x").await, Err(Broken::Reset(7))));
    }

    #[tokio::test]
    async fn a_lost_session_is_reported_on_both_ends_even_without_a_read() {
        let (near, far) = pair();
        let control = near.control();
        let (mut near, mut far) = (near.into_stream(), far.into_stream());
        control.lose_session();
        assert!(matches!(
            std::future::poll_fn(|cx| near.poll_broken(cx)).await,
            Broken::SessionLost
        ));
        assert!(matches!(
            far.read(&mut [0; 8]).await,
            Err(Broken::SessionLost)
        ));
    }

    #[tokio::test]
    async fn a_drop_before_the_fin_resets_and_after_it_closes() {
        let (near, mut far) = streams();
        drop(near);
        assert!(matches!(far.read(&mut [0; 8]).await, Err(Broken::Reset(0))));

        let (mut near, mut far) = streams();
        near.write_all(b"last").await.unwrap();
        near.finish().await.unwrap();
        drop(near);
        assert_eq!(far.read(&mut [0; 8]).await.unwrap(), Read::Data(4));
        assert_eq!(far.read(&mut [0; 8]).await.unwrap(), Read::Fin);
        assert!(matches!(far.write_all(b"x").await, Err(Broken::Reset(0))));
    }

    #[test]
    fn a_paused_end_reads_nothing_until_it_resumes() {
        let (mut near, mut far) = pair();
        let mut cx = Context::from_waker(Waker::noop());
        let control = far.control();
        assert!(
            near.poll_write(&mut cx, &[IoSlice::new(b"123456789")])
                .is_ready()
        );
        control.pause_reads();
        assert!(far.poll_read(&mut cx, &mut [0; 8]).is_pending());
        assert!(control.is_full() && control.unread_bytes() == 8);
        control.resume_reads();
        assert!(matches!(
            far.poll_read(&mut cx, &mut [0; 8]),
            Poll::Ready(Ok(Read::Data(8)))
        ));
    }

    #[test]
    fn an_end_that_holds_delivers_nothing_before_the_flush() {
        let (near, far) = pair();
        let (mut near, control) = (near.holding_until_flush(32), far.control());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(
            near.poll_write(&mut cx, &[IoSlice::new(b"twelve bytes")])
                .is_ready()
        );
        assert_eq!(control.unread_bytes(), 0);
        assert!(near.poll_flush(&mut cx).is_pending());
        assert_eq!(control.unread_bytes(), 8);
    }
}
