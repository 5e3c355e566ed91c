//! Acceptors whose settings change while they accept.

use byway_dial::Stream;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;

use super::*;
use crate::common::Listening;

const KINDS: [Congestion; 4] = [
    Congestion::Bbr,
    Congestion::Cubic,
    Congestion::Bbr,
    Congestion::Cubic,
];

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_congestion_control_that_is_set_later_applies_to_new_connections_over_tls() {
    use std::os::fd::AsFd;

    let (listening, tcp) =
        Listening::by_nothing(Key::generate().unwrap(), Settings::default()).await;
    for congestion in KINDS {
        let fresh = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if fresh
            .set_tcp_congestion(congestion.to_string().as_bytes())
            .is_err()
        {
            continue;
        }
        listening.acceptor.set_limits(64, congestion);
        let _peer = TcpStream::connect(listening.address).await.unwrap();
        let (socket, _) = tcp.accept().await.unwrap();
        let same = Socket::from(socket.as_fd().try_clone_to_owned().unwrap());
        let runtime = Handle::current();
        let mut accepting = std::pin::pin!(
            listening
                .acceptor
                .tcp(Stream::accepted_tcp(socket), &runtime)
        );
        assert!(
            futures_util::poll!(&mut accepting).is_pending(),
            "the peer has sent nothing"
        );
        let set = same.tcp_congestion().unwrap();
        assert!(
            set.starts_with(congestion.to_string().as_bytes()),
            "{congestion}: {set:?}"
        );
    }
}

#[tokio::test]
async fn a_congestion_control_that_is_set_later_applies_to_new_connections_over_quic() {
    let (listening, _tcp) =
        Listening::by_nothing(Key::generate().unwrap(), Settings::default()).await;
    let listener = listening
        .acceptor
        .listen_quic(quic::bind(listening.address).unwrap())
        .unwrap();
    let (key, pin) = (Key::generate().unwrap(), listening.acceptor.pin());
    for congestion in KINDS {
        listening.acceptor.set_limits(64, congestion);
        let accepting = async {
            let incoming = listener.accept().await.unwrap();
            quic_handshake(incoming, listening.acceptor.settings().congestion)
                .await
                .unwrap()
        };
        let (accepted, dialled) = tokio::join!(
            accepting,
            quic::dial(listening.address, &key, pin, Congestion::default())
        );
        let is_cubic = crate::congestion::is_cubic(accepted.congestion_state());
        assert_eq!(is_cubic, congestion == Congestion::Cubic, "{congestion}");
        drop(dialled.unwrap());
    }
}
