//! Beside another HTTP/2: the crate `h2` as the client of our server, and as the server of our
//! client, over a pipe in memory.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use byway_h2::{Connection, ErrorCode, Event, Limits, ResetCause, StreamId};
use byway_head::{Field, Framed, HeadOut, Malformed, RequestHead, ResponseHead, Scheme, Trailers};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// A connection of ours on a pipe.
struct Ours {
    connection: Connection,
    pipe: DuplexStream,
    /// What waits to be sent on each stream; whether trailers follow.
    sending: BTreeMap<u32, (StreamId, Vec<u8>, bool)>,
    received: BTreeMap<u32, Received>,
    begin: Instant,
}

#[derive(Default)]
struct Received {
    head: Vec<(String, String)>,
    interim: Vec<u16>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
    ended: bool,
    reset: Option<(ErrorCode, ResetCause)>,
    id: Option<StreamId>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn fields<'a>(fields: impl Iterator<Item = Field<'a>>) -> Vec<(String, String)> {
    fields
        .map(|field| (text(field.name), text(field.value)))
        .collect()
}

impl Ours {
    fn new(connection: Connection, pipe: DuplexStream) -> Self {
        Self {
            connection,
            pipe,
            sending: BTreeMap::new(),
            received: BTreeMap::new(),
            begin: Instant::now(),
        }
    }

    /// Reads and writes once. Returns false if the other side has closed.
    async fn turn(&mut self) -> bool {
        while let Some(id) = self.connection.next_turn() {
            self.go_on(id);
        }
        let out = self.connection.out().to_vec();
        if !out.is_empty() {
            if self.pipe.write_all(&out).await.is_err() {
                return false;
            }
            self.connection.written(out.len());
            return true;
        }
        let mut bytes = [0; 5000];
        let Ok(n) = self.pipe.read(&mut bytes).await else {
            return false;
        };
        let mut rest = &bytes[..n];
        while let Ok(step) = self.connection.read(rest, self.begin) {
            if step.event.is_none() && step.taken == 0 {
                break;
            }
            if let Some(event) = step.event {
                self.note(event, rest);
            }
            rest = &rest[step.taken..];
            self.connection.check_invariants();
        }
        assert!(rest.is_empty(), "backlog in a test that writes at once");
        n > 0
    }

    fn note(&mut self, event: Event, bytes: &[u8]) {
        match event {
            Event::Head { id, end } => {
                let received = self.received.entry(id.number()).or_default();
                received.id = Some(id);
                received.ended = end;
                let mut buffer = Vec::new();
                if self.connection.role() == byway_h2::Role::Server {
                    let mut head = RequestHead::default();
                    self.connection.take_request(&mut head, &mut buffer);
                    let request = head.view(&buffer);
                    received.head = fields(request.fields());
                    received
                        .head
                        .push((":method".into(), text(request.method())));
                    received.head.push((":path".into(), text(request.target())));
                } else {
                    let mut head = ResponseHead::default();
                    self.connection.take_response(&mut head, &mut buffer);
                    let response = head.view(&buffer);
                    match response.status() {
                        status @ 100..200 => received.interim.push(status),
                        _ => received.head = fields(response.fields()),
                    }
                }
            }
            Event::Data { id, range, end } => {
                let received = self.received.get_mut(&id.number()).unwrap();
                received.body.extend_from_slice(&bytes[range.clone()]);
                received.ended = end;
                self.connection.credit(id, range.len());
            }
            Event::Trailers { id } => {
                let (mut section, mut buffer) = Default::default();
                self.connection.take_trailers(&mut section, &mut buffer);
                let received = self.received.get_mut(&id.number()).unwrap();
                received.trailers = fields(Trailers::new(&section, &buffer));
                received.ended = true;
            }
            Event::Reset { id, code, cause } => {
                let received = self.received.entry(id.number()).or_default();
                received.reset = Some((code, cause));
            }
            Event::Settings | Event::GoAway { .. } | Event::Pong { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn go_on(&mut self, id: StreamId) {
        let Some((_, data, trailers)) = self.sending.get_mut(&id.number()) else {
            return;
        };
        let sent = self.connection.send(id, data, !*trailers);
        data.drain(..sent);
        if data.is_empty() {
            if *trailers {
                let (name, value) = (&b"x-sum"[..], &b"of ours"[..]);
                self.connection
                    .trailers(id, [Field { name, value }])
                    .unwrap();
            }
            self.sending.remove(&id.number());
        }
    }

    fn send(&mut self, id: StreamId, data: Vec<u8>, trailers: bool) {
        self.sending.insert(id.number(), (id, data, trailers));
        self.go_on(id);
    }
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let guarded = tokio::time::timeout(Duration::from_secs(120), future);
        guarded.await.expect("it hangs")
    })
}

/// Data of a stream, by its length.
fn body(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 % 251) as u8).collect()
}

