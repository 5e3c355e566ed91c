//! Two cores with a wire between them that the test moves, and a clock of its own.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Wake;

use super::*;
use crate::fair_budget::Limits;
use crate::wire::Code;

mod bounds;
mod orders;

const NEAR: usize = 0;
const FAR: usize = 1;

/// More streams than a test needs.
const MANY: u32 = 1000;

/// Bytes that windows may grow by in these tests.
const BUDGET: u64 = 1 << 20;

type Frame = (FrameKind, u32, Vec<u8>);

/// The dialler's core is `NEAR`, the acceptor's `FAR`.
struct Wire {
    cores: [MuxCore; 2],
    /// Bytes taken from the other core, in transit to this one.
    towards: [VecDeque<u8>; 2],
    /// Bytes of a frame that has not arrived completely.
    arrived: [VecDeque<u8>; 2],
    judged: [Option<(Header, Payload)>; 2],
    budgets: [Arc<FairBudget>; 2],
    now: Instant,
    /// Only the cores send: no frame was injected.
    only_cores_send: bool,
}

impl Wire {
    fn new(most: u32) -> Self {
        let budgets = [
            FairBudget::node(Limits::both(BUDGET)),
            FairBudget::node(Limits::both(BUDGET)),
        ];
        Self {
            cores: [Side::Dialler, Side::Acceptor].map(|side| {
                let mut core = MuxCore::new(side, Arc::clone(&budgets[side as usize]));
                core.admit(most);
                core
            }),
            towards: Default::default(),
            arrived: Default::default(),
            judged: [None, None],
            budgets,
            now: Instant::now(),
            only_cores_send: true,
        }
    }

    /// A stream that the near side has opened and the far side has accepted.
    fn stream(&mut self) -> u32 {
        let stream = self.cores[NEAR].open(b"").unwrap();
        self.settle();
        assert_eq!(self.accept(FAR), Some(stream));
        stream
    }

    fn accept(&mut self, side: usize) -> Option<u32> {
        match self.cores[side].poll_accept(&idle()) {
            Poll::Ready(stream) => stream,
            Poll::Pending => None,
        }
    }

