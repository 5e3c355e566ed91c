//! The relay's contract, one guarantee per test.
#![allow(clippy::unwrap_used)]

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use byway_dial::{Broken, Pipe, Read, Stream};
use byway_relay::{
    Early, EndKind, Rate, RelayCounters, RelayOptions, RelayedBytes, Side, buffer, relay,
};
use byway_testkit::pipe::{self, Control};
use futures_util::poll;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A relay's two streams and the far ends of both, in memory.
struct Bench {
    near: (Stream, Stream),
    down: Stream,
    up: Stream,
    down_control: Control,
    up_control: Control,
}

impl Bench {
    fn new() -> Self {
        Self::with_capacity(pipe::CAPACITY_BYTES)
    }

    fn with_capacity(bytes: usize) -> Self {
        let ((near_down, down), (near_up, up)) = (pipe::pair_of(bytes), pipe::pair_of(bytes));
        let (down_control, up_control) = (down.control(), up.control());
        Self {
            near: (near_down.into_stream(), near_up.into_stream()),
            down: down.into_stream(),
            up: up.into_stream(),
            down_control,
            up_control,
        }
    }
}

async fn tcp_pair() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (far, near) = tokio::join!(TcpStream::connect(address), listener.accept());
    (Stream::tcp(near.unwrap().0), Stream::tcp(far.unwrap()))
}

