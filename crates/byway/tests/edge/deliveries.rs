//! Deliveries: how often a request with a side effect reaches an origin when connections break at
//! the worst moment.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};

use byway_testkit::origin::ok;
use byway_testkit::{Origin, Program, Served, Visitor};
use parking_lot::Mutex;

use super::{BYWAY, config};

/// What an origin needs to reset a connection and send the rest of the client's request at once.
struct Trap {
    /// The client whose request is in progress.
    visitor: Mutex<Option<Visitor>>,
    /// What the client sends after the head of its request.
    rest: Mutex<&'static str>,
    /// The target of the request that was already reset.
    reset: Mutex<String>,
    done: OnceLock<Sender<()>>,
}

/// Resets the connection as soon as the head of a POST arrives. At the same moment the client sends
/// the next chunk.
fn reset_between_head_and_chunk(served: &mut Served, trap: &Trap) {
    while let Some(mut request) = served.request_head() {
        let first = {
            let mut reset = trap.reset.lock();
            let first = request.line().starts_with("POST ") && *reset != request.target();
            if first {
                request.target().clone_into(&mut reset);
            }
            first
        };
        if first {
            let mut visitor = trap.visitor.lock();
            let rest = *trap.rest.lock();
            served.reset_now();
            visitor.as_mut().unwrap().send(rest);
            drop(visitor);
            trap.done.get().unwrap().send(()).unwrap();
            return;
        }
        served.request_body(&mut request);
        served.send(ok("served"));
    }
}

#[test]
fn a_chunked_post_is_not_delivered_twice_when_the_upstream_resets_between_head_and_chunk() {
    for (upstreams, kept) in [(1, false), (1, true), (2, false), (2, true)] {
        let (done, is_done) = channel();
        let trap = Arc::new(Trap {
            visitor: Mutex::new(None),
            rest: Mutex::new(""),
            reset: Mutex::default(),
            done: OnceLock::from(done),
        });
        let origins: Vec<_> = (0..upstreams)
            .map(|_| {
                let trap = Arc::clone(&trap);
                Origin::scripted(move |served| reset_between_head_and_chunk(served, &trap))
            })
            .collect();
        let list: Vec<_> = origins
            .iter()
            .map(|origin| format!("\"{}\"", origin.address()))
            .collect();
        let program = Program::configured(
            BYWAY,
            &config("workers = 1", &[&format!("to = [{}]", list.join(", "))]),
        );
        let (mut rounds, mut twice) = (0, 0);
        for rest in ["4\r\nbody\r\n", "4\r\nbody\r\n0\r\n\r\n", "0\r\n\r\n"].repeat(50) {
            rounds += 1;
            for _ in 0..if kept { upstreams } else { 0 } {
                Visitor::connect(program.address()).get("/warm");
            }
            let target = format!("/{rounds}");
            let mut visitor = Visitor::connect(program.address());
            *trap.rest.lock() = rest;
            let mut held = trap.visitor.lock();
            visitor.send(format!(
                "POST {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            ));
            *held = Some(visitor);
            drop(held);
            is_done.recv().unwrap();
            let mut visitor = trap.visitor.lock().take().unwrap();
            visitor.finish();
            visitor.to_end();
            let delivered = origins
                .iter()
                .flat_map(|origin| origin.requests())
                .filter(|seen| seen.target() == target)
                .count();
            assert!(delivered >= 1, "{target} reached no origin");
            twice += usize::from(delivered > 1);
        }
        assert_eq!(
            twice, 0,
            "of {rounds} POSTs went twice: {upstreams} upstreams, kept connections: {kept}"
        );
    }
}
