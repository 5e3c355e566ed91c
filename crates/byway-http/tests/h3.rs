//! HTTP/3 over loopback: the server side of a connection, and quinn with the codec as its client.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use byway_h3::{Connection, ControlEvent, ErrorCode, Event, ResponseReader, Role, write_head};
use byway_head::{Field, HeadOut, Malformed, ResponseHead};
use byway_http::h2::{BufferBudget, StreamFutures};
use byway_http::h3::{H3Stream, Limits, NoHead, Server, ServerEnd, ServerTimeouts};
use byway_http::{Part, Sink, Source};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ConnectionError, Endpoint, RecvStream, SendStream, VarInt};
use rustls::pki_types::PrivateKeyDer;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

/// A guard against a test that hangs.
const PATIENCE: Duration = Duration::from_secs(30);

const TIMEOUTS: ServerTimeouts = ServerTimeouts {
    head: Duration::from_secs(20),
    idle: Duration::from_secs(20),
};

/// Two endpoints that trust each other.
fn endpoints() -> (Endpoint, Endpoint) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let root = params.self_signed(&key).unwrap().der().clone();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![root], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    server.alpn_protocols = vec![b"h3".to_vec()];
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h3".to_vec()];
    let server = Arc::new(QuicServerConfig::try_from(server).unwrap());
    let client = Arc::new(QuicClientConfig::try_from(client).unwrap());
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let near = Endpoint::server(quinn::ServerConfig::with_crypto(server), any).unwrap();
    let mut far = Endpoint::client(any).unwrap();
    far.set_default_client_config(quinn::ClientConfig::new(client));
    (near, far)
}

type Served = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A client of a server that serves each stream with one function.
struct Client {
    quic: quinn::Connection,
    control: SendStream,
    limits: Limits,
    drain: Arc<Notify>,
    end: oneshot::Receiver<ServerEnd>,
    _endpoints: (Endpoint, Endpoint),
}

