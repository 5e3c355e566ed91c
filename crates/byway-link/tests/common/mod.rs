//! Common: two nodes on loopback with a link between them.
#![allow(dead_code, unreachable_pub)]

pub mod quic;
pub mod raw;
pub mod shaped;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use byway_dial::{Broken, Read, Resolver, Stream};
use byway_link::wire::{Control, Open, Opened};
use byway_link::{
    Acceptor, Arrival, Attached, Carriers, Dialler, GrantId, GrantSecret, Inbox, JoinString, Key,
    Link, LinkError, OpenError, OpenedStream, Pending, PendingOpen, Purpose, QuicListener,
    Settings,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

/// The timeout of everything that must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The result of `waiting`, which must complete within [`PATIENCE`].
pub async fn within<T>(waiting: impl Future<Output = T>) -> T {
    timeout(PATIENCE, waiting).await.expect("timed out")
}

/// Reads up to the FIN.
pub async fn read_to_end(stream: &mut Stream) -> Result<Vec<u8>, Broken> {
    let (mut all, mut room) = (Vec::new(), vec![0; 65_536]);
    loop {
        match within(stream.read(&mut room)).await? {
            Read::Fin => return Ok(all),
            Read::Data(n) => all.extend_from_slice(&room[..n]),
        }
    }
}

/// A node that accepts both carriers on one port of loopback. Its hellos arrive in `arrivals`.
pub struct Listening {
    pub acceptor: Arc<Acceptor>,
    pub address: SocketAddr,
    pub arrivals: Mutex<mpsc::UnboundedReceiver<Result<Arrival, LinkError>>>,
    arrived: mpsc::UnboundedSender<Result<Arrival, LinkError>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// A node with its own key.
pub async fn listening() -> Listening {
    Listening::new(Key::generate().unwrap(), Settings::default()).await
}

/// A TCP connection to it.
pub async fn dial(listening: &Listening) -> Stream {
    Stream::tcp(TcpStream::connect(listening.address).await.unwrap())
}

/// A session over TLS whose peer is driven by the test: the peer, this side of the session, and the
/// session id for further carriers.
pub async fn raw_session(
    listening: &Listening,
    key: &raw::RawKey,
) -> (raw::RawPeer, (Link, Inbox), Vec<u8>) {
    let mut peer = raw::RawPeer::dialled(dial(listening).await, key).await;
    peer.writer.send(Control::Hello(raw::hello())).await;
    let here = listening.pending().await.welcome().await.unwrap();
    let session = peer.reader.welcome().await;
    (peer, here, session)
}

impl Listening {
    pub async fn new(key: Key, settings: Settings) -> Self {
        // Another test may use the port of the TCP listener over UDP.
        for _ in 0..32 {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let Ok(udp) = byway_link::quic::bind(tcp.local_addr().unwrap()) else {
                continue;
            };
            let mut this = Self::on(&tcp, key, settings);
            this.accept_tcp(tcp);
            this.accept_quic(udp);
            return this;
        }
        panic!("no port is free over both TCP and UDP");
    }

    fn on(tcp: &TcpListener, key: Key, settings: Settings) -> Self {
        let (arrived, arrivals) = mpsc::unbounded_channel();
        Self {
            acceptor: Arc::new(Acceptor::new(key, settings, Handle::current()).unwrap()),
            address: tcp.local_addr().unwrap(),
            arrivals: Mutex::new(arrivals),
            arrived,
            tasks: Vec::new(),
        }
    }

    /// A node that accepts nothing yet; clients of the listener wait.
    pub async fn by_nothing(key: Key, settings: Settings) -> (Self, TcpListener) {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        (Self::on(&tcp, key, settings), tcp)
    }

    pub async fn by_tcp_alone(key: Key, settings: Settings) -> Self {
        let (mut this, tcp) = Self::by_nothing(key, settings).await;
        this.accept_tcp(tcp);
        this
    }

    fn accept_tcp(&mut self, tcp: TcpListener) {
        let (accepting, arrived) = (Arc::clone(&self.acceptor), self.arrived.clone());
        self.tasks.push(Handle::current().spawn(async move {
            while let Ok((socket, _)) = tcp.accept().await {
                let (acceptor, arrived) = (Arc::clone(&accepting), arrived.clone());
                Handle::current().spawn(async move {
                    let _ =
                        arrived.send(acceptor.tcp(Stream::tcp(socket), &Handle::current()).await);
                });
            }
        }));
    }

    /// Starts to accept QUIC, on the same port.
    pub fn listen_quic(&mut self) -> Arc<QuicListener> {
        self.accept_quic(byway_link::quic::bind(self.address).unwrap())
    }

    fn accept_quic(&mut self, udp: std::net::UdpSocket) -> Arc<QuicListener> {
        let listener = Arc::new(self.acceptor.listen_quic(udp).unwrap());
        let (accepting, arrived, listening) = (
            Arc::clone(&self.acceptor),
            self.arrived.clone(),
            Arc::clone(&listener),
        );
        self.tasks.push(Handle::current().spawn(async move {
            while let Some(incoming) = listening.accept().await {
                let (acceptor, arrived) = (Arc::clone(&accepting), arrived.clone());
                Handle::current().spawn(async move {
                    let _ = arrived.send(acceptor.quic(incoming).await);
                });
            }
        }));
        listener
    }

    pub async fn next(&self) -> Result<Arrival, LinkError> {
        within(self.arrivals.lock().await.recv())
            .await
            .expect("an arrival")
    }

    pub async fn pending(&self) -> Pending {
        match self.next().await {
            Ok(Arrival::Hello(pending)) => *pending,
            other => panic!("{other:?} instead of a hello"),
        }
    }

    /// The next carrier that requests to be attached, after it was attached.
    pub async fn attached(&self) -> Attached {
        match self.next().await {
            Ok(Arrival::Attach(attaching)) => attaching.accept().await.unwrap(),
            other => panic!("{other:?} instead of an attach"),
        }
    }

    pub fn join(&self) -> JoinString {
        JoinString {
            pin: self.acceptor.pin(),
            id: GrantId::from_bytes([1; 6]),
            secret: GrantSecret::from_bytes([2; 24]),
            address: byway_dial::Target::Addr(self.address),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

pub fn dialler(join: JoinString, carriers: Carriers, key: Key, settings: Settings) -> Dialler {
    let dial = byway_dial::Dialler::new(
        Resolver::system(Handle::current()),
        byway_dial::Options::default(),
    );
    Dialler::new(
        key,
        join,
        Purpose::Serve,
        carriers,
        dial,
        settings,
        Handle::current(),
    )
}

/// One side of a link.
pub struct Side {
    pub link: Link,
    pub inbox: Mutex<Inbox>,
}

impl Side {
    pub fn new((link, inbox): (Link, Inbox)) -> Self {
        Self {
            link,
            inbox: Mutex::new(inbox),
        }
    }

    pub async fn open(&self) -> Result<OpenedStream, OpenError> {
        let open = Open {
            host: "example.com".into(),
            port: 80,
            ..Open::default()
        };
        within(self.link.open(&open, PATIENCE)).await
    }

    pub async fn next_asked(&self) -> (Open, PendingOpen) {
        let arrived = within(async { self.inbox.lock().await.streams.recv().await })
            .await
            .expect("a stream");
        within(arrived.asked()).await.unwrap()
    }

    /// Opens a stream to `to`, which answers that it has connected.
    pub async fn open_to(&self, to: &Self) -> (OpenedStream, (Open, Stream)) {
        let answering = async {
            let (open, asked) = to.next_asked().await;
            let stream = asked
                .opened(Opened {
                    local: "192.0.2.1:4711".into(),
                    ..Opened::default()
                })
                .await
                .unwrap();
            (open, stream)
        };
        let (opened, answered) = tokio::join!(self.open(), answering);
        (opened.unwrap(), answered)
    }
}

/// Two nodes with a session between them.
pub struct Pair {
    pub dialler: Side,
    pub acceptor: Side,
    pub listening: Listening,
}

impl Pair {
    pub async fn new(carriers: Carriers) -> Self {
        Self::with(carriers, Settings::default()).await
    }

    pub async fn with(carriers: Carriers, settings: Settings) -> Self {
        let listening = Listening::new(Key::generate().unwrap(), settings.clone()).await;
        let dialler = dialler(
            listening.join(),
            carriers,
            Key::generate().unwrap(),
            settings,
        );
        let welcoming = async { listening.pending().await.welcome().await.unwrap() };
        let (dialled, accepted) = tokio::join!(dialler.connect(1, 1, PATIENCE), welcoming);
        Self {
            dialler: Side::new(dialled.unwrap()),
            acceptor: Side::new(accepted),
            listening,
        }
    }

    /// A stream that the dialling side has opened: its end, and the far end.
    pub async fn stream(&self) -> (Stream, Stream) {
        let (opened, (_, far)) = self.dialler.open_to(&self.acceptor).await;
        (opened.stream, far)
    }
}
