//! Policy: which targets are allowed, and how refused clients are answered.

use byway_testkit::{Launch, Origin, Program, Visitor, curl};

use super::*;

#[test]
fn a_refused_target_is_reported_in_every_protocol() {
    let (refusing, _socket) = Origin::refusing();
    let program = egress(&OPEN);
    assert_eq!(socks5_reply(program.address(), &socks5(refusing)), 5);
    Visitor::connect(program.address())
        .send(socks4(refusing))
        .expect([0, 91]);
    for request in [
        connect(refusing),
        format!("GET http://{refusing}/ HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes(),
    ] {
        let answer = Visitor::connect(program.address()).ask(&String::from_utf8(request).unwrap());
        assert_eq!(answer.status(), 502);
        assert!(
            answer
                .field("Proxy-Status")
                .unwrap()
                .contains("error=connection_refused"),
            "{answer:?}"
        );
    }
    assert_eq!(
        curl(&[
            "--socks5",
            &program.address().to_string(),
            &format!("http://{refusing}/")
        ])
        .exit,
        97
    );
}

#[test]
fn special_addresses_are_denied_by_default_and_the_answer_has_the_reason() {
    let program = egress(&[]);
    for (target, kind) in [
        ("127.0.0.1:80", "loopback"),
        ("127.9.9.9:80", "loopback"),
        ("169.254.169.254:80", "metadata"),
        ("169.254.1.1:80", "link-local"),
        ("10.0.0.1:80", "private"),
        ("172.16.0.1:80", "private"),
        ("192.168.1.1:80", "private"),
        ("100.64.0.1:80", "carrier-grade NAT"),
        ("0.0.0.0:80", "unspecified"),
        ("255.255.255.255:80", "broadcast"),
        ("198.18.0.1:80", "benchmark"),
        ("224.0.0.1:80", "multicast"),
    ] {
        let address: SocketAddr = target.parse().unwrap();
        assert_eq!(
            socks5_reply(program.address(), &socks5(address)),
            2,
            "{target}"
        );
        Visitor::connect(program.address())
            .send(socks4(address))
            .expect([0, 91]);
        denied_by_http(&program, target, kind);
    }
    for (target, kind) in [
        ("[::1]:80", "loopback"),
        ("[::ffff:127.0.0.1]:80", "loopback"),
        ("[64:ff9b::a9fe:a9fe]:80", "metadata"),
        ("[fe80::1]:80", "link-local"),
        ("[fd00::1]:80", "unique-local"),
        ("[::]:80", "unspecified"),
        ("localhost:80", "loopback"),
    ] {
        denied_by_http(&program, target, kind);
    }
}

#[track_caller]
fn denied_by_http(program: &Program, target: &str, kind: &str) {
    let absolute = format!("GET http://{target}/ HTTP/1.1\r\nHost: x\r\n\r\n");
    for request in [String::from_utf8(connect(target)).unwrap(), absolute] {
        let answer = Visitor::connect(program.address()).ask(&request);
        assert_eq!(answer.status(), 403, "{target}: {answer:?}");
        let status = answer.field("Proxy-Status").expect("Proxy-Status");
        assert!(
            status.contains("error=destination_ip_prohibited") && status.contains(kind),
            "{target}: {status}"
        );
    }
}

#[test]
fn every_spelling_of_loopback_is_loopback() {
    let origin = Origin::useful();
    let program = egress(&[]);
    let port = origin.address().port();
    for host in [
        "127.1",
        "0x7f.0.0.1",
        "2130706433",
        "0177.0.0.1",
        "localhost.",
        "LOCALHOST",
        "127.0.0.1.",
    ] {
        let reply = socks5_reply(program.address(), &socks5_name(host, port));
        assert!(reply != 0, "{host} was let through");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_name_that_resolves_to_loopback_is_denied_and_opened_by_its_network() {
    let origin = Origin::useful();
    let port = origin.address().port();
    for (args, reply) in [
        (&[][..], 2),
        (&["--allow", "127.0.0.0/8"], 0),
        (&["--allow", "127.0.0.1"], 0),
        (&["--deny", "localhost", "--allow", "127.0.0.0/8"], 2),
        (&["--deny", "127.0.0.1", "--allow", "127.0.0.0/8"], 2),
    ] {
        assert_eq!(
            socks5_reply(egress(args).address(), &socks5_name("localhost", port)),
            reply,
            "{args:?}"
        );
    }
}

#[test]
fn a_rule_that_allows_a_name_opens_no_address_behind_it() {
    let origin = Origin::useful();
    let rule = "[[proxy.rule]]\naction = \"allow\"\nhost = \"localhost\"\n";
    let program = Program::configured(
        BYWAY,
        &format!("[[proxy]]\nlisten = \"127.0.0.1:0\"\n{rule}"),
    );
    let port = origin.address().port();
    assert_eq!(
        socks5_reply(program.address(), &socks5_name("localhost", port)),
        2
    );
}

#[test]
fn allow_opens_what_it_names_and_closes_the_rest() {
    let [one, other] = ["one", "other"].map(Origin::named);
    let only = format!("127.0.0.1:{}", one.address().port());
    let program = egress(&["--allow", &only]);
    assert_eq!(socks5_reply(program.address(), &socks5(one.address())), 0);
    assert_eq!(socks5_reply(program.address(), &socks5(other.address())), 2);
    assert_eq!(other.connections(), 0);
}

#[test]
fn a_name_that_does_not_exist_is_not_reported_as_a_refusal() {
    let program = egress(&[]);
    assert_eq!(
        socks5_reply(program.address(), &socks5_name("nowhere.invalid", 80)),
        4
    );
    let answer = Visitor::connect(program.address())
        .ask(&String::from_utf8(connect("nowhere.invalid:80")).unwrap());
    assert_eq!(answer.status(), 502);
    assert!(
        answer.field("Proxy-Status").unwrap().contains("error=dns_"),
        "{answer:?}"
    );
}

#[test]
fn rules_may_depend_on_the_user() {
    let origin = Origin::named("inside");
    let program = Program::configured(
        BYWAY,
        "[[proxy]]\nlisten = \"127.0.0.1:0\"\n\
         users = [{ name = \"alice\", password = \"a\" }, { name = \"bob\", password = \"b\" }]\n\
         [[proxy.rule]]\naction = \"allow\"\ncidr = \"127.0.0.0/8\"\nuser = \"alice\"\n",
    );
    let fetch = |user: &str| {
        let proxy = format!("http://{user}@{}", program.address());
        curl(&["-x", &proxy, &format!("http://{}/", origin.address())])
    };
    assert_eq!(fetch("alice:a").text(), "inside");
    assert_eq!(fetch("bob:b").status, 403);
    assert_eq!(fetch("alice:b").status, 407);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_parent_receives_the_name_and_its_refusal_is_passed_on() {
    let origin = Origin::named("behind two exits");
    let parent = egress(&["--user", "desk:pw", OPEN[0], OPEN[1]]);
    for scheme in ["socks5", "http"] {
        let rule = format!(
            "[[proxy.rule]]\naction = \"via\"\nvia = \"{scheme}://desk:pw@{}\"\nhost = [\"localhost\", \"nowhere.invalid\"]\n",
            parent.address()
        );
        let program = Program::configured(
            BYWAY,
            &format!("[[proxy]]\nlisten = \"127.0.0.1:0\"\n{rule}"),
        );
        let proxy = format!("socks5h://{}", program.address());
        let url = format!("http://localhost:{}/", origin.address().port());
        let fetched = curl(&["-x", &proxy, &url]);
        assert_eq!(fetched.text(), "behind two exits", "{scheme}: {fetched:?}");
        assert_ne!(
            socks5_reply(program.address(), &socks5_name("nowhere.invalid", 80)),
            0,
            "{scheme}"
        );
        assert_eq!(
            socks5_reply(program.address(), &socks5(origin.address())),
            2,
            "{scheme}: not by its address"
        );
    }
}

#[test]
fn a_public_address_without_a_password_is_refused_and_both_remedies_are_named() {
    for listen in ["0.0.0.0:0", ":0", "[::]:0"] {
        let finished = Launch::new(BYWAY, &["proxy", "--listen", listen]).run();
        assert_eq!(finished.code, Some(2), "{listen}: {}", finished.stderr);
        assert!(
            finished.stderr.contains("--user") && finished.stderr.contains("--open-to-the-world"),
            "{}",
            finished.stderr
        );
        assert!(
            !finished.stderr.contains("ready: ") && finished.stdout.is_empty(),
            "{finished:?}"
        );
    }
}

#[test]
fn a_public_address_is_served_with_a_password_or_an_explicit_flag() {
    for words in [&["--open-to-the-world"][..], &["--user", "alice:secret"]] {
        let program = Program::start(
            BYWAY,
            &[&["proxy", "--listen", "0.0.0.0:0"], words].concat(),
        );
        assert_eq!(program.stop().code, Some(0), "{words:?}");
    }
}

#[test]
fn curl_reports_a_wrong_password() {
    let origin = Origin::useful();
    let program = egress(&["--user", "alice:secret", OPEN[0], OPEN[1]]);
    let url = format!("http://{}/", origin.address());
    let proxy = |scheme: &str| format!("{scheme}://alice:wrong@{}", program.address());
    let socks = curl(&["-x", &proxy("socks5h"), &url]);
    assert_eq!((socks.exit, socks.status), (97, 0), "{socks:?}");
    let plain = curl(&["-x", &proxy("http"), &url]);
    assert_eq!((plain.exit, plain.status), (0, 407), "{plain:?}");
    let tunnel = curl(&["-p", "-x", &proxy("http"), &url]);
    assert_eq!(
        (tunnel.exit, tunnel.connect_status),
        (56, 407),
        "{tunnel:?}"
    );
    assert_eq!(origin.connections(), 0);
    assert!(
        !program.stderr().contains("wrong\"") && !program.stderr().contains("secret"),
        "{}",
        program.stderr()
    );
}

#[test]
fn the_answer_of_an_egress_does_not_name_the_address_that_a_name_has() {
    let (refusing, _socket) = Origin::refusing();
    let debug = ["--log-level", "debug"];
    let (closed, opened) = (egress(&debug), egress(&[OPEN, debug].concat()));
    for (program, target, status) in [
        (&closed, "localhost:80".to_owned(), 403),
        (&opened, format!("localhost:{}", refusing.port()), 502),
    ] {
        let absolute = format!("GET http://{target}/ HTTP/1.1\r\nHost: x\r\n\r\n");
        for request in [String::from_utf8(connect(&target)).unwrap(), absolute] {
            let answer = Visitor::connect(program.address()).ask(&request);
            let shown = format!("{answer:?}");
            assert_eq!(answer.status(), status, "{shown}");
            assert!(
                shown.contains("localhost")
                    && !shown.contains("127.0.0.1")
                    && !shown.contains("::1"),
                "{shown}"
            );
        }
        let address = if status == 403 {
            "::1 is a loopback".into()
        } else {
            format!("{refusing} refused")
        };
        program.wait_for_log(&address);
    }
}
