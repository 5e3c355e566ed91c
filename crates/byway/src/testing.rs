//! Testing: connections of a node without sockets, over pipes of eight bytes.
//!
//! In:    a config; what clients and upstreams send, byte by byte if need be.
//! Out:   what they receive, and how it ended.
//! Never: sleeps; a wait that takes too long fails the test, at once where the clock is paused.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use byway_dial::{Broken, Pipe, Read, Stream};
use byway_http::filter::MakeFilter;
use byway_http::h2::BufferBudget;
use byway_pool::{Acquired, Release};
use byway_testkit::pipe::{self, CAPACITY_BYTES, Control, MemoryPipe};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::config::{Plan, Role, Surroundings, parse_with};
use crate::inbound::admission::Admission;
use crate::inbound::context::{Accepted, ConnectionContext, ConnectionInfo, NodeContext};
use crate::inbound::http::h1;
use crate::inbound::ip_limit::IpLimit;
use crate::inbound::listener::ListenerContext;
use crate::inbound::mixed;
use crate::inbound::public_ports::OpenPorts;
use crate::inbound::worker_balance::WorkerLoads;
use crate::link::Links;
use crate::link::registry::ServiceRegistry;
use crate::live::{ListenerSettings, Live};
use crate::observe::telemetry::Telemetry;
use crate::outbound::Engine;
use crate::outbound::engine::EnginePermits;
use crate::outbound::link_table::LinkTable;
use crate::outbound::pooled::PoolKey;
use crate::outbound::upstream_conn::UpstreamConn;
use crate::runtime::scope::{Scope, StopSignals};

/// Longer than any deadline of a config, so that with a paused clock those fire first.
const TIME_LIMIT: Duration = Duration::from_secs(3600);

/// The Plan of a valid config.
pub(crate) fn plan(text: &str) -> Plan {
    parse_with(
        text,
        "byway.toml",
        &Surroundings::without_files(Path::new("/state")),
    )
    .unwrap()
}

/// One listener of a node, without its socket.
pub(crate) struct Bench {
    pub(crate) context: Arc<ConnectionContext>,
    pub(crate) stop: StopSignals,
}

impl Bench {
    /// An edge in front of one upstream that cannot be dialled; `lines` precede it.
    pub(crate) fn edge(lines: &str) -> Self {
        Self::edge_to("127.0.0.1:1", lines)
    }

    /// The same, with a filter of all responses.
    pub(crate) fn filtered(filter: MakeFilter) -> Self {
        let mut bench = Self::edge("");
        let context = Arc::make_mut(&mut bench.context);
        context.response_filter = Some(filter);
        bench
    }

    /// An edge in front of `upstream`; `lines` precede it.
    pub(crate) fn edge_to(upstream: &str, lines: &str) -> Self {
        Self::new(&format!(
            "{lines}\n[[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\nto = \"{upstream}\"\n"
        ))
    }

    /// An egress; `lines` belong to it.
    pub(crate) fn egress(lines: &str) -> Self {
        Self::new(&format!(
            "spill.mode = \"off\"\n[[proxy]]\nlisten = \"127.0.0.1:0\"\n{lines}\n"
        ))
    }

    /// The first listener of the config.
    pub(crate) fn new(text: &str) -> Self {
        Self::of(plan(text))
    }

    /// The same, with an existing state folder.
    pub(crate) fn with_state(text: &str, state: &Path) -> Self {
        Self::of(parse_with(text, "byway.toml", &Surroundings::without_files(state)).unwrap())
    }

    fn of(mut plan: Plan) -> Self {
        plan.workers = NonZeroUsize::MIN;
        let (stop, telemetry) = (StopSignals::default(), Arc::new(Telemetry::new(1)));
        let scope = Scope::new(Handle::current(), &stop, telemetry.on_panic());
        let admission = Admission::new(&plan.descriptors.shares, plan.pool.max_total);
        let settings = ListenerSettings::Listener {
            key: Arc::new(plan.keyed_listeners().next().unwrap().0),
            kind: plan.listeners[0].frontend.kind(),
        };
        let address = Arc::new(plan.listeners[0].bind.clone());
        let registry = Arc::new(ServiceRegistry::new(&plan.state));
        let engine = Engine::new(
            Arc::new(Live::new(plan)),
            telemetry,
            LinkTable::new(Arc::clone(&registry) as _),
            &Handle::current(),
            EnginePermits {
                attempts: Arc::clone(admission.attempts()),
                spill_files: admission.spill_files().clone(),
                tunnels: admission.tunnels().clone(),
            },
        );
        let engine = Arc::new(engine.unwrap());
        let links = Arc::new(Links::new(Arc::clone(&engine), registry, scope.clone()));
        let no_services = Arc::new(|_: &str| false);
        let tls = Arc::new(crate::tls::NodeTls::new("/nonexistent".into(), no_services));
        let node = Arc::new(NodeContext {
            buffers: BufferBudget::default(),
            metrics: NodeContext::collectors(&engine, &links, &tls),
            tls,
            engine,
            links,
            admission,
            loads: WorkerLoads::new(1),
            scopes: vec![scope.clone()],
            ports: OpenPorts::default(),
        });
        let context = ConnectionContext::new(&node, settings, address, 0, scope);
        Self {
            context: Arc::new(context),
            stop,
        }
    }

