//! What a peer can make grow, and its limits.

use super::*;

#[test]
fn tiny_frames_take_no_more_memory_than_large_ones() {
    let mut wire = Wire::new(MANY);
    let stream = wire.stream();
    for _ in 0..WINDOW {
        wire.inject(FAR, FrameKind::Data, stream, b"x").unwrap();
        wire.inject(FAR, FrameKind::Data, stream, b"").unwrap();
    }
    let chunks = &wire.cores[FAR].streams[&stream].recv.chunks;
    let held: usize = chunks.iter().map(Vec::capacity).sum();
    assert!(
        chunks.len() <= 4 && held <= 2 * WINDOW,
        "{} chunks of {held} bytes",
        chunks.len()
    );

    // Alternately almost a shared chunk, and one byte.
    let stream = wire.stream();
    for length in [SMALL_CHUNK_BYTES - 2, 1, SMALL_CHUNK_BYTES - 2, 1, 1, 1] {
        wire.inject(FAR, FrameKind::Data, stream, &vec![2; length])
            .unwrap();
    }
    assert!(wire.cores[FAR].streams[&stream].recv.chunks.len() <= 3);
    assert_eq!(wire.drain(FAR, stream).0.len(), WINDOW);
}

#[test]
fn a_peer_that_reads_no_replies_is_not_read_from_until_it_does() {
    let mut wire = Wire::new(0);
    let mut stream = 1;
    while wire.cores[FAR].may_receive() {
        wire.inject(FAR, FrameKind::Open, stream, b"").unwrap();
        stream += 2;
        assert!(wire.cores[FAR].urgent.len() < URGENT_BYTES + 2 * (HEADER_BYTES + 4));
    }
    assert!(wire.cores[FAR].urgent.len() >= URGENT_BYTES);
    assert_eq!(wire.cores[FAR].count(), 0);
    let frames = wire.frames(FAR, 1);
    assert_eq!(
        frames.len(),
        stream as usize - 1,
        "a RESET and a STOP for each"
    );
    assert!(wire.cores[FAR].may_receive());
}

#[test]
fn all_streams_together_queue_no_more_than_the_session_may() {
    const STREAMS: usize = 100;
    let mut wire = Wire::new(MANY);
    let counters: Vec<Arc<CountingWaker>> = (0..STREAMS).map(|_| Arc::default()).collect();
    let streams: Vec<u32> = (0..STREAMS).map(|_| wire.stream()).collect();
    for (counter, stream) in counters.iter().zip(streams.iter().copied()) {
        wire.inject(
            NEAR,
            FrameKind::Credit,
            stream,
            &10_000_000_u32.to_be_bytes(),
        )
        .unwrap();
        let waker = Waker::from(Arc::clone(counter));
        let cx = Context::from_waker(&waker);
        let core = &mut wire.cores[NEAR];
        while core
            .poll_write(stream, &cx, &[IoSlice::new(&[1; 50_000])])
            .is_ready()
        {}
    }
    let most = SESSION_QUEUE_BYTES + STREAM_QUEUE_BYTES + STREAMS * SMALL_CHUNK_BYTES;
    let queued = wire.cores[NEAR].queued_bytes;
    assert!(
        queued >= SESSION_QUEUE_BYTES && queued <= most,
        "{queued} bytes are queued"
    );
    let least = wire.cores[NEAR].streams[&streams[STREAMS - 1]]
        .send
        .queued_bytes;
    assert_eq!(
        least, SMALL_CHUNK_BYTES,
        "the last one may have something too"
    );
    // As soon as there is room, each of them is woken.
    while wire.cores[NEAR].queued_bytes >= SESSION_QUEUE_BYTES {
        wire.frames(NEAR, 1);
    }
    wire.check();
    let woken = counters
        .iter()
        .filter(|counter| counter.take_count() > 0)
        .count();
    assert!(
        woken > STREAMS / 2 && wire.cores[NEAR].starved.is_empty(),
        "{woken} were woken"
    );
    wire.frames(NEAR, usize::MAX);
    for (counter, stream) in counters.iter().zip(streams) {
        assert!(
            counter.take_count() > 0 || wire.write(NEAR, stream, b"x") == 1,
            "{stream} was not woken"
        );
    }
}

#[test]
fn starved_writers_are_woken_when_a_reset_makes_room() {
    let mut wire = Wire::new(MANY);
    let full: Vec<u32> = (0..SESSION_QUEUE_BYTES / STREAM_QUEUE_BYTES)
        .map(|_| wire.stream())
        .collect();
    let starved = wire.stream();
    for stream in full.iter().copied().chain([starved]) {
        wire.inject(
            NEAR,
            FrameKind::Credit,
            stream,
            &10_000_000_u32.to_be_bytes(),
        )
        .unwrap();
        let most = if stream == starved {
            SMALL_CHUNK_BYTES
        } else {
            STREAM_QUEUE_BYTES
        };
        assert_eq!(wire.write(NEAR, stream, &[1; 1 << 20]), most);
    }
    let counter = Arc::<CountingWaker>::default();
    let waker = Waker::from(Arc::clone(&counter));
    let cx = Context::from_waker(&waker);
    assert!(
        wire.cores[NEAR]
            .poll_write(starved, &cx, &[IoSlice::new(b"x")])
            .is_pending()
    );
    full.iter()
        .for_each(|stream| wire.cores[NEAR].reset(*stream, 0));
    wire.check();
    wire.take(NEAR, 1);
    assert_eq!(counter.take_count(), 1);
    wire.check();
}

