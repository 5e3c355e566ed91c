//! HTTP/2 between a client and a server of this crate, over pipes that hold eight bytes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use byway_dial::{Pipe, Stream};
use byway_head::{Framed, HeadOut, Malformed, Scheme};
use byway_http::h1::{HeadError, Outcome};
use byway_http::h2::{
    Arrived, BufferBudget, Client, ClientEnd, ClientEvent, ClientSession, ClientTimeouts,
    ErrorCode, H2Stream, Limits, RequestText, Server, ServerEnd, ServerTimeouts, StreamFutures,
};
use byway_http::{Part, Sink, Source};
use tokio::time::Instant;

const CLIENT_TIMEOUTS: ClientTimeouts = ClientTimeouts {
    write: HOUR,
    quiet: HOUR,
    pong: HOUR,
};
const HOUR: Duration = Duration::from_secs(3600);

const TIMEOUTS: ServerTimeouts = ServerTimeouts {
    head: HOUR,
    idle: HOUR,
    write: HOUR,
};

type Answer = Pin<Box<dyn Future<Output = ()>>>;

/// A server that answers each request with `answer`, and after `last` requests no more.
async fn serve(
    stream: Stream,
    limits: Limits,
    last: usize,
    answer: impl Fn(H2Stream, RequestText) -> Answer,
) -> ServerEnd {
    serve_within(BufferBudget::default(), stream, limits, last, answer).await
}

async fn serve_within(
    budget: BufferBudget,
    stream: Stream,
    limits: Limits,
    last: usize,
    answer: impl Fn(H2Stream, RequestText) -> Answer,
) -> ServerEnd {
    let mut server = Server::new(stream, &[], limits, TIMEOUTS, budget);
    let (mut futures, mut served) = (StreamFutures::new(), 0);
    poll_fn(|cx| {
        let begin = |arrived| match arrived {
            Arrived::Request(stream, text) => {
                served += 1;
                Some(answer(stream, text))
            }
            Arrived::Unacceptable(..) | Arrived::Malformed(_) => panic!("a malformed request"),
        };
        let polled = server.poll(cx, &mut futures, begin, |()| {});
        if served >= last {
            server.drain();
        }
        polled
    })
    .await
}

/// Sends the body of the request back, with a trailer.
fn echo(mut stream: H2Stream, text: RequestText) -> Answer {
    Box::pin(async move {
        stream.expect(text.view().framing());
        stream
            .write_head(|head| {
                head.response(200, b"")?;
                head.field(b"x-path", text.view().path())?;
                head.end();
                Ok::<_, Malformed>(())
            })
            .unwrap();
        let body = read(&mut stream).await;
        write(&mut stream, &body).await;
        let bytes = body.len().to_string();
        let trailer = byway_head::Field {
            name: b"x-bytes",
            value: bytes.as_bytes(),
        };
        stream.end(std::iter::once(trailer)).unwrap();
        stream.flush().await.unwrap();
    })
}

async fn read(stream: &mut H2Stream) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        match stream.part().unwrap() {
            Part::Data(n) => {
                body.extend_from_slice(&stream.data()[..n]);
                stream.taken(n);
            }
            Part::More => poll_fn(|cx| stream.poll_more(cx)).await.unwrap(),
            Part::End => return body,
        }
    }
}

async fn write(stream: &mut H2Stream, mut data: &[u8]) {
    while !data.is_empty() {
        let n = poll_fn(|cx| stream.poll_data(cx, data)).await.unwrap();
        data = &data[n..];
    }
}

/// Sends a request on a new stream.
fn request(session: &ClientSession, path: &str) -> H2Stream {
    let mut stream = session.open();
    stream
        .write_head(|head| {
            head.request(b"POST", path.as_bytes(), b"test.example")?;
            head.end();
            Ok::<_, Malformed>(())
        })
        .unwrap();
    stream
}

/// The head of the response, as its status and one field.
async fn response(stream: &mut H2Stream) -> Result<(u16, Vec<u8>), Outcome> {
    let head = poll_fn(|cx| stream.poll_head::<()>(cx)).await;
    match head {
        Ok(()) => {
            let view = stream.response();
            let path = view.field("x-path").unwrap_or_default().to_vec();
            Ok((view.status(), path))
        }
        Err(HeadError::Closed(_)) => Err(stream.outcome()),
        Err(error) => panic!("{error:?}"),
    }
}

async fn drive(mut client: Client) -> (ClientEnd, Vec<ClientEvent>) {
    let mut events = Vec::new();
    let end = poll_fn(|cx| client.poll(cx, |event| events.push(event))).await;
    client.into_stream().close_on_drop();
    (end, events)
}

