use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const NOW: Duration = Duration::ZERO;

/// A disk in memory whose writes can be made to fail.
#[derive(Default)]
struct FakeDisk {
    bytes: Vec<u8>,
    peak: usize,
}

impl FakeDisk {
    fn perform(&mut self, op: Op, fate: Fate) -> OpResult {
        match op {
            Op::Write { at, mut pieces } => {
                let wanted: usize = pieces.iter().map(Buffer::len).sum();
                let (most, failure) = fate.of_a_write(wanted);
                let mut at = at as usize;
                let mut left = most;
                for piece in &mut pieces {
                    let n = piece.len().min(left);
                    self.bytes.resize(self.bytes.len().max(at + n), 0);
                    self.bytes[at..at + n].copy_from_slice(&piece.filled()[..n]);
                    piece.consume(n);
                    (at, left) = (at + n, left - n);
                }
                self.peak = self.peak.max(self.bytes.len());
                OpResult::Written {
                    pieces,
                    written: most as u64,
                    failure,
                }
            }
            Op::Read { at, len, mut piece } => {
                let at = at as usize;
                piece.space()[..len].copy_from_slice(&self.bytes[at..at + len]);
                piece.advance(len);
                OpResult::Read(Ok(piece))
            }
            Op::Punch { from, len } => {
                self.bytes[from as usize..(from + len) as usize].fill(0xAA);
                OpResult::Punched(true)
            }
            Op::Empty => {
                self.bytes.clear();
                OpResult::Emptied
            }
        }
    }
}

/// The result of the next write.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Good,
    Refused,
    /// The disk is full after a part in 256ths of the bytes.
    Full(u8),
    /// The disk fails after a part in 256ths of the bytes.
    Fails(u8),
}

impl Fate {
    fn of_a_write(self, wanted: usize) -> (usize, Option<WriteFailure>) {
        match self {
            Self::Good => (wanted, None),
            Self::Refused => (0, Some(WriteFailure::Refused(Refusal::NoRoom))),
            Self::Full(part) => (
                wanted * usize::from(part) / 256,
                Some(WriteFailure::Refused(Refusal::NotNow(
                    io::ErrorKind::StorageFull.into(),
                ))),
            ),
            Self::Fails(part) => (
                wanted * usize::from(part) / 256,
                Some(WriteFailure::Disk(io::ErrorKind::Other.into())),
            ),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Pull(usize),
    /// Take the next operation; it runs until the next `Done`.
    Ask,
    Done(Fate),
    Short(bool),
    HeldBack,
    End,
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![8 => Just(Fate::Good), 2 => Just(Fate::Refused),
        1 => any::<u8>().prop_map(Fate::Full), 1 => any::<u8>().prop_map(Fate::Fails)];
    prop_oneof![
        4 => (1_usize..40_000).prop_map(Step::Push),
        3 => (1_usize..60_000).prop_map(Step::Pull),
        3 => Just(Step::Ask),
        3 => fate.prop_map(Step::Done),
        1 => any::<bool>().prop_map(Step::Short),
        1 => Just(Step::HeldBack),
        1 => Just(Step::End),
    ]
}

/// A queue over a disk in memory, and the deque that it must equal.
struct Bench {
    queue: SpillQueue,
    model: VecDeque<u8>,
    disk: FakeDisk,
    under_way: Option<Op>,
    next_byte: u8,
    now: Instant,
}

impl Bench {
    fn new(ring_bytes: usize) -> Self {
        Self {
            queue: SpillQueue::new(ring_bytes, NOW),
            model: VecDeque::new(),
            disk: FakeDisk::default(),
            under_way: None,
            next_byte: 0,
            now: Instant::now(),
        }
    }

    /// Pushes up to `n` bytes; returns how many were taken.
    fn push(&mut self, n: usize) -> usize {
        let mut left = n;
        loop {
            let space = self.queue.space(Size::Large);
            let part = left.min(space.len());
            if part == 0 {
                self.queue.release_unused();
                return n - left;
            }
            for byte in &mut space[..part] {
                *byte = self.next_byte;
                self.model.push_back(self.next_byte);
                self.next_byte = self.next_byte.wrapping_mul(31).wrapping_add(7);
            }
            self.queue.advance(part);
            left -= part;
        }
    }

    /// Pulls up to `n` of the ready bytes and compares them; returns how many.
    fn pull(&mut self, n: usize) -> usize {
        let mut pulled = 0;
        while pulled < n {
            let mut slices = [IoSlice::new(&[]); 3];
            let used = self.queue.slices(n - pulled, &mut slices);
            let bytes: Vec<u8> = slices[..used]
                .iter()
                .flat_map(|slice| slice.iter().copied())
                .collect();
            assert!(bytes.len() <= self.queue.ready_bytes());
            if bytes.is_empty() {
                break;
            }
            assert_eq!(bytes, self.model.drain(..bytes.len()).collect::<Vec<_>>());
            self.queue.consume(bytes.len());
            pulled += bytes.len();
        }
        pulled
    }

    fn ask(&mut self) {
        if let Some(op) = self.queue.next_op(self.now) {
            assert!(self.under_way.is_none(), "one operation at a time");
            self.under_way = Some(op);
        }
    }

    fn done(&mut self, fate: Fate) {
        if let Some(op) = self.under_way.take() {
            let outcome = self.disk.perform(op, fate);
            self.queue.done(outcome, self.now).unwrap();
        }
    }

    fn work(&mut self, fate: Fate) {
        self.ask();
        self.done(fate);
    }

    fn check(&self) {
        assert_eq!(self.queue.queued_bytes(), self.model.len() as u64);
        assert_eq!(self.queue.is_empty(), self.model.is_empty());
    }

    /// Pulls everything while the disk works.
    fn pull_all(&mut self) {
        self.done(Fate::Good);
        while !self.model.is_empty() {
            let pulled = self.pull(usize::MAX);
            self.ask();
            assert!(
                pulled > 0 || self.under_way.is_some(),
                "{} bytes are stuck",
                self.model.len()
            );
            self.done(Fate::Good);
        }
        // The last operation may free the file.
        self.work(Fate::Good);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: byway_testkit::cases(300), ..ProptestConfig::default() })]