    /// The listener on its only worker.
    pub(crate) fn listener(&self) -> Arc<ListenerContext> {
        let (_, frontend) = self.context.plan().unwrap();
        Arc::new(ListenerContext {
            connection_context: Arc::clone(&self.context),
            admit: self.context.node.admission.of(&frontend.role, 100),
            ip_limit: IpLimit::default(),
        })
    }

    /// The client end of a new connection through a pipe of eight bytes.
    pub(crate) fn connect_client(&self) -> Peer {
        self.connect_client_through(CAPACITY_BYTES)
    }

    /// The client end of a new connection through a pipe of `capacity_bytes`.
    pub(crate) fn connect_client_through(&self, capacity_bytes: usize) -> Peer {
        let (near, far) = pipe::pair_of(capacity_bytes);
        self.serve(near.into_stream());
        Peer::new(far)
    }

    /// The client end of a new connection from `peer`.
    pub(crate) fn connect_client_from(&self, peer: SocketAddr) -> Peer {
        let (near, far) = pipe::pair();
        let info = ConnectionInfo {
            peer: Some(peer),
            ..ConnectionInfo::default()
        };
        let stream = near.into_stream();
        self.serve_accepted(Accepted { stream, info });
        Peer::new(far)
    }

    /// Serves a connection as the listener would.
    pub(crate) fn serve(&self, stream: Stream) {
        let info = ConnectionInfo::default();
        self.serve_accepted(Accepted { stream, info });
    }

    fn serve_accepted(&self, accepted: Accepted) {
        let context = self.context.clone();
        let (plan, listener) = context.plan().unwrap();
        self.context.scope.spawn("connection", async move {
            match &listener.role {
                Role::Edge(_) => h1::serve_edge(accepted, context).await,
                _ => mixed::serve(accepted, context, plan, listener).await,
            }
        });
    }

    /// The upstream end of a connection to the edge's upstream that is idle in the pool.
    pub(crate) async fn upstream(&self) -> Peer {
        let (near, far) = pipe::pair();
        self.add_idle_connection(near.into_stream()).await;
        Peer::new(far)
    }

    /// Puts a connection to the edge's upstream into the pool.
    pub(crate) async fn add_idle_connection(&self, stream: Stream) {
        let plan = self.context.live().plan();
        let Role::Edge(edge) = &plan.listeners[0].frontend.role else {
            panic!("an edge")
        };
        self.add_idle(
            PoolKey::Upstream(Arc::clone(&edge.routes[0].upstreams[0].id)),
            stream,
        )
        .await;
    }

    /// The origin end of a connection to `target` that is idle in the pool, for an egress without
    /// users.
    pub(crate) async fn origin(&self, target: &str) -> Peer {
        let (near, far) = pipe::pair();
        let listener = self.context.settings.listener();
        let target = target.parse().unwrap();
        self.add_idle(
            PoolKey::Egress {
                generation: 1,
                listener,
                user: None,
                certificate: None,
                target,
            },
            near.into_stream(),
        )
        .await;
        Peer::new(far)
    }

    async fn add_idle(&self, origin: PoolKey, stream: Stream) {
        let Acquired::Open(permit) = self.context.pool.acquire_fresh(&origin).await.unwrap() else {
            panic!("a permit")
        };
        permit
            .install(UpstreamConn::new(stream))
            .release(Release::Keep { idle: None });
    }
}

/// The far end of a connection: a client or an upstream with raw access to the bytes.
pub(crate) struct Peer {
    stream: Stream,
    control: Control,
    unread: Vec<u8>,
}

