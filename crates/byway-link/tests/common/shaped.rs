//! Shaped: a UDP relay on loopback that shapes datagrams like a simulated path.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lab::shaping::counts::{Cause, Counted, Counts};
use lab::shaping::packet::Packet;
use lab::shaping::shape::Shape;
use lab::shaping::shaper::{Shaper, Verdict};
use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// IPv4 and UDP headers.
const HEADER_BYTES: usize = 28;

/// A shape, and the number of the first packet of its direction that it applies to.
pub type Change = (u64, Shape);

/// A path between one dialler, which sends to `address`, and one node.
pub struct ShapedPath {
    pub address: SocketAddr,
    /// Towards the node, and from it.
    counts: [Arc<Counts>; 2],
    tasks: Vec<JoinHandle<()>>,
}

impl ShapedPath {
    /// Each shape applies to both directions.
    pub async fn to(node: SocketAddr, seed: u64, changes: &[Change]) -> Self {
        let near = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let far = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        far.connect(node).await.unwrap();
        let address = near.local_addr().unwrap();
        let counts: [Arc<Counts>; 2] = Default::default();
        let clients = Arc::new(std::sync::OnceLock::new());
        let lane = |number: usize, from: &Arc<UdpSocket>, to: &Arc<UdpSocket>| Lane {
            from: Arc::clone(from),
            to: Arc::clone(to),
            client: Arc::clone(&clients),
            from_client: number == 0,
            shaper: Shaper::new(Shape::default(), seed + number as u64),
            changes: changes.to_vec(),
            counts: Arc::clone(&counts[number]),
        };
        let lanes = [lane(0, &near, &far), lane(1, &far, &near)];
        let tasks = lanes
            .into_iter()
            .map(|lane| Handle::current().spawn(lane.run()))
            .collect();
        Self {
            address,
            counts,
            tasks,
        }
    }

    /// The counts of the packets towards the node, and from it.
    pub fn counted(&self) -> [Counted; 2] {
        self.counts.each_ref().map(|counts| counts.now())
    }
}

impl Drop for ShapedPath {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// One direction.
struct Lane {
    from: Arc<UdpSocket>,
    to: Arc<UdpSocket>,
    /// The sender of the first datagram.
    client: Arc<std::sync::OnceLock<SocketAddr>>,
    from_client: bool,
    shaper: Shaper,
    changes: Vec<Change>,
    counts: Arc<Counts>,
}

impl Lane {
    async fn run(mut self) {
        let (begun, mut number, mut buffer) = (Instant::now(), 0, vec![0; 65_536]);
        let mut held: BTreeMap<(Duration, u64), Vec<u8>> = BTreeMap::new();
        loop {
            let due = held.first_key_value().map(|((at, _), _)| begun + *at);
            tokio::select! {
                biased;
                () = async { sleep_until(due.unwrap_or(begun)).await }, if due.is_some() => {
                    if let Some((_, datagram)) = held.pop_first() {
                        self.send(&datagram).await;
                    }
                }
                received = self.from.recv_from(&mut buffer) => {
                    let Ok((n, sender)) = received else { continue };
                    if self.from_client {
                        let _ = self.client.set(sender);
                    }
                    while let Some((from, shape)) = self.changes.first() && *from <= number {
                        self.shaper.reshape(shape.clone());
                        self.changes.remove(0);
                    }
                    number += 1;
                    let packet = Packet { bytes: n + HEADER_BYTES, udp: true };
                    match self.shaper.offer(begun.elapsed(), packet) {
                        Verdict::Dropped(cause) => self.counts.drops(cause),
                        Verdict::Arrives { at, late } => {
                            self.counts.passes(packet.bytes, late);
                            held.insert((at, number), buffer[..n].to_vec());
                        }
                    }
                }
            }
        }
    }

    async fn send(&self, datagram: &[u8]) {
        let sent = match (self.from_client, self.client.get()) {
            (true, _) => self.to.send(datagram).await,
            (false, Some(client)) => self.to.send_to(datagram, client).await,
            (false, None) => return,
        };
        if sent.is_err() {
            self.counts
                .drops_after_all(datagram.len() + HEADER_BYTES, Cause::Device);
        }
    }
}
