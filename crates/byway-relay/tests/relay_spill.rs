//! The spill pipe of a relay: memory is bounded, origins finish early, and every byte arrives in
//! order.
#![allow(clippy::unwrap_used)]

use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use byway_dial::{Broken, ClientId, Read, Stream};
use byway_relay::{
    DrainError, Drained, Early, End, EndKind, FairPermits, Outflow, RelayCounters, RelayOptions,
    Side, SpillBudget, SpillOptions, SpillPool, relay,
};
use byway_testkit::pipe;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const MIB: usize = 1024 * 1024;

/// A test that hangs fails after this time.
const HANG: Duration = Duration::from_secs(60);

/// A node's spill directory, threads and counters.
struct Bench {
    directory: TempDir,
    options: RelayOptions,
    counters: Arc<RelayCounters>,
}

impl Bench {
    /// Spills to disk as soon as a ring is full.
    fn eager(budget_bytes: u64) -> Self {
        Self::new(budget_bytes, Duration::ZERO)
    }

    fn new(budget_bytes: u64, engage_after: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pool = start(directory.path(), SpillBudget::of(budget_bytes));
        let counters = Arc::new(RelayCounters::default());
        let spill = SpillOptions {
            engage_after,
            ..SpillOptions::new(pool)
        };
        let options = RelayOptions {
            spill: Some(spill),
            counters: Some(Arc::clone(&counters)),
            ..RelayOptions::default()
        };
        Self {
            directory,
            options,
            counters,
        }
    }

    fn spill(&self) -> SpillOptions {
        self.options.spill.clone().unwrap()
    }

    fn charged(&self) -> u64 {
        self.spill().pool.budget().used()
    }
}

fn start(directory: &Path, budget: SpillBudget) -> Arc<SpillPool> {
    SpillPool::start(directory, Arc::new(budget), |_| {}).unwrap()
}

/// A body repeats after this number of bytes. No buffer size is a multiple of it.
const PERIOD: usize = 65_521;

/// The body of a flow, different for each flow.
fn body(flow: usize, len: usize) -> Vec<u8> {
    let period: Vec<u8> = (0..PERIOD)
        .map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ flow) as u8)
        .collect();
    let mut body = period.repeat(len / PERIOD + 1);
    body.truncate(len);
    body
}

async fn read_to_end(stream: &mut Stream) -> Result<Vec<u8>, Broken> {
    let (mut received, mut buf) = (Vec::new(), vec![0; 65_536]);
    while let Read::Data(n) = stream.read(&mut buf).await? {
        received.extend_from_slice(&buf[..n]);
    }
    Ok(received)
}

async fn tcp_pair() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (far, near) = tokio::join!(TcpStream::connect(address), listener.accept());
    (Stream::tcp(near.unwrap().0), Stream::tcp(far.unwrap()))
}

/// Lets other tasks and threads run until `holds` returns true.
async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn ten_paused_readers_keep_memory_bounded_and_let_the_origins_finish() {
    const READERS: usize = 10;
    const LEN: usize = 32 * MIB;
    let bench = Bench::new(1 << 30, Duration::from_millis(50));
    let mut relays = JoinSet::new();
    let mut origins = JoinSet::new();
    let mut readers = Vec::new();
    for flow in 0..READERS {
        let ((near_down, mut down), (near_up, mut up)) = (tcp_pair().await, tcp_pair().await);
        relays.spawn(relay(near_down, near_up, &bench.options, Early::default()));
        down.write_all(b"GET").await.unwrap();
        down.finish().await.unwrap();
        readers.push(down);
        origins.spawn(async move {
            assert_eq!(read_to_end(&mut up).await.unwrap(), b"GET");
            up.write_all(&body(flow, LEN)).await.unwrap();
            up.finish().await.unwrap();
            up
        });
    }
    // The origins finish before any reader has read a byte.
    let origins = origins.join_all().await;
    let counters = &bench.counters;
    let taken = || counters.spilled_bytes() + counters.ring_bytes() + counters.bytes_down();
    until(|| taken() == (READERS * LEN) as u64).await;
    drop(origins);
    assert_eq!(
        (counters.active(), counters.spilling()),
        (READERS as u64, READERS as u64)
    );
    let bound = READERS as u64 * 3 * 256 * 1024;
    assert!(
        counters.ring_peak_bytes() <= bound,
        "{} bytes",
        counters.ring_peak_bytes()
    );
    assert_eq!(
        std::fs::read_dir(bench.directory.path()).unwrap().count(),
        0,
        "the files have no names"
    );

    for (flow, mut reader) in readers.into_iter().enumerate() {
        let received = read_to_end(&mut reader).await.unwrap();
        assert!(
            received == body(flow, LEN),
            "flow {flow} has {} bytes",
            received.len()
        );
    }
    for end in relays.join_all().await {
        assert_eq!(
            (end.who, end.kind, end.bytes.down),
            (Side::Downstream, EndKind::Fin, LEN as u64)
        );
    }
    assert_eq!(
        (
            counters.spilled_bytes(),
            counters.ring_bytes(),
            counters.wasted_bytes()
        ),
        (0, 0, 0)
    );
    until(|| bench.charged() == 0).await;
}

