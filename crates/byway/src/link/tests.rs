//! Tests with two nodes in one process, of state that neither of them reports.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use byway_dial::Resolver;
use byway_link::wire::{Control, GoAway, Register};
use byway_link::{
    Carriers, Conflict, Dialler, Inbox, JoinString, Key, Link, Name, Purpose, ServiceKind, Settings,
};
use byway_testkit::eventually;

use super::*;
use crate::config::parse;
use crate::node::Node;
use crate::os::inherit::Inherited;

fn node(text: &str, state: &Path) -> Node {
    Node::start(
        parse(text, "byway.toml", state).unwrap(),
        &mut Inherited::default(),
    )
    .unwrap()
}

/// How long a test may hang before it fails.
const HANG: Duration = Duration::from_secs(60);

/// An agent whose messages the test sends itself.
struct Agent {
    runtime: tokio::runtime::Runtime,
    link: Link,
    inbox: Inbox,
}

impl Agent {
    fn join(join: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        let dial = byway_dial::Dialler::new(
            Resolver::system(handle.clone()),
            byway_dial::Options::default(),
        );
        let (key, join) = (Key::generate().unwrap(), join.parse().unwrap());
        let dialler = Dialler::new(
            key,
            join,
            Purpose::Serve,
            Carriers::Tls,
            dial,
            Settings::default(),
            handle,
        );
        let (link, inbox) = runtime.block_on(dialler.connect(1, 1, HANG)).unwrap();
        Self {
            runtime,
            link,
            inbox,
        }
    }

    fn send(&self, control: Control) {
        assert!(self.runtime.block_on(self.link.send(control)));
    }

    fn recv_control(&mut self) -> Control {
        let received = async { tokio::time::timeout(HANG, self.inbox.control.recv()).await };
        self.runtime.block_on(received).unwrap().unwrap()
    }

    fn registers(&mut self, service: u32, name: &str) {
        let kind = ServiceKind::Http.number();
        self.send(Control::Register(Register {
            service,
            kind,
            name: name.into(),
            port: 0,
        }));
        assert!(matches!(self.recv_control(), Control::Registered(_)));
    }
}

/// A public end for services below `t.localhost`, and its join string.
fn server(state: &Path) -> (Node, String) {
    server_with(state, "")
}

/// The same; the config begins with `lines`.
fn server_with(state: &Path, lines: &str) -> (Node, String) {
    let text = "[[serve]]\nlisten = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\ndomain = \"t.localhost\"\n\
                advertise = \"127.0.0.1\"\n";
    let node = node(&format!("{lines}{text}"), state);
    let mut events = node.links().events().unwrap();
    match events.blocking_recv().unwrap() {
        LinkEvent::Join { text, .. } => (node, text),
        other => panic!("{other:?} instead of a join string"),
    }
}

#[test]
fn services_that_are_registered_during_a_save_of_the_names_share_the_next_one() {
    const SERVICES: usize = 256;
    let (at_server, at_agent) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, join) = server(at_server.path());
    let registry = Arc::clone(&server.links().registry);
    let slow_disk = registry.hold_saves();
    let text = (0..SERVICES).fold(String::new(), |mut text, n| {
        writeln!(
            text,
            "[[expose]]\nname = \"s{n}\"\nhttp = \"127.0.0.1:1\"\njoin = \"{join}\""
        )
        .unwrap();
        text
    });
    let agent = node(&text, at_agent.path());
    let mut events = agent.links().events().unwrap();
    let is_held = |n: usize| registry.is_held(&Name::Http(format!("s{n}.t.localhost")));
    eventually("every service is registered while the disk is slow", || {
        (0..SERVICES).all(is_held)
    });
    assert!(
        events.try_recv().is_err(),
        "a service was announced before it was saved"
    );
    drop(slow_disk);
    for _ in 0..SERVICES {
        let event = events.blocking_recv().unwrap();
        assert!(matches!(event, LinkEvent::Public { .. }), "{event:?}");
    }
    assert!(
        registry.saves() <= 2,
        "{} saves for {SERVICES} services",
        registry.saves()
    );
    for node in [agent, server] {
        node.cut();
        node.join();
    }
}

