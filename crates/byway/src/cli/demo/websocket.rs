//! WebSocket: the handshake of an upgrade request, messages over a connection, and an origin that
//! echoes every message.
//!
//! In:    an upgrade request, then the bytes of the peer.
//! Out:   the accept key; each message unchanged, a pong for each ping, a close for a close.
//! Never: takes a message over [`LIMITS`].

use byway_dial::Read;
use byway_head::{Framed, Request, Version};
use byway_http::h1::Conn;
use byway_ws::handshake::{self, AcceptKey};
use byway_ws::{Connection, Event, Limits, Malformed, NotSent};

/// A frame of at most 128 KiB, a message of at most 1 MiB.
pub(super) const LIMITS: Limits = Limits {
    frame_bytes: 128 * 1024,
    message_bytes: 1024 * 1024,
    fragments: 16 * 1024,
};

/// The accept key, if `request` is a good handshake.
pub(super) fn accepted(request: &Request<'_>) -> Option<AcceptKey> {
    let handshake = handshake::Request {
        method: request.method(),
        http_minor: u8::from(request.version() == Version::Http11),
        fields: request.fields().map(|field| (field.name, field.value)),
    };
    let accepted = handshake.check().ok()?;
    (request.framing() == Framed::None).then(|| *accepted.accept_key())
}

/// Sends every message back until either side closes.
pub(super) async fn echo(conn: &mut Conn) -> anyhow::Result<()> {
    let mut socket = Socket::new(conn, Connection::server(LIMITS));
    while let Some(Ok(message)) = socket.receive().await? {
        match message {
            Message::Text(text) => socket.send(|to, out| to.text(&text, out)).await?,
            Message::Binary(bytes) => socket.send(|to, out| to.binary(&bytes, out)).await?,
            Message::Close(_) => break,
            Message::Ping | Message::Pong(_) => {}
        }
    }
    Ok(())
}

/// One side of an open WebSocket.
pub(super) struct Socket<'a> {
    conn: &'a mut Conn,
    codec: Connection,
    /// Bytes of the peer, of which the first `taken` are read.
    received: Vec<u8>,
    taken: usize,
}

/// What the peer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Text(String),
    Binary(Vec<u8>),
    Ping,
    Pong(Vec<u8>),
    /// A close frame, with its code.
    Close(Option<u16>),
}

impl<'a> Socket<'a> {
    pub(super) fn new(conn: &'a mut Conn, codec: Connection) -> Self {
        Self {
            conn,
            codec,
            received: Vec::new(),
            taken: 0,
        }
    }

    /// Sends what `write` writes.
    pub(super) async fn send(
        &mut self,
        write: impl FnOnce(&mut Connection, &mut Vec<u8>) -> Result<(), NotSent>,
    ) -> anyhow::Result<()> {
        write(&mut self.codec, self.conn.queue())?;
        Ok(self.conn.flush().await?)
    }

    /// Receives one message or control frame, and sends the answer that it needs; `None` at the FIN
    /// of the peer.
    pub(super) async fn receive(&mut self) -> anyhow::Result<Option<Result<Message, Malformed>>> {
        loop {
            let message = self.next_message();
            if self.conn.has_queued() {
                self.conn.flush().await?;
            }
            if let Some(message) = message {
                return Ok(Some(message));
            }
            if self.conn.unread().is_empty() && self.conn.fill().await? == Read::Fin {
                return Ok(None);
            }
            self.received.clear();
            self.received.extend_from_slice(self.conn.unread());
            self.conn.consume(self.received.len());
            self.taken = 0;
        }
    }

    /// The next message of the received bytes; `None` if more are needed.
    fn next_message(&mut self) -> Option<Result<Message, Malformed>> {
        let unread = self.received.get_mut(self.taken..).unwrap_or_default();
        let step = match self.codec.receive(unread, self.conn.queue()) {
            Ok(step) => step,
            Err(error) => return Some(Err(error)),
        };
        self.taken += step.taken;
        let message = match step.event? {
            Event::Text(text) => Message::Text(text.to_owned()),
            Event::Binary(bytes) => Message::Binary(bytes.to_vec()),
            Event::Ping(_) => Message::Ping,
            Event::Pong(payload) => Message::Pong(payload.to_vec()),
            Event::Close(close) => Message::Close(close.map(|close| close.code.get())),
        };
        Some(Ok(message))
    }
}
