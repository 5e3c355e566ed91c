//! Bundles over in-memory pipes: between two of ours, and against peers that violate the protocol.

use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, duplex, split};
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use tokio_util::task::TaskTracker;

use super::order::{HELD_BYTES, HELD_CHUNKS};
use super::*;
use crate::fair_budget::{FairBudget, Limits};
use crate::mux::carrier::{MuxCarrier, MuxStream};
use crate::mux::core::Side;
use crate::mux::frame::{self, FrameKind};
use crate::wire::Code;

/// The timeout of anything that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<T>(waiting: impl Future<Output = T>) -> T {
    timeout(PATIENCE, waiting).await.expect("timed out")
}

/// Both ends of a bundle whose connections hold the given numbers of bytes.
fn pair(room: &[usize]) -> (Bundle<DuplexStream>, Bundle<DuplexStream>) {
    let (near, far) = room.iter().map(|room| duplex(*room)).unzip();
    (Bundle::new(near), Bundle::new(far))
}

/// A bundle whose peer is the test.
fn against_a_test(room: usize) -> (Bundle<DuplexStream>, Vec<DuplexStream>) {
    let (near, far) = (0..MOST_CONNECTIONS).map(|_| duplex(room)).unzip();
    (Bundle::new(near), far)
}

fn chunk(number: u64, bytes: &[u8]) -> Vec<u8> {
    [
        Header {
            number,
            length: bytes.len(),
        }
        .encode()
        .as_slice(),
        bytes,
    ]
    .concat()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8)
        .collect()
}

#[tokio::test]
async fn bytes_arrive_in_order_in_both_directions_over_connections_of_different_speed_and_then_the_end()
 {
    let (mut near, mut far) = pair(&[1, 700, 5_000, 100_000]);
    let (there, back) = (pattern(1_000_000), pattern(300_000));
    async fn exchange(io: &mut Bundle<DuplexStream>, say: &[u8]) -> Vec<u8> {
        let (mut from, mut to) = split(io);
        let saying = async {
            to.write_all(say).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let mut heard = Vec::new();
        let ((), read) = tokio::join!(saying, from.read_to_end(&mut heard));
        read.unwrap();
        heard
    }
    let (heard_back, heard_there) =
        within(async { tokio::join!(exchange(&mut near, &there), exchange(&mut far, &back)) })
            .await;
    assert!(
        heard_there == there && heard_back == back,
        "the bytes differ"
    );
}

#[tokio::test]
async fn a_stalled_connection_does_not_stop_the_others_from_accepting_bytes() {
    let (mut bundle, mut peer) = against_a_test(64);
    let taking = peer.split_off(1);
    // The first connection accepts nothing: it gets one chunk and no more.
    let reading: Vec<_> = taking
        .into_iter()
        .map(|mut connection| {
            Handle::current().spawn(async move {
                let mut read = Vec::new();
                connection.read_to_end(&mut read).await.unwrap();
                read.len()
            })
        })
        .collect();
    within(bundle.write_all(&pattern(1_000_000))).await.unwrap();
    drop(bundle);
    let mut read = 0;
    for reading in reading {
        read += within(reading).await.unwrap();
    }
    assert!(read > 1_000_000 - 3 * MOST_CHUNK_BYTES, "{read} bytes");
}

/// Reads all that comes on `connections`, into a channel.
fn read_all(
    connections: Vec<ReadHalf<DuplexStream>>,
    tasks: &TaskTracker,
) -> UnboundedReceiver<Vec<u8>> {
    let (parts, read) = unbounded_channel();
    for mut connection in connections {
        let parts = parts.clone();
        tasks.spawn(async move {
            let mut room = vec![0; 32 * 1024];
            while let Ok(n @ 1..) = connection.read(&mut room).await
                && parts.send(room[..n].to_vec()).is_ok()
            {}
        });
    }
    read
}

async fn write(stream: &MuxStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let n = std::future::poll_fn(|cx| stream.poll_write(cx, &[IoSlice::new(bytes)]));
        bytes = &bytes[n.await.unwrap()..];
    }
}

#[tokio::test]
async fn a_connection_that_stopped_kept_the_others_of_its_bundle_from_taking_bytes_on_a_long_path()
{
    let (bundle, mut peer) = against_a_test(64);
    let (carrier, _control, driver) = MuxCarrier::new(
        bundle,
        Side::Dialler,
        FairBudget::node(Limits::both(1 << 30)),
    );
    carrier.admit(8);
    carrier.set_round_trip(Duration::from_millis(50));
    let stream = carrier.open(&[7]).unwrap();
    let credit = frame::with_number(FrameKind::Credit, 1, 1 << 30);
    peer[1].write_all(&chunk(0, &credit)).await.unwrap();
    let tasks = TaskTracker::new();
    // The first connection is not read from.
    let (taking, _asking): (Vec<_>, Vec<_>) = peer.split_off(1).into_iter().map(split).unzip();
    let mut read = read_all(taking, &tasks);
    tasks.spawn(async move { drop(driver.await) });
    within(write(&stream, &pattern(4_000_000))).await;
    let mut bytes = 0;
    while bytes < 3_500_000 {
        bytes += within(read.recv()).await.unwrap().len();
    }
}

