//! Http: the responses of the demo's origin.
//!
//! In:    a connection of HTTP/1.1 requests.
//! Out:   a page, deterministic bytes, the length and sum of an upload, the head of the request, a
//!        WebSocket.
//! Never: holds a body, or reads a request before the last response is sent.

use std::convert::Infallible;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use byway_dial::Stream;
use byway_h1::write;
use byway_head::{Limits, Request, reason_phrase};
use byway_http::LazyTimer;
use byway_http::h1::{Conn, NoRequest, RequestText, await_request, read_request};
use tokio::time::{sleep, timeout};

use super::message::{read_body, read_to_fin};
use super::origin::Common;
use super::pattern::{MIB, Pattern, Sum};
use super::websocket;

/// Serves one connection to its end. `socket` is the kind of socket, which the responses name.
pub(super) async fn serve(
    stream: Stream,
    socket: &'static str,
    common: &Common,
) -> anyhow::Result<()> {
    let mut connection = DemoConnection {
        conn: Conn::new(stream),
        socket,
        common,
        timer: LazyTimer::default(),
        mark: None,
    };
    let ended = connection.run().await;
    if let Some(mark) = connection.mark {
        common.endings.note(&mark, ended.is_ok());
    }
    ended
}

struct DemoConnection<'a> {
    conn: Conn,
    socket: &'static str,
    common: &'a Common,
    timer: LazyTimer,
    /// The mark of the connection, if a request carried one.
    mark: Option<String>,
}

/// What happens to the connection after a response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Continue,
    Close,
}

/// The longest body of `/bytes/N`.
const MOST_BYTES: u64 = 64 * 1024 * MIB;

/// Bodies up to this length carry their sum in a field; computing it takes time before the first
/// byte.
const MOST_SUMMED_BYTES: u64 = 1024 * MIB;

/// The longest wait of `/slow`.
const MOST_SLOW: Duration = Duration::from_secs(60);

/// How long an idle connection is kept, and for how long and how many bytes a closing one is read.
const IDLE: Duration = Duration::from_secs(75);
const LINGER: Duration = Duration::from_secs(10);
const LINGER_BYTES: usize = 16 * 1024 * 1024;

const PAGE: &str = "\
Hello from behind Byway: this is the demo's origin.

  GET  /             this page
  GET  /bytes/N      N bytes, the same in every run; the field X-Sha256 has their sum
  PUT  /sink         answers with the length and the SHA-256 of what you send (POST will do, too)
  GET  /headers      the head of your request, as it arrived here
  GET  /slow?ms=N    a response after N milliseconds
  GET  /ws           a WebSocket that sends every message back
";

