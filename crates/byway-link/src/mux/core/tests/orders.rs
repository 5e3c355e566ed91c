//! Any order of operations: random operations on both sides of a wire, checked against a model of
//! each stream.

use proptest::prelude::*;

use super::*;

/// An operation; streams are chosen by a number among those that the side holds.
#[derive(Clone, Debug)]
enum Op {
    Open(usize),
    Accept(usize),
    Write(usize, usize, usize),
    Read(usize, usize, usize),
    Finish(usize, usize),
    Reset(usize, usize),
    Release(usize, usize, bool),
    Take(usize, usize),
    Deliver(usize, usize),
    Wait,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let (side, which, size) = (
        0..2_usize,
        0..8_usize,
        prop_oneof![1..50_usize, 1..70_000_usize],
    );
    let op = prop_oneof![
        2 => side.clone().prop_map(Op::Open),
        2 => side.clone().prop_map(Op::Accept),
        8 => (side.clone(), which.clone(), size.clone()).prop_map(|(side, which, n)| Op::Write(side, which, n)),
        8 => (side.clone(), which.clone(), size.clone()).prop_map(|(side, which, n)| Op::Read(side, which, n)),
        2 => (side.clone(), which.clone()).prop_map(|(side, which)| Op::Finish(side, which)),
        1 => (side.clone(), which.clone()).prop_map(|(side, which)| Op::Reset(side, which)),
        1 => (side.clone(), which, any::<bool>()).prop_map(|(side, which, orderly)| Op::Release(side, which, orderly)),
        6 => (side.clone(), size.clone()).prop_map(|(side, n)| Op::Take(side, n)),
        6 => (side, size).prop_map(|(side, n)| Op::Deliver(side, n)),
        1 => Just(Op::Wait),
    ];
    prop::collection::vec(op, 1..150)
}

/// The model of one direction of a stream.
#[derive(Default)]
struct Direction {
    written: usize,
    finished: bool,
    read: usize,
    saw_fin: bool,
}

#[derive(Default)]
struct Known {
    /// What each side sends.
    from: [Direction; 2],
    /// The side that did not open it has accepted it; until then it may be refused as busy.
    accepted: bool,
    /// It was reset, or released before its end.
    cut: bool,
}

struct Model {
    wire: Wire,
    known: HashMap<u32, Known>,
    held: [Vec<u32>; 2],
}

fn pattern(stream: u32, from: usize, place: usize) -> u8 {
    (place as u32)
        .wrapping_mul(31)
        .wrapping_add(stream * 7 + from as u32)
        .wrapping_add(place as u32 >> 8) as u8
}

impl Model {
    fn new(most: u32) -> Self {
        Self {
            wire: Wire::new(most),
            known: HashMap::new(),
            held: Default::default(),
        }
    }

    fn pick(&self, side: usize, which: usize) -> Option<u32> {
        let held = &self.held[side];
        (!held.is_empty()).then(|| held[which % held.len()])
    }

    fn accept(&mut self, side: usize) -> bool {
        let stream = self.wire.accept(side);
        if let Some(stream) = stream {
            self.known.get_mut(&stream).unwrap().accepted = true;
            self.held[side].push(stream);
        }
        stream.is_some()
    }

    fn write(&mut self, side: usize, stream: u32, n: usize) {
        let direction = &mut self.known.get_mut(&stream).unwrap().from[side];
        let at = direction.written;
        let bytes: Vec<u8> = (at..at + n)
            .map(|place| pattern(stream, side, place))
            .collect();
        direction.written += self.wire.write(side, stream, &bytes);
    }

    /// Reads once. Returns whether there may be more.
    fn read(&mut self, side: usize, stream: u32, n: usize) -> bool {
        let mut room = vec![0; n];
        let read = self.wire.cores[side].poll_read(stream, &idle(), &mut room, self.wire.now);
        let known = self.known.get_mut(&stream).unwrap();
        let direction = &mut known.from[1 - side];
        match read {
            Poll::Ready(Ok(Read::Data(n))) => {
                assert!(n > 0 && !direction.saw_fin);
                for (offset, byte) in room[..n].iter().enumerate() {
                    assert_eq!(
                        *byte,
                        pattern(stream, 1 - side, direction.read + offset),
                        "bytes out of order"
                    );
                }
                direction.read += n;
                assert!(direction.read <= direction.written);
                true
            }
            Poll::Ready(Ok(Read::Fin)) => {
                assert!(direction.finished, "a FIN that was not sent");
                assert_eq!(
                    direction.read, direction.written,
                    "a FIN before the last byte"
                );
                direction.saw_fin = true;
                false
            }
            Poll::Ready(Err(Broken::Reset(code))) => {
                let refused = code == Code::Busy.number()
                    && !known.accepted
                    && known.from[1 - side].written == 0;
                known.cut |= refused;
                assert!(known.cut, "a reset that was not sent");
                false
            }
            Poll::Ready(Err(other)) => panic!("{other:?}"),
            Poll::Pending => false,
        }
    }

