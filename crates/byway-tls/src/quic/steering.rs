//! Steering: the datagrams of a QUIC connection reach the worker that has the connection, even
//! after its client has changed its address.
//!
//! In:    a UDP address and the number of workers.
//! Out:   a socket for each worker, and connection ids that name the worker.
//! Never: joins the group of another program by accident.
//!
//! The sockets share the address (`SO_REUSEPORT`), and a filter in the kernel selects among them by
//! one byte of the destination connection id, modulo the number of sockets. An id that a worker has
//! made names that worker; the id of a first packet is the client's and random, which distributes
//! new connections.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use quinn_proto::{ConnectionId, ConnectionIdGenerator, HashedConnectionIdGenerator, InvalidCid};
use socket2::{Domain, Protocol, Socket, Type};

use super::filter::{self, Instruction};

/// The most sockets that share an address: one byte of a connection id names them.
pub const MOST_SOCKETS: usize = 128;

/// The buffer of a socket in each direction that is requested from the kernel, in bytes; it grants
/// what it allows. Room for a burst that arrives while the worker does something else.
const SOCKET_BYTES: usize = 4 * 1024 * 1024;

/// Binds `count` sockets to one address, 128 at most, and steers datagrams to them. Port 0 takes any
/// free port, the same for all. Only one socket is bound where the system cannot steer.
///
/// # Errors
/// `AddrInUse` when another socket is bound there, even one that would share its port; and the other
/// errors of the system.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    if address.port() != 0 {
        drop(open(address, false)?);
    }
    let count = count.clamp(1, MOST_SOCKETS);
    let first = open(address, count > 1)?;
    if count == 1 || filter::attach(&first, &program(count)).is_err() {
        return Ok(vec![first]);
    }
    // A socket that joins the group gets the next index.
    let (address, mut sockets) = (first.local_addr()?, vec![first]);
    while sockets.len() < count {
        sockets.push(open(address, true)?);
    }
    Ok(sockets)
}

fn open(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // `[::]` means every address of this machine. A system without this option serves IPv6 only.
        let _ = socket.set_only_v6(!address.ip().is_unspecified());
    }
    let _ = socket.set_recv_buffer_size(SOCKET_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BYTES);
    #[cfg(target_os = "linux")]
    if shared {
        socket.set_reuse_port(true)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = shared;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Returns the index of a socket for a datagram: the first byte of its destination connection id,
/// which follows one byte in short headers and six in long ones (RFC 8999 section 5), modulo
/// `count`. A datagram that ends before it goes to the first socket.
fn program(count: usize) -> [Instruction; 7] {
    const FIRST_BYTE: u32 = 0;
    const LONG_HEADER: u32 = 0x80;
    let count = u32::try_from(count).unwrap_or(1);
    [
        Instruction::load_byte(FIRST_BYTE),
        Instruction::skip_unless(LONG_HEADER, 2),
        Instruction::load_byte(6),
        Instruction::skip(1),
        Instruction::load_byte(1),
        Instruction::modulo(count),
        Instruction::return_loaded(),
    ]
}

/// Makes connection ids that name a worker. They can be recognized without a table, also by a later
/// process that has the same key.
pub struct SteeredConnectionIds {
    ids: HashedConnectionIdGenerator,
    worker: usize,
    workers: usize,
}

impl SteeredConnectionIds {
    /// Ids for the worker with this index, of `workers` (at most 128), which have a socket each.
    pub fn new(key: u64, worker: usize, workers: usize) -> Self {
        let workers = workers.clamp(1, MOST_SOCKETS);
        Self {
            ids: HashedConnectionIdGenerator::from_key(key),
            worker: worker % workers,
            workers,
        }
    }

    fn names_this_worker(&self, id: &ConnectionId) -> bool {
        id.first()
            .is_some_and(|byte| usize::from(*byte) % self.workers == self.worker)
    }
}

impl ConnectionIdGenerator for SteeredConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        // The first byte is random: this takes as many tries as there are workers, on average.
        loop {
            let id = self.ids.generate_cid();
            if self.names_this_worker(&id) {
                return id;
            }
        }
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        self.ids.validate(id)
    }

    fn cid_len(&self) -> usize {
        self.ids.cid_len()
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        self.ids.cid_lifetime()
    }
}

#[cfg(test)]
mod tests;