#[tokio::test]
async fn the_end_marker_queues_behind_the_spilled_data() {
    let bench = Bench::eager(1 << 30);
    let ((near_down, down), (near_up, up)) = (pipe::pair(), pipe::pair_of(65_536));
    let (down_control, up_control) = (down.control(), up.control());
    let (mut down, mut up) = (down.into_stream(), up.into_stream());
    let relay = relay(
        near_down.into_stream(),
        near_up.into_stream(),
        &bench.options,
        Early::default(),
    );
    let script = async {
        down.finish().await.unwrap();
        assert_eq!(read_to_end(&mut up).await.unwrap(), b"");
        down_control.pause_reads();
        up.write_all(&body(0, 4 * MIB)).await.unwrap();
        up.finish().await.unwrap();
        // Both directions of the upstream are finished: it is closed at once, while the reader has
        // received almost nothing.
        until(|| up_control.peer_is_gone()).await;
        assert!(bench.counters.bytes_down() <= 8);
        assert!(bench.counters.spilled_bytes() > 3 * MIB as u64);
        down_control.resume_reads();
        assert!(read_to_end(&mut down).await.unwrap() == body(0, 4 * MIB));
    };
    let (end, ()) = tokio::join!(relay, script);
    assert!(end.is_clean());
}

#[tokio::test]
async fn an_upstream_whose_upload_is_open_stays_half_open_while_the_spill_drains() {
    let bench = Bench::eager(1 << 30);
    let ((near_down, down), (near_up, up)) = (pipe::pair(), pipe::pair_of(65_536));
    let (down_control, up_control) = (down.control(), up.control());
    let (mut down, mut up) = (down.into_stream(), up.into_stream());
    let relay = relay(
        near_down.into_stream(),
        near_up.into_stream(),
        &bench.options,
        Early::default(),
    );
    let script = async {
        down_control.pause_reads();
        up.write_all(&body(0, MIB)).await.unwrap();
        up.finish().await.unwrap();
        down.write_all(b"still talking").await.unwrap();
        down.finish().await.unwrap();
        assert_eq!(read_to_end(&mut up).await.unwrap(), b"still talking");
        until(|| up_control.peer_is_gone()).await;
        down_control.resume_reads();
        assert!(read_to_end(&mut down).await.unwrap() == body(0, MIB));
    };
    let (end, ()) = tokio::join!(relay, script);
    assert_eq!((end.who, end.kind), (Side::Upstream, EndKind::Fin));
}

#[tokio::test]
async fn a_full_disk_budget_becomes_back_pressure_and_loses_nothing() {
    let bench = Bench::eager(MIB as u64);
    let ((near_down, down), (near_up, up)) = (pipe::pair_of(4096), pipe::pair_of(65_536));
    let down_control = down.control();
    let (mut down, mut up) = (down.into_stream(), up.into_stream());
    let relay = relay(
        near_down.into_stream(),
        near_up.into_stream(),
        &bench.options,
        Early::default(),
    );
    down_control.pause_reads();
    let send = async {
        up.write_all(&body(0, 8 * MIB)).await.unwrap();
        up.finish().await.unwrap();
    };
    let receive = async {
        // A single user may use half of it.
        until(|| bench.charged() == MIB as u64 / 2).await;
        until(|| bench.counters.ring_bytes() >= 256 * 1024).await;
        down_control.resume_reads();
        assert!(read_to_end(&mut down).await.unwrap() == body(0, 8 * MIB));
        assert!(bench.charged() <= MIB as u64 / 2);
        down.finish().await.unwrap();
    };
    let (end, (), ()) = tokio::join!(relay, send, receive);
    assert!(end.is_clean());
    assert!(bench.counters.ring_peak_bytes() <= 3 * 256 * 1024);
    until(|| bench.charged() == 0).await;
}

