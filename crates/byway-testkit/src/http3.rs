//! Http3: a client of HTTP/3 whose every frame a test writes itself.
//!
//! In:    fields, bodies, frames; an address and the TLS config of a client.
//! Out:   responses, resets, GOAWAY, the code with which the connection was closed.
//! Never: waits longer than [`PATIENCE`]: it panics then.
//!
//! Field blocks are written here and not by the codec under test. Responses are read by its client
//! side.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use byway_h3::{Connection, ControlEvent, Event, Limits, ResponseReader, Role};
use byway_head::{Field, ResponseHead};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, Endpoint, ReadError, RecvStream, SendStream, VarInt};
use rustls::ClientConfig;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::PATIENCE;

/// The types of frames (RFC 9114 section 11.2.1).
pub mod kind {
    /// A part of a body.
    pub const DATA: u64 = 0;
    /// A head or trailers.
    pub const HEADERS: u64 = 1;
    /// Settings of the connection.
    pub const SETTINGS: u64 = 4;
    /// The last request that is served.
    pub const GOAWAY: u64 = 7;
}

/// A client with one connection. Dropping it drops the connection without a word.
pub struct Http3Visitor {
    runtime: Runtime,
    endpoint: Endpoint,
    /// The connection.
    pub quic: quinn::Connection,
    /// This side's control stream.
    pub control: Option<SendStream>,
}

/// One request, and what has come back.
pub struct Http3Exchange {
    /// This side.
    pub send: SendStream,
    /// The side of the server.
    pub recv: RecvStream,
    reader: ResponseReader,
    unread: Vec<u8>,
    /// What was read.
    pub response: Http3Response,
}

/// What has come back for a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http3Response {
    /// The statuses of interim responses, then that of the response.
    pub statuses: Vec<u16>,
    /// The fields of the response.
    pub fields: Vec<(String, String)>,
    /// As much of the body as has come.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Vec<(String, String)>,
    /// Whether it has ended in order.
    pub has_ended: bool,
    /// The code with which the server has reset it.
    pub reset: Option<u64>,
}

