//! Origin: the server behind the program under test, which behaves as well or as badly as a test
//! wants.
//!
//! In:    a script: a function that runs for each connection, on its own thread.
//! Out:   the requests that were received, the number of connections, and how many of them have
//!        ended.
//! Never: answers by itself: only what a script does happens.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use socket2::{Domain, Socket, Type};

use crate::PATIENCE;
use crate::message::Message;
use crate::pattern::{Pattern, Sum};
use crate::wire::Wire;

/// A server behind the program under test, which runs a script for each connection, on its own
/// thread, and records the requests. After it is dropped it accepts no more.
pub struct Origin {
    addresses: Vec<SocketAddr>,
    script: Arc<Script>,
    seen: Arc<Seen>,
}

/// Runs for each connection.
type Script = dyn Fn(&mut Served) + Send + Sync;

/// What an origin has seen, and a signal for more.
#[derive(Default)]
struct Seen {
    so_far: Mutex<SoFar>,
    more: Condvar,
    closing: AtomicBool,
}

#[derive(Default)]
struct SoFar {
    connections: usize,
    ended: usize,
    requests: Vec<Message>,
}

/// One accepted connection, for a script.
pub struct Served {
    wire: Wire,
    /// The number of this connection of the origin, from 0.
    pub number: usize,
    seen: Arc<Seen>,
}

impl Origin {
    /// An origin that runs `script` for each connection; the connection closes when the script
    /// returns.
    pub fn scripted(script: impl Fn(&mut Served) + Send + Sync + 'static) -> Self {
        let mut origin = Self {
            addresses: Vec::new(),
            script: Arc::new(script),
            seen: Arc::default(),
        };
        origin.accept_from(listen_deeply());
        origin
    }

    /// Also accepts connections at `address`, with the same script.
    #[must_use]
    #[track_caller]
    pub fn also_at(mut self, address: &str) -> Self {
        let listener = TcpListener::bind(address)
            .unwrap_or_else(|error| panic!("an origin cannot listen on {address}: {error}"));
        self.accept_from(listener);
        self
    }

    fn accept_from(&mut self, listener: TcpListener) {
        self.addresses.push(listener.local_addr().unwrap());
        let (seen, script) = (Arc::clone(&self.seen), Arc::clone(&self.script));
        std::thread::spawn(move || accept(&listener, &seen, &script));
    }

    /// Sends hello to every client, and records how it ends.
    pub fn greeting() -> Self {
        Self::scripted(|visitor| {
            visitor.send("hello");
            visitor.remember_to_end();
        })
    }

    /// Resets every connection after `bytes` bytes.
    pub fn resetting_after(bytes: usize) -> Self {
        Self::scripted(move |visitor| {
            visitor.exactly(bytes);
            visitor.reset_now();
        })
    }

    /// Sends to every client until it resets: more than any spill and all buffers hold, so that the
    /// origin is sending when the reset comes.
    pub fn sending_until_reset() -> Self {
        Self::scripted(|visitor| {
            let block = vec![1; 1024 * 1024];
            let mut sent = 0;
            while visitor.try_send(&block) {
                sent += 1;
            }
            assert!(sent < 4096, "the reset was not noticed");
        })
    }

    /// Sends the same response to every request, one after the other on a connection.
    pub fn answering(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::scripted(move |visitor| {
            while visitor.request().is_some() {
                visitor.send(&response);
            }
        })
    }

