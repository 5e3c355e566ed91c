//! Every way a relayed flow can end, on every kind of stream, from either side, in one test.
//!
//! A Unix socket has no reset: its reader sees a FIN, and a writer gets a broken pipe. There a
//! reset is detected with the first byte in the other direction. Until then it looks like a
//! finished upload.
#![allow(clippy::unwrap_used)]

use std::future::poll_fn;
use std::io::IoSlice;
use std::task::Poll;

use byway_dial::{Broken, Pipe, Read, Stream};
use byway_relay::{Early, End, EndKind, RelayOptions, Side, relay};
use byway_testkit::pipe::{self, Control};
use tokio::net::{TcpListener, TcpStream, UnixStream};

const GREETING: &[u8] = b"more than the eight bytes that a pipe holds";
const ANSWER: &[u8] = b"and as much the other way, after the end";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Memory,
    /// Buffers what is written until it is flushed, as TLS does.
    MemoryThatHolds,
    Tcp,
    Unix,
    Tls,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    kind: Kind,
    closer: Side,
    how: EndKind,
    after_bytes: bool,
    other_is_blocked: bool,
}

#[tokio::test]
async fn every_end_from_either_side_on_every_kind_of_stream() {
    let kinds = [
        Kind::Memory,
        Kind::MemoryThatHolds,
        Kind::Tcp,
        Kind::Unix,
        Kind::Tls,
    ];
    let hows = [EndKind::Fin, EndKind::Reset, EndKind::SessionLost];
    let mut run = 0;
    for kind in kinds {
        for how in hows
            .into_iter()
            .filter(|how| *how != EndKind::SessionLost || kind.has_sessions())
        {
            for closer in [Side::Downstream, Side::Upstream] {
                for (after_bytes, other_is_blocked) in
                    [(false, false), (false, true), (true, false), (true, true)]
                {
                    let case = Case {
                        kind,
                        closer,
                        how,
                        after_bytes,
                        other_is_blocked,
                    };
                    eprintln!("{case:?}");
                    case.run().await;
                    run += 1;
                }
            }
        }
    }
    assert_eq!(run, (2 * 3 + 3 * 2) * 2 * 4);
}

impl Case {
    async fn run(self) {
        let (down, mut down_peer) = self.kind.pair().await;
        let (up, mut up_peer) = self.kind.pair().await;
        let (closer, other) = match self.closer {
            Side::Downstream => (&mut down_peer, &mut up_peer),
            _ => (&mut up_peer, &mut down_peer),
        };
        let options = RelayOptions::default();
        let relay = relay(down, up, &options, Early::default());
        let (end, sent) = tokio::join!(relay, self.script(closer, other));
        self.check(end, sent);
    }

    /// What both peers do and check. Returns the total number of bytes that `other` sent.
    async fn script(self, closer: &mut Peer, other: &mut Peer) -> u64 {
        if self.after_bytes {
            tokio::join!(closer.send(GREETING), other.expect(GREETING));
        }
        let mut sent = if self.other_is_blocked {
            other.send_until_blocked().await
        } else {
            Vec::new()
        };
        match self.how {
            EndKind::Fin => {
                closer.stream().finish().await.unwrap();
                assert_eq!(
                    other.read_to_end().await.unwrap(),
                    b"",
                    "only the FIN is forwarded"
                );
                sent.extend_from_slice(ANSWER);
                let answer = async {
                    other.send(ANSWER).await;
                    other.stream().finish().await.unwrap();
                };
                let ((), received) = tokio::join!(answer, closer.read_to_end());
                assert!(received.unwrap() == sent, "the other direction is whole");
            }
            EndKind::Reset => {
                closer.reset();
                self.expect_reset(other).await;
            }
            _ => {
                closer.control.as_ref().unwrap().lose_session();
                self.expect_reset(other).await;
            }
        }
        sent.len() as u64
    }

    async fn expect_reset(self, other: &mut Peer) {
        if self.kind == Kind::Unix {
            // See the head of the file: the first byte gets the broken pipe.
            let _ = other.stream().write_all(ANSWER).await;
            let _ = other.read_to_end().await;
            return;
        }
        let broken = other.read_to_end().await.unwrap_err();
        assert!(matches!(broken, Broken::Reset(_)), "{broken:?}");
    }

