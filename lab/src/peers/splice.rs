//! Splice: the minimal TCP relay: two blocking threads per connection, each moving pages from one
//! socket through a pipe to the other.
//!
//! In:    an address to listen on, and the origin's.
//! Out:   a relay in a separate process: this program, started by its hidden verb.
//! Never: copies a byte, waits for readiness, counts, limits or logs: it is the floor for real
//!        relays.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result};
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, pipe, splice};

use super::{Running, free_address, start};
use crate::environment::RunEnvironment;

/// The pipe's size, which limits the bytes of one call.
const PIPE_BYTES: usize = 1 << 20;

/// Starts it in front of the origin.
pub(crate) async fn serve(env: &RunEnvironment) -> Result<Running> {
    let address = free_address()?;
    let mut command =
        Command::new(std::env::current_exe().context("finding the lab's own program")?);
    command.args([
        "splice-relay",
        &address.to_string(),
        &env.origin().to_string(),
    ]);
    start(env, "splice-relay", command, address).await
}

/// Relays until it is killed.
pub(crate) fn relay(listen: SocketAddr, to: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("listening on {listen}"))?;
    loop {
        let (visitor, _) = listener.accept().context("accepting")?;
        let origin = TcpStream::connect(to).with_context(|| format!("connecting to {to}"))?;
        visitor.set_nodelay(true)?;
        origin.set_nodelay(true)?;
        let (up_from, up_to) = (visitor.try_clone()?, origin.try_clone()?);
        // Threads end with their connection; the other side sees an error as a close.
        thread::spawn(move || one_way(&up_from, &up_to));
        thread::spawn(move || one_way(&origin, &visitor));
    }
}

fn one_way(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let moved = move_all(from, to);
    // The other side may already be closed.
    let _ = to.shutdown(Shutdown::Write);
    moved
}

fn move_all(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (out_of, into) = pipe()?;
    // A smaller pipe works too, only slower.
    let _ = fcntl_setpipe_size(&into, PIPE_BYTES);
    loop {
        let mut left = splice(from, None, &into, None, PIPE_BYTES, SpliceFlags::MOVE)?;
        if left == 0 {
            return Ok(());
        }
        while left > 0 {
            left -= splice(&out_of, None, to, None, left, SpliceFlags::MOVE)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn bytes_pass_both_ways_and_a_half_close_passes_too() {
        let far = TcpListener::bind("127.0.0.1:0").unwrap();
        let (listen, to) = (free_address().unwrap(), far.local_addr().unwrap());
        // It ends with the test process: a relay is only stopped by a signal.
        thread::spawn(move || relay(listen, to));
        let mut near = loop {
            match TcpStream::connect(listen) {
                Ok(near) => break near,
                Err(_) => thread::yield_now(),
            }
        };
        let (mut far, _) = far.accept().unwrap();
        let body = vec![7; 3 << 20];
        let sent = body.clone();
        let writer = thread::spawn(move || {
            near.write_all(&sent).unwrap();
            near.shutdown(Shutdown::Write).unwrap();
            near
        });
        let mut received = Vec::new();
        far.read_to_end(&mut received).unwrap();
        assert!(
            received == body,
            "{} of {} bytes",
            received.len(),
            body.len()
        );
        far.write_all(b"back").unwrap();
        drop(far);
        let mut back = String::new();
        writer.join().unwrap().read_to_string(&mut back).unwrap();
        assert_eq!(back, "back");
    }
}