#[tokio::test]
async fn what_a_peer_asked_for_was_not_answered_while_one_connection_of_a_bundle_stood_still() {
    let (bundle, mut peer) = against_a_test(64);
    let (carrier, _control, driver) = MuxCarrier::new(
        bundle,
        Side::Dialler,
        FairBudget::node(Limits::both(1 << 30)),
    );
    carrier.admit(0);
    let stream = carrier.open(&[7]).unwrap();
    let tasks = TaskTracker::new();
    let (taking, mut asking): (Vec<_>, Vec<_>) = peer.split_off(1).into_iter().map(split).unzip();
    let mut read = read_all(taking, &tasks);
    write(&stream, &pattern(30_000)).await;
    tasks.spawn(async move { drop(driver.await) });
    let sent = 2 * frame::HEADER_BYTES + 1 + 30_000;
    let mut left = sent - MOST_CHUNK_BYTES + HEADER_BYTES;
    while left > 0 {
        left -= within(read.recv()).await.unwrap().len();
    }
    // A stream for which there is no room.
    let open = frame::Header {
        kind: FrameKind::Open,
        stream: 2,
        length: 0,
    };
    within(asking[0].write_all(&chunk(0, &open.encode())))
        .await
        .unwrap();
    let refusal = frame::with_number(FrameKind::Reset, 2, Code::Busy.number());
    let mut all = Vec::new();
    while !all.windows(refusal.len()).any(|part| part == refusal) {
        all.extend(within(read.recv()).await.unwrap());
    }
}

#[tokio::test]
async fn chunks_that_are_ahead_are_read_up_to_the_bound_and_all_of_them_once_the_missing_one_arrives()
 {
    let (mut bundle, mut peer) = against_a_test(1024);
    let whole = vec![7; MOST_CHUNK_BYTES];
    let chunks = 2 * HELD_BYTES / MOST_CHUNK_BYTES;
    let mut late = peer.remove(0);
    let mut ahead = peer.remove(0);
    let sending = Handle::current().spawn(async move {
        for number in 1..=chunks as u64 {
            ahead
                .write_all(&chunk(number, &vec![7; MOST_CHUNK_BYTES]))
                .await
                .unwrap();
        }
        ahead
    });
    let mut read = vec![0; (chunks + 1) * MOST_CHUNK_BYTES];
    let reading = async {
        tokio::join!(bundle.read_exact(&mut read), async {
            tokio::task::yield_now().await;
            late.write_all(&chunk(0, &whole)).await.unwrap();
        })
    };
    within(reading).await.0.unwrap();
    within(sending).await.unwrap();
}

#[tokio::test]
async fn the_memory_for_chunks_that_are_ahead_has_a_bound() {
    for length in [MOST_CHUNK_BYTES, 1] {
        let (mut bundle, mut peer) = against_a_test(1 << 24);
        let most = 2 * if length == 1 {
            HELD_CHUNKS
        } else {
            HELD_BYTES / MOST_CHUNK_BYTES
        };
        for number in 1..=most as u64 {
            let connection = &mut peer[number as usize % 3];
            connection
                .write_all(&chunk(number, &vec![7; length]))
                .await
                .unwrap();
        }
        // An in-memory pipe yields now and then.
        for _ in 0..1000 {
            assert!(waits_for_more(&mut bundle).await);
        }
        let mut left = Vec::new();
        for connection in &mut bundle.connections {
            let reading = std::future::poll_fn(|cx| {
                let mut room = vec![0; 1 << 24];
                let read = poll_read(&mut connection.io, cx, &mut room);
                Poll::Ready(if let Poll::Ready(Ok(n)) = read { n } else { 0 })
            });
            left.push(reading.await);
        }
        let (sent, left) = (most * (length + HEADER_BYTES), left.iter().sum::<usize>());
        assert!(left > sent / 3, "{left} of {sent} bytes were left unread");
    }
}

async fn waits_for_more(bundle: &mut Bundle<DuplexStream>) -> bool {
    tokio::task::yield_now().await;
    let mut room = [0; 8];
    std::future::poll_fn(|cx| {
        Poll::Ready(
            Pin::new(&mut *bundle)
                .poll_read(cx, &mut ReadBuf::new(&mut room))
                .is_pending(),
        )
    })
    .await
}

/// How reading ends when the connections carry these chunks and end.
async fn end_of(connections: [Vec<Vec<u8>>; 4]) -> io::Result<Vec<u8>> {
    let (mut bundle, mut peer) = against_a_test(1 << 20);
    for (connection, chunks) in peer.iter_mut().zip(connections) {
        connection.write_all(&chunks.concat()).await.unwrap();
        connection.shutdown().await.unwrap();
    }
    let mut read = Vec::new();
    within(bundle.read_to_end(&mut read)).await?;
    Ok(read)
}

