//! Server: one question to one DNS server.
//!
//! In:    a question and the server's address.
//! Out:   the server's answer: over UDP, and over TCP if it does not fit or the replies look forged.
//! Never: keeps a deadline; the caller drops the future, and the socket is closed with it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::question::{Failure, Question, Records, Reply};

/// The longest reply over UDP that is read. We announce no more than the 512 bytes of RFC 1035.
const DATAGRAM_BYTES: usize = 1500;
/// After so many replies that answer something else, a forger is assumed and the question goes by TCP.
const FORGED_MAX: usize = 16;

/// Asks `question` of `server`. Each question has a socket of its own, with a port that the system chooses.
pub(super) async fn ask(server: SocketAddr, question: &Question, tcp_only: bool) -> Result<Records, Failure> {
    let unreachable = |error: io::Error| Failure::Unreachable(format!("a name server cannot be asked: {error}"));
    if !tcp_only && let Some(records) = over_udp(server, question).await.map_err(unreachable)?? {
        return Ok(records);
    }
    over_tcp(server, question).await.map_err(unreachable)?
}

/// `Ok(Ok(None))`: it has to be asked by TCP.
async fn over_udp(server: SocketAddr, question: &Question) -> io::Result<Result<Option<Records>, Failure>> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // From here on the kernel drops datagrams from other addresses.
    socket.connect(server).await?;
    socket.send(question.bytes()).await?;
    let mut reply = [0; DATAGRAM_BYTES];
    for _ in 0..FORGED_MAX {
        let length = socket.recv(&mut reply).await?;
        match question.read(reply.get(..length).unwrap_or_default()) {
            Ok(Reply::Answer(records)) => return Ok(Ok(Some(records))),
            Ok(Reply::Truncated) => return Ok(Ok(None)),
            Ok(Reply::Other) => {}
            Err(failure) => return Ok(Err(failure)),
        }
    }
    Ok(Ok(None))
}

/// RFC 1035 section 4.2.2: two bytes of length before each message.
async fn over_tcp(server: SocketAddr, question: &Question) -> io::Result<Result<Records, Failure>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.bytes().len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let framed = [&length.to_be_bytes(), question.bytes()].concat();
    stream.write_all(&framed).await?;
    let mut reply = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut reply).await?;
    Ok(match question.read(&reply) {
        Ok(Reply::Answer(records)) => Ok(records),
        Ok(Reply::Truncated | Reply::Other) => Err(Failure::Server("a name server gave no whole answer".to_owned())),
        Err(failure) => Err(failure),
    })
}