    /// Writes until no more is accepted; returns how many bytes were.
    fn write(&mut self, side: usize, stream: u32, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.cores[side].poll_write(stream, &idle(), &[IoSlice::new(&bytes[written..])]) {
                Poll::Ready(Ok(n)) => written += n,
                Poll::Ready(Err(_)) | Poll::Pending => break,
            }
        }
        written
    }

    fn read(&mut self, side: usize, stream: u32, most: usize) -> Poll<Result<Read, Broken>> {
        self.cores[side].poll_read(stream, &idle(), &mut vec![0; most], self.now)
    }

    /// Reads until there is nothing; returns the bytes, and the FIN, the error or nothing after
    /// them.
    fn drain(&mut self, side: usize, stream: u32) -> (Vec<u8>, Option<Result<(), Broken>>) {
        let (mut all, mut room) = (Vec::new(), vec![0; 10_000]);
        loop {
            match self.cores[side].poll_read(stream, &idle(), &mut room, self.now) {
                Poll::Ready(Ok(Read::Data(n))) => all.extend_from_slice(&room[..n]),
                Poll::Ready(Ok(Read::Fin)) => return (all, Some(Ok(()))),
                Poll::Ready(Err(broken)) => return (all, Some(Err(broken))),
                Poll::Pending => return (all, None),
            }
        }
    }

    /// Takes about `most` bytes from a core and puts them on the wire.
    fn take(&mut self, side: usize, most: usize) {
        let mut out = VecDeque::new();
        self.cores[side].take(most, &mut out);
        self.towards[1 - side].extend(out.into_iter().flatten());
    }

    /// What a core sends, frame by frame; the other core does not get it.
    fn frames(&mut self, side: usize, most: usize) -> Vec<Frame> {
        let mut out = VecDeque::new();
        self.cores[side].take(most, &mut out);
        parse(&out.into_iter().flatten().collect::<Vec<_>>())
    }

    /// Delivers at most `most` bytes of the wire, and lets the core receive complete frames.
    fn deliver(&mut self, to: usize, most: usize) -> Result<(), Violation> {
        let n = most.min(self.towards[to].len());
        let bytes: Vec<u8> = self.towards[to].drain(..n).collect();
        self.arrived[to].extend(bytes);
        while self.cores[to].may_receive() {
            match self.judged[to].take() {
                None if self.arrived[to].len() < HEADER_BYTES => break,
                None => {
                    let bytes: Vec<u8> = self.arrived[to].drain(..HEADER_BYTES).collect();
                    let header = Header::decode(bytes.try_into().unwrap())?;
                    let judged = self.cores[to].judge(&header)?;
                    self.judged[to] = Some((header, judged));
                }
                Some((header, judged)) if self.arrived[to].len() < header.length => {
                    self.judged[to] = Some((header, judged));
                    break;
                }
                Some((header, judged)) => {
                    let payload = self.arrived[to].drain(..header.length).collect();
                    if judged == Payload::Keep {
                        self.cores[to].receive(&header, payload)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends a frame from a peer that is not one of our cores.
    fn inject(
        &mut self,
        to: usize,
        kind: FrameKind,
        stream: u32,
        payload: &[u8],
    ) -> Result<(), Violation> {
        self.only_cores_send = false;
        self.towards[to].extend(
            Header {
                kind,
                stream,
                length: payload.len(),
            }
            .encode(),
        );
        self.towards[to].extend(payload);
        self.deliver(to, usize::MAX)
    }

    /// Moves everything in both directions until nothing is left to move.
    fn settle(&mut self) {
        while self.cores.iter().any(MuxCore::has_output)
            || self.towards.iter().any(|lane| !lane.is_empty())
        {
            for side in [NEAR, FAR] {
                self.take(side, 100_000);
                self.deliver(1 - side, usize::MAX).unwrap();
            }
        }
        self.check();
    }

    /// Checks what must hold at any time.
    fn check(&self) {
        for (core, other) in [
            (&self.cores[NEAR], &self.cores[FAR]),
            (&self.cores[FAR], &self.cores[NEAR]),
        ] {
            core.assert_sound();
            for (stream, entry) in core.streams.iter().filter(|_| self.only_cores_send) {
                // The peer never has more credit than the window has room.
                if let Some(peer) = other.streams.get(stream) {
                    let taken =
                        peer.send.credit as usize + peer.send.queued_bytes + entry.recv.unread();
                    assert!(
                        taken <= entry.recv.window.size() as usize,
                        "credit above the window"
                    );
                }
            }
        }
    }

    /// Checks that nothing is left of any stream.
    fn assert_empty(&self) {
        self.check();
        for (core, budget) in self.cores.iter().zip(&self.budgets) {
            core.assert_empty();
            assert_eq!((core.count(), budget.used()), (0, 0));
            assert!(core.waiting.is_empty());
        }
    }
}

/// A context without a waker.
fn idle() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn parse(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() {
        let header = Header::decode(*header).unwrap();
        let (payload, rest) = rest.split_at(header.length);
        frames.push((header.kind, header.stream, payload.to_vec()));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a frame");
    frames
}

fn number(kind: FrameKind, stream: u32, number: u32) -> Frame {
    (kind, stream, number.to_be_bytes().to_vec())
}

fn is_reset<T>(result: Result<T, Broken>, code: u32) -> bool {
    matches!(result, Err(Broken::Reset(received)) if received == code)
}

/// Counts how often it was woken.
#[derive(Default)]
struct CountingWaker(AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl CountingWaker {
    fn take_count(&self) -> usize {
        self.0.swap(0, SeqCst)
    }
}

const WINDOW: usize = INITIAL_BYTES as usize;

#[test]
fn a_fin_follows_the_data_and_the_other_direction_stays_open() {
    let mut wire = Wire::new(MANY);
    let stream = wire.cores[NEAR].open(b"first ").unwrap();
    assert_eq!(wire.write(NEAR, stream, &[7; 100_000]), WINDOW - 6);
    wire.cores[NEAR].finish(stream).unwrap();
    let frames = wire.frames(NEAR, usize::MAX);
    assert_eq!(
        frames.iter().map(|frame| frame.0).collect::<Vec<_>>(),
        [FrameKind::Open, FrameKind::Data, FrameKind::Fin]
    );
    for (kind, stream, payload) in frames {
        wire.inject(FAR, kind, stream, &payload).unwrap();
    }
    assert_eq!(wire.accept(FAR), Some(stream));
    let (bytes, end) = wire.drain(FAR, stream);
    assert_eq!((bytes.len(), &bytes[..6]), (WINDOW, &b"first "[..]));
    assert!(matches!(end, Some(Ok(()))));
    assert!(
        matches!(wire.read(FAR, stream, 8), Poll::Ready(Ok(Read::Fin))),
        "a FIN is returned again"
    );
    assert!(matches!(
        wire.cores[NEAR].poll_write(stream, &idle(), &[IoSlice::new(b"x")]),
        Poll::Ready(Err(Broken::Io(_)))
    ));

    assert_eq!(wire.write(FAR, stream, b"answer"), 6);
    wire.cores[FAR].finish(stream).unwrap();
    wire.settle();
    assert!(matches!(wire.drain(NEAR, stream), (bytes, Some(Ok(()))) if bytes == b"answer"));
    wire.cores[NEAR].release(stream, false, Instant::now());
    wire.cores[FAR].release(stream, false, Instant::now());
    wire.settle();
    wire.assert_empty();
}

#[test]
fn a_reset_overtakes_the_data_and_voids_it() {
    let mut wire = Wire::new(MANY);
    let (stream, other) = (wire.stream(), wire.stream());
    wire.write(NEAR, stream, &[1; 20_000]);
    wire.settle();
    wire.write(NEAR, other, &[2; 10_000]);
    wire.write(NEAR, stream, &[1; 10_000]);
    wire.cores[NEAR].reset(stream, 7);
    let frames = wire.frames(NEAR, usize::MAX);
    let expected = [
        number(FrameKind::Reset, stream, 7),
        number(FrameKind::Stop, stream, 7),
        (FrameKind::Data, other, vec![2; 10_000]),
    ];
    assert_eq!(frames, expected);
    for (kind, stream, payload) in frames {
        wire.inject(FAR, kind, stream, &payload).unwrap();
    }
    let (bytes, end) = wire.drain(FAR, stream);
    assert!(bytes.is_empty(), "20,000 bytes were unread, and are void");
    assert!(is_reset(end.unwrap(), 7));
    assert!(matches!(
        wire.cores[FAR].poll_broken(stream, &idle()),
        Poll::Ready(Broken::Reset(7))
    ));
    assert!(is_reset(wire.cores[FAR].finish(stream), 7));
    assert_eq!(wire.drain(FAR, other).0.len(), 10_000);
}

#[test]
fn a_stop_is_answered_by_a_reset_with_its_code() {
    let mut wire = Wire::new(MANY);
    let stream = wire.stream();
    wire.write(NEAR, stream, &[1; 10_000]);
    wire.inject(NEAR, FrameKind::Stop, stream, &9_u32.to_be_bytes())
        .unwrap();
    assert_eq!(
        wire.frames(NEAR, usize::MAX),
        [number(FrameKind::Reset, stream, 9)]
    );
    assert_eq!(wire.cores[NEAR].queued_bytes, 0);
    let write = wire.cores[NEAR].poll_write(stream, &idle(), &[IoSlice::new(b"x")]);
    assert!(matches!(write, Poll::Ready(broken) if is_reset(broken.as_ref().map_err(copy), 9)));
    wire.inject(NEAR, FrameKind::Stop, stream, &10_u32.to_be_bytes())
        .unwrap();
    assert!(
        wire.frames(NEAR, usize::MAX).is_empty(),
        "one RESET is required, and was sent"
    );
}

fn copy(broken: &Broken) -> Broken {
    match broken {
        Broken::Reset(code) => Broken::Reset(*code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stream_that_was_reset_here_reads_as_reset_and_never_as_finished() {
    let mut wire = Wire::new(MANY);
    let stream = wire.stream();
    wire.write(FAR, stream, b"a whole answer");
    wire.cores[FAR].finish(stream).unwrap();
    wire.settle();
    wire.cores[NEAR].reset(stream, 5);
    assert!(is_reset(wire.drain(NEAR, stream).1.expect("an end"), 5));
    assert!(matches!(
        wire.cores[NEAR].poll_broken(stream, &idle()),
        Poll::Ready(Broken::Reset(5))
    ));
    wire.settle();
    assert!(is_reset(wire.drain(NEAR, stream).1.expect("an end"), 5));
}

#[test]
fn tasks_that_wait_on_a_stream_are_woken_when_it_is_reset_here() {
    let mut wire = Wire::new(MANY);
    let stream = wire.stream();
    let counters: [Arc<CountingWaker>; 2] = Default::default();
    let wakers = counters.clone().map(Waker::from);
    let core = &mut wire.cores[NEAR];
    assert!(
        core.poll_read(
            stream,
            &Context::from_waker(&wakers[0]),
            &mut [0; 8],
            wire.now
        )
        .is_pending()
    );
    assert!(
        core.poll_broken(stream, &Context::from_waker(&wakers[1]))
            .is_pending()
    );
    core.reset(stream, 5);
    assert_eq!(counters.map(|counter| counter.take_count()), [1, 1]);
}

#[test]
fn credit_is_granted_when_bytes_are_consumed_and_not_before() {
    let mut wire = Wire::new(MANY);
    let stream = wire.stream();
    assert_eq!(wire.write(NEAR, stream, &[1; 100_000]), WINDOW);
    wire.settle();
    assert_eq!(wire.write(NEAR, stream, b"x"), 0);
    assert!(
        matches!(wire.read(FAR, stream, WINDOW / 2 - 1), Poll::Ready(Ok(Read::Data(n))) if n == WINDOW / 2 - 1)
    );
    assert!(
        !wire.cores[FAR].has_output(),
        "small amounts of credit cost more than they help"
    );
    // A slow reader: the window keeps its size.
    wire.now += Duration::from_secs(1);
    assert!(matches!(
        wire.read(FAR, stream, 1),
        Poll::Ready(Ok(Read::Data(1)))
    ));
    assert_eq!(
        wire.frames(FAR, usize::MAX),
        [number(FrameKind::Credit, stream, INITIAL_BYTES / 2)]
    );
    wire.inject(
        NEAR,
        FrameKind::Credit,
        stream,
        &(INITIAL_BYTES / 2).to_be_bytes(),
    )
    .unwrap();
    assert_eq!(wire.write(NEAR, stream, &[1; 100_000]), WINDOW / 2);
    wire.settle();
    assert_eq!(wire.write(NEAR, stream, b"x"), 0);
}

#[test]
fn a_stream_that_was_released_in_order_kept_its_budget_until_the_peer_finished() {
    let mut wire = Wire::new(MANY);
    let stream = wire.stream();
    for _ in 0..4 {
        wire.write(NEAR, stream, &[1; 1 << 20]);
        wire.settle();
        wire.drain(FAR, stream);
        wire.settle();
        wire.now += Duration::from_millis(100);
    }
    assert!(wire.budgets[FAR].used() > 0);
    wire.cores[FAR].release(stream, true, Instant::now());
    assert_eq!(wire.budgets[FAR].used(), 0);
    // The peer goes on, within what it was granted.
    wire.write(NEAR, stream, &[1; 1 << 20]);
    wire.settle();
    assert_eq!(wire.budgets[FAR].used(), 0);
}

#[test]
fn a_window_grows_for_a_reader_that_keeps_up_and_returns_its_budget_at_the_end() {
    let mut wire = Wire::new(MANY);
    let stream = wire.stream();
    let mut received = 0;
    for _ in 0..50 {
        wire.write(NEAR, stream, &[1; 1 << 20]);
        wire.settle();
        received += wire.drain(FAR, stream).0.len();
        wire.settle();
        wire.now += Duration::from_millis(100);
    }
    assert_eq!(
        wire.budgets[FAR].used(),
        7 * u64::from(INITIAL_BYTES),
        "one stream has at most a quarter of the budget"
    );
    assert!(received > 10 * WINDOW);
    wire.cores[NEAR].release(stream, false, Instant::now());
    wire.settle();
    wire.cores[FAR].release(stream, false, Instant::now());
    wire.settle();
    wire.assert_empty();
}

#[test]
fn streams_with_data_take_turns() {
    let mut wire = Wire::new(MANY);
    let streams = [wire.stream(), wire.stream(), wire.stream()];
    for stream in streams {
        wire.inject(
            NEAR,
            FrameKind::Credit,
            stream,
            &1_000_000_u32.to_be_bytes(),
        )
        .unwrap();
        assert_eq!(wire.write(NEAR, stream, &[1; 150_000]), 150_000);
        wire.cores[NEAR].finish(stream).unwrap();
    }
    let frames = wire.frames(NEAR, usize::MAX);
    let [a, b, c] = streams;
    let order: Vec<u32> = frames
        .iter()
        .filter(|frame| frame.0 == FrameKind::Data)
        .map(|frame| frame.1)
        .collect();
    assert_eq!(order, [a, b, c, a, b, c, a, b, c]);
    assert!(
        frames
            .iter()
            .all(|(_, _, payload)| payload.len() <= MOST_PAYLOAD_BYTES)
    );
    assert_eq!(
        frames
            .iter()
            .filter(|frame| frame.0 == FrameKind::Fin)
            .count(),
        3
    );
}

/// The streams of the DATA frames that are sent next, one at a time.
fn next_streams(wire: &mut Wire, count: usize) -> Vec<u32> {
    let frames = (0..count).flat_map(|_| wire.frames(NEAR, 1));
    frames
        .filter(|(kind, ..)| *kind == FrameKind::Data)
        .map(|(_, stream, _)| stream)
        .collect()
}

#[test]
fn a_stream_that_was_idle_sends_once_before_busy_streams_and_then_in_rotation() {
    let mut wire = Wire::new(MANY);
    let (first, second, small) = (wire.stream(), wire.stream(), wire.stream());
    for stream in [first, second] {
        wire.inject(
            NEAR,
            FrameKind::Credit,
            stream,
            &1_000_000_u32.to_be_bytes(),
        )
        .unwrap();
        assert_eq!(
            wire.write(NEAR, stream, &[1; 1_000_000]),
            STREAM_QUEUE_BYTES
        );
    }
    assert_eq!(next_streams(&mut wire, 3), [first, second, first]);
    assert_eq!(wire.write(NEAR, small, b"a"), 1);
    assert_eq!(next_streams(&mut wire, 1), [small], "before the others");
    assert_eq!(wire.write(NEAR, small, b"b"), 1);
    assert_eq!(
        next_streams(&mut wire, 3),
        [second, first, small],
        "and not again before they had their turn"
    );
    wire.check();
}

#[test]
fn an_endless_supply_of_new_streams_leaves_half_of_the_carrier_to_busy_ones() {
    let mut wire = Wire::new(MANY);
    let busy = wire.stream();
    let mut new: Vec<u32> = (0..400).map(|_| wire.stream()).collect();
    wire.inject(NEAR, FrameKind::Credit, busy, &10_000_000_u32.to_be_bytes())
        .unwrap();
    wire.write(NEAR, busy, &[1; 1_000_000]);
    wire.frames(NEAR, 1);
    let (mut of_busy, mut of_new) = (0, 0);
    while !new.is_empty() {
        wire.write(NEAR, busy, &[1; 1_000_000]);
        for stream in new.split_off(new.len() - 20) {
            wire.write(NEAR, stream, &[2; 10_000]);
        }
        for (_, stream, payload) in wire.frames(NEAR, 100_000) {
            *if stream == busy {
                &mut of_busy
            } else {
                &mut of_new
            } += payload.len();
        }
    }
    assert!(
        of_busy * 3 > of_new,
        "{of_busy} bytes of the busy one, {of_new} of the others"
    );
}

#[test]
fn frames_are_small_on_a_long_path() {
    for (round_trip, longest) in [(1, MOST_PAYLOAD_BYTES), (50, MOST_LONG_PAYLOAD_BYTES)] {
        let mut wire = Wire::new(MANY);
        wire.cores[NEAR].set_round_trip(Duration::from_millis(round_trip));
        let stream = wire.stream();
        wire.inject(
            NEAR,
            FrameKind::Credit,
            stream,
            &1_000_000_u32.to_be_bytes(),
        )
        .unwrap();
        wire.write(NEAR, stream, &[1; 200_000]);
        let frames = wire.frames(NEAR, usize::MAX);
        assert_eq!(
            frames.iter().map(|(.., payload)| payload.len()).max(),
            Some(longest),
            "{round_trip} ms"
        );
    }
}

#[test]
fn control_messages_are_sent_before_data() {
    let mut wire = Wire::new(MANY);
    for _ in 0..3 {
        let stream = wire.stream();
        assert_eq!(wire.write(NEAR, stream, &[1; 20_000]), 20_000);
    }
    assert_eq!(wire.write(NEAR, CONTROL, b"ping"), 4);
    assert_eq!(
        wire.frames(NEAR, 1),
        [(FrameKind::Data, CONTROL, b"ping".to_vec())]
    );
    // Between two chunks as well.
    assert_eq!(wire.frames(NEAR, 1).len(), 1);
    assert_eq!(wire.write(NEAR, CONTROL, b"pong"), 4);
    assert_eq!(
        wire.frames(NEAR, 1),
        [(FrameKind::Data, CONTROL, b"pong".to_vec())]
    );
}

#[test]
fn late_frames_of_a_stream_that_is_over_are_skipped() {
    let mut wire = Wire::new(MANY);
    let near = wire.stream();
    let far = wire.cores[FAR].open(b"").unwrap();
    wire.settle();
    wire.accept(NEAR);
    for stream in [near, far] {
        wire.cores[NEAR].release(stream, false, Instant::now());
        wire.cores[FAR].release(stream, false, Instant::now());
    }
    wire.settle();
    wire.assert_empty();
    for stream in [near, far] {
        for side in [NEAR, FAR] {
            wire.inject(side, FrameKind::Data, stream, &[1; 50_000])
                .unwrap();
            wire.inject(side, FrameKind::Fin, stream, b"").unwrap();
            for kind in [FrameKind::Reset, FrameKind::Stop, FrameKind::Credit] {
                wire.inject(side, kind, stream, &[255; 4]).unwrap();
            }
        }
    }
    assert!(!wire.cores.iter().any(MuxCore::has_output));
    wire.assert_empty();
}

#[test]
fn a_payload_whose_stream_is_released_meanwhile_is_dropped() {
    let mut wire = Wire::new(MANY);
    let stream = wire.stream();
    wire.write(NEAR, stream, &[1; 10_000]);
    wire.take(NEAR, usize::MAX);
    wire.deliver(FAR, 5000).unwrap();
    wire.cores[FAR].release(stream, false, Instant::now());
    wire.settle();
    wire.cores[NEAR].release(stream, false, Instant::now());
    wire.settle();
    wire.assert_empty();
}

#[test]
fn each_violation_is_named() {
    let one = 1_u32.to_be_bytes();
    let cases: [(&str, FrameKind, u32, &[u8], Violation); 12] = [
        (
            "a stream that was never opened",
            FrameKind::Data,
            3,
            b"x",
            Violation::Stream(FrameKind::Data),
        ),
        (
            "the end of one",
            FrameKind::Fin,
            3,
            b"",
            Violation::Stream(FrameKind::Fin),
        ),
        (
            "a reset of one",
            FrameKind::Reset,
            3,
            &one,
            Violation::Stream(FrameKind::Reset),
        ),
        (
            "a stop of one",
            FrameKind::Stop,
            3,
            &one,
            Violation::Stream(FrameKind::Stop),
        ),
        (
            "credit for one",
            FrameKind::Credit,
            3,
            &one,
            Violation::Stream(FrameKind::Credit),
        ),
        (
            "one of ours that was never opened",
            FrameKind::Data,
            2,
            b"x",
            Violation::Stream(FrameKind::Data),
        ),
        (
            "a number of our own",
            FrameKind::Open,
            2,
            b"",
            Violation::Stream(FrameKind::Open),
        ),
        (
            "a number for the second time",
            FrameKind::Open,
            1,
            b"",
            Violation::Stream(FrameKind::Open),
        ),
        (
            "the first stream",
            FrameKind::Open,
            CONTROL,
            b"",
            Violation::Stream(FrameKind::Open),
        ),
        (
            "beyond the window",
            FrameKind::Open,
            3,
            &[0; WINDOW + 1],
            Violation::Credit,
        ),
        (
            "beyond the credit",
            FrameKind::Data,
            1,
            &[0; WINDOW + 1],
            Violation::Credit,
        ),
        (
            "beyond what can be counted",
            FrameKind::Credit,
            1,
            &[255; 4],
            Violation::Overflow,
        ),
    ];
    for (what, kind, stream, payload, expected) in cases {
        let mut wire = Wire::new(MANY);
        wire.stream();
        assert_eq!(
            wire.inject(FAR, kind, stream, payload),
            Err(expected),
            "{what}"
        );
    }
}

#[test]
fn numbers_out_of_order_are_a_violation_and_gaps_are_none() {
    let mut wire = Wire::new(MANY);
    wire.inject(FAR, FrameKind::Open, 9, b"").unwrap();
    wire.inject(FAR, FrameKind::Data, 7, b"possibly late")
        .unwrap();
    assert_eq!(
        wire.inject(FAR, FrameKind::Open, 7, b""),
        Err(Violation::Stream(FrameKind::Open))
    );
}

#[test]
fn bytes_after_a_fin_are_a_violation_even_within_the_credit() {
    for (kind, payload) in [
        (FrameKind::Data, &b"x"[..]),
        (FrameKind::Data, b""),
        (FrameKind::Fin, b""),
    ] {
        let mut wire = Wire::new(MANY);
        let stream = wire.stream();
        wire.inject(FAR, FrameKind::Fin, stream, b"").unwrap();
        assert_eq!(
            wire.inject(FAR, kind, stream, payload),
            Err(Violation::BehindFin)
        );
    }
}

#[test]
fn a_byte_beyond_the_credit_is_a_violation_however_it_is_cut() {
    let mut wire = Wire::new(MANY);
    let stream = wire.stream();
    for _ in 0..WINDOW {
        wire.inject(FAR, FrameKind::Data, stream, b"x").unwrap();
    }
    assert_eq!(
        wire.inject(FAR, FrameKind::Data, stream, b"x"),
        Err(Violation::Credit)
    );
}

#[test]
fn every_waiting_task_is_woken_by_its_event() {
    let mut wire = Wire::new(MANY);
    let counter = Arc::<CountingWaker>::default();
    let waker = Waker::from(Arc::clone(&counter));
    let cx = Context::from_waker(&waker);
    let now = wire.now;

    assert!(wire.cores[FAR].poll_accept(&cx).is_pending());
    wire.inject(FAR, FrameKind::Open, 1, b"").unwrap();
    assert_eq!(counter.take_count(), 1, "a stream was opened");
    assert_eq!(wire.accept(FAR), Some(1));

    for (kind, payload) in [(FrameKind::Data, &b"x"[..]), (FrameKind::Fin, b"")] {
        assert!(
            wire.cores[FAR]
                .poll_read(1, &cx, &mut [0; 8], now)
                .is_pending()
        );
        wire.inject(FAR, kind, 1, payload).unwrap();
        assert_eq!(counter.take_count(), 1, "{kind:?} was received");
        assert!(
            wire.cores[FAR]
                .poll_read(1, &cx, &mut [0; 8], now)
                .is_ready()
        );
    }
    wire.write(FAR, 1, &[0; WINDOW]);
    assert!(
        wire.cores[FAR]
            .poll_write(1, &cx, &[IoSlice::new(b"x")])
            .is_pending()
    );
    wire.inject(FAR, FrameKind::Credit, 1, &1_u32.to_be_bytes())
        .unwrap();
    assert_eq!(counter.take_count(), 1, "credit was received");
    assert!(wire.cores[FAR].poll_broken(1, &cx).is_pending());
    wire.inject(FAR, FrameKind::Stop, 1, &1_u32.to_be_bytes())
        .unwrap();
    assert_eq!(counter.take_count(), 1, "it was stopped");

    wire.inject(FAR, FrameKind::Open, 3, b"").unwrap();
    assert!(wire.cores[FAR].poll_broken(3, &cx).is_pending());
    wire.cores[FAR].lose();
    assert_eq!(counter.take_count(), 1, "the carrier is lost");
}

#[test]
fn a_lost_carrier_still_returns_complete_data_and_then_session_lost() {
    let mut wire = Wire::new(MANY);
    let (stream, ended) = (wire.stream(), wire.stream());
    wire.write(NEAR, stream, b"a part");
    wire.write(NEAR, ended, b"all of it");
    wire.cores[NEAR].finish(ended).unwrap();
    wire.settle();
    wire.cores[FAR].lose();
    assert!(
        matches!(wire.drain(FAR, stream), (part, Some(Err(Broken::SessionLost))) if part == b"a part")
    );
    assert!(matches!(wire.drain(FAR, ended), (all, Some(Ok(()))) if all == b"all of it"));
    assert!(matches!(
        wire.cores[FAR].finish(stream),
        Err(Broken::SessionLost)
    ));
    assert_eq!(wire.cores[FAR].open(b""), Err(MuxOpenError::Lost));
    assert!(matches!(
        wire.cores[FAR].poll_accept(&idle()),
        Poll::Ready(None)
    ));
    assert!(!wire.cores[FAR].has_output());
}

#[test]
fn a_peer_whose_window_was_full_when_the_reader_left_gets_credit_and_then_a_reset() {
    let mut wire = Wire::new(MANY);
    let stream = wire.stream();
    assert_eq!(wire.write(NEAR, stream, &[1; 100_000]), WINDOW);
    wire.settle();
    // The far side has sent everything, and does not read the rest.
    wire.write(FAR, stream, b"enough");
    wire.cores[FAR].release(stream, true, Instant::now());
    wire.settle();
    assert!(
        matches!(wire.drain(NEAR, stream), (bytes, Some(Ok(()))) if bytes == b"enough"),
        "a STOP overtook it"
    );
    assert!(
        wire.write(NEAR, stream, b"more") > 0,
        "it waits for credit that is never granted"
    );
    wire.settle();
    assert!(is_reset(wire.cores[NEAR].finish(stream), 0));
    wire.cores[NEAR].release(stream, false, Instant::now());
    wire.settle();
    wire.assert_empty();
}

#[test]
fn a_stream_that_is_opened_after_a_control_message_arrives_after_it() {
    let mut wire = Wire::new(MANY);
    wire.write(NEAR, CONTROL, b"welcome");
    wire.cores[NEAR].open(b"first").unwrap();
    let mut out = VecDeque::new();
    wire.cores[NEAR].take(1 << 20, &mut out);
    let kinds: Vec<_> = out
        .iter()
        .map(|chunk| Header::decode(*chunk.first_chunk().unwrap()).unwrap().kind)
        .collect();
    assert_eq!(kinds, [FrameKind::Data, FrameKind::Open]);
}

#[test]
fn a_core_without_a_session_reads_no_further_than_its_control_stream_is_read() {
    let mut core = MuxCore::new(Side::Acceptor, FairBudget::node(Limits::both(BUDGET)));
    assert!(!core.may_receive(), "no task waits for a message");
    let mut room = [0; 10];
    assert!(
        core.poll_read(CONTROL, &idle(), &mut room, Instant::now())
            .is_pending()
    );
    assert!(core.may_receive());
    let open = Header {
        kind: FrameKind::Open,
        stream: 1,
        length: 0,
    };
    assert_eq!(core.judge(&open), Err(Violation::Early));
    let data = Header {
        kind: FrameKind::Data,
        stream: CONTROL,
        length: 5,
    };
    assert_eq!(core.judge(&data), Ok(Payload::Keep));
    core.receive(&data, b"hello".to_vec()).unwrap();
    assert!(
        !core.may_receive(),
        "the next frame may depend on this message"
    );
    core.admit(1);
    assert!(core.may_receive());
    assert_eq!(core.judge(&open), Ok(Payload::Keep));
}