    fn check(self, end: End, sent_by_other: u64) {
        let who = if self.how == EndKind::SessionLost {
            Side::Link
        } else {
            self.closer
        };
        assert_eq!((end.who, end.kind), (who, self.how));
        let (forward, back) = match self.closer {
            Side::Downstream => (end.bytes.up, end.bytes.down),
            _ => (end.bytes.down, end.bytes.up),
        };
        assert_eq!(
            forward,
            if self.after_bytes {
                GREETING.len() as u64
            } else {
                0
            }
        );
        match self.how {
            EndKind::Fin => assert_eq!(back, sent_by_other),
            _ => assert!(back <= sent_by_other + ANSWER.len() as u64),
        }
    }
}

impl Kind {
    fn has_sessions(self) -> bool {
        matches!(self, Self::Memory | Self::MemoryThatHolds)
    }

    /// The relay's end and the peer's.
    async fn pair(self) -> (Stream, Peer) {
        match self {
            Self::Memory => Self::memory(0),
            Self::MemoryThatHolds => Self::memory(64),
            Self::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let (far, near) = tokio::join!(TcpStream::connect(address), listener.accept());
                (
                    Stream::tcp(near.unwrap().0),
                    Peer::new(Stream::tcp(far.unwrap())),
                )
            }
            Self::Tls => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let (far, near) = tokio::join!(TcpStream::connect(address), listener.accept());
                let (far, near) =
                    tls(Stream::tcp(far.unwrap()), Stream::tcp(near.unwrap().0)).await;
                (near, Peer::new(far))
            }
            Self::Unix => {
                let (near, far) = UnixStream::pair().unwrap();
                (Stream::unix(near), Peer::new(Stream::unix(far)))
            }
        }
    }

    fn memory(held_bytes: usize) -> (Stream, Peer) {
        let (near, far) = pipe::pair();
        let control = Some(far.control());
        let near = near.holding_until_flush(held_bytes).into_stream();
        (
            near,
            Peer {
                stream: Some(far.into_stream()),
                control,
            },
        )
    }
}

/// A TLS session over two connected streams: the client's and the server's.
async fn tls(connects: Stream, accepts: Stream) -> (Stream, Stream) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let accepting = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let connecting = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(connecting));
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(accepting));
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let (connected, accepted) = tokio::join!(
        connector.connect(name, byway_dial::AsIo(connects)),
        acceptor.accept(byway_dial::AsIo(accepts)),
    );
    (
        Stream::tls(connected.unwrap().into()),
        Stream::tls(accepted.unwrap().into()),
    )
}

/// The peer at the far end of one side.
struct Peer {
    stream: Option<Stream>,
    control: Option<Control>,
}

impl Peer {
    fn new(stream: Stream) -> Self {
        Self {
            stream: Some(stream),
            control: None,
        }
    }

    fn stream(&mut self) -> &mut Stream {
        self.stream.as_mut().unwrap()
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream().write_all(bytes).await.unwrap();
    }

    async fn expect(&mut self, bytes: &[u8]) {
        let mut received = Vec::new();
        while received.len() < bytes.len() {
            let mut buf = vec![0; bytes.len() - received.len()];
            let Read::Data(n) = self.stream().read(&mut buf).await.unwrap() else {
                panic!("FIN too early")
            };
            received.extend_from_slice(&buf[..n]);
        }
        assert_eq!(received, bytes);
    }

    /// Writes until the stream accepts no more although the relay keeps running. Returns the
    /// accepted bytes.
    async fn send_until_blocked(&mut self) -> Vec<u8> {
        const PERIOD: usize = 251;
        let pattern: Vec<u8> = (0..65_536).map(|at| (at % PERIOD) as u8).collect();
        let mut sent = Vec::new();
        let mut idle_turns = 0;
        while idle_turns < 200 {
            let next = IoSlice::new(&pattern[sent.len() % PERIOD..]);
            match poll_fn(|cx| Poll::Ready(self.stream().poll_write(cx, &[next]))).await {
                Poll::Ready(n) => {
                    sent.extend_from_slice(&next[..n.unwrap()]);
                    idle_turns = 0;
                }
                Poll::Pending => {
                    tokio::task::yield_now().await;
                    idle_turns += 1;
                }
            }
        }
        sent
    }

    async fn read_to_end(&mut self) -> Result<Vec<u8>, Broken> {
        let (mut received, mut buf) = (Vec::new(), vec![0; 65_536]);
        while let Read::Data(n) = self.stream().read(&mut buf).await? {
            received.extend_from_slice(&buf[..n]);
        }
        Ok(received)
    }

    fn reset(&mut self) {
        match &self.control {
            Some(control) => control.reset(7),
            None => {
                self.stream().reset(0);
                self.stream = None;
            }
        }
    }
}