impl Peer {
    pub(crate) fn new(pipe: MemoryPipe) -> Self {
        Self {
            control: pipe.control(),
            stream: pipe.into_stream(),
            unread: Vec::new(),
        }
    }

    /// Sends all of it; it must be taken.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.expect("the other side takes it");
    }

    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Broken> {
        within(self.stream.write_all(bytes.as_ref())).await
    }

    /// Loses the link that carries the connection.
    pub(crate) fn lose_session(&self) {
        self.control.lose_session();
    }

    pub(crate) async fn finish(&mut self) {
        within(self.stream.finish()).await.unwrap();
    }

    /// Receives the next head, to its empty line.
    pub(crate) async fn recv_head(&mut self) -> String {
        loop {
            if let Some(at) = self.unread.windows(4).position(|end| end == b"\r\n\r\n") {
                let head = self.unread.drain(..at + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            let more = self.read().await.expect("the rest of a head");
            assert!(
                more,
                "an end within a head: {:?}",
                String::from_utf8_lossy(&self.unread)
            );
        }
    }

    /// Receives the next bytes, which must be these.
    pub(crate) async fn recv(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        while self.unread.len() < expected.len() {
            let more = self.read().await.expect("more bytes");
            assert!(
                more,
                "an end behind {:?}",
                String::from_utf8_lossy(&self.unread)
            );
        }
        let received: Vec<u8> = self.unread.drain(..expected.len()).collect();
        assert_eq!(
            String::from_utf8_lossy(&received),
            String::from_utf8_lossy(expected)
        );
    }

    /// Receives some bytes; false for a FIN.
    pub(crate) async fn try_recv_some(&mut self) -> Result<bool, Broken> {
        self.unread.clear();
        self.read().await
    }

    /// Receives some bytes. Returns false if the connection ended in any way.
    pub(crate) async fn recv_some(&mut self) -> bool {
        self.try_recv_some().await.unwrap_or(false)
    }

    /// Receives everything up to the end of the stream, if that is a FIN; `Err` for a reset.
    pub(crate) async fn recv_end(&mut self) -> Result<String, Broken> {
        while self.read().await? {}
        Ok(String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned())
    }

    /// Sends `bytes` and receives `recv_bytes` bytes, both at once.
    pub(crate) async fn converse(&mut self, mut bytes: &[u8], recv_bytes: usize) -> Vec<u8> {
        let (stream, unread) = (&mut self.stream, &mut self.unread);
        let conversing = std::future::poll_fn(|cx| {
            while !bytes.is_empty() {
                let Poll::Ready(written) = stream.poll_write(cx, &[std::io::IoSlice::new(bytes)])
                else {
                    break;
                };
                bytes = &bytes[written.unwrap()..];
            }
            let mut space = [0; 64];
            while unread.len() < recv_bytes {
                let Poll::Ready(read) = stream.poll_read(cx, &mut space) else {
                    break;
                };
                let Read::Data(n) = read.unwrap() else {
                    panic!("a FIN after {} bytes", unread.len())
                };
                unread.extend_from_slice(&space[..n]);
            }
            if bytes.is_empty() && unread.len() >= recv_bytes {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        within(conversing).await;
        self.unread.drain(..recv_bytes).collect()
    }

    /// Waits until the other side has closed the connection in any way. For a paused clock.
    pub(crate) async fn wait_until_closed(&mut self) {
        while matches!(self.read().await, Ok(true)) {}
        within(async {
            while !self.control.peer_is_gone() {
                tokio::time::advance(Duration::from_millis(100)).await;
            }
        })
        .await;
    }

    /// Whether the other side has closed the connection.
    pub(crate) fn is_closed_by_peer(&self) -> bool {
        self.control.peer_is_gone()
    }

    /// Bytes that arrived and were not read.
    pub(crate) fn unread_bytes(&self) -> usize {
        self.control.unread_bytes() + self.unread.len()
    }

    async fn read(&mut self) -> Result<bool, Broken> {
        let mut space = [0; 64];
        match within(self.stream.read(&mut space)).await? {
            Read::Fin => Ok(false),
            Read::Data(n) => {
                self.unread.extend_from_slice(&space[..n]);
                Ok(true)
            }
        }
    }
}

/// The result of `waiting`, which must not take long.
pub(crate) async fn within<T>(waiting: impl Future<Output = T>) -> T {
    timeout(TIME_LIMIT, waiting).await.expect("it did not come")
}

/// Lets every task that can run do so.
pub(crate) async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}
