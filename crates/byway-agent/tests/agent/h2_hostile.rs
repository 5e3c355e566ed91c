//! Hostile origins of HTTP/2: floods, bombs, stalls and wrong frames. Each ends with an error of the
//! request, and with nothing left open.

use crate::memory::{Server, agent, soon};
use byway_agent::{Agent, Body, Error, Which};
use byway_testkit::http2::{END_HEADERS, END_STREAM, frame, kind};
use http::Request;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, split};
use tokio::task::JoinSet;

/// `:status: 200` of the static table.
const STATUS_200: &[u8] = &[0x88];

/// What a hostile origin sends after the request has come.
type Script = fn(&mut Vec<u8>);

/// Reads everything the agent sends, and returns its bytes at the end.
async fn drain(mut io: ReadHalf<DuplexStream>, mut all: Vec<u8>) -> Vec<u8> {
    let _ = io.read_to_end(&mut all).await;
    all
}

/// Sends empty settings, and `bytes` once a request has come, then nothing more. Returns what the
/// agent has sent.
async fn play(server: Server, bytes: Vec<u8>, forever: bool) -> Vec<u8> {
    let (mut read, mut write) = split(server.into_io());
    let _ = write.write_all(&frame(kind::SETTINGS, 0, 0, &[])).await;
    let mut received = Vec::new();
    while !has_frame(&received, kind::HEADERS) {
        if read.read_buf(&mut received).await.unwrap_or(0) == 0 {
            return received;
        }
    }
    let mut tasks = JoinSet::new();
    tasks.spawn(drain(read, received));
    loop {
        if write.write_all(&bytes).await.is_err() || !forever {
            break;
        }
    }
    let received = tasks.join_next().await.unwrap().unwrap();
    drop::<WriteHalf<_>>(write);
    received
}

/// Whether the agent has sent a frame of this kind, with this code at its end if it has one.
fn has_frame(received: &[u8], wanted: u8) -> bool {
    let mut rest = &received[byway_testkit::http2::PREFACE.len().min(received.len())..];
    while let Some(header) = rest.get(..9) {
        let len =
            usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        if header[3] == wanted {
            return true;
        }
        rest = rest.get(9 + len..).unwrap_or_default();
    }
    false
}

async fn attack(bytes: Vec<u8>, forever: bool) -> (Result<usize, Error>, Vec<u8>, Agent) {
    let (agent, mut origins) = agent(|builder| {
        builder
            .http2_prior_knowledge(true)
            .retry(byway_agent::Retry::Never)
    });
    let client = agent.clone();
    let request = async move {
        let request = Request::get("http://a.example/").body(Body::empty());
        let response = client.request(request.unwrap()).await?;
        let bytes = response.into_body().bytes(64 * 1024 * 1024).await?;
        // What has come is enough: the connection is closed so that the origin ends, too.
        client.close_idle();
        Ok(bytes.len())
    };
    let origin = async { play(origins.accept().await, bytes, forever).await };
    let (result, received) = soon("the end", async { tokio::join!(request, origin) }).await;
    (result, received, agent)
}

/// The connection is gone: no permit and no stream is left.
async fn nothing_is_left(agent: &Agent) {
    tokio::time::sleep(Duration::from_secs(30)).await; // of the paused clock
    let totals = agent.stats().totals().clone();
    assert_eq!(
        (totals.open(), totals.streams(), totals.pending()),
        (0, 0, 0)
    );
}

fn head(flags: u8, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flags, 1, block)
}

#[tokio::test(start_paused = true)]
async fn floods_of_control_frames_end_the_connection() {
    let floods: [Vec<u8>; 4] = [
        frame(kind::PING, 0, 0, &[0; 8]),
        frame(kind::SETTINGS, 0, 0, &[]),
        frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
        frame(0xee, 0, 0, b"unknown"),
    ];
    for flood in floods {
        let kind = flood[3];
        let (result, received, agent) = attack(flood, true).await;
        let error = result.unwrap_err();
        assert!(
            matches!(error, Error::ConnectionLost { .. }),
            "{kind}: {error}"
        );
        assert!(has_frame(&received, kind::GOAWAY), "{kind}");
        nothing_is_left(&agent).await;
    }
}

#[tokio::test(start_paused = true)]
async fn frames_that_break_the_protocol_end_the_connection() {
    let scripts: [(&str, Script); 7] = [
        ("DATA on stream 0", |out| {
            out.extend(frame(kind::DATA, 0, 0, b"x"))
        }),
        ("HEADERS on an even stream", |out| {
            out.extend(frame(kind::HEADERS, END_HEADERS, 2, STATUS_200));
        }),
        ("CONTINUATION without HEADERS", |out| {
            out.extend(frame(kind::CONTINUATION, END_HEADERS, 1, STATUS_200));
        }),
        ("a block that is no HPACK", |out| {
            out.extend(head(END_HEADERS, &[0xff; 20]))
        }),
        ("a window that overflows", |out| {
            out.extend(frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]));
        }),
        ("SETTINGS of a wrong size", |out| {
            out.extend(frame(kind::SETTINGS, 0, 0, &[0; 5]))
        }),
        ("HTTP/1.1", |out| {
            out.extend(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        }),
    ];
    for (what, script) in scripts {
        let mut bytes = Vec::new();
        script(&mut bytes);
        let (result, received, agent) = attack(bytes, false).await;
        let error = result.unwrap_err();
        assert!(
            matches!(error, Error::ConnectionLost { .. }),
            "{what}: {error}"
        );
        assert!(has_frame(&received, kind::GOAWAY), "{what}");
        nothing_is_left(&agent).await;
    }
}