impl DemoConnection<'_> {
    async fn run(&mut self) -> anyhow::Result<()> {
        while let Some(text) = self.next_request().await? {
            let then = self.answer(&text.view()).await?;
            self.conn.flush().await?;
            if then == Then::Close {
                break;
            }
        }
        self.close().await
    }

    /// Reads the next head; `None` if none arrives, or if it is malformed.
    async fn next_request(&mut self) -> anyhow::Result<Option<RequestText>> {
        let (conn, timer) = (&mut self.conn, &mut self.timer);
        if !await_request(conn, timer, IDLE, |_| Poll::Pending).await? {
            return Ok(None);
        }
        let http_alone = |_: &[u8]| None::<Infallible>;
        match read_request(conn, timer, &Limits::default(), IDLE, http_alone).await {
            Ok(text) => Ok(Some(text)),
            Err(NoRequest::Broken(broken)) => Err(broken.into()),
            Err(NoRequest::Malformed(malformed)) => {
                self.text(400, &format!("{malformed}\n"), ResponseOptions::LAST)?;
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }

    async fn answer(&mut self, request: &Request<'_>) -> anyhow::Result<Then> {
        let query = Query(request.query().unwrap_or_default());
        if let Some(mark) = query.value("mark") {
            self.mark = Some(mark.to_owned());
        }
        let path = std::str::from_utf8(without_route(request.path())).unwrap_or_default();
        if matches!((request.method(), path), (b"POST" | b"PUT", "/sink")) {
            return self.sink(request).await;
        }
        let options = ResponseOptions::of(request, query);
        match (request.method(), path) {
            (b"GET" | b"HEAD", "/") => self.text(200, PAGE, options),
            (b"GET" | b"HEAD", "/headers") => self.headers(request, options),
            (b"GET" | b"HEAD", "/slow") => self.slow(query, options).await,
            (b"GET", "/ws") => self.websocket(request).await,
            (b"GET" | b"HEAD", path) => match path.strip_prefix("/bytes/").map(str::parse::<u64>) {
                Some(Ok(bytes @ ..=MOST_BYTES)) => self.bytes(bytes, options).await,
                Some(_) => self.text(400, "/bytes/N: N is a number up to 68719476736\n", options),
                None => self.text(404, "not found; GET / lists what there is\n", options),
            },
            _ => self.text(
                405,
                "GET and HEAD are served, and POST and PUT for /sink\n",
                options,
            ),
        }
    }

    fn headers(&mut self, request: &Request<'_>, options: ResponseOptions) -> anyhow::Result<Then> {
        let method = String::from_utf8_lossy(request.method());
        let mut text = format!("{method} {}\n", String::from_utf8_lossy(request.target()));
        for field in request.fields() {
            let (name, value) = (
                String::from_utf8_lossy(field.name),
                String::from_utf8_lossy(field.value),
            );
            text += &format!("{name}: {value}\n");
        }
        self.text(200, &text, options)
    }

    async fn slow(&mut self, query: Query<'_>, options: ResponseOptions) -> anyhow::Result<Then> {
        let wait = query
            .value("ms")
            .and_then(|ms| ms.parse().ok())
            .map_or(Duration::from_secs(1), Duration::from_millis);
        sleep(wait.min(MOST_SLOW)).await;
        self.text(200, &format!("after {:?}\n", wait.min(MOST_SLOW)), options)
    }

    async fn bytes(&mut self, bytes: u64, options: ResponseOptions) -> anyhow::Result<Then> {
        let sum = match bytes {
            ..=MOST_SUMMED_BYTES => Some(self.common.pattern_sum(bytes).await?),
            _ => None,
        };
        let mut fields = vec![("Content-Type", "application/octet-stream")];
        fields.extend(sum.as_deref().map(|sum| ("X-Sha256", sum)));
        self.head(200, &fields, bytes, options)?;
        let mut pattern = Pattern::new(if options.head_only { 0 } else { bytes });
        while !pattern.front().is_empty() {
            let sent = poll_fn(|cx| self.conn.poll_send(cx, pattern.front())).await?;
            pattern.pass(sent);
        }
        Ok(options.then)
    }

    async fn sink(&mut self, request: &Request<'_>) -> anyhow::Result<Then> {
        if request.expects_continue() {
            write::status_line(self.conn.queue(), 100, reason_phrase(100).as_bytes())?;
            write::end_of_head(self.conn.queue());
            self.conn.flush().await?;
        }
        let mut sum = Sum::new();
        read_body(&mut self.conn, request.framing(), |data| sum.add(data)).await?;
        let then = if request.keep_alive() {
            Then::Continue
        } else {
            Then::Close
        };
        let text = format!("{} bytes, sha256 {}\n", sum.bytes(), sum.hex());
        self.text(
            200,
            &text,
            ResponseOptions {
                head_only: false,
                then,
            },
        )
    }

    async fn websocket(&mut self, request: &Request<'_>) -> anyhow::Result<Then> {
        let Some(key) = websocket::accepted(request) else {
            let text = "this is a WebSocket (RFC 6455, version 13): send an Upgrade\n";
            return self.text(426, text, ResponseOptions::LAST);
        };
        let out = self.conn.queue();
        write::status_line(out, 101, reason_phrase(101).as_bytes())?;
        for (name, value) in [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Accept", key.as_str()),
        ] {
            write::field(out, name.as_bytes(), value.as_bytes())?;
        }
        write::end_of_head(out);
        self.conn.flush().await?;
        websocket::echo(&mut self.conn).await?;
        Ok(Then::Close)
    }

    fn text(&mut self, status: u16, text: &str, options: ResponseOptions) -> anyhow::Result<Then> {
        self.head(
            status,
            &[("Content-Type", "text/plain; charset=utf-8")],
            text.len() as u64,
            options,
        )?;
        if !options.head_only {
            self.conn.queue().extend_from_slice(text.as_bytes());
        }
        Ok(options.then)
    }

    fn head(
        &mut self,
        status: u16,
        fields: &[(&str, &str)],
        length: u64,
        options: ResponseOptions,
    ) -> anyhow::Result<()> {
        let out = self.conn.queue();
        write::status_line(out, status, reason_phrase(status).as_bytes())?;
        for (name, value) in fields.iter().chain(&[("X-Origin", self.socket)]) {
            write::field(out, name.as_bytes(), value.as_bytes())?;
        }
        write::field(out, b"Content-Length", length.to_string().as_bytes())?;
        if options.then == Then::Close {
            write::field(out, b"Connection", b"close")?;
        }
        write::end_of_head(out);
        Ok(())
    }

    /// Sends FIN and waits for the peer's, since closing with unread bytes would reset the
    /// connection.
    async fn close(&mut self) -> anyhow::Result<()> {
        self.conn.finish().await?;
        timeout(LINGER, read_to_fin(&mut self.conn, LINGER_BYTES)).await??;
        Ok(())
    }
}

/// How a response is sent.
#[derive(Clone, Copy)]
struct ResponseOptions {
    head_only: bool,
    then: Then,
}

impl ResponseOptions {
    /// For a response that ends the connection.
    const LAST: Self = Self {
        head_only: false,
        then: Then::Close,
    };

    /// A request body, which is not read here, and `?close` end the connection.
    fn of(request: &Request<'_>, query: Query<'_>) -> Self {
        let bodiless = !request.framing().has_body();
        let keeps = request.keep_alive() && bodiless && query.value("close").is_none();
        Self {
            head_only: request.method() == b"HEAD",
            then: if keeps { Then::Continue } else { Then::Close },
        }
    }
}

/// `name=value&name`, not decoded.
#[derive(Clone, Copy)]
struct Query<'a>(&'a [u8]);

