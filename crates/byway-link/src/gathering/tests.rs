//! Bundles between two nodes on loopback, and parts that no correct dialler sends.

use byway_dial::{Read, Stream};
use futures_util::future::join_all;

use super::*;
use crate::common::raw::{RawKey, connect};
use crate::common::{Listening, PATIENCE, Side as Node, dial, dialler, read_to_end, within};
use crate::key::Key;
use crate::measuring::Announcer;
use crate::wire::FEATURE_BUNDLE;
use crate::{Arrival, Carriers};

/// A dialler with a session over TLS, and both sides of the session.
async fn session(listening: &Listening) -> (crate::Dialler, Node, Node) {
    let dialler = dialler(
        listening.join(),
        Carriers::Tls,
        Key::generate().unwrap(),
        Settings::default(),
    );
    let welcoming = async { listening.pending().await.welcome().await.unwrap() };
    let (dialled, accepted) = tokio::join!(dialler.connect(1, 1, PATIENCE), welcoming);
    (dialler, Node::new(dialled.unwrap()), Node::new(accepted))
}

async fn listening() -> Listening {
    Listening::new(Key::generate().unwrap(), Settings::default()).await
}

/// The results of the next `count` connections, which are accepted at once.
async fn accepted(listening: &Listening, count: usize) -> Vec<Result<Attached, LinkError>> {
    let mut arrived = Vec::new();
    while arrived.len() < count {
        match listening.next().await.unwrap() {
            Arrival::Attach(attaching) => arrived.push(attaching.accept()),
            Arrival::Hello(_) => panic!("a hello"),
        }
    }
    within(join_all(arrived)).await
}

async fn move_both_ways(near: &mut Stream, far: &mut Stream) {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n ^ (n >> 9)) as u8).collect();
    move_one_way(near, far, &bytes).await;
    move_one_way(far, near, &bytes).await;
}

async fn move_one_way(from: &mut Stream, to: &mut Stream, bytes: &[u8]) {
    let writing = async {
        from.write_all(bytes).await.unwrap();
        from.finish().await.unwrap();
    };
    let ((), read) = tokio::join!(within(writing), read_to_end(to));
    assert!(read.unwrap() == bytes);
}

#[tokio::test]
async fn on_a_path_that_loses_packets_new_streams_had_one_connection_whichever_side_had_measured_it()
 {
    for by_dialler in [true, false] {
        let listening = listening().await;
        let (_dialler, near, far) = session(&listening).await;
        let (mut old_near, mut old_far) = {
            let (opened, (_, far)) = near.open_to(&far).await;
            (opened.stream, far)
        };
        if by_dialler {
            near.link.want_bundle(true);
        } else {
            Announcer::new(Control::WantBundle).announce(&far.link, true);
        }
        let attached = accepted(&listening, MOST_CONNECTIONS).await;
        assert!(attached.iter().all(Result::is_ok));
        within(near.link.until(Link::has_bundle)).await;
        for link in [&near.link, &far.link] {
            assert!(link.has_bundle());
            assert_eq!(link.carriers(), [CarrierKind::Tls; 2]);
            let (_, measured) = link.measured();
            assert_eq!(
                measured
                    .iter()
                    .map(|one| one.connections)
                    .collect::<Vec<_>>(),
                [1, MOST_CONNECTIONS]
            );
        }
        for (from, to) in [(&near, &far), (&far, &near)] {
            let (opened, (_, mut there)) = from.open_to(to).await;
            let mut here = opened.stream;
            move_both_ways(&mut here, &mut there).await;
        }
        // Streams that are open stay on their carrier.
        move_both_ways(&mut old_near, &mut old_far).await;
        near.link.end("over");
        for attached in attached {
            within(attached.unwrap().ended()).await;
        }
        within(far.link.ended()).await;
    }
}

#[tokio::test]
async fn a_bundle_ends_with_one_of_its_connections_and_the_session_goes_on() {
    let listening = listening().await;
    let (_dialler, near, far) = session(&listening).await;
    near.link.want_bundle(true);
    accepted(&listening, MOST_CONNECTIONS).await;
    within(near.link.until(Link::has_bundle)).await;
    let (opened, (_, _there)) = near.open_to(&far).await;
    let mut here = opened.stream;
    let bundle = far
        .link
        .measurable()
        .into_iter()
        .find(|(_, carrier, _)| carrier.is_bundle())
        .unwrap()
        .1;
    bundle.break_one_connection();
    let broken = within(async {
        loop {
            match here.read(&mut [0; 8]).await {
                Ok(Read::Fin) => panic!("a FIN"),
                Ok(Read::Data(_)) => {}
                Err(broken) => return broken,
            }
        }
    });
    assert!(matches!(broken.await, byway_dial::Broken::SessionLost));
    within(near.link.until(|link| !link.has_bundle())).await;
    within(far.link.until(|link| !link.has_bundle())).await;
    let (opened, (_, mut there)) = near.open_to(&far).await;
    let mut here = opened.stream;
    move_both_ways(&mut here, &mut there).await;
}

