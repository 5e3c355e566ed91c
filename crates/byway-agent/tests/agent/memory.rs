//! Memory: origins in memory, in the same runtime as the agent, so that a test controls the order
//! of events.
//!
//! Never: uses a socket, a thread or a sleep; every wait ends after an hour of the paused clock,
//!        and names what was waited for.

use byway_agent::{Agent, AgentBuilder, Body, CloseReason, Error, Event, Target, connector_fn};
use http::{Request, Response};
use parking_lot::Mutex;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

/// The capacity of one direction of a connection.
pub const CAPACITY_BYTES: usize = 64 * 1024;

/// Accepts everything that an agent dials.
pub struct Origins {
    accepted: UnboundedReceiver<Server>,
    pub dialled: Arc<AtomicUsize>,
}

/// The other end of one connection.
pub struct Server {
    io: DuplexStream,
    unread: Vec<u8>,
    pub target: Target,
}

/// A request as it was received.
#[derive(Debug, Clone, Default)]
pub struct Received {
    pub head: String,
    pub body: Vec<u8>,
    pub trailers: String,
}

/// An agent whose connections go to [`Origins`].
pub fn agent(build: impl FnOnce(AgentBuilder) -> AgentBuilder) -> (Agent, Origins) {
    agent_with_room(CAPACITY_BYTES, build)
}

/// As [`agent`], with connections of a smaller capacity.
pub fn agent_with_room(
    bytes: usize,
    build: impl FnOnce(AgentBuilder) -> AgentBuilder,
) -> (Agent, Origins) {
    let (sender, accepted) = unbounded_channel();
    let dialled = Arc::new(AtomicUsize::new(0));
    let connector = connect_to(sender, Arc::clone(&dialled), bytes);
    let agent = build(Agent::builder())
        .connector(connector)
        .build()
        .unwrap();
    (agent, Origins { accepted, dialled })
}

fn connect_to(
    sender: UnboundedSender<Server>,
    dialled: Arc<AtomicUsize>,
    bytes: usize,
) -> impl tower_service::Service<
    Target,
    Response = DuplexStream,
    Error = io::Error,
    Future = impl Future<Output = io::Result<DuplexStream>> + Send,
> + Clone
+ Send
+ Sync
+ 'static {
    connector_fn(move |target: Target| {
        let (sender, dialled) = (sender.clone(), Arc::clone(&dialled));
        async move {
            dialled.fetch_add(1, Ordering::SeqCst);
            let (ours, theirs) = duplex(bytes);
            let _ = sender.send(Server {
                io: theirs,
                unread: Vec::new(),
                target,
            });
            Ok(ours)
        }
    })
}

/// Waits for something that must happen, for an hour of the paused clock.
#[track_caller]
pub fn soon<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    let what = what.to_owned();
    async move {
        timeout(Duration::from_secs(3600), future)
            .await
            .unwrap_or_else(|_| panic!("{what} did not arrive ({caller})"))
    }
}

impl Origins {
    /// The next connection that the agent opens.
    pub async fn accept(&mut self) -> Server {
        soon("a connection", self.accepted.recv())
            .await
            .expect("the agent is there")
    }

    /// How many were opened so far.
    pub fn connections(&self) -> usize {
        self.dialled.load(Ordering::SeqCst)
    }
}

impl Server {
    /// The connection as it is.
    pub fn into_io(self) -> DuplexStream {
        self.io
    }

    async fn more(&mut self) -> bool {
        soon("a byte", self.io.read_buf(&mut self.unread))
            .await
            .unwrap_or(0)
            > 0
    }