    /// Answers a request for `/N` with the Nth of `responses`, and closes the connection.
    pub fn by_number(responses: &'static [&'static str]) -> Self {
        Self::scripted(move |visitor| {
            let Some(request) = visitor.request() else {
                return;
            };
            let number: usize = request
                .target()
                .trim_start_matches('/')
                .parse()
                .expect("the target is a number");
            visitor.send(responses[number]);
        })
    }

    /// Answers every request with 200 and `name`.
    pub fn named(name: &str) -> Self {
        Self::answering(ok(name))
    }

    /// Sends every byte back, and then FIN.
    pub fn echo() -> Self {
        Self::scripted(|visitor| {
            while visitor.fill() {
                let bytes = visitor.taken();
                visitor.send(bytes);
            }
        })
    }

    /// Accepts each WebSocket and returns its bytes as they are; answers other requests with "hello".
    pub fn websockets() -> Self {
        Self::scripted(|visitor| {
            while let Some(request) = visitor.request() {
                let Some(key) = request.field("Sec-WebSocket-Key") else {
                    visitor.send(ok("hello"));
                    continue;
                };
                visitor.send(format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: {}\r\n\r\n",
                    crate::http2::accept(key)
                ));
                while visitor.fill() {
                    let bytes = visitor.taken();
                    visitor.send(bytes);
                }
                return;
            }
        })
    }

    /// The most common responses: `/bytes/N` and `/chunked/N` send N bytes of the pattern, `/head`
    /// sends the request's head back, `/sum` the length and SHA-256 of its body, anything else a
    /// greeting.
    pub fn useful() -> Self {
        Self::scripted(|visitor| {
            while let Some(request) = visitor.request_head() {
                serve_useful(visitor, &request);
                if request
                    .fields("Connection")
                    .any(|value| value.eq_ignore_ascii_case("close"))
                {
                    break;
                }
            }
        })
    }

    /// An address that refuses connections as long as the socket lives: bound, but not listening.
    pub fn refusing() -> (SocketAddr, Socket) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        (socket.local_addr().unwrap().as_socket().unwrap(), socket)
    }

    /// The address that it listens on, at a free port.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The number of connections that it has accepted.
    pub fn connections(&self) -> usize {
        self.seen.so_far.lock().connections
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Message> {
        self.seen.so_far.lock().requests.clone()
    }

    /// Waits until `n` requests have come, and returns them.
    #[track_caller]
    pub fn wait_for_requests(&self, n: usize) -> Vec<Message> {
        self.wait("requests", n, |so_far| so_far.requests.len());
        self.requests()
    }

    /// Waits until `n` connections have been accepted.
    #[track_caller]
    pub fn wait_for_connections(&self, n: usize) {
        self.wait("connections", n, |so_far| so_far.connections);
    }

    /// Waits until the scripts of `n` connections are over.
    #[track_caller]
    pub fn wait_for_ended(&self, n: usize) {
        self.wait("ended connections", n, |so_far| so_far.ended);
    }

    #[track_caller]
    fn wait(&self, what: &str, n: usize, count: impl Fn(&SoFar) -> usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut so_far = self.seen.so_far.lock();
        while count(&so_far) < n {
            let late = self.seen.more.wait_until(&mut so_far, deadline).timed_out();
            assert!(
                !late || count(&so_far) >= n,
                "waited for {n} {what}, there were {}",
                count(&so_far)
            );
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.seen.closing.store(true, Relaxed);
        // Wakes the accepting threads, which then return.
        for address in &self.addresses {
            let _ = TcpStream::connect(address);
        }
    }
}

impl Served {
    /// Reads a whole request and records it; `None` when no more come.
    #[track_caller]
    pub fn request(&mut self) -> Option<Message> {
        let mut request = self.head()?;
        self.request_body(&mut request);
        self.remember(request.clone());
        Some(request)
    }

    /// Reads a head and records it; the body stays unread.
    #[track_caller]
    pub fn request_head(&mut self) -> Option<Message> {
        let request = self.head()?;
        self.remember(request.clone());
        Some(request)
    }

    /// Keeps the connection open until the other side ends it.
    pub fn hold(&mut self) {
        self.to_end();
    }

    /// Reads to the end and records it as one more request: a head with the way it ended, and the
    /// bytes as the body.
    pub fn remember_to_end(&mut self) {
        let (body, ending) = self.to_end();
        self.remember(Message {
            head: format!("{ending:?}"),
            body,
            ..Message::default()
        });
    }

    /// Resets the connection; the script should return afterwards.
    pub fn reset_now(&mut self) {
        let wire = std::mem::replace(&mut self.wire, Wire::unconnected());
        wire.reset();
    }

    /// Records a request that was read by other means.
    pub fn remember(&self, mut request: Message) {
        request.connection = self.number;
        self.seen.so_far.lock().requests.push(request);
        self.seen.more.notify_all();
    }
}

impl Deref for Served {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl DerefMut for Served {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.seen.so_far.lock().ended += 1;
        self.seen.more.notify_all();
    }
}

/// A 200 with a text body.
pub fn ok(text: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Type: text/plain\r\n\r\n{text}",
        text.len()
    )
}

/// A listener with the longest backlog that the system allows, so that the test itself does not
/// refuse clients that connect at once.
fn listen_deeply() -> TcpListener {
    listen(4096)
}

/// A listener with the shortest backlog: a test can fill it, and then further clients wait.
pub fn listen_shallowly() -> TcpListener {
    listen(0)
}

fn listen(backlog: i32) -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(backlog).unwrap();
    socket.into()
}

fn accept(listener: &TcpListener, seen: &Arc<Seen>, script: &Arc<Script>) {
    for stream in listener.incoming() {
        if seen.closing.load(Relaxed) {
            return;
        }
        let number = {
            let mut so_far = seen.so_far.lock();
            so_far.connections += 1;
            so_far.connections - 1
        };
        seen.more.notify_all();
        let mut served = Served {
            wire: Wire::new(stream.unwrap()),
            number,
            seen: Arc::clone(seen),
        };
        let script = Arc::clone(script);
        std::thread::Builder::new()
            .stack_size(256 * 1024)
            .spawn(move || script(&mut served))
            .unwrap();
    }
}

/// Answers one request as [`Origin::useful`] does.
pub fn serve_useful(visitor: &mut Served, request: &Message) {
    let target = request.target();
    let length = target
        .rsplit('/')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or_default();
    if request.line().starts_with("HEAD ") {
        visitor.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
        ));
    } else if target.starts_with("/bytes/") {
        visitor.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
        ));
        send_pattern(visitor, length, false);
    } else if target.starts_with("/chunked/") {
        visitor.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        send_pattern(visitor, length, true);
    } else if target == "/sum" {
        let mut sum = Sum::new();
        if request.field("Expect").is_some() {
            visitor.send("HTTP/1.1 100 Continue\r\n\r\n");
        }
        visitor.request_body_each(request, |data| sum.add(data));
        let text = format!("{} {}", sum.bytes(), sum.hex());
        visitor.send(ok(&text));
    } else {
        visitor.request_body_each(request, |_| {});
        visitor.send(ok(if target == "/head" {
            &request.head
        } else {
            "hello"
        }));
    }
}

/// Sends the pattern until it ends or the other side closes.
fn send_pattern(visitor: &mut Served, length: u64, chunked: bool) {
    let mut pattern = Pattern::new(length);
    while let Some(block) = pattern.next_block() {
        let framed = !chunked || visitor.try_send(format!("{:x}\r\n", block.len()));
        if !(framed && visitor.try_send(block) && (!chunked || visitor.try_send("\r\n"))) {
            return;
        }
    }
    if chunked {
        visitor.try_send("0\r\n\r\n");
    }
}