#[tokio::test]
async fn a_peer_that_violates_the_protocol_ends_the_bundle() {
    use io::ErrorKind::{InvalidData, UnexpectedEof};

    let one = |number| chunk(number, b"x");
    assert_eq!(
        end_of([vec![one(0)], vec![one(1)], vec![], vec![]])
            .await
            .unwrap(),
        b"xx"
    );
    let cases = [
        (
            "has a lower number than the one before",
            [vec![one(1), one(0)], vec![], vec![], vec![]],
            InvalidData,
        ),
        (
            "arrives twice on one",
            [vec![one(0), one(0)], vec![], vec![], vec![]],
            InvalidData,
        ),
        (
            "arrives twice on two",
            [vec![one(0)], vec![one(0)], vec![], vec![]],
            InvalidData,
        ),
        (
            "is empty",
            [vec![chunk(0, b"")], vec![], vec![], vec![]],
            InvalidData,
        ),
        (
            "is too long",
            [
                vec![vec![0, 0, 0, 0, 0, 0, 255, 255]],
                vec![],
                vec![],
                vec![],
            ],
            InvalidData,
        ),
        (
            "never arrives",
            [vec![one(0), one(2)], vec![], vec![], vec![]],
            UnexpectedEof,
        ),
        (
            "ends in its header",
            [vec![one(0)[..5].to_vec()], vec![], vec![], vec![]],
            UnexpectedEof,
        ),
        (
            "ends in its bytes",
            [
                vec![chunk(0, b"xyz")[..10].to_vec()],
                vec![],
                vec![],
                vec![],
            ],
            UnexpectedEof,
        ),
    ];
    for (what, connections, kind) in cases {
        assert_eq!(
            end_of(connections).await.unwrap_err().kind(),
            kind,
            "a chunk that {what}"
        );
    }
}

#[tokio::test]
async fn a_missing_chunk_that_cannot_arrive_any_more_did_not_end_the_bundle() {
    let (mut bundle, mut peer) = against_a_test(1 << 22);
    let sending = async {
        for (first, connection) in (1..).zip(&mut peer) {
            let numbers = (first..200).step_by(MOST_CONNECTIONS);
            let chunks: Vec<u8> = numbers
                .flat_map(|number| chunk(number, &[7; MOST_CHUNK_BYTES]))
                .collect();
            connection.write_all(&chunks).await.unwrap();
        }
        std::future::pending::<()>().await;
    };
    let mut room = [0; 8];
    let read = within(async {
        tokio::select! {
            read = bundle.read(&mut room) => read,
            () = sending => unreachable!(),
        }
    });
    assert_eq!(read.await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_written_is_read(
        room in prop::collection::vec(1_usize..3000, 2..=MOST_CONNECTIONS),
        writes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20_000), 0..8),
        step in 1_usize..5000,
    ) {
        let read = Builder::new_current_thread().enable_time().build().unwrap().block_on(within(async {
            let (mut near, mut far) = pair(&room);
            let writing = async {
                for write in &writes {
                    near.write_all(write).await.unwrap();
                    near.flush().await.unwrap();
                }
                near.shutdown().await.unwrap();
            };
            let reading = async {
                let (mut read, mut space) = (Vec::new(), vec![0; step]);
                loop {
                    match far.read(&mut space).await.unwrap() {
                        0 => return read,
                        n => read.extend_from_slice(&space[..n]),
                    }
                }
            };
            tokio::join!(writing, reading).1
        }));
        prop_assert_eq!(read, writes.concat());
    }

    #[test]
    fn no_bytes_of_a_peer_panic(connections in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 4)) {
        Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            let each: [Vec<Vec<u8>>; 4] = std::array::from_fn(|n| vec![connections[n].clone()]);
            let _ = end_of(each).await;
        });
    }

    #[test]
    fn chunks_are_accepted_if_and_only_if_each_arrives_once_and_they_rise_on_each_connection(
        parts in prop::collection::vec((0_usize..4, 0_u64..8, 0_usize..6), 0..8),
    ) {
        let mut connections: [Vec<(u64, Vec<u8>)>; 4] = std::array::from_fn(|_| Vec::new());
        let mut all = std::collections::BTreeMap::new();
        for (connection, number, length) in &parts {
            let bytes = vec![*number as u8 + 1; *length];
            connections[*connection].push((*number, bytes.clone()));
            all.insert(*number, bytes);
        }
        let rises = connections.iter().all(|chunks| chunks.is_sorted_by(|one, next| one.0 < next.0));
        let is_each_once = all.len() == parts.len() && all.keys().copied().eq(0..parts.len() as u64);
        let has_bytes = all.values().all(|bytes| !bytes.is_empty());
        let expected = (rises && is_each_once && has_bytes).then(|| all.into_values().flatten().collect::<Vec<u8>>());
        let read = Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            end_of(connections.map(|chunks| chunks.iter().map(|(number, bytes)| chunk(*number, bytes)).collect())).await
        });
        prop_assert_eq!(read.ok(), expected);
    }
}
