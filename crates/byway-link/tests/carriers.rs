//! Carriers: one suite that runs on each carrier: the guarantees of a stream of a link.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use byway_dial::{Broken, Pipe, Read, Stream};
use byway_link::wire::{Open, OpenFault, Opened};
use byway_link::{Carriers, Code, OpenError};
use common::{Pair, read_to_end, within};

/// Runs a test on both carriers.
macro_rules! on_each_carrier {
    ($($(#[$doc:meta])* async fn $name:ident($pair:ident: Pair) $body:block)*) => {
        mod quic { $( #[tokio::test] async fn $name() { super::$name(super::Pair::new(super::Carriers::Quic).await).await; } )* }
        mod tls { $( #[tokio::test] async fn $name() { super::$name(super::Pair::new(super::Carriers::Tls).await).await; } )* }
        $( $(#[$doc])* async fn $name($pair: Pair) $body )*
    };
}

on_each_carrier! {
    async fn either_side_opens_streams_and_receives_the_far_address(pair: Pair) {
        for (from, to) in [(&pair.dialler, &pair.acceptor), (&pair.acceptor, &pair.dialler)] {
            let (opened, (open, far)) = from.open_to(to).await;
            assert_eq!((open.host.as_str(), open.port), ("example.com", 80));
            assert_eq!(opened.local, Some("192.0.2.1:4711".parse().unwrap()));
            let (mut near, mut far) = (opened.stream, far);
            near.write_all(b"question").await.unwrap();
            near.finish().await.unwrap();
            assert_eq!(read_to_end(&mut far).await.unwrap(), b"question");
            far.write_all(b"answer").await.unwrap();
            far.finish().await.unwrap();
            assert_eq!(read_to_end(&mut near).await.unwrap(), b"answer");
        }
    }

    async fn a_fin_keeps_the_other_direction(pair: Pair) {
        let (mut near, mut far) = pair.stream().await;
        near.finish().await.unwrap();
        assert_eq!(within(far.read(&mut [0; 8])).await.unwrap(), Read::Fin);
        let answering = async {
            for _ in 0..100 {
                far.write_all(&[7; 1000]).await.unwrap();
            }
            far.finish().await.unwrap();
        };
        let ((), answer) = tokio::join!(within(answering), read_to_end(&mut near));
        assert_eq!(answer.unwrap().len(), 100_000);
    }

    async fn a_reset_arrives_with_its_code_in_both_directions(pair: Pair) {
        for code in [0, 5, 77] {
            let (mut near, mut far) = pair.stream().await;
            near.reset(code);
            let broken = within(far.read(&mut [0; 8])).await.unwrap_err();
            assert!(matches!(broken, Broken::Reset(heard) if heard == code), "{broken:?}");
            let broken = within(async { loop { if let Err(broken) = far.write_all(&[0; 1000]).await { break broken } } }).await;
            assert!(matches!(broken, Broken::Reset(heard) if heard == code), "{broken:?}");
        }
    }

    async fn a_dropped_stream_is_a_reset_and_never_a_fin(pair: Pair) {
        let (mut near, mut far) = pair.stream().await;
        near.write_all(b"half an upload").await.unwrap();
        drop(near);
        let broken = read_to_end(&mut far).await.unwrap_err();
        assert!(matches!(broken, Broken::Reset(0)), "{broken:?}");
    }

    async fn a_reset_is_noticed_without_a_read(pair: Pair) {
        let (mut near, mut far) = pair.stream().await;
        near.write_all(b"unread").await.unwrap();
        near.reset(3);
        let broken = within(std::future::poll_fn(|cx| far.poll_broken(cx))).await;
        assert!(matches!(broken, Broken::Reset(3)), "{broken:?}");
    }

    async fn a_reset_is_noticed_without_a_read_after_our_fin(pair: Pair) {
        let (mut near, mut far) = pair.stream().await;
        far.finish().await.unwrap();
        assert_eq!(within(near.read(&mut [0; 8])).await.unwrap(), Read::Fin);
        near.write_all(b"unread").await.unwrap();
        let watching = std::future::poll_fn(|cx| far.poll_broken(cx));
        let resetting = async {
            // The far side has received everything by now, and watches.
            near.write_all(b"more").await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            near.reset(3);
        };
        let (broken, ()) = tokio::join!(within(watching), resetting);
        assert!(matches!(broken, Broken::Reset(3)), "{broken:?}");
    }

    async fn a_watched_stream_is_read_to_its_end_and_leaves_nothing_behind(pair: Pair) {
        let (mut near, mut far) = pair.stream().await;
        near.write_all(b"all").await.unwrap();
        near.finish().await.unwrap();
        let watching = std::future::poll_fn(|cx| far.poll_broken(cx));
        assert!(tokio::time::timeout(Duration::from_millis(50), watching).await.is_err(), "nothing is broken");
        assert_eq!(read_to_end(&mut far).await.unwrap(), b"all");
        far.finish().await.unwrap();
        assert_eq!(within(near.read(&mut [0; 8])).await.unwrap(), Read::Fin);
    }

    async fn a_stream_closed_in_order_delivers_what_was_written(pair: Pair) {
        let (mut near, mut far) = pair.stream().await;
        near.write_all(&[9; 20_000]).await.unwrap();
        near.close_on_drop();
        drop(near);
        assert_eq!(read_to_end(&mut far).await.unwrap().len(), 20_000);
        far.finish().await.unwrap();
    }

    async fn a_stream_that_is_used_again_after_it_was_to_close_in_order_is_reset_by_a_drop(pair: Pair) {
        let (mut near, mut far) = pair.stream().await;
        near.close_on_drop();
        near.reset_on_drop();
        near.write_all(b"half an upload").await.unwrap();
        drop(near);
        let broken = read_to_end(&mut far).await.unwrap_err();
        assert!(matches!(broken, Broken::Reset(0)), "{broken:?}");
    }

    async fn the_end_of_a_session_is_the_end_of_its_streams_at_once(pair: Pair) {
        let (mut near, mut far) = pair.stream().await;
        far.write_all(b"x").await.unwrap();
        pair.dialler.link.end("over");
        let broken = within(async { loop { if let Err(broken) = near.read(&mut [0; 8]).await { break broken } } }).await;
        assert!(matches!(broken, Broken::SessionLost), "{broken:?}");
        let broken = within(std::future::poll_fn(|cx| far.poll_broken(cx))).await;
        assert!(matches!(broken, Broken::SessionLost), "{broken:?}");
        within(pair.acceptor.link.ended()).await;
        assert!(matches!(pair.acceptor.open().await, Err(OpenError::Lost)));
    }

    async fn a_refused_target_is_reported_with_its_code_and_detail(pair: Pair) {
        let refusing = async {
            let (_, asked) = pair.acceptor.next_asked().await;
            asked.refused(OpenFault { code: Code::Refused.number(), class: "refused".into(), detail: "no".into() }).await;
        };
        let (opened, ()) = tokio::join!(pair.dialler.open(), refusing);
        let Err(OpenError::Fault(fault)) = opened else { panic!("{opened:?}") };
        assert_eq!((Code::from_number(fault.code), fault.detail.as_str()), (Code::Refused, "no"));
    }

    async fn thirty_unread_streams_do_not_stall_another(pair: Pair) {
        let mut stalled = Vec::new();
        for _ in 0..30 {
            let (near, mut far) = pair.stream().await;
            // Written until the stream takes no more.
            let filled = async { loop { far.write_all(&[1; 16_384]).await.unwrap() } };
            let _ = tokio::time::timeout(Duration::from_millis(20), filled).await;
            stalled.push((near, far));
        }
        let (mut near, mut far) = pair.stream().await;
        let sending = async {
            for _ in 0..500 {
                far.write_all(&[2; 16_384]).await.unwrap();
            }
            far.finish().await.unwrap();
        };
        let ((), received) = tokio::join!(within(sending), read_to_end(&mut near));
        assert_eq!(received.unwrap().len(), 500 * 16_384);
    }

    async fn many_streams_carry_their_own_bytes(pair: Pair) {
        let mut streams = Vec::new();
        for number in 0_u8..100 {
            let (mut near, mut far) = pair.stream().await;
            far.write_all(&[number; 5000]).await.unwrap();
            far.finish().await.unwrap();
            near.finish().await.unwrap();
            streams.push((number, near, far));
        }
        for (number, near, far) in &mut streams {
            assert_eq!(read_to_end(near).await.unwrap(), [*number; 5000]);
            assert_eq!(within(far.read(&mut [0; 8])).await.unwrap(), Read::Fin);
        }
        assert_eq!((pair.dialler.link.streams(), pair.acceptor.link.streams()), (100, 100));
        streams.clear();
        let gone = || pair.dialler.link.streams() == 0 && pair.acceptor.link.streams() == 0;
        within(async { while !gone() { tokio::task::yield_now().await } }).await;
    }

    async fn a_megabyte_each_way_at_once_arrives_whole(pair: Pair) {
        let (near, far) = pair.stream().await;
        async fn both(mut stream: Stream, byte: u8) -> usize {
            let (mut sent, mut received) = (0, 0);
            let mut room = vec![0; 65_536];
            let mut fin = false;
            within(std::future::poll_fn(move |cx| {
                loop {
                    let mut moved = false;
                    if sent < 1 << 20 {
                        let bytes = vec![byte; ((1 << 20) - sent).min(30_000)];
                        if let std::task::Poll::Ready(n) = stream.poll_write(cx, &[std::io::IoSlice::new(&bytes)]) {
                            sent += n.unwrap();
                            moved = true;
                            if sent == 1 << 20 {
                                assert!(stream.poll_finish(cx).is_ready());
                            }
                        }
                    }
                    if !fin && let std::task::Poll::Ready(read) = stream.poll_read(cx, &mut room) {
                        moved = true;
                        match read.unwrap() {
                            Read::Data(n) => received += n,
                            Read::Fin => fin = true,
                        }
                    }
                    if fin && sent == 1 << 20 {
                        return std::task::Poll::Ready(received);
                    }
                    if !moved {
                        return std::task::Poll::Pending;
                    }
                }
            }))
            .await
        }
        assert_eq!(tokio::join!(both(near, 1), both(far, 2)), (1 << 20, 1 << 20));
    }

    async fn a_target_that_is_too_long_is_refused_locally_and_the_session_continues(pair: Pair) {
        let open = Open { host: "x".repeat(40_000), port: 80, ..Open::default() };
        let opened = pair.dialler.link.open(&open, common::PATIENCE).await;
        let Err(OpenError::Bad(words)) = opened else { panic!("{opened:?}") };
        assert_eq!(words, "a target of 40010 bytes is too long");
        pair.stream().await;
        // A target of the greatest length that fits.
        let host = "x".repeat(4_000);
        let open = Open { host: host.clone(), port: 80, ..Open::default() };
        let answering = async {
            let (open, asked) = pair.acceptor.next_asked().await;
            assert_eq!(open.host, host);
            asked.opened(Opened::default()).await.unwrap()
        };
        let (opened, _far) = tokio::join!(pair.dialler.link.open(&open, common::PATIENCE), answering);
        assert!(opened.is_ok(), "{opened:?}");
    }

    async fn a_stream_that_was_reset_locally_is_reset_for_this_side_as_well(pair: Pair) {
        let (mut near, mut far) = pair.stream().await;
        far.write_all(b"a whole answer").await.unwrap();
        far.finish().await.unwrap();
        assert_eq!(within(near.read(&mut [0; 1])).await.unwrap(), Read::Data(1));
        near.reset(5);
        let broken = [
            within(near.read(&mut [0; 8])).await.unwrap_err(),
            within(near.write_all(b"x")).await.unwrap_err(),
            within(std::future::poll_fn(|cx| near.poll_broken(cx))).await,
        ];
        assert!(broken.iter().all(|broken| matches!(broken, Broken::Reset(5))), "{broken:?}");
    }

    async fn a_writer_with_a_full_window_is_notified_when_its_reader_closes(pair: Pair) {
        let (mut near, mut far) = pair.stream().await;
        // Written until the stream takes no more.
        let filled = async { loop { near.write_all(&[1; 16_384]).await.unwrap() } };
        let _ = tokio::time::timeout(Duration::from_millis(20), filled).await;
        far.write_all(b"enough").await.unwrap();
        assert_eq!(within(near.read(&mut [0; 6])).await.unwrap(), Read::Data(6));
        far.close_on_drop();
        drop(far);
        let broken = within(async { loop { if let Err(broken) = near.write_all(&[1; 16_384]).await { break broken } } }).await;
        assert!(matches!(broken, Broken::Reset(0)), "{broken:?}");
    }

    async fn an_open_without_an_answer_ends_at_its_deadline(pair: Pair) {
        let open = Open { host: "example.com".into(), port: 80, ..Open::default() };
        let opened = pair.dialler.link.open(&open, Duration::from_millis(50)).await;
        assert!(matches!(opened, Err(OpenError::Timeout)), "{opened:?}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_loss_and_the_congestion_window_of_a_carrier_over_tls_are_known() {
    let pair = Pair::new(Carriers::Tls).await;
    let (mut near, mut far) = pair.stream().await;
    let sending = async {
        loop {
            near.write_all(&[7; 1000]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let reading = async {
        loop {
            far.read(&mut [0; 1000]).await.unwrap();
        }
    };
    let looking = async {
        loop {
            let (_, measured) = pair.dialler.link.measured();
            if let [one] = measured[..]
                && let (Some(loss), Some(window)) = (one.loss, one.congestion_window)
            {
                return (loss, window);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (loss, window) = Box::pin(within(async {
        tokio::select! {
            () = sending => unreachable!(),
            () = reading => unreachable!(),
            seen = looking => seen,
        }
    }))
    .await;
    assert!(
        (0.0..=1.0).contains(&loss) && window >= 1000,
        "loss {loss}, {window} bytes"
    );
}
