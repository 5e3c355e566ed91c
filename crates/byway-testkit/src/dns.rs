//! DNS: a server on loopback that answers from a table, over UDP and TCP on one port.
//!
//! In:    the records of each name, or how the server misbehaves for it.
//! Out:   its address; every question that it received, in order.
//! Never: queries another server.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;

use parking_lot::Mutex;

/// How the server answers questions for one name.
#[derive(Clone, Debug)]
pub enum Says {
    /// These addresses, with a lifetime in seconds.
    Addresses(Vec<IpAddr>, u32),
    /// An alias for a name in the table; the answer includes the addresses.
    Alias(&'static str),
    /// Addresses over TCP; over UDP an answer that is marked as truncated.
    OnlyOverTcp(Vec<IpAddr>),
    /// Its address for one family; this code for the other.
    OneFamily(IpAddr, u8),
    /// This response code: 2 is SERVFAIL, 3 NXDOMAIN, 5 REFUSED.
    Code(u8),
    /// No reply.
    Silence,
    /// No reply to the first question, then the address.
    SilenceOnce(IpAddr),
    /// First replies with a wrong id or question that lead to the first address, then the true one.
    AfterForgeries(IpAddr, IpAddr),
}

/// A question that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The name in lower case, without a trailing dot.
    pub name: String,
    /// 1 for IPv4, 28 for IPv6.
    pub kind: u16,
    /// Whether it came over TCP.
    pub tcp: bool,
}

/// A DNS server. Its threads end with the process.
pub struct DnsServer {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    table: Mutex<HashMap<String, Says>>,
    /// The answer for names that are not in the table.
    otherwise: Says,
    asked: Mutex<Vec<Asked>>,
}

impl DnsServer {
    /// Serves at a free port of 127.0.0.1; names that are not in the table do not exist.
    pub fn start(table: &[(&str, Says)]) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), table, Says::Code(3))
    }

    /// Serves at `address`, and answers `otherwise` for names that are not in the table.
    pub fn at(address: SocketAddr, table: &[(&str, Says)], otherwise: Says) -> Self {
        let (udp, tcp) = sockets(address);
        let address = udp.local_addr().expect("it is bound");
        let table = table
            .iter()
            .map(|(name, says)| ((*name).to_owned(), says.clone()))
            .collect();
        let state = Arc::new(State {
            table: Mutex::new(table),
            otherwise,
            asked: Mutex::default(),
        });
        let (over_udp, over_tcp) = (Arc::clone(&state), Arc::clone(&state));
        std::thread::spawn(move || over_udp.serve_udp(&udp));
        std::thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let state = Arc::clone(&over_tcp);
                std::thread::spawn(move || state.serve_tcp(stream));
            }
        });
        Self { address, state }
    }

    /// The address that it serves at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the answer for a name.
    pub fn set(&self, name: &str, says: Says) {
        self.state.table.lock().insert(name.to_owned(), says);
    }

    /// The questions so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().clone()
    }
}

/// UDP and TCP sockets at one port. If a free port of UDP is in use for TCP, another one is tried.
fn sockets(address: SocketAddr) -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let udp = UdpSocket::bind(address).expect("an address for UDP");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("it is bound")) {
            return (udp, tcp);
        }
        assert_eq!(address.port(), 0, "{address} is taken for TCP");
    }
    panic!("no port is free for both");
}

