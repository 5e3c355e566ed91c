//! Tests of two nodes in one process, where a test can see what neither of them says.

use std::fmt::Write;
use std::path::Path;

use byway_link::Name;
use byway_testkit::eventually;

use super::*;
use crate::config::parse;
use crate::node::Node;
use crate::os::inherit::Inherited;

fn node(text: &str, state: &Path) -> Node {
    Node::start(parse(text, "byway.toml", state).unwrap(), &mut Inherited::default()).unwrap()
}

/// A public end for services below `t.localhost`, and how to join it.
fn server(state: &Path) -> (Node, String) {
    let text = "[[serve]]\nlisten = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\ndomain = \"t.localhost\"\n\
                advertise = \"127.0.0.1\"\n";
    let node = node(text, state);
    let mut news = node.shared().links.news().unwrap();
    match news.blocking_recv().unwrap() {
        News::Join { text, .. } => (node, text),
        other => panic!("{other:?} instead of a join string"),
    }
}

#[test]
fn services_that_are_registered_during_a_save_of_the_names_share_the_next_one() {
    const SERVICES: usize = 256;
    let (at_server, at_agent) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, join) = server(at_server.path());
    let names = Arc::clone(&server.shared().links.names);
    let slow_disk = names.hold_saves();
    let text = (0..SERVICES).fold(String::new(), |mut text, n| {
        writeln!(text, "[[expose]]\nname = \"s{n}\"\nhttp = \"127.0.0.1:1\"\njoin = \"{join}\"").unwrap();
        text
    });
    let agent = node(&text, at_agent.path());
    let mut news = agent.shared().links.news().unwrap();
    let is_held = |n: usize| names.is_held(&Name::Http(format!("s{n}.t.localhost")));
    eventually("every service is registered while the disk is slow", || (0..SERVICES).all(is_held));
    assert!(news.try_recv().is_err(), "a service was announced before it was saved");
    drop(slow_disk);
    for _ in 0..SERVICES {
        let told = news.blocking_recv().unwrap();
        assert!(matches!(told, News::Public { .. }), "{told:?}");
    }
    assert!(names.saves() <= 2, "{} saves for {SERVICES} services", names.saves());
    for node in [agent, server] {
        node.cut();
        node.join();
    }
}
