//! Servers: which of them is queried, how often and how.

use std::time::{Duration, Instant};

use super::*;

const ANSWER: &str = "192.0.2.1";

fn answering() -> Says {
    has(ANSWER)
}

/// Another server at the same port of another loopback address.
fn beside(first: &DnsServer, otherwise: Says) -> DnsServer {
    DnsServer::at(
        SocketAddr::from(([127, 0, 0, 2], first.address().port())),
        &[],
        otherwise,
    )
}

fn two(first: &DnsServer, options: &str) -> Machine {
    let conf = format!("nameserver 127.0.0.1\nnameserver 127.0.0.2\nsearch .\n{options}\n");
    Machine::new(first.address().port(), &conf, "")
}

#[tokio::test]
async fn the_next_server_is_queried_if_one_is_silent_or_fails() {
    for bad in [Says::Silence, Says::Code(2), Says::Code(5), Says::Code(4)] {
        let first = DnsServer::at(SocketAddr::from(([127, 0, 0, 1], 0)), &[], bad.clone());
        let second = beside(&first, answering());
        let machine = two(&first, "");
        let resolver = machine.resolver();
        assert_eq!(found(&resolver, "any.example").await, ANSWER, "{bad:?}");
        assert!(!first.asked().is_empty() && !second.asked().is_empty());
    }
}

#[tokio::test]
async fn a_server_on_a_closed_port_costs_no_time() {
    let second = DnsServer::at(SocketAddr::from(([127, 0, 0, 2], 0)), &[], answering());
    let machine = two(&second, "");
    let resolver = machine.resolver();
    assert_eq!(found(&resolver, "any.example").await, ANSWER);
}

#[tokio::test]
async fn the_second_server_is_only_queried_with_rotate_while_the_first_one_answers() {
    let first = DnsServer::at(SocketAddr::from(([127, 0, 0, 1], 0)), &[], answering());
    let second = beside(&first, answering());
    let machine = two(&first, "");
    let resolver = machine.resolver();
    for n in 0..4 {
        found(&resolver, &format!("n{n}.example")).await;
    }
    assert!(second.asked().is_empty());
    let machine = two(&first, "options rotate");
    let resolver = machine.resolver();
    for n in 0..4 {
        found(&resolver, &format!("n{n}.example")).await;
    }
    assert_eq!(
        second.asked().len(),
        4,
        "two of four names, for both families"
    );
}

#[tokio::test]
async fn a_lost_question_is_repeated() {
    let server = DnsServer::start(&[("lost.example", Says::SilenceOnce(ip(ANSWER)))]);
    let machine = Machine::with(&server, "search .");
    let resolver = machine.resolver();
    assert_eq!(found(&resolver, "lost.example").await, ANSWER);
}

#[tokio::test]
async fn timeout_and_attempts_limit_the_wait_for_a_silent_server() {
    let server = DnsServer::start(&[("silent.example", Says::Silence)]);
    let machine = Machine::with(&server, "search .\noptions timeout:1 attempts:1");
    let resolver = machine.resolver();
    let began = Instant::now();
    assert_eq!(found(&resolver, "silent.example").await, "timeout");
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.asked().len(), 2, "once for each family");
    let machine = Machine::with(&server, "search .\noptions timeout:1 attempts:2");
    let resolver = machine.resolver();
    assert_eq!(found(&resolver, "silent.example").await, "timeout");
    assert_eq!(server.asked().len(), 2 + 4);
}

#[tokio::test]
async fn with_use_vc_every_question_is_sent_over_tcp() {
    let server = DnsServer::start(&[("any.example", answering())]);
    let machine = Machine::with(&server, "search .\noptions use-vc");
    let resolver = machine.resolver();
    assert_eq!(found(&resolver, "any.example").await, ANSWER);
    assert!(server.asked().iter().all(|asked| asked.tcp));
}

#[tokio::test]
async fn expired_addresses_are_used_while_the_server_is_silent() {
    let server = DnsServer::start(&[("stale.example", Says::Addresses(vec![ip(ANSWER)], 1))]);
    let machine = Machine::with(&server, "search .");
    let resolver = machine.resolver();
    assert_eq!(found(&resolver, "stale.example").await, ANSWER);
    server.set("stale.example", Says::Silence);
    let asked = server.asked().len();
    let asked_again = async {
        while server.asked().len() == asked {
            assert_eq!(found(&resolver, "stale.example").await, ANSWER);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(byway_testkit::PATIENCE, asked_again)
        .await
        .expect("the lifetime of one second ends");
}