impl State {
    fn serve_udp(&self, socket: &UdpSocket) {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            for reply in self.replies(&buffer[..length], false) {
                let _ = socket.send_to(&reply, from);
            }
        }
    }

    fn serve_tcp(&self, mut stream: TcpStream) {
        let mut length = [0; 2];
        while stream.read_exact(&mut length).is_ok() {
            let mut question = vec![0; u16::from_be_bytes(length).into()];
            if stream.read_exact(&mut question).is_err() {
                return;
            }
            for reply in self.replies(&question, true) {
                let length = u16::try_from(reply.len()).expect("a reply below 64 KiB");
                let _ = stream.write_all(&[&length.to_be_bytes(), reply.as_slice()].concat());
            }
        }
    }

    fn replies(&self, question: &[u8], tcp: bool) -> Vec<Vec<u8>> {
        let Some((name, kind)) = read(question) else {
            return Vec::new();
        };
        let before = {
            let mut asked = self.asked.lock();
            let before = asked
                .iter()
                .filter(|asked| asked.name == name && asked.kind == kind)
                .count();
            asked.push(Asked {
                name: name.clone(),
                kind,
                tcp,
            });
            before
        };
        let table = self.table.lock();
        let says = table.get(&name).unwrap_or(&self.otherwise);
        let answer =
            |code, truncated, records: &[Record]| vec![reply(question, code, truncated, records)];
        match says {
            Says::Silence => Vec::new(),
            Says::SilenceOnce(_) if before == 0 => Vec::new(),
            Says::Code(code) => answer(*code, false, &[]),
            Says::OnlyOverTcp(_) if !tcp => answer(0, true, &[]),
            Says::Addresses(ips, ttl) => answer(0, false, &addresses(&name, kind, ips, *ttl)),
            Says::OnlyOverTcp(ips) => answer(0, false, &addresses(&name, kind, ips, 60)),
            Says::SilenceOnce(ip) => answer(0, false, &addresses(&name, kind, &[*ip], 60)),
            Says::OneFamily(ip, code) => match addresses(&name, kind, &[*ip], 60) {
                records if records.is_empty() => answer(*code, false, &[]),
                records => answer(0, false, &records),
            },
            Says::Alias(target) => {
                let mut records = vec![Record {
                    owner: name.clone(),
                    kind: 5,
                    ttl: 60,
                    data: encode(target),
                }];
                if let Some(Says::Addresses(ips, ttl)) = table.get(*target) {
                    records.extend(addresses(target, kind, ips, *ttl));
                }
                answer(0, false, &records)
            }
            Says::AfterForgeries(forged, ip) => {
                let mut other_number =
                    reply(question, 0, false, &addresses(&name, kind, &[*forged], 60));
                other_number[0] ^= 0x55;
                let of_another = reply(
                    question,
                    0,
                    false,
                    &addresses("another.example", kind, &[*forged], 60),
                );
                // The id is right, but the question is another one.
                let mut other_question = of_another;
                other_question[13] ^= 1;
                let mut replies = vec![other_number, other_question];
                replies.push(reply(
                    question,
                    0,
                    false,
                    &addresses(&name, kind, &[*ip], 60),
                ));
                replies
            }
        }
    }
}

struct Record {
    owner: String,
    kind: u16,
    ttl: u32,
    data: Vec<u8>,
}

fn addresses(owner: &str, kind: u16, ips: &[IpAddr], ttl: u32) -> Vec<Record> {
    let of_kind = ips.iter().filter_map(|ip| match (ip, kind) {
        (IpAddr::V4(ip), 1) => Some(Ipv4Addr::octets(ip).to_vec()),
        (IpAddr::V6(ip), 28) => Some(Ipv6Addr::octets(ip).to_vec()),
        _ => None,
    });
    of_kind
        .map(|data| Record {
            owner: owner.to_owned(),
            kind,
            ttl,
            data,
        })
        .collect()
}

/// The name and the type of a question.
fn read(message: &[u8]) -> Option<(String, u16)> {
    let mut rest = message.get(12..)?;
    let mut labels = Vec::new();
    loop {
        let (length, behind) = rest.split_first()?;
        if *length == 0 {
            let kind = behind.get(..2)?;
            return Some((labels.join("."), u16::from_be_bytes([kind[0], kind[1]])));
        }
        let length = usize::from(*length);
        labels.push(String::from_utf8_lossy(behind.get(..length)?).to_ascii_lowercase());
        rest = behind.get(length..)?;
    }
}

fn encode(name: &str) -> Vec<u8> {
    let labels = name
        .split('.')
        .flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

/// Answers `question` with its own name, which keeps the case.
fn reply(question: &[u8], code: u8, truncated: bool, records: &[Record]) -> Vec<u8> {
    let end = 12
        + question[12..]
            .iter()
            .position(|byte| *byte == 0)
            .expect("a name ends")
        + 5;
    let mut reply = question[..2].to_vec();
    // A response to a question that requests recursion, from a server that offers it.
    reply.extend([0x81 | u8::from(truncated) << 1, 0x80 | code, 0, 1]);
    reply.extend((records.len() as u16).to_be_bytes());
    reply.extend([0; 4]);
    reply.extend(&question[12..end]);
    for record in records {
        reply.extend(encode(&record.owner));
        reply.extend(record.kind.to_be_bytes());
        reply.extend([0, 1]);
        reply.extend(record.ttl.to_be_bytes());
        reply.extend((record.data.len() as u16).to_be_bytes());
        reply.extend(&record.data);
    }
    reply
}