#[tokio::test]
async fn a_user_whose_readers_pause_leaves_disk_to_another_user() {
    let bench = Bench::eager(8 * MIB as u64);
    let mut relays = JoinSet::new();
    let mut relayed = |name: &str| {
        let spill = SpillOptions {
            user: ClientId::User(name.into()),
            ..bench.spill()
        };
        let options = RelayOptions {
            spill: Some(spill),
            ..bench.options.clone()
        };
        let ((near_down, down), (near_up, up)) = (pipe::pair_of(4096), pipe::pair_of(65_536));
        let control = down.control();
        control.pause_reads();
        relays.spawn(relay(
            near_down.into_stream(),
            near_up.into_stream(),
            &options,
            Early::default(),
        ));
        (down.into_stream(), control, up.into_stream())
    };
    // Each of the two downloads of one user would fill the whole budget.
    let mut sending = JoinSet::new();
    let mut paused = Vec::new();
    for _ in 0..2 {
        let (down, _, mut up) = relayed("eve");
        paused.push(down);
        sending.spawn(async move { up.write_all(&body(0, 9 * MIB)).await });
    }
    let half = 4 * MIB as u64;
    let all_taken = || bench.charged() >= half && bench.counters.ring_bytes() >= 2 * 256 * 1024;
    tokio::time::timeout(HANG, until(all_taken))
        .await
        .expect("one user has what it can get");
    assert_eq!(bench.charged(), half);
    let (mut down, control, mut up) = relayed("ann");
    let served = async {
        // More than the memory and the pipe hold while the reader pauses.
        up.write_all(&body(1, MIB)).await.unwrap();
        up.finish().await.unwrap();
        control.resume_reads();
        assert!(read_to_end(&mut down).await.unwrap() == body(1, MIB));
    };
    tokio::time::timeout(HANG, served)
        .await
        .expect("another user's origin is done early");
}

#[tokio::test]
async fn a_disk_that_fails_becomes_back_pressure_and_loses_nothing() {
    let Bench {
        directory,
        options,
        counters,
    } = Bench::eager(1 << 30);
    std::fs::remove_dir(directory.path()).unwrap();
    let _in_its_place = std::fs::File::create(directory.path()).unwrap();
    let ((near_down, down), (near_up, up)) = (pipe::pair_of(4096), pipe::pair_of(65_536));
    let down_control = down.control();
    let (mut down, mut up) = (down.into_stream(), up.into_stream());
    let relay = relay(
        near_down.into_stream(),
        near_up.into_stream(),
        &options,
        Early::default(),
    );
    down_control.pause_reads();
    let send = async {
        up.write_all(&body(0, 2 * MIB)).await.unwrap();
        up.finish().await.unwrap();
    };
    let receive = async {
        until(|| counters.ring_bytes() >= 256 * 1024).await;
        down_control.resume_reads();
        assert!(read_to_end(&mut down).await.unwrap() == body(0, 2 * MIB));
        down.finish().await.unwrap();
    };
    let (end, (), ()) = tokio::join!(relay, send, receive);
    assert!(end.is_clean());
    assert_eq!(counters.spills(), 0);
}

#[tokio::test]
async fn a_fast_reader_never_touches_the_disk() {
    let bench = Bench::new(1 << 30, Duration::from_millis(50));
    let ((near_down, mut down), (near_up, mut up)) = (tcp_pair().await, tcp_pair().await);
    let relay = relay(near_down, near_up, &bench.options, Early::default());
    let send = async {
        up.write_all(&body(0, 64 * MIB)).await.unwrap();
        up.finish().await.unwrap();
    };
    let receive = async {
        let received = read_to_end(&mut down).await.unwrap();
        down.finish().await.unwrap();
        received
    };
    let (end, (), received) = tokio::join!(relay, send, receive);
    assert!(received == body(0, 64 * MIB));
    assert!(end.is_clean());
    assert_eq!((bench.counters.spills(), bench.charged()), (0, 0));
}

