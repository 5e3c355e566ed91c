//! Load: clients that send requests continuously, each in its own way, and record what failed and
//! when.
//!
//! In:    the ways.
//! Out:   the number of requests, and each failed one with its times.
//! Never: panics over a failed request: a kill cuts some.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Instant;

use byway_testkit::PATIENCE;
use byway_testkit::asking::{GREETING, connect, socks5};
use byway_testkit::pattern::Pattern;

/// How a client reaches the origin.
#[derive(Clone)]
pub(crate) enum Way {
    /// A listener that forwards to it.
    Direct { at: SocketAddr, host: String },
    /// SOCKS5 to an egress.
    Socks5 { egress: SocketAddr, to: SocketAddr },
    /// CONNECT to an egress.
    Connect { egress: SocketAddr, to: SocketAddr },
    /// Requests in absolute form to an egress.
    Absolute { egress: SocketAddr, to: SocketAddr },
}

/// Running clients.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    visitors: Vec<JoinHandle<(String, Visits)>>,
}

/// The requests of one client.
#[derive(Default)]
struct Visits {
    done: usize,
    renewed: usize,
    failed: Vec<Failed>,
}

struct Failed {
    started: Instant,
    ended: Instant,
    what: String,
}

/// The requests of all clients, by the names of their ways.
pub(crate) struct Outcome(BTreeMap<String, Visits>);

/// The start and end of the time in which a node was down.
type Outage = (Instant, Instant);

impl Load {
    /// One client for each way.
    pub(crate) fn start(ways: Vec<(String, Way)>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let visit = |(name, way): (String, Way)| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || (name, visit(&way, &over)))
        };
        let visitors = ways.into_iter().map(visit).collect();
        Self { over, visitors }
    }

    /// Lets each client finish its request, and ends them.
    pub(crate) fn finish(self) -> Outcome {
        self.over.store(true, SeqCst);
        Outcome(
            self.visitors
                .into_iter()
                .map(|visitor| visitor.join().expect("a visitor"))
                .collect(),
        )
    }
}

impl Outcome {
    /// One line for each way.
    pub(crate) fn report(&self, outages: &[Outage]) -> String {
        let mut report = String::new();
        for (name, visits) in &self.0 {
            let cut = visits
                .failed
                .iter()
                .filter(|failed| failed.is_in(outages))
                .count();
            let _ = writeln!(
                report,
                "  {name}: {} requests, {cut} cut by a kill, {} others failed, {} on a connection that was renewed",
                visits.done,
                visits.failed.len() - cut,
                visits.renewed
            );
        }
        report
    }

    /// What failed while all nodes were up.
    pub(crate) fn failed_outside(&self, outages: &[Outage]) -> Vec<String> {
        let each = self
            .0
            .iter()
            .flat_map(|(name, visits)| visits.failed.iter().map(move |failed| (name, failed)));
        let outside = each.filter(|(_, failed)| !failed.is_in(outages));
        let shown = outside.map(|(name, failed)| {
            let since = outages.iter().rfind(|(_, up)| *up < failed.started);
            let since = since.map(|(_, up)| failed.started - *up);
            format!(
                "{name}: {} (after {:?}, started {since:?} after an outage)",
                failed.what,
                failed.ended - failed.started
            )
        });
        shown.collect()
    }
}

impl Failed {
    fn is_in(&self, outages: &[Outage]) -> bool {
        outages
            .iter()
            .any(|(down, up)| self.started <= *up && self.ended >= *down)
    }
}

/// The requests of a client, in a cycle.
#[derive(Clone, Copy, Debug)]
enum Request {
    Bytes(u64),
    Chunked(u64),
    Upload(u64),
    Upgrade,
}

const REQUESTS: [Request; 6] = [
    Request::Bytes(1000),
    Request::Bytes(300_000),
    Request::Chunked(50_000),
    Request::Upload(100_000),
    Request::Bytes(0),
    Request::Upgrade,
];

fn visit(way: &Way, over: &AtomicBool) -> Visits {
    let (mut visits, mut kept) = (Visits::default(), None);
    while !over.load(SeqCst) {
        for request in REQUESTS {
            let started = Instant::now();
            match ask(way, &mut kept, request, &mut visits.renewed) {
                Ok(()) => visits.done += 1,
                Err(error) => {
                    kept = None;
                    let what = format!("{request:?}: {error}");
                    visits.failed.push(Failed {
                        started,
                        ended: Instant::now(),
                        what,
                    });
                    // While a node is down its ports refuse connections: without a pause this would
                    // be a busy loop.
                    std::thread::park_timeout(std::time::Duration::from_millis(20));
                }
            }
        }
    }
    visits
}

type Kept = Option<BufReader<TcpStream>>;

fn ask(way: &Way, kept: &mut Kept, request: Request, renewed: &mut usize) -> io::Result<()> {
    // Like browsers: a request that cannot be retried does not use a connection that may be
    // closing.
    if matches!(request, Request::Upload(_) | Request::Upgrade) {
        *kept = None;
    }
    if let Some(mut connection) = kept.take() {
        if send(way, &mut connection, request).is_ok()
            && connection.fill_buf().is_ok_and(|bytes| !bytes.is_empty())
        {
            return finish(connection, kept, request);
        }
        *renewed += 1;
    }
    let mut connection = way.open()?;
    send(way, &mut connection, request)?;
    finish(connection, kept, request)
}