#[tokio::test]
async fn an_acceptor_without_bundles_gets_no_bundle_request_and_keeps_its_carrier() {
    let features = wire::FEATURES & !FEATURE_BUNDLE;
    let settings = Settings {
        features,
        ..Settings::default()
    };
    let listening = Listening::new(Key::generate().unwrap(), settings).await;
    let (dialler, near, far) = session(&listening).await;
    assert!(!near.link.has(FEATURE_BUNDLE));
    // Tries a bundle nevertheless.
    let error = within(dialler.by_bundle(&near.link))
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(!near.link.is_over() && !far.link.is_over(), "{error}");
    let (opened, (_, mut there)) = near.open_to(&far).await;
    let mut here = opened.stream;
    move_both_ways(&mut here, &mut there).await;
}

/// A connection that sends this message and nothing else.
async fn says(listening: &Listening, key: &RawKey, control: Control) -> Tls {
    let mut tls = connect(dial(listening).await, key.dialling(&["byway/1-bundle"]))
        .await
        .unwrap();
    send(&mut tls, control).await.unwrap();
    tls
}

/// The refusal that it receives, once the arrival is accepted or refused at once.
async fn refused(listening: &Listening, tls: &mut Tls) -> Refusal {
    if let Ok(Arrival::Attach(attaching)) = listening.next().await {
        assert!(within(attaching.accept()).await.is_err());
    }
    match within(hear(tls)).await.unwrap() {
        Control::Refused(refused) => Refusal::from_number(refused.why),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_invalid_part_is_refused_and_takes_no_slot() {
    let listening = listening().await;
    let key = RawKey::generate();
    let (_peer, (link, _inbox), session) = crate::common::raw_session(&listening, &key).await;
    let part = |part, parts| Part {
        session: session.clone(),
        bundle: 7,
        part,
        parts,
    };
    let cases = [
        (
            Control::Part(Part {
                session: vec![1; 16],
                ..part(0, 4)
            }),
            Refusal::Gone,
        ),
        (
            Control::Part(Part {
                session: vec![],
                ..part(0, 4)
            }),
            Refusal::Gone,
        ),
        (Control::Part(part(4, 4)), Refusal::Protocol),
        (Control::Part(part(0, 1)), Refusal::Protocol),
        (Control::Part(part(0, 0)), Refusal::Protocol),
        (Control::Part(part(0, 5)), Refusal::Protocol),
        (Control::Part(part(u32::MAX, u32::MAX)), Refusal::Protocol),
        (Control::Ping(1), Refusal::Protocol),
    ];
    for (control, why) in cases {
        let mut tls = says(&listening, &key, control.clone()).await;
        assert_eq!(refused(&listening, &mut tls).await, why, "{control:?}");
    }
    // Another key, with the session's id.
    let mut thief = says(&listening, &RawKey::generate(), Control::Part(part(0, 4))).await;
    assert_eq!(refused(&listening, &mut thief).await, Refusal::Gone);
    assert!(link.gathering().lock().is_none() && link.has_place());
}

#[tokio::test]
async fn one_bundle_is_gathered_at_a_time_and_an_abandoned_one_leaves_nothing_behind() {
    let listening = listening().await;
    let key = RawKey::generate();
    let (_peer, (link, _inbox), session) = crate::common::raw_session(&listening, &key).await;
    let part = |bundle, part, parts| {
        Control::Part(Part {
            session: session.clone(),
            bundle,
            part,
            parts,
        })
    };
    let mut first = says(&listening, &key, part(7, 0, 2)).await;
    let Ok(Arrival::Attach(attaching)) = listening.next().await else {
        panic!("no part")
    };
    let mut waiting = Box::pin(attaching.accept());
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    let others = [
        (part(8, 0, 2), Refusal::Busy),
        (part(7, 0, 2), Refusal::Protocol),
        (part(7, 1, 3), Refusal::Protocol),
    ];
    for (control, why) in others {
        let mut tls = says(&listening, &key, control.clone()).await;
        assert_eq!(refused(&listening, &mut tls).await, why, "{control:?}");
    }
    assert!(
        futures_util::poll!(waiting.as_mut()).is_pending(),
        "the other parts ended it"
    );
    drop(waiting);
    assert!(link.gathering().lock().is_none());
    assert!(within(hear(&mut first)).await.is_err(), "it was not closed");
    let places: Vec<_> = std::iter::from_fn(|| link.reserve().ok()).collect();
    assert_eq!(places.len(), 3, "a slot is still taken");
}

#[tokio::test]
async fn a_part_is_refused_in_a_session_without_a_free_slot() {
    let listening = listening().await;
    let key = RawKey::generate();
    let (_peer, (link, _inbox), session) = crate::common::raw_session(&listening, &key).await;
    let _places: Vec<_> = std::iter::from_fn(|| link.reserve().ok()).collect();
    let part = Part {
        session,
        bundle: 7,
        part: 0,
        parts: 2,
    };
    let mut tls = says(&listening, &key, Control::Part(part)).await;
    assert_eq!(refused(&listening, &mut tls).await, Refusal::Busy);
}