impl<'a> Query<'a> {
    /// The value of the first parameter of that name; empty if it has none.
    fn value(self, name: &str) -> Option<&'a str> {
        let mut parameters = std::str::from_utf8(self.0).unwrap_or_default().split('&');
        parameters.find_map(|parameter| {
            let (known, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (known == name).then_some(value)
        })
    }
}

/// The path without the prefix that chose the edge's route: the edge forwards the whole path.
fn without_route(path: &[u8]) -> &[u8] {
    const ROUTES: [&[u8]; 3] = [b"/unix", b"/skip", b"/refused"];
    let rest = ROUTES.iter().find_map(|route| path.strip_prefix(*route));
    match rest {
        Some([]) => b"/",
        Some(rest @ [b'/', ..]) => rest,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_of_the_route_is_not_part_of_the_path() {
        for (path, rest) in [
            ("/", "/"),
            ("/unix", "/"),
            ("/unix/ws", "/ws"),
            ("/unixes", "/unixes"),
            ("/skip/", "/"),
        ] {
            assert_eq!(without_route(path.as_bytes()), rest.as_bytes());
        }
    }

    #[test]
    fn parameters_are_found_with_and_without_a_value() {
        let query = Query(b"close&ms=5&mark=a-1");
        assert_eq!(query.value("close"), Some(""));
        assert_eq!(query.value("ms"), Some("5"));
        assert_eq!(query.value("mark"), Some("a-1"));
        assert_eq!(query.value("clos"), None);
    }
}