const LENGTHS: [usize; 6] = [0, 1, 1000, 16_384, 70_000, 400_000];

/// Our server: interim head, head, body and trailers, once a request has ended.
async fn serve(pipe: DuplexStream) {
    let mut ours = Ours::new(Connection::server(Limits::default(), Instant::now()), pipe);
    while ours.turn().await {
        let ended: Vec<u32> = ours
            .received
            .iter()
            .filter(|(_, received)| received.ended || received.reset.is_some())
            .map(|(number, _)| *number)
            .collect();
        for number in ended {
            let received = ours.received.remove(&number).unwrap();
            let id = received.id.unwrap();
            if received.reset.is_some() {
                ours.connection.release(id);
                continue;
            }
            assert!(
                received
                    .head
                    .contains(&("x-number".into(), number.to_string()))
            );
            let has_trailers = received
                .trailers
                .contains(&("x-sum".into(), "theirs".into()));
            let is_post = received.head.contains(&(":method".into(), "POST".into()));
            assert_eq!(is_post, has_trailers);
            let head = ours.connection.head(id, true, |head| {
                head.response(103, b"")?;
                head.field(b"link", b"</style.css>")
            });
            head.unwrap();
            let len = received.body.len();
            let head = ours.connection.head(id, false, |head| {
                head.response(200, b"")?;
                head.field(b"x-length", len.to_string().as_bytes())?;
                head.framing(Framed::Length(len as u64));
                Ok::<_, Malformed>(())
            });
            head.unwrap();
            ours.send(id, received.body, len % 2 == 1);
        }
    }
}

#[test]
fn the_client_of_h2_gets_back_what_it_sent_to_our_server() {
    run(async {
        let (near, far) = tokio::io::duplex(10_000);
        let client = async {
            let (mut send, connection) = h2::client::handshake(far).await.unwrap();
            let talk = async move {
                let mut responses = Vec::new();
                for (n, len) in LENGTHS.iter().cycle().take(40).enumerate() {
                    send = send.ready().await.unwrap();
                    let is_post = n % 2 == 0;
                    let request = http::Request::builder()
                        .method(if is_post { "POST" } else { "GET" })
                        .uri("https://example.com/path")
                        .header("x-number", 2 * n + 1)
                        .body(())
                        .unwrap();
                    let (response, mut stream) = send.send_request(request, !is_post).unwrap();
                    let data = if is_post { body(*len) } else { Vec::new() };
                    let sent = data.clone();
                    responses.push(async move {
                        if is_post {
                            stream.send_data(data.into(), false).unwrap();
                            let mut trailers = http::HeaderMap::new();
                            trailers.insert("x-sum", "theirs".parse().unwrap());
                            stream.send_trailers(trailers).unwrap();
                        }
                        let response = response.await.unwrap();
                        assert_eq!(response.status(), 200);
                        assert_eq!(response.headers()["x-length"], sent.len().to_string());
                        let mut incoming = response.into_body();
                        let mut got = Vec::new();
                        while let Some(data) = incoming.data().await {
                            let data = data.unwrap();
                            got.extend_from_slice(&data);
                            incoming
                                .flow_control()
                                .release_capacity(data.len())
                                .unwrap();
                        }
                        assert_eq!(got, sent);
                        let trailers = incoming.trailers().await.unwrap();
                        assert_eq!(trailers.is_some(), got.len() % 2 == 1);
                    });
                    // Several at once.
                    if responses.len() == 8 {
                        let mut all = tokio::task::JoinSet::new();
                        for response in responses.drain(..) {
                            all.spawn(response);
                        }
                        while let Some(done) = all.join_next().await {
                            done.unwrap();
                        }
                    }
                }
            };
            tokio::select! {
                () = talk => {}
                ended = connection => panic!("{ended:?}"),
            }
        };
        tokio::join!(serve(near), client);
    });
}