#[tokio::test(start_paused = true)]
async fn responses_that_are_malformed_fail_their_request() {
    let literal = |name: &str, value: &str| {
        let mut field = vec![0, name.len() as u8];
        field.extend(name.bytes());
        field.push(value.len() as u8);
        field.extend(value.bytes());
        field
    };
    let with = |name: &str, value: &str| [STATUS_200.to_vec(), literal(name, value)].concat();
    let blocks = [
        with("connection", "close"),
        with("transfer-encoding", "chunked"),
        with("Upper", "1"),
        with("a", "1\r\nb: 2"),
        with(":path", "/"),
        with("content-length", "5"), // and no body
        with("content-length", "x"),
        literal(":status", "101"),
        literal(":status", "2000"),
        literal("a", "1"), // and no status
    ];
    for block in blocks {
        let (agent, mut origins) = agent(|builder| builder.http2_prior_knowledge(true));
        let bytes = head(END_HEADERS | END_STREAM, &block);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { play(origins.accept().await, bytes, false).await });
        let result = soon("an error", agent.get("http://a.example/")).await;
        let error = result.map(|response| response.status()).unwrap_err();
        assert!(
            matches!(error, Error::Malformed(_)),
            "{error} for {block:?}"
        );
        assert_eq!(agent.stats().totals().streams(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_bomb_of_fields_ends_the_connection_without_being_decoded() {
    // A field of 3,000 bytes enters the table, and is repeated by one byte each.
    let mut block = STATUS_200.to_vec();
    block.extend([0x40, 1, b'a', 0x7f, 0xb9, 0x16]); // a value of 127 + 0xb9 + 0x16 * 128 - 128 bytes
    block.extend([b'x'; 3000]);
    block.extend([0xbe; 10_000]);
    let mut bytes = head(0, &block[..4000]);
    bytes.extend(frame(kind::CONTINUATION, END_HEADERS, 1, &block[4000..]));
    let (result, received, agent) = attack(bytes, false).await;
    assert!(result.is_err());
    assert!(has_frame(&received, kind::GOAWAY) || has_frame(&received, kind::RST_STREAM));
    nothing_is_left(&agent).await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_interim_responses_ends_the_request() {
    let interim = head(END_HEADERS, &[0x08, 3, b'1', b'0', b'3']);
    let (result, _, agent) = attack(interim, true).await;
    let error = result.unwrap_err();
    let is_ended = matches!(
        error,
        Error::Malformed(_) | Error::StreamReset { .. } | Error::ConnectionLost { .. }
    );
    assert!(is_ended, "{error}");
    nothing_is_left(&agent).await;
}

#[tokio::test(start_paused = true)]
async fn more_data_than_the_window_admits_fails_the_request() {
    let mut bytes = head(END_HEADERS, STATUS_200);
    for _ in 0..200 {
        bytes.extend(frame(kind::DATA, 0, 1, &[0; 16_384]));
    }
    let (agent, mut origins) = agent(|builder| builder.http2_prior_knowledge(true));
    let request = async {
        let mut body = agent.get("http://a.example/").await?.into_body();
        tokio::time::sleep(Duration::from_secs(1)).await; // reads nothing meanwhile
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Ok::<_, Error>(())
    };
    let origin = async { play(origins.accept().await, bytes, false).await };
    let (result, received) = soon("the end", async { tokio::join!(request, origin) }).await;
    let is_reset = matches!(result, Err(Error::StreamReset { code: 3, .. }));
    assert!(is_reset, "{result:?}");
    assert!(has_frame(&received, kind::RST_STREAM));
    nothing_is_left(&agent).await;
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_opens_no_window_fails_the_upload_in_time() {
    let (agent, mut origins) = agent(|builder| {
        builder
            .http2_prior_knowledge(true)
            .http2_ping_interval(None)
            .body_idle_timeout(Duration::from_secs(7))
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        play(origins.accept().await, Vec::new(), false).await;
    });
    let request = Request::post("http://a.example/")
        .body(Body::from(vec![0; 200_000]))
        .unwrap();
    let begun = tokio::time::Instant::now();
    let error = soon("an error", agent.request(request)).await.unwrap_err();
    let is_late = matches!(
        error,
        Error::Timeout {
            which: Which::RequestBody,
            ..
        }
    );
    assert!(
        is_late || matches!(error, Error::ConnectionLost { .. }),
        "{error}"
    );
    assert!(begun.elapsed() <= Duration::from_secs(17)); // of the paused clock
    assert_eq!(agent.stats().totals().streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn origins_that_say_goodbye_at_once_are_dialled_four_times() {
    let (agent, mut origins) = agent(|builder| builder.http2_prior_knowledge(true));
    let dialled = std::sync::Arc::clone(&origins.dialled);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let server = origins.accept().await;
            let goodbye = frame(kind::GOAWAY, 0, 0, &[0; 8]);
            connections.spawn(play(server, goodbye, false));
        }
    });
    let error = soon("an error", agent.get("http://a.example/"))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::StreamReset {
                unprocessed: true,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(dialled.load(std::sync::atomic::Ordering::SeqCst), 4);
    nothing_is_left(&agent).await;
}
