//! Relaying: how streams end, by FIN or reset, and which of the two each side receives.

use byway_testkit::{Ending, Gate, Origin, Program, Visitor};

use super::*;

/// One way to open a stream to an origin.
type Way = (&'static str, fn(SocketAddr, SocketAddr) -> Visitor);

const WAYS: [Way; 2] = [("SOCKS5", through_socks5), ("CONNECT", through_connect)];

/// Runs `check` through SOCKS, CONNECT and a TCP forward to this origin.
#[track_caller]
fn each_way(origin: &Origin, mut check: impl FnMut(&str, Visitor)) {
    let program = egress(&OPEN);
    for (name, through) in WAYS {
        check(name, through(program.address(), origin.address()));
    }
    let forward = forward(origin);
    check("forward", Visitor::connect(forward.address()));
}

fn forward(origin: &Origin) -> Program {
    Program::configured(
        BYWAY,
        &format!(
            "[[tcp]]\nlisten = \"127.0.0.1:0\"\nto = \"{}\"\n",
            origin.address()
        ),
    )
}

#[test]
fn a_fin_of_the_visitor_is_forwarded_and_the_answer_still_arrives() {
    let origin = Origin::scripted(|visitor| {
        let (bytes, ending) = visitor.to_end();
        visitor.send(format!("{} bytes, then {ending:?}", bytes.len()));
    });
    each_way(&origin, |way, mut visitor| {
        visitor.send(vec![7; 300_000]).finish();
        let (answer, ending) = visitor.to_end();
        assert_eq!(
            (String::from_utf8(answer).unwrap().as_str(), ending),
            ("300000 bytes, then Fin", Ending::Fin),
            "{way}"
        );
    });
}

#[test]
fn a_fin_of_the_origin_is_forwarded_and_the_upload_continues() {
    let origin = Origin::scripted(|visitor| {
        visitor.send("early goodbye").finish();
        visitor.remember_to_end();
    });
    let mut ways = 0;
    each_way(&origin, |way, mut visitor| {
        assert_eq!(
            visitor.to_end(),
            (b"early goodbye".to_vec(), Ending::Fin),
            "{way}"
        );
        visitor.send("late words").finish();
        let seen = origin.wait_for_requests(ways + 1)[ways].clone();
        assert_eq!(
            (seen.text().as_str(), seen.head.as_str()),
            ("late words", "Fin"),
            "{way}"
        );
        ways += 1;
    });
}

#[test]
fn a_reset_of_the_visitor_is_a_reset_for_the_origin() {
    let origin = Origin::greeting();
    let mut ways = 0;
    each_way(&origin, |way, mut visitor| {
        visitor.expect("hello");
        visitor.reset();
        assert_eq!(
            origin.wait_for_requests(ways + 1)[ways].head,
            "Reset",
            "{way}"
        );
        ways += 1;
    });
}

#[test]
fn a_reset_of_the_origin_is_a_reset_for_the_visitor_and_never_looks_like_an_end() {
    let origin = Origin::resetting_after(2);
    each_way(&origin, |way, mut visitor| {
        visitor.send("go");
        assert_eq!(visitor.ended(), Ending::Reset, "{way}");
    });
}

#[test]
fn a_reset_of_the_visitor_is_noticed_while_the_origin_is_back_pressured() {
    let origin = Origin::sending_until_reset();
    let program = Program::configured(
        BYWAY,
        "[spill]\nmode = \"off\"\n[[proxy]]\nlisten = \"127.0.0.1:0\"\n[[proxy.rule]]\naction = \"allow\"\ncidr = \"127.0.0.0/8\"\n",
    );
    for (_, through) in WAYS {
        let mut visitor = through(program.address(), origin.address());
        visitor.exactly(1000);
        visitor.reset();
    }
    origin.wait_for_ended(2);
}

#[test]
fn an_unread_upload_blocks_its_sender_and_arrives_complete_later() {
    let read_on = Gate::new();
    let go = read_on.clone();
    let origin = Origin::scripted(move |visitor| {
        go.wait();
        visitor.remember_to_end();
    });
    let program = egress(&OPEN);
    let mut visitor = through_socks5(program.address(), origin.address());
    let all = vec![9; 128 * 1024 * 1024];
    let taken = visitor.send_until_full(&all, std::time::Duration::from_millis(300));
    assert!(
        taken < all.len() / 2,
        "{taken} bytes were taken and not read"
    );
    read_on.open();
    visitor.send(&all[taken..]).finish();
    assert_eq!(origin.wait_for_requests(1)[0].body.len(), all.len());
}

#[test]
fn a_half_closed_flow_without_bytes_ends_after_its_timeout() {
    let origin = Origin::scripted(|visitor| visitor.remember_to_end());
    let program = egress_with("[limits]\nhalf_closed_idle = \"200ms\"");
    let origin_that_waits = Origin::scripted(|visitor| {
        visitor.finish();
        visitor.hold();
    });
    let mut open = through_socks5(program.address(), origin.address());
    let mut half = through_socks5(program.address(), origin_that_waits.address());
    half.to_end();
    origin_that_waits.wait_for_ended(1);
    open.send("an open one has no such limit").finish();
    assert_eq!(origin.wait_for_requests(1)[0].head, "Fin");
}

#[test]
fn a_silent_tunnel_and_a_silent_forward_end_by_the_idle_limit_and_the_log_has_the_reason() {
    let origin = Origin::scripted(|visitor| visitor.remember_to_end());
    let target = origin.address();
    let rule = "[[proxy.rule]]\naction = \"allow\"\ncidr = \"127.0.0.0/8\"\n";
    let program = Program::configured(
        BYWAY,
        &format!(
            "[limits]\nidle = \"200ms\"\n[log]\naccess = \"stdout\"\naccess_format = \"json\"\n[[proxy]]\nname = \"proxy\"\nlisten = \"127.0.0.1:0\"\n{rule}\
             [[tcp]]\nname = \"forward\"\nlisten = \"127.0.0.1:0\"\nto = \"{target}\"\n"
        ),
    );
    let proxy = program.address_of("proxy");
    let mut silent = [
        through_socks5(proxy, target),
        through_connect(proxy, target),
        Visitor::connect(program.address_of("forward")),
    ];
    for visitor in &mut silent {
        assert_eq!(visitor.ended(), Ending::Reset);
    }
    origin.wait_for_ended(3);
    assert!(program.stop().stdout.matches("\"idle\"").count() >= 3);
}

#[test]
fn a_forward_whose_target_refuses_resets_its_visitor() {
    let (refusing, _socket) = Origin::refusing();
    let program = Program::configured(
        BYWAY,
        &format!("[[tcp]]\nlisten = \"127.0.0.1:0\"\nto = \"{refusing}\"\n"),
    );
    assert_eq!(Visitor::connect(program.address()).ended(), Ending::Reset);
    program.wait_for_log("refused");
}

#[test]
fn an_exchange_in_absolute_form_is_answered_after_a_fin_too() {
    let origin = Origin::useful();
    let program = egress(&OPEN);
    let mut visitor = Visitor::connect(program.address());
    visitor
        .send(format!(
            "GET http://{}/bytes/100000 HTTP/1.1\r\nHost: x\r\n\r\n",
            origin.address()
        ))
        .finish();
    assert_eq!(visitor.response().body.len(), 100_000);
    assert_eq!(visitor.ended(), Ending::Fin);
}

#[test]
fn a_drain_cuts_tunnels_at_its_deadline() {
    let origin = Origin::echo();
    let program = egress_with("[drain]\ndeadline = \"200ms\"");
    let mut tunnel = through_socks5(program.address(), origin.address());
    tunnel.send("x").expect("x");
    let finished = program.stop();
    assert_eq!(tunnel.ended(), Ending::Reset);
    assert!(
        finished.code.is_some() && finished.stderr.contains("deadline"),
        "{}",
        finished.stderr
    );
}

#[test]
fn two_hundred_tunnels_at_once_echo_each_to_its_own() {
    let origin = Origin::echo();
    let program = egress(&OPEN);
    let mut visitors: Vec<_> = (0..200)
        .map(|n| WAYS[n % 2].1(program.address(), origin.address()))
        .collect();
    for round in 0..3 {
        for (n, visitor) in visitors.iter_mut().enumerate() {
            visitor.send(format!("round {round} of {n:04}"));
        }
        for (n, visitor) in visitors.iter_mut().enumerate() {
            visitor.expect(format!("round {round} of {n:04}"));
        }
    }
    for visitor in &mut visitors {
        visitor.finish();
        assert_eq!(visitor.ended(), Ending::Fin);
    }
    origin.wait_for_ended(200);
}