#[test]
fn the_server_of_h2_gets_what_our_client_sends_and_its_answers_arrive() {
    run(async {
        let (near, far) = tokio::io::duplex(10_000);
        let server = async {
            let mut connection = h2::server::Builder::new()
                .max_concurrent_streams(5)
                .handshake::<_, std::io::Cursor<Vec<u8>>>(far)
                .await
                .unwrap();
            let mut all = tokio::task::JoinSet::new();
            while let Some(accepted) = connection.accept().await {
                let Ok((request, mut respond)) = accepted else {
                    break;
                };
                all.spawn(async move {
                    let mut incoming = request.into_body();
                    let mut got = Vec::new();
                    while let Some(data) = incoming.data().await {
                        let data = data.unwrap();
                        got.extend_from_slice(&data);
                        incoming
                            .flow_control()
                            .release_capacity(data.len())
                            .unwrap();
                    }
                    let has_trailers = incoming.trailers().await.unwrap().is_some();
                    let interim = http::Response::builder().status(103).body(()).unwrap();
                    respond.send_informational(interim).unwrap();
                    let response = http::Response::builder()
                        .header("x-trailers", has_trailers.to_string())
                        .body(())
                        .unwrap();
                    let mut stream = respond.send_response(response, false).unwrap();
                    stream.send_data(std::io::Cursor::new(got), false).unwrap();
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("x-sum", "theirs".parse().unwrap());
                    stream.send_trailers(trailers).unwrap();
                });
            }
        };
        let client = async {
            let connection = Connection::client(Limits::default(), Instant::now());
            let mut ours = Ours::new(connection, near);
            let lengths: Vec<usize> = LENGTHS.iter().cycle().take(30).copied().collect();
            let (mut begun, mut done) = (0, 0);
            while done < lengths.len() {
                let knows = ours.connection.peer().arrived;
                while knows && begun < lengths.len() && ours.connection.can_open() {
                    let opened = ours.connection.open(Scheme::Https, None, false, |head| {
                        head.request(b"POST", b"/a?b", b"example.com")?;
                        head.field(b"x-secret", b"value")?;
                        head.framing(Framed::Length(lengths[begun] as u64));
                        Ok::<_, Malformed>(())
                    });
                    let id = opened.unwrap().unwrap();
                    ours.send(id, body(lengths[begun]), begun % 2 == 0);
                    begun += 1;
                }
                assert!(ours.turn().await, "the server has closed");
                let ended: Vec<u32> = ours
                    .received
                    .iter()
                    .filter(|(_, received)| received.ended)
                    .map(|(number, _)| *number)
                    .collect();
                for number in ended {
                    let received = ours.received.remove(&number).unwrap();
                    let n = (number as usize - 1) / 2;
                    assert_eq!(received.body, body(lengths[n]));
                    assert_eq!(received.interim, [103]);
                    let trailers = ("x-trailers".to_owned(), n.is_multiple_of(2).to_string());
                    assert!(received.head.contains(&trailers), "{:?}", received.head);
                    assert_eq!(received.trailers, [("x-sum".into(), "theirs".into())]);
                    ours.connection.release(received.id.unwrap());
                    done += 1;
                }
            }
            assert_eq!(ours.connection.open_streams(), 0);
        };
        tokio::join!(server, client);
    });
}

#[test]
fn a_reset_of_h2_arrives_with_its_code_and_a_goaway_drains_it() {
    run(async {
        let (near, far) = tokio::io::duplex(10_000);
        let client = async {
            let (mut send, connection) = h2::client::handshake(far).await.unwrap();
            let talk = async move {
                let request = http::Request::post("https://example.com/")
                    .body(())
                    .unwrap();
                let (response, mut stream) = send.send_request(request, false).unwrap();
                stream.send_data(vec![1; 10].into(), false).unwrap();
                tokio::task::yield_now().await;
                stream.send_reset(h2::Reason::CANCEL);
                assert!(response.await.is_err());
                send.ready().await.map(drop)
            };
            let (ready, ended) = tokio::join!(talk, connection);
            // The server has said that it ends, without an error.
            let _ = ready;
            ended.expect("an end in order");
        };
        let server = async {
            let connection = Connection::server(Limits::default(), Instant::now());
            let mut ours = Ours::new(connection, near);
            while ours.turn().await {
                if let Some(received) = ours.received.get(&1)
                    && let Some(reset) = received.reset
                {
                    assert_eq!(reset, (ErrorCode::CANCEL, ResetCause::Peer));
                    ours.connection.release(received.id.unwrap());
                    ours.connection.drain(ours.begin);
                }
                if ours.connection.is_drained() && ours.connection.out().is_empty() {
                    break;
                }
            }
        };
        tokio::join!(server, client);
    });
}