    #[test]
    fn it_equals_a_deque_whatever_the_disk_does(
        ring_bytes in 1_usize..100_000,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut bench = Bench::new(ring_bytes);
        let mut ended = false;
        for step in steps {
            match step {
                Step::Push(_) if ended => {}
                Step::Push(n) => drop(bench.push(n)),
                Step::Pull(n) => drop(bench.pull(n)),
                Step::Ask => bench.ask(),
                Step::Done(fate) => bench.done(fate),
                Step::Short(short) => bench.queue.set_short_of_memory(short),
                Step::HeldBack => bench.queue.held_back(),
                Step::End => { bench.queue.end(); ended = true; }
            }
            bench.check();
        }
        bench.pull_all();
        bench.check();
        prop_assert_eq!(bench.queue.allocated_memory_bytes(), 0);
    }
}

#[test]
fn a_fast_reader_never_uses_the_disk() {
    let mut bench = Bench::new(256 * 1024);
    for _ in 0..100 {
        bench.push(200_000);
        bench.ask();
        assert!(bench.under_way.is_none());
        assert_eq!(bench.pull(usize::MAX), 200_000);
    }
}

#[test]
fn a_full_ring_is_written_whole_and_makes_room() {
    let mut bench = Bench::new(256 * 1024);
    assert_eq!(bench.push(1 << 20), 256 * 1024);
    assert_eq!(bench.push(1), 0);
    bench.work(Fate::Good);
    assert_eq!(
        (bench.queue.spilled_bytes(), bench.queue.memory_bytes()),
        (256 * 1024, 0)
    );
    assert_eq!(bench.push(1 << 20), 256 * 1024);
    bench.pull_all();
    assert!(bench.disk.bytes.is_empty());
}

#[test]
fn the_disk_is_used_only_after_the_ring_was_full_for_a_while() {
    let mut bench = Bench::new(65_536);
    bench.queue.engage_after = Duration::from_millis(50);
    bench.push(65_536);
    bench.ask();
    assert!(bench.under_way.is_none());
    assert_eq!(
        bench.queue.wakes_at(),
        Some(bench.now + Duration::from_millis(50))
    );

    // A short pause: the reader takes more than half, and the time starts again.
    bench.now += Duration::from_millis(49);
    bench.pull(40_000);
    bench.ask();
    bench.push(40_000);
    bench.now += Duration::from_millis(49);
    bench.ask();
    bench.now += Duration::from_millis(49);
    bench.ask();
    assert!(bench.under_way.is_none());
    bench.now += Duration::from_millis(1);
    bench.ask();
    assert!(matches!(bench.under_way, Some(Op::Write { .. })));
}

#[test]
fn a_paused_reader_of_a_stream_that_has_ended_holds_no_memory() {
    let mut bench = Bench::new(256 * 1024);
    bench.push(256 * 1024);
    bench.work(Fate::Good);
    bench.push(1_000);
    bench.queue.end();
    bench.work(Fate::Good);
    bench.work(Fate::Good);
    // Only the piece at the front stays; the tail has joined the rest on disk.
    assert_eq!(bench.queue.memory_bytes(), 64 * 1024);
    assert_eq!(bench.queue.spilled_bytes(), 192 * 1024 + 1_000);
    bench.pull_all();
}