    fn finish(&mut self, side: usize, stream: u32) {
        let known = self.known.get_mut(&stream).unwrap();
        match self.wire.cores[side].finish(stream) {
            Ok(()) => known.from[side].finished = true,
            Err(_) => assert!(known.cut || !known.accepted),
        }
    }

    fn release(&mut self, side: usize, stream: u32, orderly: bool) {
        self.held[side].retain(|held| *held != stream);
        let known = self.known.get_mut(&stream).unwrap();
        // A side that leaves without having read the end may send STOP.
        known.cut |= !known.from[1 - side].saw_fin || !(orderly || known.from[side].finished);
        known.from[side].finished = true;
        self.wire.cores[side].release(stream, orderly, Instant::now());
    }

    fn act(&mut self, op: &Op) {
        match *op {
            Op::Open(side) => {
                let stream = self.wire.cores[side].open(&[]).unwrap();
                self.known.insert(stream, Known::default());
                self.held[side].push(stream);
            }
            Op::Accept(side) => {
                self.accept(side);
            }
            Op::Wait => self.wire.now += Duration::from_millis(77),
            Op::Take(side, n) => self.wire.take(side, n),
            Op::Deliver(side, n) => self.wire.deliver(side, n).unwrap(),
            Op::Write(side, which, n) => {
                if let Some(stream) = self.pick(side, which) {
                    self.write(side, stream, n);
                }
            }
            Op::Read(side, which, n) => {
                if let Some(stream) = self.pick(side, which) {
                    self.read(side, stream, n);
                }
            }
            Op::Finish(side, which) => {
                if let Some(stream) = self.pick(side, which) {
                    self.finish(side, stream);
                }
            }
            Op::Reset(side, which) => {
                if let Some(stream) = self.pick(side, which) {
                    self.known.get_mut(&stream).unwrap().cut = true;
                    self.wire.cores[side].reset(stream, 1);
                }
            }
            Op::Release(side, which, orderly) => {
                if let Some(stream) = self.pick(side, which) {
                    self.release(side, stream, orderly);
                }
            }
        }
    }

    /// Finishes, reads to the end and releases every stream.
    fn end(&mut self) {
        for side in [NEAR, FAR] {
            for stream in self.held[side].clone() {
                self.finish(side, stream);
            }
        }
        loop {
            self.wire.settle();
            let mut moved = false;
            for side in [NEAR, FAR] {
                while self.accept(side) {
                    let stream = *self.held[side].last().unwrap();
                    self.finish(side, stream);
                    moved = true;
                }
                for stream in self.held[side].clone() {
                    while self.read(side, stream, 100_000) {
                        moved = true;
                    }
                }
            }
            if !moved {
                break;
            }
        }
        for side in [NEAR, FAR] {
            for stream in self.held[side].clone() {
                let known = &self.known[&stream];
                assert!(
                    known.cut || known.from[1 - side].saw_fin,
                    "stream {stream} was not cut and never ended"
                );
                self.release(side, stream, false);
            }
        }
        self.wire.settle();
        self.wire.assert_empty();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: byway_testkit::cases(300), ..ProptestConfig::default() })]

    #[test]
    fn bytes_arrive_complete_and_nothing_is_left_for_any_order_of_operations(ops in ops(), most in 1..12_u32) {
        let mut model = Model::new(most);
        for op in &ops {
            model.act(op);
            model.wire.check();
        }
        model.end();
    }

    #[test]
    fn any_frames_of_a_peer_are_accepted_or_refused_and_held_within_the_windows(
        frames in prop::collection::vec((1..7_u8, 0..7_u32, 0..40_000_usize, any::<u32>()), 1..60),
    ) {
        let mut wire = Wire::new(3);
        wire.cores[FAR].open(b"one of ours").unwrap();
        for (kind, stream, length, number) in frames {
            let payload = match kind {
                1 | 2 => vec![7; length],
                3 => Vec::new(),
                _ => number.to_be_bytes().to_vec(),
            };
            let kind = [FrameKind::Open, FrameKind::Data, FrameKind::Fin, FrameKind::Reset, FrameKind::Stop, FrameKind::Credit][usize::from(kind) - 1];
            if wire.inject(FAR, kind, stream, &payload).is_err() {
                wire.cores[FAR].lose();
                break;
            }
            while let Some(stream) = wire.accept(FAR) {
                wire.drain(FAR, stream);
                if number % 3 == 0 {
                    wire.cores[FAR].release(stream, number % 2 == 0, Instant::now());
                }
            }
            wire.check();
        }
        let streams: Vec<u32> = wire.cores[FAR].streams.keys().copied().collect();
        streams.into_iter().for_each(|stream| wire.cores[FAR].release(stream, false, Instant::now()));
        wire.frames(FAR, usize::MAX);
        prop_assert_eq!((wire.cores[FAR].count(), wire.cores[FAR].queued_bytes), (0, 0));
    }
}