#[test]
fn streams_that_the_peer_does_not_finish_are_kept_up_to_a_bound() {
    let mut wire = Wire::new(MANY);
    for _ in 0..10 * LINGERING_STREAMS {
        let stream = wire.cores[NEAR].open(b"").unwrap();
        wire.cores[NEAR].release(stream, true, Instant::now());
        wire.take(NEAR, usize::MAX);
        assert!(wire.cores[NEAR].count() <= 2 * LINGERING_STREAMS);
        assert!(wire.cores[NEAR].lingering.len() <= 2 * LINGERING_STREAMS);
    }
    let frames = parse(&wire.towards[FAR].iter().copied().collect::<Vec<_>>());
    let stopped = frames
        .iter()
        .filter(|frame| frame.0 == FrameKind::Stop)
        .map(|frame| frame.1)
        .collect::<Vec<_>>();
    assert!(
        stopped.len() >= 8 * LINGERING_STREAMS && stopped.is_sorted(),
        "the oldest first"
    );
}

#[test]
fn a_stream_that_the_peer_does_not_finish_is_stopped_after_some_seconds() {
    let (mut wire, cx) = (Wire::new(MANY), Context::from_waker(Waker::noop()));
    let (late, begun) = (wire.stream(), Instant::now());
    wire.cores[NEAR].release(late, true, begun);
    for (after, ended) in [(LINGER - Duration::from_millis(1), false), (LINGER, true)] {
        assert!(wire.cores[NEAR].has_lingering());
        wire.cores[NEAR].stop_lingering(begun + after);
        wire.settle();
        let broken = wire.cores[FAR].poll_broken(late, &cx);
        assert_eq!(broken.is_ready(), ended, "{after:?}");
    }
    wire.cores[FAR].release(late, false, begun + LINGER);
    wire.settle();
    assert!(!wire.cores[NEAR].has_lingering());
    assert_eq!(wire.cores.each_ref().map(MuxCore::count), [0, 0]);
}

#[test]
fn streams_that_the_peer_finishes_are_never_stopped() {
    let mut wire = Wire::new(MANY);
    let slow = wire.stream();
    wire.cores[NEAR].release(slow, true, Instant::now());
    for _ in 0..5 * LINGERING_STREAMS {
        let stream = wire.stream();
        wire.cores[NEAR].release(stream, true, Instant::now());
        wire.cores[FAR].release(stream, true, Instant::now());
        wire.settle();
    }
    assert_eq!(wire.cores[NEAR].count(), 1);
    assert!(
        matches!(wire.drain(FAR, slow), (_, Some(Ok(())))),
        "it was stopped"
    );
}

#[test]
fn stream_numbers_are_never_reused_and_running_out_is_reported() {
    let mut wire = Wire::new(MANY);
    wire.cores[NEAR].leave_one_number();
    assert_eq!(wire.cores[NEAR].open(b""), Ok(u32::MAX - 2));
    assert_eq!(wire.cores[NEAR].open(b""), Err(MuxOpenError::Exhausted));
    assert_eq!(wire.cores[NEAR].open(b""), Err(MuxOpenError::Exhausted));
    wire.settle();
    assert_eq!(wire.accept(FAR), Some(u32::MAX - 2));
}

#[test]
fn a_stream_above_the_limit_is_refused_as_busy_and_does_not_affect_the_others() {
    let mut wire = Wire::new(2);
    let (first, second) = (wire.stream(), wire.stream());
    let third = wire.cores[NEAR].open(b"hello").unwrap();
    assert_eq!(wire.write(NEAR, third, &[1; 10_000]), 10_000);
    wire.settle();
    assert_eq!((wire.accept(FAR), wire.cores[FAR].count()), (None, 2));
    assert!(is_reset(
        wire.drain(NEAR, third).1.unwrap(),
        Code::Busy.number()
    ));
    wire.cores[NEAR].release(third, false, Instant::now());
    for stream in [first, second] {
        wire.write(NEAR, stream, b"here");
        wire.settle();
        assert_eq!(wire.drain(FAR, stream).0, b"here");
    }
    // Only the owner of a stream releases its slot: a reset alone makes no room.
    wire.cores[NEAR].release(first, false, Instant::now());
    wire.settle();
    let fourth = wire.cores[NEAR].open(b"").unwrap();
    wire.settle();
    assert!(is_reset(
        wire.drain(NEAR, fourth).1.unwrap(),
        Code::Busy.number()
    ));
    wire.cores[NEAR].release(fourth, false, Instant::now());
    wire.cores[FAR].release(first, false, Instant::now());
    wire.settle();
    let fifth = wire.stream();
    for stream in [second, fifth] {
        wire.cores[NEAR].release(stream, false, Instant::now());
        wire.cores[FAR].release(stream, false, Instant::now());
    }
    wire.settle();
    wire.assert_empty();
}

#[test]
fn nothing_is_left_of_a_lost_carrier_however_its_streams_are_released() {
    let mut wire = Wire::new(MANY);
    let streams: Vec<u32> = (0..6).map(|_| wire.stream()).collect();
    wire.write(NEAR, streams[2], b"queued");
    for stream in &streams[2..4] {
        wire.cores[NEAR].finish(*stream).unwrap();
    }
    wire.cores[NEAR].lose();
    for (place, stream) in streams.into_iter().enumerate() {
        wire.cores[NEAR].release(stream, place % 2 == 0, Instant::now());
    }
    assert_eq!(
        (wire.cores[NEAR].count(), wire.cores[NEAR].queued_bytes),
        (0, 0)
    );
    assert_eq!(wire.budgets[NEAR].used(), 0);
}