#[tokio::test]
async fn a_reset_overtakes_the_spilled_data_and_drops_it_at_once() {
    for by_reader in [true, false] {
        let bench = Bench::eager(1 << 30);
        let ((near_down, down), (near_up, up)) = (pipe::pair(), pipe::pair_of(65_536));
        let (down_control, up_control) = (down.control(), up.control());
        let (mut down, mut up) = (down.into_stream(), up.into_stream());
        let relay = relay(
            near_down.into_stream(),
            near_up.into_stream(),
            &bench.options,
            Early::default(),
        );
        let script = async {
            down_control.pause_reads();
            up.write_all(&body(0, 4 * MIB)).await.unwrap();
            if by_reader {
                down_control.reset(9);
                assert!(matches!(read_to_end(&mut up).await, Err(Broken::Reset(_))));
            } else {
                up_control.reset(9);
                assert!(matches!(
                    read_to_end(&mut down).await,
                    Err(Broken::Reset(_))
                ));
            }
        };
        let (end, ()) = tokio::join!(relay, script);
        let who = if by_reader {
            Side::Downstream
        } else {
            Side::Upstream
        };
        assert_eq!((end.who, end.kind), (who, EndKind::Reset));
        assert!(bench.counters.wasted_bytes() > 3 * MIB as u64);
        assert_eq!(
            (bench.counters.spilled_bytes(), bench.counters.ring_bytes()),
            (0, 0)
        );
        until(|| bench.charged() == 0).await;
    }
}

#[tokio::test]
async fn an_operation_under_way_when_the_relay_is_dropped_ends_harmlessly() {
    let bench = Bench::eager(1 << 30);
    for turns in 0..40 {
        let ((near_down, down), (near_up, up)) = (pipe::pair(), pipe::pair_of(MIB));
        let relay = relay(
            near_down.into_stream(),
            near_up.into_stream(),
            &bench.options,
            Early::default(),
        );
        let mut up = up.into_stream();
        let send = async {
            up.write_all(&body(0, 4 * MIB)).await.unwrap();
        };
        let some_turns = async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _ = relay => panic!("no side has ended it"),
            () = some_turns => {}
            () = send => {}
        }
        drop(down);
    }
    until(|| bench.charged() == 0).await;
    assert_eq!(
        (bench.counters.spilled_bytes(), bench.counters.ring_bytes()),
        (0, 0)
    );
    assert_eq!(bench.spill().pool.budget().memory_used(), 0);
}

#[tokio::test]
async fn a_spill_reuses_its_disk_while_a_reader_lags_forever() {
    let mut bench = Bench::eager(1 << 30);
    bench.options.spill.as_mut().unwrap().stream_bytes = 24 * MIB as u64;
    let ((near_down, down), (near_up, up)) = (pipe::pair_of(65_536), pipe::pair_of(65_536));
    let (mut down, mut up) = (down.into_stream(), up.into_stream());
    let relay = relay(
        near_down.into_stream(),
        near_up.into_stream(),
        &bench.options,
        Early::default(),
    );
    let len = 128 * MIB;
    let expected = body(0, len);
    let send = async {
        up.write_all(&expected).await.unwrap();
        up.finish().await.unwrap();
    };
    let receive = async {
        let mut buf = vec![0; 65_536];
        let (mut received, mut most_charged) = (0, 0);
        // The reader starts late and stays behind, so the file never becomes empty.
        until(|| bench.counters.spilled_bytes() > 16 * MIB as u64).await;
        while let Read::Data(n) = down.read(&mut buf).await.unwrap() {
            assert!(buf[..n] == expected[received..received + n]);
            received += n;
            most_charged = most_charged.max(bench.charged());
        }
        down.finish().await.unwrap();
        (received, most_charged)
    };
    let (end, (), (received, most_charged)) = tokio::join!(relay, send, receive);
    assert!(end.is_clean());
    assert_eq!(received, len);
    assert!(most_charged <= 24 * MIB as u64, "{most_charged} bytes");
}

