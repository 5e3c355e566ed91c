//! Drivers over in-memory pipes: between two of ours, and against peers that do not speak the
//! protocol.

use byway_dial::{AsIo, Stream};
use byway_testkit::pipe;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::super::frame::{FrameKind, MOST_PAYLOAD_BYTES, with_number};
use super::*;
use crate::carrier::PendingCarrier;
use crate::connections::Connections;
use crate::fair_budget::Limits;

/// The timeout of anything that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<T>(waiting: impl Future<Output = T>) -> T {
    timeout(PATIENCE, waiting).await.expect("timed out")
}

impl Transport for AsIo {}

fn budget() -> Arc<FairBudget> {
    FairBudget::node(Limits::both(1 << 30))
}

/// A carrier whose peer is the test, with `most_bytes` between them in each direction.
fn against_a_test(
    side: Side,
    streams: u32,
    most_bytes: usize,
) -> (MuxCarrier, MuxStream, Driver<AsIo>, Stream) {
    let (near, far) = pipe::pair_of(most_bytes);
    let (carrier, control, driver) = MuxCarrier::new(AsIo(near.into_stream()), side, budget());
    carrier.admit(streams);
    (carrier, control, driver, far.into_stream())
}

fn frame(kind: FrameKind, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Header {
        kind,
        stream,
        length: payload.len(),
    }
    .encode()
    .to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

async fn write(stream: &MuxStream, mut bytes: &[u8]) -> Result<(), Broken> {
    while !bytes.is_empty() {
        let n = poll_fn(|cx| stream.poll_write(cx, &[IoSlice::new(bytes)])).await?;
        bytes = &bytes[n..];
    }
    Ok(())
}

async fn read_to_end(stream: &MuxStream) -> Result<Vec<u8>, Broken> {
    let (mut all, mut room) = (Vec::new(), vec![0; 3000]);
    loop {
        match poll_fn(|cx| stream.poll_read(cx, &mut room)).await? {
            Read::Data(n) => all.extend_from_slice(&room[..n]),
            Read::Fin => return Ok(all),
        }
    }
}

/// How a carrier ends whose peer sends just this and then FIN, for all sizes of the pipe between
/// them.
async fn end_of(control: &[u8]) -> MuxError {
    let mut ends = Vec::new();
    for most_bytes in [1, pipe::CAPACITY_BYTES, 1 << 20] {
        let (carrier, _control, driver, mut peer) = against_a_test(Side::Acceptor, 10, most_bytes);
        let saying = async {
            // A peer that violates the protocol may be cut off early.
            if peer.write_all(control).await.is_ok() {
                let _ = peer.finish().await;
            }
            std::future::pending::<()>().await;
        };
        let end = within(async {
            tokio::select! {
                biased;
                end = driver => end,
                () = saying => unreachable!("it sends nothing more"),
            }
        })
        .await;
        // Nothing waits on it indefinitely, however it ends.
        while within(carrier.accept()).await.is_some() {}
        assert!(carrier.open(b"").is_err());
        ends.push(end);
    }
    let texts: Vec<String> = ends.iter().map(ToString::to_string).collect();
    assert!(
        texts.iter().all(|text| *text == texts[0]),
        "it depends on the pipe: {texts:?}"
    );
    ends.remove(0)
}

#[tokio::test]
async fn everything_arrives_through_a_pipe_of_eight_bytes() {
    let (near, far) = pipe::streams();
    let (near, near_control, near_driver) = MuxCarrier::new(AsIo(near), Side::Dialler, budget());
    let (far, far_control, far_driver) = MuxCarrier::new(AsIo(far), Side::Acceptor, budget());
    near.admit(100);
    far.admit(100);
    let echoing = async {
        let mut echoes = Vec::new();
        for _ in 0..5_u8 {
            let stream = far.accept().await.unwrap();
            echoes.push(async move {
                let all = read_to_end(&stream).await.unwrap();
                write(&stream, &all).await.unwrap();
                stream.finish().unwrap();
                // The other side has finished too: nothing is reset.
                drop(stream);
            });
        }
        futures_util::future::join_all(echoes).await;
        assert_eq!(
            poll_fn(|cx| far_control.poll_read(cx, &mut [0; 8]))
                .await
                .unwrap(),
            Read::Data(4)
        );
        write(&far_control, b"pong").await.unwrap();
    };
    let asking = async {
        let asks = (0..5_u8).map(|number| {
            let stream = near.open(&[number]).unwrap();
            async move {
                let bytes: Vec<u8> = (0..40_000_u32)
                    .map(|place| (place % 251) as u8 ^ number)
                    .collect();
                write(&stream, &bytes).await.unwrap();
                stream.finish().unwrap();
                let echo = read_to_end(&stream).await.unwrap();
                assert!(
                    echo[0] == number && echo[1..] == bytes,
                    "the echo of stream {number} differs"
                );
            }
        });
        futures_util::future::join_all(asks).await;
        write(&near_control, b"ping").await.unwrap();
        assert_eq!(
            poll_fn(|cx| near_control.poll_read(cx, &mut [0; 8]))
                .await
                .unwrap(),
            Read::Data(4)
        );
    };
    within(async {
        tokio::select! {
            _ = async { tokio::join!(echoing, asking) } => {}
            end = near_driver => panic!("{end}"),
            end = far_driver => panic!("{end}"),
        }
    })
    .await;
    assert_eq!((near.0.lock().count(), far.0.lock().count()), (0, 0));
}

#[tokio::test]
async fn a_peer_of_another_protocol_ends_the_carrier_with_a_clear_error() {
    let end = end_of(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n").await;
    assert!(
        matches!(end, MuxError::Violation(Violation::Kind(b'G'))),
        "{end}"
    );
    assert_eq!(
        end.to_string(),
        "the other side broke the protocol: a frame of the unknown kind 71"
    );
}

#[tokio::test]
async fn an_end_between_two_frames_is_a_close_and_within_one_it_is_not() {
    let open = frame(FrameKind::Open, 1, b"hello");
    assert!(matches!(end_of(b"").await, MuxError::Closed));
    assert!(matches!(end_of(&open).await, MuxError::Closed));
    for length in 1..open.len() {
        let end = end_of(&open[..length]).await;
        assert!(
            matches!(&end, MuxError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof),
            "cut at {length}: {end}"
        );
    }
    // The same within a skipped payload: stream 1 is reset, and what follows is skipped.
    let skipped = [
        open,
        with_number(FrameKind::Reset, 1, 0).to_vec(),
        frame(FrameKind::Data, 1, &[0; 9000]),
    ]
    .concat();
    let end = end_of(&skipped[..skipped.len() - 1]).await;
    assert!(
        matches!(&end, MuxError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof),
        "{end}"
    );
}

#[tokio::test]
async fn a_frame_that_is_too_long_is_refused_by_its_header() {
    let mut header = Header {
        kind: FrameKind::Data,
        stream: CONTROL,
        length: 0,
    }
    .encode();
    header[1..4].copy_from_slice(&[255; 3]);
    let (_carrier, _control, driver, mut peer) =
        against_a_test(Side::Acceptor, 10, pipe::CAPACITY_BYTES);
    // No byte of the payload is sent, and no end.
    within(peer.write_all(&header)).await.unwrap();
    let end = within(driver).await;
    assert!(
        matches!(
            end,
            MuxError::Violation(Violation::Length {
                length: 0xff_ffff,
                ..
            })
        ),
        "{end}"
    );
    // Within the bounds of a frame, beyond those of a stream.
    for kind in [FrameKind::Open, FrameKind::Data] {
        let (_carrier, _control, driver, mut peer) =
            against_a_test(Side::Acceptor, 10, pipe::CAPACITY_BYTES);
        let stream = if kind == FrameKind::Open { 1 } else { CONTROL };
        let header = Header {
            kind,
            stream,
            length: MOST_PAYLOAD_BYTES,
        }
        .encode();
        within(peer.write_all(&header)).await.unwrap();
        let end = within(driver).await;
        assert!(
            matches!(end, MuxError::Violation(Violation::Credit)),
            "{end}"
        );
    }
}

#[tokio::test]
async fn frames_of_a_peer_that_does_not_read_are_still_received() {
    let (carrier, _control, driver, mut peer) =
        against_a_test(Side::Acceptor, 10, pipe::CAPACITY_BYTES);
    let full = carrier.open(&[7; 30_000]).unwrap();
    let hearing = async {
        peer.write_all(&frame(FrameKind::Open, 1, b"hello"))
            .await
            .unwrap();
        peer.write_all(&frame(FrameKind::Fin, 1, b""))
            .await
            .unwrap();
        let heard = carrier.accept().await.unwrap();
        assert_eq!(read_to_end(&heard).await.unwrap(), b"hello");
        // A reset reaches a task that waits for room.
        peer.write_all(&with_number(FrameKind::Stop, 2, 5))
            .await
            .unwrap();
        assert!(matches!(
            poll_fn(|cx| full.poll_broken(cx)).await,
            Broken::Reset(5)
        ));
    };
    within(async {
        tokio::select! {
            () = hearing => {}
            end = driver => panic!("{end}"),
        }
    })
    .await;
}

/// A burst that requires more replies than may be queued, and a peer that reads them at once:
/// nothing else woke the driver to read on.
#[tokio::test]
async fn a_burst_of_refused_streams_does_not_stall_the_carrier() {
    const STREAMS: u32 = 40_000;
    let (_carrier, _control, driver, mut peer) = against_a_test(Side::Acceptor, 0, 4 << 20);
    let opens: Vec<u8> = (0..STREAMS)
        .flat_map(|place| frame(FrameKind::Open, 2 * place + 1, b""))
        .collect();
    let asking = async {
        peer.write_all(&opens).await.unwrap();
        let (mut left, mut room) = (STREAMS as usize * 2 * (HEADER_BYTES + 4), vec![0; 65_536]);
        while left > 0 {
            match peer.read(&mut room).await.unwrap() {
                Read::Data(n) => left -= n,
                Read::Fin => panic!("{left} bytes are missing"),
            }
        }
    };
    within(async {
        tokio::select! {
            () = asking => {}
            end = driver => panic!("{end}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_carrier_that_is_ended_closes_its_connection() {
    let (carrier, _control, driver, mut peer) =
        against_a_test(Side::Acceptor, 10, pipe::CAPACITY_BYTES);
    let stream = carrier.open(b"").unwrap();
    carrier.lose();
    assert!(matches!(within(driver).await, MuxError::Closed));
    assert!(matches!(
        within(read_to_end(&stream)).await,
        Err(Broken::SessionLost)
    ));
    assert!(matches!(
        within(peer.read(&mut [0; 64])).await,
        Err(Broken::Reset(0))
    ));
}

#[tokio::test]
async fn a_driver_that_is_dropped_loses_its_streams() {
    let (carrier, _control, driver, _peer) =
        against_a_test(Side::Acceptor, 10, pipe::CAPACITY_BYTES);
    let stream = carrier.open(b"").unwrap();
    drop(driver);
    assert!(matches!(
        within(poll_fn(|cx| stream.poll_broken(cx))).await,
        Broken::SessionLost
    ));
    assert!(within(carrier.accept()).await.is_none());
}

#[tokio::test]
async fn a_carrier_whose_stream_numbers_are_used_up_ends() {
    for side in [Side::Dialler, Side::Acceptor] {
        let (mux, _control, _driver, _peer) = against_a_test(side, 10, pipe::CAPACITY_BYTES);
        mux.0.lock().leave_one_number();
        let carrier =
            PendingCarrier::mux(mux, Connections::default(), None, &TaskTracker::new()).admit(10);
        carrier.open(b"").await.unwrap();
        assert!(carrier.open(b"").await.is_err());
        within(carrier.ended()).await;
        assert_eq!(
            carrier.reason(),
            "every stream number of the connection was used once"
        );
    }
}