impl Http3Response {
    /// The status, or 0.
    pub fn status(&self) -> u16 {
        self.statuses.last().copied().unwrap_or_default()
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields.find(|field| field.0 == name).map(|field| &*field.1)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A number of QUIC (RFC 9000 section 16).
pub fn varint(value: u64) -> Vec<u8> {
    match value {
        0..=0x3f => vec![value as u8],
        0x40..=0x3fff => (value as u16 | 0x4000).to_be_bytes().to_vec(),
        0x4000..=0x3fff_ffff => (value as u32 | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (value | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

/// A frame of any type.
pub fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    [&varint(kind)[..], &varint(payload.len() as u64), payload].concat()
}

/// A HEADERS frame with these fields as literals (RFC 9204 section 4.5.6).
pub fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![0, 0];
    for (name, value) in fields {
        prefixed(&mut block, 0x20, 3, name.len());
        block.extend_from_slice(name.as_bytes());
        prefixed(&mut block, 0, 7, value.len());
        block.extend_from_slice(value.as_bytes());
    }
    frame(kind::HEADERS, &block)
}

/// A number in the low `bits` of a byte, and more bytes if they do not suffice (RFC 7541 section
/// 5.1).
pub fn prefixed(out: &mut Vec<u8>, flags: u8, bits: u32, value: usize) {
    let most = (1_usize << bits) - 1;
    if value < most {
        return out.push(flags | value as u8);
    }
    out.push(flags | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

impl Http3Visitor {
    /// Connects, does the handshake for `name`, and sends empty settings. `tls` may have any ALPN:
    /// it is replaced by `h3`.
    ///
    /// # Errors
    /// If the handshake fails.
    pub fn connect(to: SocketAddr, name: &str, tls: ClientConfig) -> Result<Self, ConnectionError> {
        let mut visitor = Self::without_settings(to, name, tls)?;
        let settings = [&[0], &frame(kind::SETTINGS, &[])[..]].concat();
        let quic = visitor.quic.clone();
        visitor.control = visitor.wait(async {
            let mut control = quic.open_uni().await.ok()?;
            let _ = control.write_all(&settings).await;
            Some(control)
        });
        Ok(visitor)
    }

    /// The same without a control stream.
    ///
    /// # Errors
    /// If the handshake fails.
    pub fn without_settings(
        to: SocketAddr,
        name: &str,
        mut tls: ClientConfig,
    ) -> Result<Self, ConnectionError> {
        tls.alpn_protocols = vec![b"h3".to_vec()];
        Self::connect_as(to, name, tls)
    }

    /// The same with the ALPN of `tls`.
    ///
    /// # Errors
    /// If the handshake fails.
    pub fn connect_as(
        to: SocketAddr,
        name: &str,
        tls: ClientConfig,
    ) -> Result<Self, ConnectionError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let crypto = QuicClientConfig::try_from(tls).expect("a config for TLS 1.3");
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        let connected = runtime.block_on(async {
            let mut endpoint = Endpoint::client(local()).expect("a UDP socket");
            endpoint.set_default_client_config(config);
            let connecting = endpoint.connect(to, name).expect("an address and a name");
            let connected = timeout(PATIENCE, connecting).await;
            let quic = connected.expect("an end of the handshake")?;
            Ok((endpoint, quic))
        });
        connected.map(|(endpoint, quic)| Self {
            runtime,
            endpoint,
            quic,
            control: None,
        })
    }

    /// Sends on the control stream. Returns whether the connection still was open.
    #[track_caller]
    pub fn control(&mut self, bytes: &[u8]) -> bool {
        let Some(mut control) = self.control.take() else {
            return false;
        };
        let is_sent = self.wait(control.write_all(bytes)).is_ok();
        self.control = Some(control);
        is_sent
    }

    /// Waits for `future`.
    #[track_caller]
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        let waited = self
            .runtime
            .block_on(async { timeout(PATIENCE, future).await });
        waited.expect("it ends in time")
    }

    /// Opens a stream and sends `bytes` on it; `ends`: the request is complete.
    #[track_caller]
    pub fn open(&self, method: &str, bytes: &[u8], ends: bool) -> Http3Exchange {
        let (send, recv) = self.wait(async {
            let (mut send, recv) = self.quic.open_bi().await.expect("a stream");
            send.write_all(bytes).await.expect("room for a request");
            if ends {
                let _ = send.finish();
            }
            (send, recv)
        });
        Http3Exchange {
            send,
            recv,
            reader: ResponseReader::new(method.as_bytes(), &Limits::default()),
            unread: Vec::new(),
            response: Http3Response::default(),
        }
    }

    /// A request of these fields besides the usual ones.
    #[track_caller]
    pub fn request(
        &self,
        method: &str,
        host: &str,
        path: &str,
        more: &[(&str, &str)],
        ends: bool,
    ) -> Http3Exchange {
        let mut fields = vec![
            (":method", method),
            (":scheme", "https"),
            (":authority", host),
            (":path", path),
        ];
        fields.extend_from_slice(more);
        self.open(method, &headers(&fields), ends)
    }

    /// The response to a GET.
    #[track_caller]
    pub fn get(&self, host: &str, path: &str) -> Http3Response {
        self.response(self.request("GET", host, path, &[], true))
    }

    /// Reads until the response has ended or was reset.
    #[track_caller]
    pub fn response(&self, mut exchange: Http3Exchange) -> Http3Response {
        self.until(&mut exchange, |_| false);
        exchange.response
    }

    /// Reads until `is_enough`, or until the response has ended or was reset.
    #[track_caller]
    pub fn until(&self, exchange: &mut Http3Exchange, is_enough: impl Fn(&Http3Response) -> bool) {
        self.wait(async { while !is_enough(&exchange.response) && exchange.turn().await {} });
    }

    /// Goes on from another port, as after a change of network.
    pub fn move_away(&self) -> SocketAddr {
        let socket = UdpSocket::bind(local()).expect("a UDP socket");
        let address = socket.local_addr().expect("an address");
        let _inside = self.runtime.enter();
        self.endpoint.rebind(socket).expect("a new socket");
        address
    }

    /// The ids of the next `count` GOAWAYs.
    #[track_caller]
    pub fn go_aways(&self, count: usize) -> Vec<u64> {
        self.wait(async {
            let mut control = loop {
                let mut stream = self.quic.accept_uni().await.expect("a control stream");
                let mut kind = [0];
                stream.read_exact(&mut kind).await.expect("its type");
                if kind == [0] {
                    break stream;
                }
            };
            let now = std::time::Instant::now();
            let mut core = Connection::new(Role::Client, Limits::default(), now);
            let (mut bytes, mut ids) = (Vec::new(), Vec::new());
            while ids.len() < count {
                let chunk = control.read_chunk(1024, true).await.expect("frames");
                bytes.extend_from_slice(&chunk.expect("it does not end").bytes);
                while !bytes.is_empty() {
                    let (taken, event) = core.read_control(&bytes, now).expect("valid frames");
                    bytes.drain(..taken);
                    if let Some(ControlEvent::GoAway(id)) = event {
                        ids.push(id);
                    }
                }
            }
            ids
        })
    }

    /// The code with which the server closes the connection.
    #[track_caller]
    pub fn closed(&self) -> u64 {
        match self.wait(self.quic.closed()) {
            ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("the connection ended otherwise: {other}"),
        }
    }
}

impl Http3Exchange {
    /// Resets this side and stops the other one, as a client does that cancels.
    pub fn cancel(&mut self) {
        const REQUEST_CANCELLED: VarInt = VarInt::from_u32(0x10c);
        let _ = self.send.reset(REQUEST_CANCELLED);
        let _ = self.recv.stop(REQUEST_CANCELLED);
    }

    /// Reads some more. Returns false at the end.
    async fn turn(&mut self) -> bool {
        let limits = Limits::default();
        match self.recv.read_chunk(65_536, true).await {
            Ok(Some(chunk)) => self.unread.extend_from_slice(&chunk.bytes),
            Ok(None) => {
                self.response.has_ended = self.reader.finish().is_ok();
                self.response.trailers = self.reader.trailers().map(text).collect();
                return false;
            }
            Err(ReadError::Reset(code)) => {
                self.response.reset = Some(code.into_inner());
                return false;
            }
            Err(_) => return false,
        }
        let (mut head, mut bytes) = (ResponseHead::default(), Vec::new());
        while !self.unread.is_empty() {
            let step = self
                .reader
                .step(&self.unread, false, &mut head, &mut bytes, &limits)
                .expect("a valid response");
            match step.event {
                Some(Event::Head { .. }) => {
                    let view = head.view(&bytes);
                    self.response.statuses.push(view.status());
                    self.response.fields = view.fields().map(text).collect();
                }
                Some(Event::Data(range)) => {
                    let data = self.unread.get(range).unwrap_or_default();
                    self.response.body.extend_from_slice(data);
                }
                Some(_) => {}
                None if step.taken == 0 => break,
                None => {}
            }
            self.unread.drain(..step.taken);
        }
        true
    }
}

fn text(field: Field<'_>) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(field.name), text(field.value))
}

fn local() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
