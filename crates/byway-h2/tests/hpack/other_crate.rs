//! The `h2` crate as the peer: it reads what our encoder writes, and our decoder what it writes.

use byway_h2::hpack::{Decoder, Encoder, HeadWriter, TABLE_BYTES};
use byway_head::{HeadOut, Limits, RequestBuilder, RequestHead, Scheme, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM_AND_HEADERS: u8 = 0x5;
const REQUESTS: u32 = 200;

/// Fields of a request; some repeat, some have names of their own.
fn fields(n: u32) -> Vec<(String, String)> {
    let field = |name: &str, value: String| (name.to_owned(), value);
    vec![
        field("user-agent", "Mozilla/5.0 (X11; Linux x86_64)".to_owned()),
        field("accept", "*/*".to_owned()),
        field("authorization", format!("Bearer {n}")),
        field(&format!("x-name-{}", n % 60), format!("value {}", n % 7)),
        field("x-large", "{}~|".repeat(n as usize % 90)),
        field("cookie", format!("session={:040}", n)),
        field("content-length", n.to_string()),
    ]
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn the_h2_crate_reads_our_header_blocks() {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let mut encoder = Encoder::default();
    for n in 0..REQUESTS {
        let mut block = Vec::new();
        let mut out = HeadWriter::new(&mut encoder, &mut block).scheme(Scheme::Https);
        out.request(b"GET", format!("/{n}").as_bytes(), b"example.com")
            .unwrap();
        for (name, value) in fields(n).iter().filter(|field| field.0 != "content-length") {
            out.field(name.as_bytes(), value.as_bytes()).unwrap();
        }
        out.end();
        bytes.extend(frame(HEADERS, END_STREAM_AND_HEADERS, 2 * n + 1, &block));
    }
    far.write_all(&bytes).await.unwrap();

    let mut server = h2::server::handshake(near).await.unwrap();
    for n in 0..REQUESTS {
        let (request, mut respond) = server.accept().await.unwrap().unwrap();
        assert_eq!(request.uri(), &*format!("https://example.com/{n}"));
        let sent: Vec<_> = fields(n)
            .into_iter()
            .filter(|field| field.0 != "content-length")
            .collect();
        let read: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        assert_eq!(read, sent);
        respond
            .send_response(http::Response::new(()), true)
            .unwrap();
    }
}

/// Reads a frame: its type, flags, and payload.
async fn next_frame(stream: &mut DuplexStream) -> (u8, u8, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).await.unwrap();
    (head[3], head[4], payload)
}

/// Sends all requests, and drives the connection until it ends.
async fn send_requests(near: DuplexStream) {
    let (mut send, connection) = h2::client::handshake(near).await.unwrap();
    let requests = async {
        let mut responses = Vec::new();
        for n in 0..REQUESTS {
            let mut request = http::Request::post(format!("https://example.com/{n}"));
            for (name, value) in fields(n) {
                request = request.header(name, value);
            }
            send = send.ready().await.unwrap();
            let (response, body) = send.send_request(request.body(()).unwrap(), false).unwrap();
            responses.push((response, body));
        }
        responses
    };
    // The reader closes it, which may be an error or not.
    let _ = tokio::join!(requests, connection);
}

async fn read_requests(mut far: DuplexStream) {
    let mut preface = [0; PREFACE.len()];
    far.read_exact(&mut preface).await.unwrap();
    assert_eq!(preface, PREFACE);
    far.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let (mut decoder, limits) = (Decoder::new(TABLE_BYTES), Limits::default());
    let (mut head, mut text) = (RequestHead::default(), Vec::new());
    let mut n = 0;
    while n < REQUESTS {
        let (kind, flags, block) = next_frame(&mut far).await;
        if kind != HEADERS {
            continue;
        }
        assert_eq!(flags, 0x4, "END_HEADERS alone");
        text.clear();
        let mut builder = RequestBuilder::new(Version::Http2, &mut head, &mut text, &limits);
        decoder.decode(&block, 1 << 18, &mut builder).unwrap();
        builder.finish(false).unwrap();
        let request = head.view(&text);
        assert_eq!(request.path(), format!("/{n}").as_bytes());
        let read: Vec<_> = request
            .fields()
            .map(|field| [field.name, b": ", field.value].concat())
            .collect();
        let sent: Vec<_> = fields(n)
            .into_iter()
            .map(|(name, value)| format!("{name}: {value}").into_bytes())
            .collect();
        assert_eq!(read, sent);
        n += 1;
    }
}

#[tokio::test]
async fn our_decoder_reads_the_header_blocks_of_the_h2_crate() {
    let (near, far) = tokio::io::duplex(1 << 20);
    tokio::join!(send_requests(near), read_requests(far));
}