fn connect(limits: Limits) -> (Client, ClientSession, Stream) {
    let (near, far) = byway_testkit::pipe::streams();
    let (client, session) = Client::new(near, limits, Scheme::Http, CLIENT_TIMEOUTS);
    (client, session, far)
}

async fn exchange(session: &ClientSession, path: &str, body: &[u8]) {
    let mut stream = request(session, path);
    write(&mut stream, body).await;
    stream.end(std::iter::empty()).unwrap();
    stream.flush().await.unwrap();
    assert_eq!(
        response(&mut stream).await,
        Ok((200, path.as_bytes().to_vec()))
    );
    assert!(read(&mut stream).await == body, "{path}");
    let trailers: Vec<_> = stream
        .trailers()
        .map(|field| field.value.to_vec())
        .collect();
    assert_eq!(trailers, [body.len().to_string().into_bytes()]);
}

#[tokio::test(start_paused = true)]
async fn many_requests_pass_at_once_with_bodies_and_trailers_both_ways() {
    let (client, session, far) = connect(Limits::default());
    let server = serve(far, Limits::default(), usize::MAX, echo);
    let requests = async {
        let bodies: Vec<Vec<u8>> = [0, 1, 1000, 100_000].map(|n| vec![n as u8; n]).into();
        tokio::join!(
            exchange(&session, "/0", &bodies[0]),
            exchange(&session, "/1", &bodies[1]),
            exchange(&session, "/2", &bodies[2]),
            exchange(&session, "/3", &bodies[3]),
        );
        exchange(&session, "/again", b"again").await;
        session.close();
    };
    let (server, (client, events), ()) = tokio::join!(server, drive(client), requests);
    assert!(matches!(server, ServerEnd::Done), "{server:?}");
    assert!(matches!(client, ClientEnd::Done), "{client:?}");
    assert_eq!(events[0], ClientEvent::MaxStreams(128));
}

/// A request with a head of 40 KB, which was sent.
async fn request_with_a_large_head(session: &ClientSession) -> H2Stream {
    let mut stream = session.open();
    stream
        .write_head(|head| {
            head.request(b"GET", b"/large", b"test.example")?;
            head.field(b"x-large", &[b'x'; 40_000])?;
            head.end();
            Ok::<_, Malformed>(())
        })
        .unwrap();
    stream.end(std::iter::empty()).unwrap();
    stream.flush().await.unwrap();
    stream
}

