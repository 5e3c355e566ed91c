//! Site: an origin with a page that uses what browsers offer, and reports the results.
//!
//! In:    the requests of the page.
//! Out:   the page, a WebSocket echo, events that wait for each other, the checksum of an upload.
//! Never: a WebSocket message longer than 125 bytes, or a fragment: the page sends none.

use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use byway_testkit::pattern::Sum;
use byway_testkit::{Message, Origin, PATIENCE, Served, origin};
use parking_lot::{Condvar, Mutex};

/// The path to which the page reports.
pub(crate) const RESULT: &str = "/result";

const EVENTS: usize = 5;

const UPLOAD_BYTES: usize = 3_000_000;

const PAGE: &str = r"<!doctype html><title>Byway</title><script>
const seen = [];
async function check(name, run) {
  try { seen.push(name + ': ' + await run()); } catch (error) { seen.push(name + ' failed: ' + error); }
}
const bytes = async path => (await (await fetch(path)).arrayBuffer()).byteLength;
const websocket = () => new Promise((resolve, reject) => {
  const socket = new WebSocket('ws://' + location.host + '/ws');
  let count = 0;
  socket.onopen = () => socket.send('message 0');
  socket.onmessage = event => {
    if (event.data !== 'message ' + count) reject('got ' + event.data);
    if (++count === 20) socket.close(1000); else socket.send('message ' + count);
  };
  socket.onclose = event => resolve(count + ' echoes, close ' + event.code + ', clean ' + event.wasClean);
});
const events = () => new Promise((resolve, reject) => {
  const source = new EventSource('/events'), got = [];
  source.onmessage = event => {
    got.push(event.data);
    fetch('/seen/' + event.data);
    if (event.data === '5') { source.close(); resolve(got.join(' ')); }
  };
  source.onerror = () => reject('the stream of events ended after ' + got.join(' '));
});
const upload = async () => (await fetch('/sum', { method: 'POST', body: new Uint8Array(3000000) })).text();
(async () => {
  await check('bytes', () => bytes('/bytes/300000'));
  await check('chunked', () => bytes('/chunked/300000'));
  await check('many at once', async () =>
    (await Promise.all([...Array(20)].map(() => bytes('/bytes/1000')))).reduce((a, b) => a + b));
  await check('websocket', websocket);
  await check('events', events);
  await check('upload', upload);
  await fetch('/result', { method: 'POST', body: seen.join('\n') });
})();
</script>";

/// The report of the page if all goes well.
pub(crate) fn expected() -> String {
    let mut sum = Sum::new();
    sum.add(&vec![0; UPLOAD_BYTES]);
    format!(
        "bytes: 300000\nchunked: 300000\nmany at once: 20000\nwebsocket: 20 echoes, close 1000, clean true\nevents: 1 2 \
         3 4 5\nupload: {UPLOAD_BYTES} {}",
        sum.hex()
    )
}

/// The last event that the page has seen.
#[derive(Default)]
struct Seen {
    event: Mutex<usize>,
    more: Condvar,
}

/// The origin.
pub(crate) fn origin() -> Origin {
    let seen = Arc::new(Seen::default());
    Origin::scripted(move |visitor| {
        while let Some(request) = next(visitor) {
            let target = request.target().to_owned();
            match target.as_str() {
                "/" => {
                    let length = PAGE.len();
                    visitor.send(format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{PAGE}"
                    ));
                }
                "/ws" => return websocket(visitor, &request),
                "/events" => events(visitor, &seen),
                RESULT => drop(visitor.send(origin::ok(""))),
                _ => {
                    if let Some(event) = target
                        .strip_prefix("/seen/")
                        .and_then(|event| event.parse().ok())
                    {
                        *seen.event.lock() = event;
                        seen.more.notify_all();
                    }
                    origin::serve_useful(visitor, &request);
                }
            }
        }
    })
}

/// The next request head; for a report, with its body.
fn next(visitor: &mut Served) -> Option<Message> {
    let mut request = visitor.head()?;
    if request.target() == RESULT {
        visitor.request_body(&mut request);
    }
    visitor.remember(request.clone());
    Some(request)
}

/// Each event waits until the page has received the one before: a proxy that buffers events would
/// block the test.
fn events(visitor: &mut Served, seen: &Seen) {
    *seen.event.lock() = 0;
    visitor.send(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    for event in 1..=EVENTS {
        let text = format!("data: {event}\n\n");
        if !visitor.try_send(format!("{:x}\r\n{text}\r\n", text.len())) {
            return;
        }
        let deadline = Instant::now() + PATIENCE;
        let mut last = seen.event.lock();
        while *last < event {
            if seen.more.wait_until(&mut last, deadline).timed_out() {
                return;
            }
        }
    }
    visitor.try_send("0\r\n\r\n");
}

/// Echoes short messages until the page closes.
fn websocket(visitor: &mut Served, request: &Message) {
    let key = request.field("Sec-WebSocket-Key").unwrap_or_default();
    let proof = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, proof.as_bytes()));
    visitor.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: \
         {accept}\r\n\r\n"
    ));
    while visitor.fill() {
        let head = visitor.exactly(2);
        let length = usize::from(head[1] & 0x7f);
        let mask = visitor.exactly(4);
        let data = visitor.exactly(length);
        let data = data
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask);
        let echo: Vec<u8> = [head[0], length as u8].into_iter().chain(data).collect();
        // A close frame is echoed like any other.
        if !visitor.try_send(&echo) || head[0] & 0x0f == 8 {
            return;
        }
    }
}
