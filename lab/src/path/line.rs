//! Line: two namespaces with a simulated path between them.
//!
//! In:    the shape of the path and a seed.
//! Out:   a near and a far end, connected only by the path.
//! Never: gives either end a route to another network.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};

use super::namespace::{Namespace, sweep};
use super::simulator::Simulator;
use super::tun::Tun;
use crate::process::CpuTime;
use lab::shaping::counts::{Cause, Counted};
use lab::shaping::plan::{Direction, Plan};
use lab::shaping::shape::Shape;

/// See the top of the file.
pub(crate) struct Line {
    // Dropped before the namespaces of its devices.
    simulator: Simulator,
    /// The end of the clients.
    pub(crate) near: Namespace,
    /// The end of the origin.
    pub(crate) far: Namespace,
}

const DEVICE: &str = "path0";
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Wide enough for a near end that changes its address.
const PREFIX_BITS: u8 = 16;
/// Packets that may queue for the simulator before the kernel drops them.
const DEVICE_QUEUE: &str = "20000";

/// Room of a TCP socket for each byte that a path can have in flight: the kernel counts a buffer
/// with its overhead, about twice its bytes, and gives at most half of the room to a sender's
/// window.
const ROOM_FOR_EACH_BYTE: u64 = 4;
const SOCKET_ROOM: [&str; 2] = ["ipv4/tcp_wmem", "ipv4/tcp_rmem"];

/// What the simulator did in a period.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Account {
    /// Packets from the far end to the near one.
    pub(crate) down: Counted,
    /// Packets from the near end to the far one.
    pub(crate) up: Counted,
    /// Its CPU time.
    pub(crate) cpu: CpuTime,
    /// Packets that the kernel dropped because the simulator did not read them in time.
    pub(crate) unread: u64,
}

impl Line {
    /// The address of the far end.
    pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

    /// Creates both ends, with the same shape in each direction.
    pub(crate) fn make(shape: &Shape, seed: u64) -> Result<Self> {
        Self::uneven([shape.clone(), shape.clone()], seed)
    }

    /// Creates both ends, with a shape for each direction: down, then up.
    pub(crate) fn uneven(shapes: [Shape; 2], seed: u64) -> Result<Self> {
        sweep();
        let (near, far) = (Namespace::make("near")?, Namespace::make("far")?);
        let near_device = near.within(|| Tun::open(DEVICE))?;
        let far_device = far.within(|| Tun::open(DEVICE))?;
        for (end, address) in [(&near, NEAR), (&far, Self::FAR)] {
            let address = format!("{address}/{PREFIX_BITS}");
            end.ip(&["link", "set", DEVICE, "addrgenmode", "none"])?;
            end.ip(&["address", "add", &address, "dev", DEVICE])?;
            end.ip(&["link", "set", DEVICE, "txqueuelen", DEVICE_QUEUE, "up"])?;
            end.ip(&["route", "add", "default", "dev", DEVICE])?;
        }
        let round_trip = shapes.iter().map(|shape| shape.delay + shape.jitter).sum();
        let under_way = shapes
            .iter()
            .filter_map(|shape| shape.under_way_max(round_trip))
            .max();
        if let Some(under_way) = under_way {
            for (end, parameter) in [&near, &far]
                .into_iter()
                .flat_map(|end| SOCKET_ROOM.map(|name| (end, name)))
            {
                let raised = with_room(&end.get(parameter)?, under_way * ROOM_FOR_EACH_BYTE);
                end.set(
                    parameter,
                    &raised.with_context(|| format!("{parameter} has an unknown form"))?,
                )?;
            }
        }
        let simulator = Simulator::start(near_device, far_device, shapes, seed)?;
        Ok(Self {
            simulator,
            near,
            far,
        })
    }

    /// A socket address of the near end.
    pub(crate) const fn near_address(port: u16) -> SocketAddr {
        SocketAddr::new(std::net::IpAddr::V4(NEAR), port)
    }

    /// A socket address of the far end.
    pub(crate) const fn far_address(port: u16) -> SocketAddr {
        SocketAddr::new(std::net::IpAddr::V4(Self::FAR), port)
    }

    /// Starts a plan.
    pub(crate) fn begin(&self, plan: Plan) {
        self.simulator.begin(plan);
    }

    /// Replaces the address of the near end. `number`, below 250, becomes its third byte (at least
    /// 1).
    pub(crate) fn move_near(&self, number: u8) -> Result<()> {
        let [a, b, _, d] = NEAR.octets();
        let new = Ipv4Addr::new(a, b, number.max(1), d);
        self.near.ip(&["address", "flush", "dev", DEVICE])?;
        self.near.ip(&[
            "address",
            "add",
            &format!("{new}/{PREFIX_BITS}"),
            "dev",
            DEVICE,
        ])?;
        self.near
            .ip(&["route", "replace", "default", "dev", DEVICE])
    }