async fn read_to_end(stream: &mut Stream) -> Result<Vec<u8>, Broken> {
    let (mut received, mut buf) = (Vec::new(), vec![0; 65_536]);
    while let Read::Data(n) = stream.read(&mut buf).await? {
        received.extend_from_slice(&buf[..n]);
    }
    Ok(received)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn fin_forwards_the_fin_only_and_keeps_the_other_direction() {
    let Bench {
        near,
        mut down,
        mut up,
        ..
    } = Bench::new();
    let script = async {
        down.write_all(b"request").await.unwrap();
        down.finish().await.unwrap();
        assert_eq!(read_to_end(&mut up).await.unwrap(), b"request");
        let response = pattern(100_000);
        let answer = async {
            up.write_all(&response).await.unwrap();
            up.finish().await.unwrap();
        };
        let ((), received) = tokio::join!(answer, read_to_end(&mut down));
        assert!(received.unwrap() == response);
    };
    let (end, ()) = tokio::join!(
        relay(near.0, near.1, &RelayOptions::default(), Early::default()),
        script
    );
    assert_eq!((end.who, end.kind), (Side::Downstream, EndKind::Fin));
    assert_eq!(
        end.bytes,
        RelayedBytes {
            up: 7,
            down: 100_000
        }
    );
}

#[tokio::test]
async fn data_precedes_fin() {
    let Bench {
        near,
        mut down,
        mut up,
        up_control,
        ..
    } = Bench::new();
    up_control.pause_reads();
    let script = async {
        let body = pattern(5_000);
        down.write_all(&body).await.unwrap();
        down.finish().await.unwrap();
        up_control.resume_reads();
        assert_eq!(read_to_end(&mut up).await.unwrap(), body);
        up.finish().await.unwrap();
        assert_eq!(read_to_end(&mut down).await.unwrap(), b"");
    };
    let (end, ()) = tokio::join!(
        relay(near.0, near.1, &RelayOptions::default(), Early::default()),
        script
    );
    assert!(end.is_clean());
}

#[tokio::test]
async fn bytes_that_a_handshake_had_read_go_first_in_both_directions() {
    let Bench {
        near,
        mut down,
        mut up,
        ..
    } = Bench::new();
    let early = Early {
        from_downstream: pattern(20_000),
        from_upstream: b"banner ".to_vec(),
    };
    let script = async {
        let from_down = async {
            down.write_all(b"then this").await.unwrap();
            down.finish().await.unwrap();
            read_to_end(&mut down).await.unwrap()
        };
        let from_up = async {
            up.write_all(b"and more").await.unwrap();
            up.finish().await.unwrap();
            read_to_end(&mut up).await.unwrap()
        };
        tokio::join!(from_down, from_up)
    };
    let (end, (at_down, at_up)) = tokio::join!(
        relay(near.0, near.1, &RelayOptions::default(), early),
        script
    );
    assert_eq!(at_down, b"banner and more");
    assert_eq!(at_up, [pattern(20_000), b"then this".to_vec()].concat());
    assert_eq!(
        end.bytes,
        RelayedBytes {
            up: 20_009,
            down: 15
        }
    );
}

#[tokio::test]
async fn a_reset_is_noticed_while_that_direction_is_back_pressured() {
    // In memory: the upstream reads nothing, so the relay does not read from the downstream when it
    // resets.
    let Bench {
        near,
        mut down,
        mut up,
        up_control,
        down_control,
    } = Bench::new();
    let options = RelayOptions::default();
    let mut relay_in_memory = pin!(relay(near.0, near.1, &options, Early::default()));
    up_control.pause_reads();
    let mut fill = Box::pin(async {
        let _ = down.write_all(&pattern(100_000)).await;
        std::future::pending::<()>().await
    });
    for _ in 0..10_000 {
        assert!(poll!(&mut fill).is_pending() && poll!(&mut relay_in_memory).is_pending());
    }
    assert!(up_control.is_full());
    down_control.reset(3);
    let end = relay_in_memory.await;
    assert_eq!((end.who, end.kind), (Side::Downstream, EndKind::Reset));
    assert!(matches!(up.read(&mut [0; 8]).await, Err(Broken::Reset(3))));

    // On TCP, where the reset is behind unread bytes.
    let ((near_down, mut down), (near_up, mut up)) = (tcp_pair().await, tcp_pair().await);
    let script = async {
        let bytes = pattern(1 << 20);
        let mut sent_after_full = 0;
        while sent_after_full < 200 {
            let write = poll_fn(|cx| {
                Poll::Ready(down.poll_write(cx, &[IoSlice::new(&bytes)]).is_pending())
            });
            sent_after_full = if write.await { sent_after_full + 1 } else { 0 };
            tokio::task::yield_now().await;
        }
        down.reset_and_drop();
        while let Ok(Read::Data(_)) = up.read(&mut [0; 65_536]).await {}
        assert!(matches!(up.read(&mut [0; 8]).await, Ok(Read::Fin) | Err(_)));
    };
    let (end, ()) = tokio::join!(
        relay(near_down, near_up, &options, Early::default()),
        script
    );
    assert_eq!((end.who, end.kind), (Side::Downstream, EndKind::Reset));
}

#[tokio::test]
async fn a_reset_is_noticed_behind_a_fin() {
    let ((near_down, mut down), (near_up, mut up)) = (tcp_pair().await, tcp_pair().await);
    let script = async {
        down.write_all(b"bye").await.unwrap();
        down.finish().await.unwrap();
        assert_eq!(read_to_end(&mut up).await.unwrap(), b"bye");
        down.reset_and_drop();
        // The upstream has read the FIN. The reset is reported separately.
        assert!(matches!(
            poll_fn(|cx| up.poll_broken(cx)).await,
            Broken::Reset(_)
        ));
    };
    let (end, ()) = tokio::join!(
        relay(
            near_down,
            near_up,
            &RelayOptions::default(),
            Early::default()
        ),
        script
    );
    assert_eq!((end.who, end.kind), (Side::Downstream, EndKind::Reset));
}

#[tokio::test]
async fn session_loss_resets_both_at_once() {
    for lose_downstream in [true, false] {
        let Bench {
            near,
            mut down,
            mut up,
            down_control,
            up_control,
        } = Bench::new();
        let script = async {
            down.write_all(b"request").await.unwrap();
            if lose_downstream {
                down_control.lose_session();
                assert!(matches!(read_to_end(&mut up).await, Err(Broken::Reset(_))));
                assert!(up_control.peer_is_gone());
            } else {
                up_control.lose_session();
                assert!(matches!(
                    read_to_end(&mut down).await,
                    Err(Broken::Reset(_))
                ));
                assert!(down_control.peer_is_gone());
            }
        };
        let (end, ()) = tokio::join!(
            relay(near.0, near.1, &RelayOptions::default(), Early::default()),
            script
        );
        assert_eq!((end.who, end.kind), (Side::Link, EndKind::SessionLost));
    }
}

#[tokio::test]
async fn a_cancelled_relay_never_looks_like_a_finished_upload() {
    for polled in [false, true] {
        let Bench {
            near,
            mut down,
            mut up,
            ..
        } = Bench::new();
        let mut relay = Box::pin(relay(
            near.0,
            near.1,
            &RelayOptions::default(),
            Early::default(),
        ));
        down.write_all(b"half").await.unwrap();
        if polled {
            assert!(poll!(&mut relay).is_pending());
        }
        drop(relay);
        assert!(matches!(read_to_end(&mut up).await, Err(Broken::Reset(_))));
        assert!(matches!(
            read_to_end(&mut down).await,
            Err(Broken::Reset(_))
        ));
    }

    let ((near_down, mut down), (near_up, mut up)) = (tcp_pair().await, tcp_pair().await);
    let mut relay = Box::pin(relay(
        near_down,
        near_up,
        &RelayOptions::default(),
        Early::default(),
    ));
    down.write_all(b"half").await.unwrap();
    let mut buf = [0; 8];
    tokio::select! {
        _ = &mut relay => panic!("no side has ended it"),
        read = up.read(&mut buf) => assert_eq!(read.unwrap(), Read::Data(4)),
    }
    drop(relay);
    assert!(matches!(up.read(&mut buf).await, Err(Broken::Reset(_))));
    assert!(matches!(down.read(&mut buf).await, Err(Broken::Reset(_))));
}

#[tokio::test]
async fn a_relay_cancelled_after_one_fin_resets_both_sides() {
    let Bench {
        near,
        mut down,
        mut up,
        ..
    } = Bench::new();
    let mut relay = Box::pin(relay(
        near.0,
        near.1,
        &RelayOptions::default(),
        Early::default(),
    ));
    down.finish().await.unwrap();
    assert!(poll!(&mut relay).is_pending());
    assert_eq!(read_to_end(&mut up).await.unwrap(), b"");
    drop(relay);
    assert!(matches!(up.write_all(b"late").await, Err(Broken::Reset(_))));
    assert!(matches!(
        read_to_end(&mut down).await,
        Err(Broken::Reset(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn an_open_flow_without_bytes_ends_when_it_has_an_idle_limit_and_bytes_either_way_renew_it() {
    let options = RelayOptions {
        idle: Some(Duration::from_secs(3600)),
        ..RelayOptions::default()
    };
    let Bench {
        near,
        mut down,
        mut up,
        ..
    } = Bench::new();
    let flow = relay(near.0, near.1, &options, Early::default());
    let start = Instant::now();
    let script = async {
        tokio::time::sleep(Duration::from_secs(3599)).await;
        up.write_all(b"tick").await.unwrap();
        assert_eq!(down.read(&mut [0; 8]).await.unwrap(), Read::Data(4));
        tokio::time::sleep(Duration::from_secs(3599)).await;
        down.write_all(b"tock").await.unwrap();
        assert_eq!(up.read(&mut [0; 8]).await.unwrap(), Read::Data(4));
        assert!(matches!(
            down.read(&mut [0; 8]).await,
            Err(Broken::Reset(_))
        ));
        assert!(matches!(up.read(&mut [0; 8]).await, Err(Broken::Reset(_))));
    };
    let (end, ()) = tokio::join!(flow, script);
    assert_eq!((end.who, end.kind), (Side::Us, EndKind::Idle));
    let idle = start.elapsed().as_secs();
    assert!((10_798..=10_799).contains(&idle), "{idle} s");
}

#[tokio::test(start_paused = true)]
async fn a_fin_after_a_long_silence_still_has_the_whole_half_closed_time() {
    let options = RelayOptions {
        idle: Some(Duration::from_secs(3600)),
        ..RelayOptions::default()
    };
    let Bench {
        near,
        mut down,
        mut up,
        ..
    } = Bench::new();
    let flow = relay(near.0, near.1, &options, Early::default());
    let start = Instant::now();
    let script = async {
        tokio::time::sleep(Duration::from_secs(3000)).await;
        down.finish().await.unwrap();
        assert_eq!(up.read(&mut [0; 8]).await.unwrap(), Read::Fin);
        assert!(matches!(
            down.read(&mut [0; 8]).await,
            Err(Broken::Reset(_))
        ));
    };
    let (end, ()) = tokio::join!(flow, script);
    assert_eq!((end.who, end.kind), (Side::Us, EndKind::Idle));
    let idle = start.elapsed().as_secs();
    assert!((3_600..=3_601).contains(&idle), "{idle} s");
}

#[tokio::test(start_paused = true)]
async fn half_closed_flows_idle_out_and_open_ones_do_not() {
    let options = RelayOptions::default();

    let Bench {
        near,
        mut down,
        mut up,
        ..
    } = Bench::new();
    let mut open = pin!(relay(near.0, near.1, &options, Early::default()));
    assert!(
        timeout(DAY, &mut open).await.is_err(),
        "an open flow may be silent for a day"
    );

    down.finish().await.unwrap();
    let start = Instant::now();
    let script = async {
        // Bytes in the open direction restart the timeout.
        tokio::time::sleep(Duration::from_secs(599)).await;
        up.write_all(b"tick").await.unwrap();
        assert_eq!(down.read(&mut [0; 8]).await.unwrap(), Read::Data(4));
        assert!(matches!(
            down.read(&mut [0; 8]).await,
            Err(Broken::Reset(_))
        ));
        assert!(matches!(up.write_all(b"late").await, Err(Broken::Reset(_))));
    };
    let (end, ()) = tokio::join!(&mut open, script);
    assert_eq!((end.who, end.kind), (Side::Us, EndKind::Idle));
    let idle = start.elapsed().as_secs();
    assert!((1_199..=1_200).contains(&idle), "{idle} s");
}

#[tokio::test(start_paused = true)]
async fn a_fin_behind_bytes_for_a_slow_reader_does_not_idle_out() {
    let Bench {
        near,
        mut down,
        mut up,
        up_control,
        ..
    } = Bench::new();
    up_control.pause_reads();
    let mut relay = pin!(relay(
        near.0,
        near.1,
        &RelayOptions::default(),
        Early::default()
    ));
    let send = async {
        down.write_all(&pattern(1_000)).await.unwrap();
        down.finish().await.unwrap();
    };
    tokio::select! {
        _ = &mut relay => panic!("no side has ended it"),
        () = send => {}
    }
    assert!(timeout(DAY, &mut relay).await.is_err());
    up_control.resume_reads();
    let script = async {
        assert_eq!(read_to_end(&mut up).await.unwrap(), pattern(1_000));
        up.finish().await.unwrap();
    };
    let (end, ()) = tokio::join!(&mut relay, script);
    assert!(end.is_clean());
}

#[tokio::test]
async fn ten_thousand_idle_relays_hold_no_buffers() {
    let before = buffer::accounting().on_loan;
    let options = RelayOptions::default();
    let (mut relays, mut outcomes) = (FuturesUnordered::new(), Vec::new());
    for _ in 0..10_000 {
        let Bench { near, down, up, .. } = Bench::new();
        relays.push(relay(near.0, near.1, &options, Early::default()));
        outcomes.push((down, up));
    }
    for (down, up) in &mut outcomes {
        let script = async {
            let mut buf = [0; 8];
            down.write_all(b"ping").await.unwrap();
            assert_eq!(up.read(&mut buf).await.unwrap(), Read::Data(4));
            up.write_all(b"pong").await.unwrap();
            assert_eq!(down.read(&mut buf).await.unwrap(), Read::Data(4));
        };
        tokio::select! {
            _ = relays.next() => panic!("no side has ended one"),
            () = script => {}
        }
    }
    assert!(poll!(relays.next()).is_pending());
    assert_eq!(buffer::accounting().on_loan, before);
    assert!(
        buffer::accounting().free <= 2,
        "the same buffer served them all"
    );
}

#[tokio::test]
async fn one_bulk_flow_yields_its_worker_to_others() {
    let Bench {
        near,
        mut down,
        mut up,
        ..
    } = Bench::with_capacity(1 << 20);
    let mut relay = pin!(relay(
        near.0,
        near.1,
        &RelayOptions::default(),
        Early::default()
    ));
    let mut sent = 0;
    // Both pipes hold 1 MiB, so that only its own fairness stops the relay.
    while sent < 4 << 20 {
        down.write_all(&pattern(1 << 20)).await.unwrap();
        sent += 1 << 20;
        assert!(poll!(&mut relay).is_pending());
        let mut received = 0;
        let mut buf = vec![0; 1 << 20];
        while received < 1 << 20 {
            let Read::Data(n) = up.read(&mut buf).await.unwrap() else {
                panic!()
            };
            assert!(n <= 800 << 10, "a turn ended after {n} bytes");
            received += n;
            assert!(poll!(&mut relay).is_pending());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_limit_applies_where_bytes_leave() {
    let Bench {
        near,
        mut down,
        mut up,
        ..
    } = Bench::with_capacity(65_536);
    let rate = Arc::new(Rate::new(1_000_000));
    let options = RelayOptions {
        limit_down: Some(rate),
        ..RelayOptions::default()
    };
    let start = Instant::now();
    let script = async {
        let response = pattern(10_065_536);
        let answer = async {
            up.write_all(&response).await.unwrap();
            up.finish().await.unwrap();
        };
        let ((), received) = tokio::join!(answer, read_to_end(&mut down));
        assert!(received.unwrap() == response);
        down.finish().await.unwrap();
    };
    let (end, ()) = tokio::join!(relay(near.0, near.1, &options, Early::default()), script);
    assert!(end.is_clean());
    let took = start.elapsed().as_secs_f64();
    assert!((9.8..=10.2).contains(&took), "{took} s");
}

#[tokio::test]
async fn the_counters_count_active_flows_and_wasted_bytes() {
    let counters = Arc::new(RelayCounters::default());
    let options = RelayOptions {
        counters: Some(Arc::clone(&counters)),
        ..RelayOptions::default()
    };
    let Bench {
        near,
        mut down,
        up: _up,
        up_control,
        ..
    } = Bench::new();
    let mut relay = Box::pin(relay(near.0, near.1, &options, Early::default()));
    up_control.pause_reads();
    for chunk in pattern(24).chunks(8) {
        down.write_all(chunk).await.unwrap();
        assert!(poll!(&mut relay).is_pending());
    }
    assert_eq!((counters.active(), counters.bytes_up()), (1, 8));
    up_control.reset(1);
    let end = relay.await;
    assert_eq!(
        (end.who, end.kind, end.bytes.up),
        (Side::Upstream, EndKind::Reset, 8)
    );
    assert_eq!((counters.active(), counters.wasted_bytes()), (0, 16));
}

/// Marks the places where a test means "this peer is gone".
trait ResetAndDrop {
    fn reset_and_drop(self);
}

impl ResetAndDrop for Stream {
    fn reset_and_drop(mut self) {
        self.reset(0);
    }
}