impl Client {
    async fn of<F>(limits: Limits, serve: impl Fn(H3Stream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::within(BufferBudget::default(), limits, serve).await
    }

    async fn within<F>(
        budget: BufferBudget,
        limits: Limits,
        serve: impl Fn(H3Stream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (near, far) = endpoints();
        let drain = Arc::new(Notify::new());
        let (ended, end) = oneshot::channel();
        let (incoming, drained) = (near.clone(), Arc::clone(&drain));
        let of_server = limits.clone();
        tokio::spawn(async move {
            let quic = incoming.accept().await.unwrap().await.unwrap();
            let mut server = Server::new(quic, of_server, TIMEOUTS, budget);
            let mut futures: StreamFutures<Served> = StreamFutures::new();
            let mut drained = Box::pin(async move { drained.notified().await });
            let mut is_drained = false;
            let end = poll_fn(|cx| {
                if !is_drained && drained.as_mut().poll(cx).is_ready() {
                    is_drained = true;
                    server.drain();
                }
                let start = |stream| Some(Box::pin(serve(stream)) as Served);
                server.poll(cx, &mut futures, start, |()| {})
            });
            let _ = ended.send(end.await);
        });
        let to = near.local_addr().unwrap();
        let quic = far.connect(to, "localhost").unwrap().await.unwrap();
        let mut control = quic.open_uni().await.unwrap();
        let mut start = Vec::new();
        Connection::new(Role::Client, limits.clone(), std::time::Instant::now()).start(&mut start);
        control.write_all(&start).await.unwrap();
        Self {
            quic,
            control,
            limits,
            drain,
            end,
            _endpoints: (near, far),
        }
    }

    /// Sends a request with a body and trailers, and ends it unless `is_open`.
    async fn send(&self, method: &str, body: &[u8], trailers: &[(&str, &str)]) -> Exchange {
        let (mut send, recv) = self.quic.open_bi().await.unwrap();
        let mut out = Vec::new();
        head(&mut out, method, &[]);
        byway_h3::write_data_header(&mut out, body.len());
        out.extend_from_slice(body);
        if !trailers.is_empty() {
            fields(&mut out, trailers);
        }
        send.write_all(&out).await.unwrap();
        send.finish().unwrap();
        Exchange { send, recv }
    }

    async fn end(self) -> ServerEnd {
        timeout(PATIENCE, self.end).await.unwrap().unwrap()
    }

    /// The code with which the server closes the connection.
    async fn closed(&self) -> ErrorCode {
        match timeout(PATIENCE, self.quic.closed()).await.unwrap() {
            ConnectionError::ApplicationClosed(close) => ErrorCode(close.error_code.into_inner()),
            other => panic!("{other}"),
        }
    }
}

struct Exchange {
    send: SendStream,
    recv: RecvStream,
}

impl Exchange {
    /// The status, the body, and the trailers.
    async fn response(
        &mut self,
        method: &str,
        limits: &Limits,
    ) -> Result<(u16, Vec<u8>, Vec<String>), quinn::ReadError> {
        let mut reader = ResponseReader::new(method.as_bytes(), limits);
        let (mut head, mut text) = (ResponseHead::default(), Vec::new());
        let (mut status, mut body, mut bytes) = (0, Vec::new(), Vec::new());
        while let Some(chunk) = self.recv.read_chunk(65_536, true).await? {
            bytes.extend_from_slice(&chunk.bytes);
            while !bytes.is_empty() {
                let step = reader.step(&bytes, false, &mut head, &mut text, limits);
                let step = step.unwrap();
                match step.event {
                    Some(Event::Head { .. }) => status = head.view(&text).status(),
                    Some(Event::Data(range)) => body.extend_from_slice(&bytes[range]),
                    _ => {}
                }
                bytes.drain(..step.taken);
            }
        }
        reader.finish().unwrap();
        let text = |field: Field<'_>| {
            let (name, value) = (field.name, field.value);
            format!("{}: {}", name.escape_ascii(), value.escape_ascii())
        };
        Ok((status, body, reader.trailers().map(text).collect()))
    }
}

fn head(out: &mut Vec<u8>, method: &str, more: &[(&str, &str)]) {
    write_head(out, |block| {
        let mut block = block.scheme(byway_head::Scheme::Https);
        block.request(method.as_bytes(), b"/a", b"localhost")?;
        for (name, value) in more {
            block.field(name.as_bytes(), value.as_bytes())?;
        }
        block.end();
        Ok::<(), Malformed>(())
    })
    .unwrap();
}

fn fields(out: &mut Vec<u8>, fields: &[(&str, &str)]) {
    write_head(out, |mut block| {
        for (name, value) in fields {
            block.field(name.as_bytes(), value.as_bytes())?;
        }
        block.end();
        Ok::<(), Malformed>(())
    })
    .unwrap();
}

/// Answers with the body and the trailers of the request.
async fn echo(mut stream: H3Stream) {
    let text = match poll_fn(|cx| stream.poll_head(cx)).await {
        Ok(text) => text,
        Err(NoHead::Unacceptable(error)) => return respond(stream, error.status()).await,
        Err(_) => return,
    };
    stream.expect(text.view().framing());
    write_status(&mut stream, 200);
    let trailers: Vec<(Vec<u8>, Vec<u8>)> = loop {
        match stream.part().unwrap() {
            Part::Data(n) => {
                let data = stream.data()[..n].to_vec();
                stream.taken(n);
                let mut sent = 0;
                while sent < data.len() {
                    let taken = poll_fn(|cx| stream.poll_data(cx, &data[sent..])).await;
                    sent += taken.unwrap();
                }
            }
            Part::More => match poll_fn(|cx| stream.poll_more(cx)).await {
                Ok(()) => {}
                Err(_) => return,
            },
            Part::End => {
                let fields = stream.trailers();
                break fields
                    .map(|f| (f.name.to_vec(), f.value.to_vec()))
                    .collect();
            }
        }
    };
    let fields = trailers.iter().map(|(name, value)| Field { name, value });
    stream.end(fields).unwrap();
    stream.flush().await.unwrap();
}

async fn respond(mut stream: H3Stream, status: u16) {
    write_status(&mut stream, status);
    stream.end(std::iter::empty()).unwrap();
    stream.flush().await.unwrap();
}

fn write_status(stream: &mut H3Stream, status: u16) {
    let written = stream.write_head(|head| {
        head.response(status, b"")?;
        head.end();
        Ok::<(), Malformed>(())
    });
    written.unwrap();
}

#[tokio::test]
async fn bodies_and_trailers_pass_in_both_directions() {
    let client = Client::of(Limits::default(), echo).await;
    for length in [0, 1, 100_000, 3_000_000] {
        let body: Vec<u8> = (0..length).map(|n| n as u8).collect();
        let (mut send, recv) = client.quic.open_bi().await.unwrap();
        let mut out = Vec::new();
        head(&mut out, "POST", &[]);
        byway_h3::write_data_header(&mut out, body.len());
        out.extend_from_slice(&body);
        fields(&mut out, &[("x-sum", "1")]);
        let sending = tokio::spawn(async move {
            send.write_all(&out).await.unwrap();
            send.finish().unwrap();
            send
        });
        let (unused, _) = client.quic.open_bi().await.unwrap();
        let mut exchange = Exchange { send: unused, recv };
        let response = exchange.response("POST", &client.limits);
        let (status, received, trailers) = timeout(PATIENCE, response).await.unwrap().unwrap();
        assert_eq!((status, received == body), (200, true), "{length}");
        assert_eq!(trailers, ["x-sum: 1"]);
        drop((sending.await.unwrap(), exchange.send));
    }
}

#[tokio::test]
async fn a_get_whose_end_comes_with_its_head_has_no_body() {
    let client = Client::of(Limits::default(), |mut stream| async move {
        let text = poll_fn(|cx| stream.poll_head(cx)).await.unwrap();
        assert!(!text.view().framing().has_body());
        respond(stream, 204).await;
    })
    .await;
    let mut exchange = client.send("GET", b"", &[]).await;
    let response = exchange.response("GET", &client.limits).await.unwrap();
    assert_eq!(response, (204, Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_stream_that_is_dropped_before_its_end_is_reset_and_does_not_look_complete() {
    let client = Client::of(Limits::default(), |mut stream| async move {
        poll_fn(|cx| stream.poll_head(cx)).await.unwrap();
        write_status(&mut stream, 200);
        stream.flush().await.unwrap();
    })
    .await;
    let mut exchange = client.send("GET", b"", &[]).await;
    let error = exchange.response("GET", &client.limits).await.unwrap_err();
    let code = VarInt::from_u64(ErrorCode::INTERNAL_ERROR.0).unwrap();
    assert_eq!(error, quinn::ReadError::Reset(code));
}

#[tokio::test]
async fn a_client_that_stops_reading_is_noticed_while_its_answer_is_waited_for() {
    let (broken, noticed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let tell = Arc::clone(&noticed);
    let client = Client::of(Limits::default(), move |mut stream| {
        let (tell, begun) = (Arc::clone(&tell), Arc::clone(&broken));
        async move {
            poll_fn(|cx| stream.poll_head(cx)).await.unwrap();
            begun.notify_one();
            poll_fn(|cx| stream.poll_broken(cx)).await;
            tell.notify_one();
        }
    })
    .await;
    let mut exchange = client.send("GET", b"", &[]).await;
    exchange.recv.stop(VarInt::from_u32(0x10c)).unwrap();
    timeout(PATIENCE, noticed.notified()).await.unwrap();
}

#[tokio::test]
async fn the_end_of_a_request_that_arrives_while_its_client_is_watched_leaves_nothing_behind() {
    let begun = Arc::new(Notify::new());
    let begins = Arc::clone(&begun);
    let client = Client::of(Limits::default(), move |mut stream| {
        let begins = Arc::clone(&begins);
        async move {
            let text = poll_fn(|cx| stream.poll_head(cx)).await.unwrap();
            let framing = text.view().framing();
            stream.expect(framing);
            let mut polls = 0;
            poll_fn(|cx| {
                assert!(stream.poll_broken(cx).is_pending());
                polls += 1;
                begins.notify_one();
                match polls {
                    // Woken by the end.
                    1 if framing.has_body() => Poll::Pending,
                    _ => Poll::Ready(()),
                }
            })
            .await;
            while !matches!(stream.part().unwrap(), Part::End) {
                poll_fn(|cx| stream.poll_more(cx)).await.unwrap();
            }
            respond(stream, 204).await;
        }
    })
    .await;
    let (mut send, recv) = client.quic.open_bi().await.unwrap();
    let mut out = Vec::new();
    head(&mut out, "GET", &[]);
    send.write_all(&out).await.unwrap();
    timeout(PATIENCE, begun.notified()).await.unwrap();
    send.finish().unwrap();
    let mut exchange = Exchange { send, recv };
    let response = exchange.response("GET", &client.limits);
    let response = timeout(PATIENCE, response).await.unwrap().unwrap();
    assert_eq!(response.0, 204);
    // The connection goes on: dropping the stream did not panic.
    let mut exchange = client.send("GET", b"", &[]).await;
    assert!(exchange.response("GET", &client.limits).await.is_ok());
}

#[tokio::test]
async fn a_drain_sends_two_go_aways_and_the_response_under_way_arrives_whole() {
    let go_on = Arc::new(Notify::new());
    let wait = Arc::clone(&go_on);
    let client = Client::of(Limits::default(), move |mut stream| {
        let wait = Arc::clone(&wait);
        async move {
            poll_fn(|cx| stream.poll_head(cx)).await.unwrap();
            wait.notified().await;
            write_status(&mut stream, 200);
            stream.queue_data(&[b'a'; 100_000]);
            stream.end(std::iter::empty()).unwrap();
            stream.flush().await.unwrap();
        }
    })
    .await;
    let mut exchange = client.send("GET", b"", &[]).await;
    let mut control = client.quic.accept_uni().await.unwrap();
    let mut reader = Connection::new(
        Role::Client,
        client.limits.clone(),
        std::time::Instant::now(),
    );
    let (mut bytes, mut last) = (Vec::new(), Vec::new());
    client.drain.notify_one();
    while last.len() < 2 {
        let chunk = timeout(PATIENCE, control.read_chunk(1024, true)).await;
        bytes.extend_from_slice(&chunk.unwrap().unwrap().unwrap().bytes);
        // The type of the stream.
        if last.is_empty() && bytes.first() == Some(&0) {
            bytes.remove(0);
        }
        while !bytes.is_empty() {
            let now = std::time::Instant::now();
            let (taken, event) = reader.read_control(&bytes, now).unwrap();
            bytes.drain(..taken);
            if let Some(ControlEvent::GoAway(id)) = event {
                last.push(id);
            }
        }
    }
    assert_eq!(last, [(1 << 62) - 4, 4]);
    // A request that comes now is not served.
    let mut refused = client.send("GET", b"", &[]).await;
    let error = refused.response("GET", &client.limits).await.unwrap_err();
    let code = VarInt::from_u64(ErrorCode::REQUEST_REJECTED.0).unwrap();
    assert_eq!(error, quinn::ReadError::Reset(code));
    go_on.notify_one();
    let response = exchange.response("GET", &client.limits).await.unwrap();
    assert_eq!((response.0, response.1.len()), (200, 100_000));
    assert!(matches!(client.end().await, ServerEnd::Done));
}

#[tokio::test]
async fn the_slot_of_a_request_stays_taken_after_its_client_has_reset_it() {
    let limits = Limits {
        streams: 1,
        ..Limits::default()
    };
    let begun = Arc::new(Notify::new());
    let notify = Arc::clone(&begun);
    let client = Client::of(limits, move |mut stream| {
        let notify = Arc::clone(&notify);
        async move {
            poll_fn(|cx| stream.poll_head(cx)).await.unwrap();
            notify.notify_one();
            std::future::pending::<()>().await;
        }
    })
    .await;
    let mut first = client.send("GET", b"", &[]).await;
    timeout(PATIENCE, begun.notified()).await.unwrap();
    let _ = first.send.reset(VarInt::from_u32(0x10c));
    first.recv.stop(VarInt::from_u32(0x10c)).unwrap();
    let mut second = client.send("GET", b"", &[]).await;
    let error = second.response("GET", &client.limits).await.unwrap_err();
    let code = VarInt::from_u64(ErrorCode::REQUEST_REJECTED.0).unwrap();
    assert_eq!(error, quinn::ReadError::Reset(code));
}

#[tokio::test]
async fn a_head_over_the_limit_is_answered_with_431_and_the_connection_goes_on() {
    let mut limits = Limits::default();
    limits.head.head_bytes = 4096;
    let client = Client::of(limits, echo).await;
    for (value, status) in [("a".repeat(20_000), 431), ("a".to_owned(), 200)] {
        let (mut send, recv) = client.quic.open_bi().await.unwrap();
        let mut out = Vec::new();
        head(&mut out, "GET", &[("x-long", &value)]);
        send.write_all(&out).await.unwrap();
        let _ = send.finish();
        let mut exchange = Exchange { send, recv };
        let response = exchange.response("GET", &client.limits).await.unwrap();
        assert_eq!(response.0, status);
    }
}

#[tokio::test]
async fn answers_to_heads_over_the_limit_earn_nothing() {
    let mut limits = Limits {
        abuse_budget: 400,
        ..Limits::default()
    };
    limits.head.head_bytes = 1024;
    let client = Client::of(limits, echo).await;
    for _ in 0..200 {
        let Ok((mut send, recv)) = client.quic.open_bi().await else {
            break;
        };
        let mut out = Vec::new();
        head(&mut out, "GET", &[("x-long", &"a".repeat(3000))]);
        let _ = send.write_all(&out).await;
        let _ = send.finish();
        let mut exchange = Exchange { send, recv };
        if exchange.response("GET", &client.limits).await.is_err() {
            break;
        }
    }
    assert_eq!(client.closed().await, ErrorCode::EXCESSIVE_LOAD);
}

#[tokio::test]
async fn heads_of_requests_count_for_the_node_which_refuses_more_of_them_while_it_is_short() {
    let budget = BufferBudget::new(50_000);
    let (read, mut has_read) = tokio::sync::mpsc::unbounded_channel();
    let client = Client::within(budget.clone(), Limits::default(), move |mut stream| {
        let read = read.clone();
        async move {
            let head = poll_fn(|cx| stream.poll_head(cx)).await;
            read.send(head.is_ok()).unwrap();
            // The request is held until the client leaves.
            poll_fn(|cx| stream.poll_broken(cx)).await;
        }
    })
    .await;
    let mut streams = Vec::new();
    for is_taken in [true, true, false] {
        let (mut send, recv) = client.quic.open_bi().await.unwrap();
        let mut out = Vec::new();
        head(&mut out, "POST", &[("x-large", &"a".repeat(40_000))]);
        send.write_all(&out).await.unwrap();
        streams.push((send, recv));
        let taken = timeout(PATIENCE, has_read.recv()).await.unwrap();
        assert_eq!(taken, Some(is_taken));
    }
    assert!(budget.held() > 80_000, "{} bytes", budget.held());
    let (_, refused) = streams.last_mut().unwrap();
    let error = timeout(PATIENCE, refused.read_chunk(1, true))
        .await
        .unwrap();
    let code = VarInt::from_u64(ErrorCode::REQUEST_REJECTED.0).unwrap();
    assert!(
        matches!(error, Err(quinn::ReadError::Reset(reset)) if reset == code),
        "{error:?}"
    );
    drop(streams);
    client.quic.close(VarInt::from_u32(0x100), b"");
    client.end().await;
    assert_eq!(budget.held(), 0);
}

#[tokio::test]
async fn long_trailers_beyond_what_the_node_may_hold_end_their_stream() {
    let budget = BufferBudget::new(50_000);
    let client = Client::within(budget, Limits::default(), echo).await;
    let value = "a".repeat(40_000);
    let (mut first, mut echoed) = client.quic.open_bi().await.unwrap();
    let mut out = Vec::new();
    head(&mut out, "POST", &[("x-large", &value)]);
    byway_h3::write_data_header(&mut out, 1);
    out.push(b'x');
    first.write_all(&out).await.unwrap();
    // Its head is held from here on.
    let begun = timeout(PATIENCE, echoed.read_chunk(1, true)).await.unwrap();
    assert!(begun.unwrap().is_some());
    let (mut send, recv) = client.quic.open_bi().await.unwrap();
    out.clear();
    head(&mut out, "POST", &[("x-large", &value)]);
    fields(&mut out, &[("x-trailer", &"c".repeat(2_000))]);
    send.write_all(&out).await.unwrap();
    send.finish().unwrap();
    let mut exchange = Exchange { send, recv };
    let response = exchange.response("POST", &client.limits).await;
    let code = VarInt::from_u64(ErrorCode::EXCESSIVE_LOAD.0).unwrap();
    assert!(
        matches!(response, Err(quinn::ReadError::Reset(reset)) if reset == code),
        "{response:?}"
    );
}

#[tokio::test]
async fn frames_out_of_order_end_the_connection() {
    let client = Client::of(Limits::default(), echo).await;
    let (mut send, _recv) = client.quic.open_bi().await.unwrap();
    send.write_all(&[0, 1, b'a']).await.unwrap();
    assert_eq!(client.closed().await, ErrorCode::FRAME_UNEXPECTED);
    assert!(matches!(client.end().await, ServerEnd::Failed(_)));
}

#[tokio::test]
async fn the_end_of_the_control_stream_ends_the_connection() {
    let mut client = Client::of(Limits::default(), echo).await;
    client.control.finish().unwrap();
    assert_eq!(client.closed().await, ErrorCode::CLOSED_CRITICAL_STREAM);
}

#[tokio::test]
async fn a_flood_of_resets_ends_the_connection() {
    let limits = Limits {
        abuse_budget: 400,
        ..Limits::default()
    };
    let client = Client::of(limits, |mut stream| async move {
        let _ = poll_fn(|cx| stream.poll_head(cx)).await;
        poll_fn(|cx| stream.poll_broken(cx)).await;
    })
    .await;
    let flood = async {
        while let Ok((mut send, mut recv)) = client.quic.open_bi().await {
            let mut out = Vec::new();
            head(&mut out, "GET", &[]);
            let _ = send.write_all(&out).await;
            let _ = (
                send.reset(VarInt::from_u32(0x10c)),
                recv.stop(VarInt::from_u32(0x10c)),
            );
        }
    };
    timeout(PATIENCE, flood).await.unwrap();
    assert_eq!(client.closed().await, ErrorCode::EXCESSIVE_LOAD);
}