    /// Reads up to and with `mark`.
    pub async fn until(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self
                .unread
                .windows(mark.len())
                .position(|window| window == mark)
            {
                return self.unread.drain(..at + mark.len()).collect();
            }
            let unread = String::from_utf8_lossy(&self.unread).into_owned();
            assert!(self.more().await, "the connection ended after {unread:?}");
        }
    }

    pub async fn exactly(&mut self, n: usize) -> Vec<u8> {
        while self.unread.len() < n {
            assert!(self.more().await, "the connection ended before {n} bytes");
        }
        self.unread.drain(..n).collect()
    }

    /// Reads a head; the body remains unread.
    pub async fn head(&mut self) -> Received {
        let head = self.until(b"\r\n\r\n").await;
        Received {
            head: String::from_utf8(head).unwrap(),
            ..Received::default()
        }
    }

    /// Reads a whole request.
    pub async fn request(&mut self) -> Received {
        let mut received = self.head().await;
        if let Some(length) = received.field("content-length") {
            received.body = self.exactly(length.parse().unwrap()).await;
        } else if received.field("transfer-encoding").is_some() {
            loop {
                let line = String::from_utf8(self.until(b"\r\n").await).unwrap();
                let size = usize::from_str_radix(line.trim(), 16).unwrap();
                if size == 0 {
                    break;
                }
                received.body.extend(self.exactly(size).await);
                assert_eq!(self.exactly(2).await, b"\r\n");
            }
            while received.trailers.is_empty() || !received.trailers.ends_with("\r\n\r\n") {
                let line = String::from_utf8(self.until(b"\r\n").await).unwrap();
                if line == "\r\n" {
                    break;
                }
                received.trailers += &line;
            }
        }
        received
    }

    /// Sends bytes; the other side may have closed.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = soon("room to send", self.io.write_all(bytes.as_ref())).await;
    }

    /// Reads a request and responds with 200 and `text`.
    pub async fn serve(&mut self, text: &str) -> Received {
        let received = self.request().await;
        self.send(ok(text)).await;
        received
    }

    /// Sends a FIN.
    pub async fn finish(&mut self) {
        let _ = self.io.shutdown().await;
    }

    /// Waits until the agent has closed the connection; no byte may come before.
    pub async fn closed(mut self) {
        assert!(
            !self.more().await,
            "received bytes: {:?}",
            String::from_utf8_lossy(&self.unread)
        );
    }
}

impl Received {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The path.
    pub fn path(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }

    /// The only value of a field.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.head.lines().skip(1).filter_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        let value = values.next();
        assert!(
            values.next().is_none(),
            "{name} occurs twice:\n{}",
            self.head
        );
        value
    }
}

/// A 200 with a text.
pub fn ok(text: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
}

/// The text of a response that must come.
pub async fn text(response: Result<Response<Body>, Error>) -> String {
    response
        .expect("a response")
        .into_body()
        .text()
        .await
        .expect("a whole body")
}

/// A GET whose whole text is read.
pub async fn get(agent: &Agent, url: &str) -> String {
    text(agent.get(url).await).await
}

/// A GET that must fail.
pub async fn get_error(agent: &Agent, url: &str) -> Error {
    agent.get(url).await.map(|_| ()).expect_err("an error")
}

/// A POST with a body of known length.
pub fn post(url: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(url).body(body.into()).unwrap()
}

/// Polls a future once and keeps it; it must not be ready.
pub async fn begin<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) {
    let mut future = future;
    std::future::poll_fn(|cx| {
        assert!(
            future.as_mut().poll(cx).is_pending(),
            "it is ready too early"
        );
        std::task::Poll::Ready(())
    })
    .await;
}

/// The events of an agent, as lines.
#[derive(Clone, Default)]
pub struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    pub fn observe(&self) -> impl Fn(&Event<'_>) + Send + Sync + 'static {
        let events = Arc::clone(&self.0);
        move |event| {
            let line = match event {
                Event::Opened { .. } => "opened".to_owned(),
                Event::ConnectFailed { .. } => "connect failed".into(),
                Event::Reused { requests, .. } => format!("reused for request {requests}"),
                Event::Idle { .. } => "idle".into(),
                Event::Queued { .. } => "queued".into(),
                Event::Upgraded { .. } => "upgraded".into(),
                Event::Closed {
                    reason, requests, ..
                } => format!("closed after {requests}: {reason:?}"),
                Event::QueueRejected { error, .. } => format!("rejected: {error}"),
                Event::Retried { .. } => "retried".into(),
                Event::NotRetried { because, .. } => format!("not retried: {because:?}"),
                other => format!("{other:?}"),
            };
            events.lock().push(line);
        }
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().clone()
    }

    /// The reasons why connections were closed.
    pub fn closed(&self) -> Vec<String> {
        let reason = |line: &String| {
            Some(
                line.split_once("closed after ")?
                    .1
                    .split_once(": ")?
                    .1
                    .to_owned(),
            )
        };
        self.lines().iter().filter_map(reason).collect()
    }

    #[track_caller]
    pub fn assert_closed(&self, reasons: &[CloseReason]) {
        let expected: Vec<_> = reasons.iter().map(|reason| format!("{reason:?}")).collect();
        assert_eq!(self.closed(), expected);
    }
}
