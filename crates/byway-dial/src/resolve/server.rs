//! Server: one question to one DNS server.
//!
//! In:    a question and the server's address.
//! Out:   the server's answer: over UDP, and over TCP if it does not fit or the replies look
//!        forged.
//! Never: has a deadline; the caller drops the future, which closes the socket.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::question::{Failure, Question, Records, Reply};
use crate::error::FailureRank;

/// The longest UDP reply that is read. We announce only the 512 bytes of RFC 1035.
const DATAGRAM_BYTES: usize = 1500;
/// After this number of replies that do not match, an attacker is assumed and the question is sent
/// over TCP.
const FORGED_MAX: usize = 16;

/// Sends `question` to `server`. Each question has its own socket, with a port that the system
/// chooses.
pub(super) async fn ask(
    server: SocketAddr,
    question: &Question,
    tcp_only: bool,
) -> Result<Records, Failure> {
    let unreachable = |error: io::Error| cannot_ask(&error);
    if !tcp_only && let Some(records) = over_udp(server, question).await.map_err(unreachable)?? {
        return Ok(records);
    }
    over_tcp(server, question).await.map_err(unreachable)?
}

fn cannot_ask(error: &io::Error) -> Failure {
    match FailureRank::of(error) {
        FailureRank::Exhausted => Failure::Exhausted(format!(
            "no socket can be opened to query a name server: {error}"
        )),
        _ => Failure::Unreachable(format!("a name server cannot be queried: {error}")),
    }
}

/// `Ok(Ok(None))`: the question must be repeated over TCP.
async fn over_udp(
    server: SocketAddr,
    question: &Question,
) -> io::Result<Result<Option<Records>, Failure>> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    ask_from(&UdpSocket::bind(any).await?, server, question).await
}

async fn ask_from(
    socket: &UdpSocket,
    server: SocketAddr,
    question: &Question,
) -> io::Result<Result<Option<Records>, Failure>> {
    // From here on the kernel drops datagrams from other addresses. Earlier ones are still in its
    // queue.
    socket.connect(server).await?;
    let server = socket.peer_addr()?;
    socket.send(question.bytes()).await?;
    let mut reply = [0; DATAGRAM_BYTES];
    for _ in 0..FORGED_MAX {
        let (length, from) = socket.recv_from(&mut reply).await?;
        if (from.ip(), from.port()) != (server.ip(), server.port()) {
            continue;
        }
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
    let length = stream.read_u16().await?;
    // Memory is allocated for received bytes, and not for the announced length.
    let mut reply = Vec::new();
    if stream.take(length.into()).read_to_end(&mut reply).await? < length.into() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(match question.read(&reply) {
        Ok(Reply::Answer(records)) => Ok(records),
        Ok(Reply::Truncated | Reply::Other) => Err(Failure::Server(
            "a name server sent an incomplete answer".to_owned(),
        )),
        Err(failure) => Err(failure),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::message::RecordType;

    /// A reply to `question` with one address, the last byte of which is `last`.
    fn reply(question: &[u8], last: u8) -> Vec<u8> {
        let mut reply = question.to_vec();
        (reply[2], reply[3], reply[7]) = (0x81, 0x80, 1);
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, last]);
        reply
    }

    #[tokio::test]
    async fn a_reply_that_another_host_sent_before_the_socket_was_connected_is_ignored() {
        let [socket, server, stranger] =
            [(); 3].map(|()| std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
        let question = Question::new("www.example", RecordType::V4).unwrap();
        stranger
            .send_to(&reply(question.bytes(), 66), socket.local_addr().unwrap())
            .unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = UdpSocket::from_std(socket).unwrap();
        let address = server.local_addr().unwrap();
        let answering = tokio::task::spawn_blocking(move || {
            let mut buffer = [0; DATAGRAM_BYTES];
            let (length, asker) = server.recv_from(&mut buffer).unwrap();
            server.send_to(&reply(&buffer[..length], 1), asker).unwrap();
        });
        let records = ask_from(&socket, address, &question)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(
            records.addresses,
            ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]
        );
        answering.await.unwrap();
    }

    #[test]
    fn a_machine_without_free_descriptors_is_not_reported_as_a_name_server_that_is_down() {
        for code in [23, 24] {
            let failure = cannot_ask(&io::Error::from_raw_os_error(code));
            assert!(matches!(failure, Failure::Exhausted(_)), "{failure:?}");
        }
        let refused = cannot_ask(&io::ErrorKind::ConnectionRefused.into());
        assert!(matches!(refused, Failure::Unreachable(_)), "{refused:?}");
    }
}