#[tokio::test(start_paused = true)]
async fn heads_of_requests_count_for_the_node_which_refuses_more_of_them_while_it_is_short() {
    let (client, session, far) = connect(Limits::default());
    let budget = BufferBudget::new(50_000);
    let may_answer = std::rc::Rc::new(tokio::sync::Semaphore::new(0));
    let permits = std::rc::Rc::clone(&may_answer);
    let server = serve_within(
        budget.clone(),
        far,
        Limits::default(),
        usize::MAX,
        move |stream, text| {
            let permits = std::rc::Rc::clone(&permits);
            Box::pin(async move {
                permits.acquire().await.unwrap().forget();
                echo(stream, text).await;
            })
        },
    );
    let requests = async {
        let mut first = request_with_a_large_head(&session).await;
        let mut second = request_with_a_large_head(&session).await;
        let mut third = request_with_a_large_head(&session).await;
        assert_eq!(response(&mut third).await, Err(Outcome::Unsent));
        assert!(budget.held() > 80_000, "{} bytes", budget.held());
        may_answer.add_permits(3);
        for stream in [&mut first, &mut second] {
            assert_eq!(response(stream).await, Ok((200, b"/large".to_vec())));
            read(stream).await;
        }
        exchange(&session, "/after", b"body").await;
        session.close();
    };
    let (_, _, ()) = tokio::join!(server, drive(client), requests);
    assert_eq!(budget.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_window_of_a_connection_grows_with_its_use_out_of_the_budget() {
    for (most, reserved) in [(256 * 1024 * 1024, 1024 * 1024 - 65_535), (1_000, 0)] {
        let (client, session, far) = connect(Limits::default());
        let budget = BufferBudget::new(most);
        let server = serve_within(budget.clone(), far, Limits::default(), usize::MAX, echo);
        let requests = async {
            exchange(&session, "/small", b"small").await;
            assert_eq!(budget.reserved(), 0);
            exchange(&session, "/large", &vec![1; 3_000_000]).await;
            assert_eq!(budget.reserved(), reserved);
            session.close();
        };
        let (_, _, ()) = tokio::join!(server, drive(client), requests);
        assert_eq!((budget.reserved(), budget.held()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_drain_excludes_was_not_sent_and_one_before_it_is_answered() {
    let (client, session, far) = connect(Limits::default());
    let server = serve(far, Limits::default(), 1, echo);
    let requests = async {
        exchange(&session, "/last", b"body").await;
        while session.is_open() {
            tokio::task::yield_now().await;
        }
        let mut late = request(&session, "/late");
        late.end(std::iter::empty()).unwrap();
        assert!(late.flush().await.is_err());
        assert_eq!(response(&mut late).await, Err(Outcome::Unsent));
    };
    let (server, (_, events), ()) = tokio::join!(server, drive(client), requests);
    assert!(matches!(server, ServerEnd::Done), "{server:?}");
    assert!(events.contains(&ClientEvent::GoAway), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_stream_was_not_sent_and_a_reset_or_lost_one_may_have_been() {
    let limits = Limits {
        streams: 1,
        ..Limits::default()
    };
    let (client, session, far) = connect(Limits::default());
    let hold = |stream: H2Stream, text: RequestText| -> Answer {
        Box::pin(async move {
            let mut stream = stream;
            match text.view().path() {
                b"/cancel" => stream.reset(ErrorCode::CANCEL),
                _ => tokio::time::sleep(Duration::from_secs(5)).await,
            }
        })
    };
    let server = async {
        tokio::time::timeout(
            Duration::from_secs(60),
            serve(far, limits, usize::MAX, hold),
        )
        .await
    };
    let requests = async {
        let mut one = request(&session, "/one");
        let mut other = request(&session, "/other");
        for stream in [&mut one, &mut other] {
            stream.end(std::iter::empty()).unwrap();
            stream.flush().await.unwrap();
        }
        assert_eq!(
            response(&mut other).await,
            Err(Outcome::Unsent),
            "REFUSED_STREAM"
        );
        assert_eq!(
            response(&mut one).await,
            Err(Outcome::SentNoByteBack),
            "dropped"
        );
        drop((one, other));
        let mut cancelled = request(&session, "/cancel");
        cancelled.flush().await.unwrap();
        assert_eq!(response(&mut cancelled).await, Err(Outcome::SentNoByteBack));
        drop(cancelled);
        let mut lost = request(&session, "/lost");
        lost.flush().await.unwrap();
        // The server leaves within the minute.
        let mut ended = response(&mut lost).await;
        if ended.is_ok() {
            ended = response(&mut lost).await;
        }
        assert_eq!(ended, Err(Outcome::SentNoByteBack));
    };
    let _ = tokio::join!(server, drive(client), requests);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_dropped_is_reset_at_the_other_side() {
    let (client, session, far) = connect(Limits::default());
    let (seen, mut resets) = tokio::sync::mpsc::unbounded_channel();
    let watch = move |mut stream: H2Stream, _: RequestText| -> Answer {
        let seen = seen.clone();
        Box::pin(async move {
            stream.expect(Framed::Chunked);
            let broken = poll_fn(|cx| stream.poll_broken(cx)).await;
            seen.send(format!("{broken:?}")).unwrap();
        })
    };
    let server = serve(far, Limits::default(), usize::MAX, watch);
    let requests = async {
        let mut stream = request(&session, "/");
        stream.flush().await.unwrap();
        drop(stream);
        assert_eq!(resets.recv().await.unwrap(), "Reset(8)");
        session.close();
    };
    let _ = tokio::join!(server, drive(client), requests);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_a_ping_is_lost_with_its_streams() {
    let (near, far) = byway_testkit::pipe::streams();
    let timeouts = ClientTimeouts {
        quiet: Duration::from_secs(15),
        pong: Duration::from_secs(5),
        ..CLIENT_TIMEOUTS
    };
    let limits = Limits {
        settings_ack: HOUR,
        ..Limits::default()
    };
    let (client, session) = Client::new(near, limits, Scheme::Http, timeouts);
    let begun = Instant::now();
    let requests = async {
        let mut stream = request(&session, "/");
        stream.flush().await.unwrap();
        assert_eq!(
            response(&mut stream).await,
            Err(Outcome::SentNoByteBack),
            "the connection is lost"
        );
        begun.elapsed()
    };
    let ((end, _), lost) = tokio::join!(drive(client), requests);
    assert!(matches!(end, ClientEnd::Broken(_)), "{end:?}");
    assert_eq!(lost, Duration::from_secs(20));
    drop(far);
}

#[tokio::test(start_paused = true)]
async fn the_streams_of_a_connection_whose_task_was_dropped_are_lost() {
    let (client, session, _far) = connect(Limits::default());
    let mut stream = request(&session, "/");
    stream.flush().await.unwrap();
    drop(client);
    assert_eq!(response(&mut stream).await, Err(Outcome::SentNoByteBack));
    assert!(!session.is_open());
}