    /// Sets the default congestion control of the sockets of both ends. The kernel restricts a
    /// namespace to those in `tcp_allowed_congestion_control`, which is a setting of the machine
    /// that the lab does not change.
    pub(crate) fn congestion_control(&self, name: &str) -> Result<()> {
        let set = |end: &Namespace| end.set("ipv4/tcp_congestion_control", name);
        [&self.near, &self.far]
            .into_iter()
            .try_for_each(set)
            .with_context(|| {
                format!(
                    "{name} has to be listed in `sysctl net.ipv4.tcp_allowed_congestion_control`"
                )
            })
    }

    /// What the simulator has done so far. An error if it has ended.
    pub(crate) fn account(&mut self) -> Result<Account> {
        self.simulator.check()?;
        let unread = self.near.device_drops(DEVICE)? + self.far.device_drops(DEVICE)?;
        Ok(Account {
            down: self.simulator.counted(Direction::Down),
            up: self.simulator.counted(Direction::Up),
            cpu: self
                .simulator
                .cpu_time()
                .context("the simulator's processor time")?,
            unread,
        })
    }
}

/// `tcp_wmem` and `tcp_rmem` are three numbers: least, default and most. Raises the last to at
/// least `room`.
fn with_room(triple: &str, room: u64) -> Option<String> {
    let mut words = triple.split_whitespace();
    let [least, default, most] = [words.next()?, words.next()?, words.next()?];
    let most: u64 = most.parse().ok()?;
    // The kernel stores it as an int.
    Some(format!(
        "{least} {default} {}",
        most.max(room).min(i32::MAX as u64)
    ))
}

impl Account {
    /// The difference from an earlier account.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            down: self.down.since(&before.down),
            up: self.up.since(&before.up),
            cpu: self.cpu - before.cpu,
            unread: self.unread - before.unread,
        }
    }

    /// Packets that the simulator itself lost: figures with them are invalid.
    pub(crate) fn faults(&self) -> u64 {
        let of =
            |counted: &Counted| counted.dropped(Cause::Simulator) + counted.dropped(Cause::Device);
        self.unread + of(&self.down) + of(&self.up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::namespace::may_be_made;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    /// A line for a test; `None` if this machine does not allow it, and then there is nothing to
    /// test.
    fn line(shape: &Shape) -> Option<Line> {
        if let Err(error) = may_be_made() {
            eprintln!("not run: {error:#}");
            return None;
        }
        Some(Line::make(shape, 1).unwrap())
    }

    #[test]
    fn every_byte_crosses_a_path_that_loses_and_reorders_and_each_loss_is_counted() {
        const BYTES: usize = 600_000;
        let shape = Shape::of_round_trip(4, 100)
            .losing(0.05)
            .reordering(0.05, Duration::from_millis(3));
        let Some(mut line) = line(&shape) else { return };
        let listener = line
            .far
            .within(|| Ok(TcpListener::bind((Line::FAR, 0))?))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let sending = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&vec![7; BYTES]).unwrap();
        });
        let mut stream = line
            .near
            .within(|| Ok(TcpStream::connect(address)?))
            .unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        sending.join().unwrap();
        assert_eq!(received.len(), BYTES);
        let account = line.account().unwrap();
        assert_eq!(account.faults(), 0);
        let down = account.down;
        assert_eq!(down.offered, down.passed + down.dropped_in_all());
        assert!(
            down.dropped(Cause::Loss) > 0 && down.late > 0,
            "{}",
            down.words()
        );
    }

    #[test]
    fn socket_buffers_are_raised_for_a_path_that_needs_more_than_the_default() {
        assert_eq!(
            with_room("4096\t16384\t4194304\n", 50_000_000).as_deref(),
            Some("4096 16384 50000000")
        );
        assert_eq!(
            with_room("4096\t131072\t33554432\n", 5_000).as_deref(),
            Some("4096 131072 33554432")
        );
        assert_eq!(with_room("4096", 5_000), None);
        let Some(line) = line(&Shape::of_round_trip(100, 500)) else {
            return;
        };
        for parameter in SOCKET_ROOM {
            let most: u64 = line
                .far
                .get(parameter)
                .unwrap()
                .split_whitespace()
                .last()
                .unwrap()
                .parse()
                .unwrap();
            assert!(
                most >= 12_500_000 * ROOM_FOR_EACH_BYTE,
                "{parameter}: {most}"
            );
        }
    }

    #[test]
    fn an_end_that_moves_is_reached_only_at_its_new_address() {
        let Some(line) = line(&Shape::default()) else {
            return;
        };
        let bind = |third| {
            line.near
                .within(|| Ok(TcpListener::bind((Ipv4Addr::new(10, 77, third, 1), 0))?))
        };
        assert!(bind(0).is_ok() && bind(9).is_err());
        line.move_near(9).unwrap();
        assert!(bind(0).is_err());
        let listener = bind(9).unwrap();
        let reached = line
            .far
            .within(|| Ok(TcpStream::connect(listener.local_addr()?)?));
        assert_eq!(
            reached.unwrap().peer_addr().unwrap(),
            listener.local_addr().unwrap()
        );
    }
}
