//! Listeners of a node: on port 0, over several workers, and across a reload.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::Path;

use byway::config::{Bind, Plan, Role, Surroundings, parse, parse_with};
use byway::node::Node;
use byway::os::inherit::Inherited;
use byway_testkit::Visitor;

fn node(text: &str) -> Node {
    Node::start(
        parse(text, "byway.toml", Path::new("/state")).unwrap(),
        &mut Inherited::default(),
    )
    .unwrap()
}

/// An edge on any port. Its only route matches `path` and its upstream is unreachable.
fn edge(path: &str) -> String {
    format!(
        "[[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\npath = \"{path}\"\nto = \"127.0.0.1:1\"\n"
    )
}

fn addresses(node: &Node) -> Vec<SocketAddr> {
    let tcp = |listening: byway::node::Listening| match listening.address {
        Bind::Tcp(address) => address,
        Bind::Unix(path) => panic!("{path:?} is not a TCP address"),
    };
    node.listening().into_iter().map(tcp).collect()
}

fn status(address: SocketAddr) -> u16 {
    let mut visitor = Visitor::connect(address);
    visitor.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let status = visitor.response().status();
    visitor.to_end();
    status
}

fn stop(node: Node) {
    node.runtime().clone().block_on(node.drain());
    node.join();
}

#[test]
fn listeners_on_port_0_stay_distinct_across_a_reload() {
    let settings = "drain.deadline = \"1s\"\nspill.mode = \"off\"\n";
    let node = node(&format!("{settings}{}{}", edge("^/none"), edge("^/")));
    let first = addresses(&node);
    assert_eq!(
        first
            .iter()
            .map(|address| status(*address))
            .collect::<Vec<_>>(),
        [404, 502]
    );

    let more = format!(
        "{settings}{}{}{}",
        edge("^/"),
        edge("^/none"),
        edge("^/none")
    );
    node.apply(parse(&more, "byway.toml", Path::new("/state")).unwrap())
        .unwrap();
    let second = addresses(&node);
    assert_eq!(second[..2], first, "the first two keep their addresses");
    assert_eq!(
        second
            .iter()
            .map(|address| status(*address))
            .collect::<Vec<_>>(),
        [502, 404, 404]
    );

    node.apply(
        parse(
            &format!("{settings}{}", edge("^/none")),
            "byway.toml",
            Path::new("/state"),
        )
        .unwrap(),
    )
    .unwrap();
    assert_eq!(addresses(&node), first[..1]);
    assert_eq!(status(first[0]), 404);
    stop(node);
}

#[test]
fn an_idle_worker_keeps_no_permit_from_the_others() {
    let node = node(&format!(
        "workers = 4\nlimits.connections = 1\n{}",
        edge("^/none")
    ));
    let address = addresses(&node)[0];
    // Often enough for the kernel to choose each worker several times.
    for _ in 0..64 {
        assert_eq!(status(address), 404);
    }
    stop(node);
}

/// Permits of links, permits of visitors, and the number of public ports.
fn shares(node: &Node) -> [usize; 3] {
    let (admission, plan) = (&node.context().admission, node.live().plan());
    let of = |is_link: bool| {
        let listener = plan
            .listeners
            .iter()
            .find(|listener| matches!(listener.frontend.role, Role::Link(_)) == is_link);
        listener.map_or(0, |listener| {
            admission.of(&listener.frontend.role, 1).free_of_node()
        })
    };
    [of(true), of(false), admission.public_ports(1)]
}

#[test]
fn a_reload_that_adds_the_first_link_listener_redistributes_the_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    let plan = |text: &str| -> Plan {
        let around = Surroundings {
            descriptors: Some(1024),
            ..Surroundings::here(folder.path(), folder.path())
        };
        parse_with(text, "byway.toml", &around).unwrap()
    };
    let start = |text: &str| Node::start(plan(text), &mut Inherited::default()).unwrap();
    let before = format!("workers = 1\npool.max_total = 16\n{}", edge("^/none"));
    let after = format!("{before}[[serve]]\nlisten = \"127.0.0.1:0\"\n");
    let node = start(&before);
    let [_, visitors, ports] = shares(&node);
    assert_eq!(ports, 1);
    node.apply(plan(&after)).unwrap();
    let reloaded = shares(&node);
    assert!(
        reloaded[0] > 50 && reloaded[1] < visitors && reloaded[2] > 50,
        "{reloaded:?} of {visitors}"
    );
    assert_eq!(status(addresses(&node)[0]), 404);
    stop(node);
    let started = start(&after);
    assert_eq!(
        reloaded,
        shares(&started),
        "the same as after a start with this file"
    );
    stop(started);
}

#[test]
fn an_address_that_overlaps_an_own_listener_is_not_blamed_on_another_program() {
    let node = node(&format!("spill.mode = \"off\"\n{}", edge("^/")));
    let own = addresses(&node)[0];
    let every = format!("0.0.0.0:{}", own.port());
    let new = edge("^/").replace("127.0.0.1:0", &every);
    let plan = parse(&new, "byway.toml", Path::new("/state")).unwrap();
    let refused = node.apply(plan).unwrap_err().to_string();
    let expected = format!(
        "cannot listen on {every}: this node itself listens on {own}; choose another port, restart the node, or take {own} \
         out in one reload and add {every} in the next"
    );
    assert_eq!(refused, expected);
    assert_eq!(status(own), 502, "the old listener stays");
    node.cut();
    node.join();
}