#[tokio::test]
async fn streams_without_a_permit_for_a_spill_file_wait_for_their_readers_and_lose_nothing() {
    const LEN: usize = 2 * MIB;
    let files = FairPermits::new(4);
    let mut bench = Bench::eager(0);
    let budget = SpillBudget::of(1 << 30).with_files(files.clone());
    let spill = bench.options.spill.as_mut().unwrap();
    spill.pool = start(bench.directory.path(), budget);
    let (mut relays, mut origins) = (JoinSet::new(), JoinSet::new());
    let mut begin = |user: &str, flow: usize| {
        let ((near_down, down), (near_up, up)) = (pipe::pair_of(65_536), pipe::pair_of(65_536));
        let mut options = bench.options.clone();
        options.spill.as_mut().unwrap().user = ClientId::User(user.into());
        relays.spawn(async move {
            let (down, up) = (near_down.into_stream(), near_up.into_stream());
            relay(down, up, &options, Early::default()).await
        });
        let mut up = up.into_stream();
        origins.spawn(async move {
            up.write_all(&body(flow, LEN)).await.unwrap();
            up.finish().await.unwrap();
            assert_eq!(read_to_end(&mut up).await.unwrap(), b"");
        });
        down.into_stream()
    };
    // All of eve's readers pause: two files are hers, and two of her senders wait.
    let eve: Vec<_> = (0..4).map(|flow| begin("eve", flow)).collect();
    until(|| bench.counters.spilling() == 2).await;
    let ann = begin("ann", 4);
    until(|| bench.counters.spilling() == 3).await;
    assert_eq!(files.left(), 1);
    for (flow, mut reader) in eve.into_iter().chain([ann]).enumerate() {
        reader.finish().await.unwrap();
        assert!(read_to_end(&mut reader).await.unwrap() == body(flow, LEN));
    }
    assert!(relays.join_all().await.iter().all(End::is_clean));
    origins.join_all().await;
    until(|| files.left() == 4).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_reader_is_paused_gets_its_file_once_the_budget_has_room() {
    let bench = Bench::eager(MIB as u64);
    let (mut relays, mut origins) = (JoinSet::new(), JoinSet::new());
    let mut begin = |flow: usize| {
        let ((near_down, down), (near_up, up)) = (pipe::pair_of(4096), pipe::pair_of(65_536));
        let (down_control, options) = (down.control(), bench.options.clone());
        down_control.pause_reads();
        let relay = relays.spawn(async move {
            let (down, up) = (near_down.into_stream(), near_up.into_stream());
            relay(down, up, &options, Early::default()).await
        });
        let mut up = up.into_stream();
        origins.spawn(async move { up.write_all(&body(flow, 2 * MIB)).await });
        (down.into_stream(), relay)
    };
    // Both are flows of one user. The first one takes its share of the disk.
    let first = begin(0);
    let half = MIB as u64 / 2;
    until(|| bench.charged() == half && bench.counters.ring_bytes() >= 256 * 1024).await;
    let ring_bytes = bench.counters.ring_bytes();
    let _second = begin(1);
    until(|| bench.counters.ring_bytes() >= ring_bytes + 256 * 1024).await;
    assert_eq!(bench.counters.spills(), 1);

    // Room comes free while nothing else happens to the second one.
    first.1.abort();
    until(|| bench.charged() == 0).await;
    let begun = std::time::Instant::now();
    tokio::time::advance(Duration::from_secs(1)).await;
    until(|| {
        assert!(begun.elapsed() < HANG, "it does not try again");
        bench.counters.spills() == 2
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_reader_is_paused_gets_its_file_once_a_permit_is_free() {
    let files = FairPermits::new(1);
    let mut bench = Bench::eager(0);
    let budget = SpillBudget::of(1 << 30).with_files(files.clone());
    let spill = bench.options.spill.as_mut().unwrap();
    spill.pool = start(bench.directory.path(), budget);
    let permit = files.take(&ClientId::User("eve".into()), false).unwrap();
    let ((near_down, down), (near_up, up)) = (pipe::pair_of(4096), pipe::pair_of(65_536));
    down.control().pause_reads();
    let (near_down, near_up) = (near_down.into_stream(), near_up.into_stream());
    let relay = relay(near_down, near_up, &bench.options, Early::default());
    let mut up = up.into_stream();
    let script = async {
        let begun = std::time::Instant::now();
        until(|| bench.counters.ring_bytes() >= 256 * 1024).await;
        assert_eq!((bench.counters.spills(), bench.charged()), (0, 0));
        drop(permit);
        tokio::time::advance(Duration::from_secs(1)).await;
        until(|| {
            assert!(begun.elapsed() < HANG, "it does not try again");
            bench.counters.spills() == 1
        })
        .await;
    };
    let send = async {
        let _ = up.write_all(&body(0, 2 * MIB)).await;
        std::future::pending::<()>().await
    };
    tokio::select! {
        _ = relay => panic!("no side has ended it"),
        () = send => {}
        () = script => {}
    }
    drop(down);
}

#[tokio::test]
async fn a_stream_whose_reader_has_caught_up_leaves_its_spill_file_to_another_stream() {
    const LEN: usize = 2 * MIB;
    let files = FairPermits::new(1);
    let mut bench = Bench::eager(0);
    let budget = SpillBudget::of(1 << 30).with_files(files.clone());
    let spill = bench.options.spill.as_mut().unwrap();
    spill.pool = start(bench.directory.path(), budget);
    let mut relays = JoinSet::new();
    let mut open = Vec::new();
    for flow in 0..2 {
        let ((near_down, down), (near_up, up)) = (pipe::pair_of(65_536), pipe::pair_of(65_536));
        let options = bench.options.clone();
        relays.spawn(async move {
            let (down, up) = (near_down.into_stream(), near_up.into_stream());
            relay(down, up, &options, Early::default()).await
        });
        let (mut down, mut up) = (down.into_stream(), up.into_stream());
        let expected = body(flow, LEN);
        up.write_all(&expected).await.unwrap();
        until(|| bench.counters.spilling() == 1).await;
        assert_eq!(files.left(), 0);
        let (mut received, mut buf) = (Vec::new(), vec![0; 65_536]);
        while received.len() < LEN {
            let Read::Data(n) = down.read(&mut buf).await.unwrap() else {
                panic!("the end");
            };
            received.extend_from_slice(&buf[..n]);
        }
        assert!(received == expected);
        until(|| files.left() == 1).await;
        // The stream goes on.
        open.push((down, up));
    }
    assert_eq!(bench.counters.active(), 2);
}

#[tokio::test]
async fn queues_are_kept_short_while_memory_is_short() {
    let directory = tempfile::tempdir().unwrap();
    let pool = start(directory.path(), SpillBudget::of(0).with_memory(MIB as u64));
    let options = SpillOptions {
        engage_after: Duration::ZERO,
        ..SpillOptions::new(pool)
    };
    // There is no disk and no reader: a hundred streams fill what memory allows.
    let mut outflows: Vec<_> = (0..100)
        .map(|_| Outflow::spilling(options.clone(), None))
        .collect();
    let mut sinks: Vec<_> = outflows.iter().map(|_| pipe::pair()).collect();
    let mut streams: Vec<_> = Vec::new();
    for outflow in &mut outflows {
        let (near, far) = sinks.pop().unwrap();
        let mut near = near.into_stream();
        poll_fn(|cx| {
            for _ in 0..100 {
                let _ = outflow.poll_ready(cx).map(Result::unwrap);
                outflow.push(&[7; 8192]);
                let _ = outflow.poll_drain(cx, &mut near).map(Result::unwrap);
            }
            Poll::Ready(())
        })
        .await;
        streams.push((near, far));
    }
    let used = options.pool.budget().memory_used();
    assert!(
        used < 5 * MIB as u64,
        "{used} bytes for a hundred streams, of which a few came early"
    );
    drop(outflows);
    assert_eq!(options.pool.budget().memory_used(), 0);
}

#[tokio::test]
async fn an_outflow_reports_empty_finished_or_broken() {
    let (near, far) = pipe::pair();
    let control = far.control();
    let (mut near, mut far) = (near.into_stream(), far.into_stream());
    let mut outflow = Outflow::direct(None);
    assert_eq!(outflow.push(b"head"), 4);
    assert_eq!(
        poll_fn(|cx| outflow.poll_drain(cx, &mut near))
            .await
            .unwrap(),
        Drained::Empty
    );
    assert_eq!((outflow.is_empty(), outflow.delivered_bytes()), (true, 4));
    assert_eq!(outflow.push(b"body"), 4);
    outflow.end();
    assert_eq!(
        poll_fn(|cx| outflow.poll_drain(cx, &mut near))
            .await
            .unwrap(),
        Drained::Finished
    );
    assert_eq!(read_to_end(&mut far).await.unwrap(), b"headbody");

    let mut outflow = Outflow::direct(None);
    outflow.push(b"lost");
    control.reset(5);
    let broken = poll_fn(|cx| outflow.poll_drain(cx, &mut near)).await;
    assert!(matches!(broken, Err(DrainError::Broken(Broken::Reset(5)))));
    assert_eq!(outflow.queued_bytes(), 4);
}
