//! Workers: how connections are distributed over them.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use byway::config::{Bind, parse};
use byway::node::Node;
use byway::os::inherit::Inherited;
use byway_testkit::{Origin, eventually};

const CROWD: usize = 1000;
const WORKERS: usize = 4;

#[test]
fn a_thousand_idle_connections_are_spread_over_the_workers_and_each_of_them_works() {
    let origin = Origin::named("origin");
    let text = format!(
        "workers = {WORKERS}\n[[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\nto = \"{}\"\n",
        origin.address()
    );
    let node = Node::start(
        parse(&text, "byway.toml", Path::new("/nowhere")).unwrap(),
        &mut Inherited::default(),
    )
    .unwrap();
    let Bind::Tcp(edge) = node.listening()[0].address else {
        panic!("a TCP listener")
    };

    let mut crowd: Vec<_> = (0..CROWD)
        .map(|_| TcpStream::connect(edge).unwrap())
        .collect();
    let loads = || {
        (0..WORKERS)
            .map(|worker| node.context().loads.of(worker))
            .collect::<Vec<_>>()
    };
    eventually("all connections are accepted", || {
        loads().iter().sum::<usize>() == CROWD
    });
    let (most, least) = (
        *loads().iter().max().unwrap(),
        *loads().iter().min().unwrap(),
    );
    assert!(
        most * 2 < least * 3,
        "the busiest worker has more than 1.5 times the connections of another: {:?}",
        loads()
    );

    for visitor in &mut crowd {
        visitor
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        visitor.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    drop(crowd);
    eventually("all connections have ended", || {
        loads().iter().sum::<usize>() == 0
    });
    node.cut();
    node.join();
}