fn finish(
    mut connection: BufReader<TcpStream>,
    kept: &mut Kept,
    request: Request,
) -> io::Result<()> {
    let head = head(&mut connection)?;
    if let Request::Upgrade = request {
        check(head.status == 101, || format!("status {}", head.status))?;
        return echo(&mut connection);
    }
    check(head.status == 200, || {
        format!("status {}: {}", head.status, head.text)
    })?;
    let body = head.body(&mut connection)?;
    match request {
        Request::Bytes(bytes) | Request::Chunked(bytes) => {
            check(body == Pattern::whole(bytes), || {
                format!("{} bytes, not the requested ones", body.len())
            })?;
        }
        Request::Upload(bytes) => {
            let expected = format!("{bytes} {}", Pattern::sha256(bytes));
            check(body == expected.as_bytes(), || {
                String::from_utf8_lossy(&body).into_owned()
            })?;
        }
        Request::Upgrade => {}
    }
    if !head.closes {
        *kept = Some(connection);
    }
    Ok(())
}

fn send(way: &Way, connection: &mut BufReader<TcpStream>, request: Request) -> io::Result<()> {
    let (prefix, host) = match way {
        Way::Direct { host, .. } => (String::new(), host.clone()),
        Way::Absolute { to, .. } => (format!("http://{to}"), to.to_string()),
        Way::Socks5 { to, .. } | Way::Connect { to, .. } => (String::new(), to.to_string()),
    };
    let (line, more) = match request {
        Request::Bytes(bytes) => (format!("GET {prefix}/bytes/{bytes}"), String::new()),
        Request::Chunked(bytes) => (format!("GET {prefix}/chunked/{bytes}"), String::new()),
        Request::Upload(bytes) => (
            format!("POST {prefix}/sum"),
            format!("Content-Length: {bytes}\r\n"),
        ),
        Request::Upgrade => (
            format!("GET {prefix}/ws"),
            "Connection: Upgrade\r\nUpgrade: websocket\r\n".to_owned(),
        ),
    };
    let stream = connection.get_mut();
    stream.write_all(format!("{line} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n").as_bytes())?;
    if let Request::Upload(bytes) = request {
        stream.write_all(&Pattern::whole(bytes))?;
    }
    Ok(())
}

fn echo(connection: &mut BufReader<TcpStream>) -> io::Result<()> {
    for round in 0..10 {
        let message = Pattern::whole(100 + 1000 * round);
        connection.get_mut().write_all(&message)?;
        let mut echo = vec![0; message.len()];
        connection.read_exact(&mut echo)?;
        check(echo == message, || format!("another echo in round {round}"))?;
    }
    connection.get_mut().shutdown(std::net::Shutdown::Write)?;
    let mut rest = Vec::new();
    connection.read_to_end(&mut rest)?;
    check(rest.is_empty(), || {
        format!("{} bytes behind the echo", rest.len())
    })
}

impl Way {
    fn open(&self) -> io::Result<BufReader<TcpStream>> {
        let at = match self {
            Self::Direct { at, .. } => at,
            Self::Socks5 { egress, .. }
            | Self::Connect { egress, .. }
            | Self::Absolute { egress, .. } => egress,
        };
        let stream = TcpStream::connect(at)?;
        stream.set_nodelay(true)?;
        // A hang guard: nothing takes this long.
        stream.set_read_timeout(Some(2 * PATIENCE))?;
        stream.set_write_timeout(Some(2 * PATIENCE))?;
        let mut connection = BufReader::new(stream);
        match self {
            Self::Direct { .. } | Self::Absolute { .. } => {}
            Self::Socks5 { to, .. } => {
                connection.get_mut().write_all(GREETING)?;
                let mut chosen = [0; 2];
                connection.read_exact(&mut chosen)?;
                connection.get_mut().write_all(&socks5(*to))?;
                let mut reply = [0; 10];
                connection.read_exact(&mut reply)?;
                check(reply[1] == 0, || format!("SOCKS5 reply {}", reply[1]))?;
            }
            Self::Connect { to, .. } => {
                connection.get_mut().write_all(&connect(to))?;
                let head = head(&mut connection)?;
                check(head.status == 200, || {
                    format!("status {} for CONNECT: {}", head.status, head.text)
                })?;
            }
        }
        Ok(connection)
    }
}

/// The parts of a response head that these clients need.
struct Head {
    status: u16,
    length: Option<usize>,
    chunked: bool,
    closes: bool,
    text: String,
}

/// Reads heads up to the final one.
fn head(connection: &mut BufReader<TcpStream>) -> io::Result<Head> {
    loop {
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            check(connection.read_line(&mut text)? > 0, || {
                format!("the connection ended after {text:?}")
            })?;
        }
        let text = text.trim_end().to_ascii_lowercase();
        let field = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            lines
                .find(|(field, _)| *field == name)
                .map(|(_, value)| value.trim())
        };
        let status = text
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or_default();
        if status >= 200 || status == 101 {
            return Ok(Head {
                status,
                length: field("content-length").and_then(|length| length.parse().ok()),
                chunked: field("transfer-encoding") == Some("chunked"),
                closes: field("connection") == Some("close"),
                text,
            });
        }
    }
}

impl Head {
    fn body(&self, connection: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
        if !self.chunked {
            let mut body = vec![0; self.length.unwrap_or_default()];
            connection.read_exact(&mut body)?;
            return Ok(body);
        }
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            connection.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16);
            let size = size.map_err(|_| io::Error::other(format!("{line:?} is no chunk size")))?;
            let at = body.len();
            body.resize(at + size, 0);
            connection.read_exact(&mut body[at..])?;
            connection.read_exact(&mut [0; 2])?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
}

fn check(holds: bool, what: impl FnOnce() -> String) -> io::Result<()> {
    if holds {
        Ok(())
    } else {
        Err(io::Error::other(what()))
    }
}