#[test]
fn a_disk_that_fails_keeps_the_bytes_in_memory_and_is_not_written_again() {
    let mut bench = Bench::new(65_536);
    bench.push(65_536);
    bench.work(Fate::Fails(100));
    bench.check();
    assert_eq!(bench.queue.spilled_bytes(), 65_536 * 100 / 256);
    bench.push(65_536);
    bench.work(Fate::Good);
    let spilled = bench.queue.spilled_bytes();
    bench.work(Fate::Good);
    assert_eq!(bench.queue.spilled_bytes(), spilled, "only reads are left");
    bench.pull_all();
    assert_eq!(
        bench.push(1 << 20),
        65_536,
        "afterwards only back-pressure remains"
    );
}

#[test]
fn a_disk_that_was_full_for_a_while_is_written_again_and_no_byte_is_lost() {
    let mut bench = Bench::new(65_536);
    bench.push(65_536);
    bench.work(Fate::Full(100));
    assert_eq!(bench.queue.spilled_bytes(), 65_536 * 100 / 256);
    bench.push(65_536);
    bench.now += RETRY_AFTER;
    for _ in 0..3 {
        bench.work(Fate::Good);
    }
    assert_eq!(bench.push(1 << 20), 65_536, "what was in memory is on disk");
    bench.pull_all();
}

#[test]
fn a_refused_stream_tries_again_once_its_ring_is_half_empty() {
    let mut bench = Bench::new(65_536);
    bench.push(65_536);
    bench.work(Fate::Refused);
    bench.ask();
    assert!(bench.under_way.is_none());
    bench.pull(40_000);
    bench.ask();
    bench.push(40_000);
    bench.ask();
    assert!(matches!(bench.under_way, Some(Op::Write { .. })));
}

#[test]
fn a_refused_stream_whose_reader_is_paused_tries_again_after_a_second() {
    let mut bench = Bench::new(65_536);
    bench.push(65_536);
    bench.work(Fate::Refused);
    assert_eq!(bench.queue.wakes_at(), Some(bench.now + RETRY_AFTER));
    bench.now += RETRY_AFTER - Duration::from_millis(1);
    bench.ask();
    assert!(bench.under_way.is_none());
    bench.now += Duration::from_millis(1);
    bench.ask();
    assert!(matches!(bench.under_way, Some(Op::Write { .. })));
    bench.done(Fate::Refused);
    assert_eq!(bench.queue.wakes_at(), Some(bench.now + RETRY_AFTER));

    // While there is room, nothing waits for the disk.
    bench.pull(20_000);
    assert_eq!(bench.queue.wakes_at(), None);
}

#[test]
fn the_tail_of_a_stream_that_was_refused_is_written_after_a_second() {
    let mut bench = Bench::new(256 * 1024);
    bench.push(256 * 1024);
    bench.work(Fate::Good);
    bench.push(1_000);
    bench.queue.end();
    bench.work(Fate::Good);
    bench.work(Fate::Refused);
    assert_eq!(bench.queue.wakes_at(), Some(bench.now + RETRY_AFTER));
    bench.now += RETRY_AFTER;
    bench.work(Fate::Good);
    assert_eq!(bench.queue.wakes_at(), None);
    assert_eq!(bench.queue.spilled_bytes(), 192 * 1024 + 1_000);
    bench.pull_all();
}

#[test]
fn a_stream_that_is_refused_again_and_again_holds_two_rings_at_most() {
    let mut bench = Bench::new(65_536);
    for _ in 0..10 {
        bench.push(1 << 20);
        bench.ask();
        // More comes while the write is under way.
        bench.push(1 << 20);
        bench.done(Fate::Refused);
        bench.now += RETRY_AFTER;
        assert!(bench.queue.memory_bytes() <= 2 * 65_536);
    }
    bench.pull_all();
}

#[test]
fn holes_are_punched_behind_a_reader_that_never_catches_up() {
    let mut bench = Bench::new(256 * 1024);
    let mut allocated = 0;
    for _ in 0..400 {
        bench.push(256 * 1024);
        bench.work(Fate::Good);
        bench.work(Fate::Good);
        // Once it lags behind, it reads as fast as the source writes.
        if bench.queue.spilled_bytes() > 4 << 20 {
            bench.pull(256 * 1024);
        }
        allocated = allocated.max(bench.queue.allocated_disk_bytes());
    }
    assert!(bench.disk.peak > 32 << 20, "the file's offsets only grow");
    assert!(allocated < 16 << 20, "{allocated} bytes of blocks");
    bench.pull_all();
}

#[test]
fn a_failed_read_is_an_error_because_bytes_are_lost() {
    let mut bench = Bench::new(65_536);
    bench.push(65_536);
    bench.work(Fate::Good);
    bench.ask();
    assert!(matches!(bench.under_way.take(), Some(Op::Read { .. })));
    assert!(
        bench
            .queue
            .done(
                OpResult::Read(Err(io::ErrorKind::UnexpectedEof.into())),
                bench.now
            )
            .is_err()
    );
}