#[test]
fn a_request_for_the_name_of_another_tenant_does_not_use_the_disk_on_a_worker() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let (server, join) = server(folders[0].path());
    let links = server.links();
    let (id, secret) = links
        .grants
        .create(Purpose::Serve, Conflict::Refuse, 1024..=u16::MAX)
        .unwrap();
    let first: JoinString = join.parse().unwrap();
    let other = JoinString {
        id,
        secret,
        pin: first.pin,
        address: first.address,
    }
    .expose();
    let expose = |join: &str| {
        format!("[[expose]]\nname = \"app\"\nhttp = \"127.0.0.1:1\"\njoin = \"{join}\"")
    };
    let holder = node(&expose(&join), folders[1].path());
    let name = Name::Http("app.t.localhost".into());
    eventually("the name is held", || links.registry.is_held(&name));
    let asker = Node::start_for(
        parse(&expose(&other), "byway.toml", folders[2].path()).unwrap(),
        &mut Inherited::default(),
        true,
    );
    let asker = asker.unwrap();
    match asker.links().events().unwrap().blocking_recv().unwrap() {
        LinkEvent::Ended { detail, .. } => {
            assert!(detail.contains("held by another grant"), "{detail}")
        }
        other => panic!("{other:?}"),
    }
    let workers: Vec<String> = (0..64).map(|index| format!("byway-{index}")).collect();
    let reader_threads = links.grants.reader_threads();
    assert!(
        !reader_threads.iter().any(|thread| workers.contains(thread)),
        "{reader_threads:?}"
    );
    for node in [asker, holder, server] {
        node.cut();
        node.join();
    }
}

#[test]
fn a_session_that_requests_names_that_it_has_does_not_write_them_again() {
    let at_server = tempfile::tempdir().unwrap();
    let (server, join) = server(at_server.path());
    let registry = Arc::clone(&server.links().registry);
    let mut agent = Agent::join(&join);
    agent.registers(1, "app");
    let before = registry.saves();
    for _ in 0..50 {
        agent.registers(1, "app");
    }
    assert_eq!(registry.saves(), before, "nothing has changed");
    // Another number is no change either: the file does not hold it.
    agent.registers(2, "app");
    assert_eq!(registry.saves(), before);
    agent.registers(3, "other");
    assert_eq!(registry.saves(), before + 1);
    drop(agent);
    server.cut();
    server.join();
}

#[test]
fn a_session_that_has_sent_go_away_ends_when_its_grant_is_revoked() {
    let at_server = tempfile::tempdir().unwrap();
    let (server, join) = server_with(at_server.path(), "[drain]\ndeadline = \"1h\"\n");
    let registry = Arc::clone(&server.links().registry);
    let grant = join.parse::<JoinString>().unwrap().id;
    let mut agent = Agent::join(&join);
    agent.registers(1, "app");
    agent.send(Control::GoAway(GoAway::default()));
    while !matches!(agent.recv_control(), Control::GoAway(_)) {}
    // The server has released its names, and assigns it none again.
    let name = Name::Http("app.t.localhost".into());
    eventually("its name is free", || !registry.is_held(&name));
    agent.send(Control::Register(Register {
        service: 1,
        kind: 1,
        name: "app".into(),
        port: 0,
    }));
    // The server sends one more GoAway: the acknowledgement of the first one.
    let refused = std::iter::repeat_with(|| agent.recv_control())
        .find(|control| !matches!(control, Control::GoAway(_)));
    assert!(
        matches!(refused, Some(Control::Withdrawn(_))),
        "{refused:?}"
    );
    registry.revoke(grant);
    assert!(registry.tenants().is_empty());
    let ended = async { tokio::time::timeout(HANG, agent.link.ended()).await };
    agent
        .runtime
        .block_on(ended)
        .expect("the session goes on after its grant was revoked");
    server.cut();
    server.join();
}
