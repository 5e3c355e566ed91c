//! Echoes: journeys through echo servers: on TCP, on Unix sockets and over WebSocket.
//!
//! In:    a scene.   Out: journeys.   Never: waits for one direction while the other is full.

use std::future::poll_fn;
use std::io::IoSlice;
use std::task::{Context, Poll};

use anyhow::{Context as _, ensure};
use byway_dial::{Broken, Pipe, Read, Stream, Target};
use byway_link::CarrierKind;
use byway_ws::handshake::{ClientHandshake, Response};
use byway_ws::{CloseCode, Connection};

use super::journeys::{Journey, compared};
use super::message::read_to_fin;
use super::pattern::{MIB, Pattern, Sum};
use super::scene::{Scene, Way};
use super::visitor::Visitor;
use super::websocket::{LIMITS, Message, Socket};

/// Bytes sent and received.
const ECHO_BYTES: u64 = 8 * MIB;

/// Every echo.
pub(super) fn all(scene: &Scene) -> Vec<Journey<'_>> {
    let mut all = Vec::new();
    let desks = [CarrierKind::Quic, CarrierKind::Tls].map(Way::DeskSocks5);
    for way in [Way::Socks5, Way::Socks5Password, Way::Socks4a, Way::Connect]
        .into_iter()
        .chain(desks)
    {
        all.push(Journey::new(
            format!("{way}: echo, FIN after FIN"),
            through(scene, way),
        ));
    }
    let (tcp, unix) = (
        Target::Addr(scene.at.echo),
        Target::Unix(scene.at.echo_unix.clone()),
    );
    all.push(Journey::new(
        "TCP forward: echo on a Unix socket",
        forwarded(scene, tcp),
    ));
    all.push(Journey::new(
        "Unix forward: echo on TCP",
        forwarded(scene, unix),
    ));
    for carrier in [CarrierKind::Quic, CarrierKind::Tls] {
        let at = Target::Addr(scene.at.over(carrier).echo);
        all.push(Journey::new(
            format!("exposed TCP, {carrier}: echo, FIN after FIN"),
            forwarded(scene, at),
        ));
    }
    for way in [
        Way::Edge,
        Way::Absolute,
        Way::Socks5,
        Way::Connect,
        Way::ExposedHttp(CarrierKind::Quic),
        Way::ExposedHttp(CarrierKind::Tls),
        Way::DeskAbsolute(CarrierKind::Quic),
        Way::DeskConnect(CarrierKind::Tls),
    ] {
        all.push(Journey::new(
            format!("{way}: WebSocket"),
            websocket(scene, way),
        ));
    }
    all
}

async fn through(scene: &Scene, way: Way) -> anyhow::Result<String> {
    let stream = scene.through(way, scene.origin.echo).await?;
    echo(scene, stream).await
}

async fn forwarded(scene: &Scene, at: Target) -> anyhow::Result<String> {
    let stream = scene.direct(&at).await?;
    echo(scene, stream).await
}

/// Sends the pattern and FIN, and reads the echo up to its FIN.
async fn echo(scene: &Scene, stream: Stream) -> anyhow::Result<String> {
    let mut round = Round {
        stream,
        pattern: Pattern::new(ECHO_BYTES),
        finished: false,
        back: Sum::new(),
    };
    let mut space = vec![0; SPACE_BYTES];
    poll_fn(|cx| round.poll(cx, &mut space))
        .await
        .context("the connection broke")?;
    ensure!(
        round.finished,
        "FIN came back before {ECHO_BYTES} bytes had been sent"
    );
    let expected = scene.origin.common.pattern_sum(ECHO_BYTES).await?;
    Ok(format!(
        "{}, then FIN",
        compared(round.back, ECHO_BYTES, &expected)?
    ))
}

/// Bytes read at a time.
const SPACE_BYTES: usize = 64 * 1024;

/// The state of one echo in both directions.
struct Round {
    stream: Stream,
    pattern: Pattern,
    finished: bool,
    back: Sum,
}

impl Round {
    /// Moves bytes in both directions. Ready at the peer's FIN.
    fn poll(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<Result<(), Broken>> {
        loop {
            let sent = self.poll_send(cx)?;
            match self.stream.poll_read(cx, space)? {
                Poll::Ready(Read::Data(n)) => self.back.add(space.get(..n).unwrap_or_default()),
                Poll::Ready(Read::Fin) => return Poll::Ready(Ok(())),
                Poll::Pending if sent.is_pending() => return Poll::Pending,
                Poll::Pending => {}
            }
        }
    }

    /// Sends one piece, or the FIN after the last; also pending when there is nothing more to send.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.finished {
            return Poll::Pending;
        }
        if self.pattern.front().is_empty() {
            self.finished = true;
            return self.stream.poll_finish(cx);
        }
        let sent = self
            .stream
            .poll_write(cx, &[IoSlice::new(self.pattern.front())])?;
        sent.map(|n| {
            self.pattern.pass(n);
            Ok(())
        })
    }
}

/// A handshake, a text, a long binary message in fragments, a ping, a close.
async fn websocket(scene: &Scene, way: Way) -> anyhow::Result<String> {
    let mut visitor = Visitor::enter(scene, way).await?;
    let handshake = ClientHandshake::new(fastrand::u128(..).to_be_bytes(), &[])?;
    let mut fields = Vec::new();
    handshake.write_fields(&mut fields);
    visitor.ask("GET", "/ws", str::from_utf8(&fields)?).await?;
    let answer = visitor.answer("GET").await?;
    handshake.check(Response {
        status: answer.status,
        http_minor: 1,
        fields: answer.fields(),
    })?;

    let long = Pattern::new(MIB / 16).front().to_vec();
    let (first, second) = long.split_at(long.len() / 2);
    let codec = Connection::client(LIMITS, || fastrand::u32(..).to_be_bytes());
    let mut socket = Socket::new(&mut visitor.conn, codec);
    socket.send(|to, out| to.text("grüß dich", out)).await?;
    recv(&mut socket, Message::Text("grüß dich".to_owned())).await?;
    let fragments = |to: &mut Connection, out: &mut Vec<u8>| {
        to.encoder().binary_fragment(first, false, out)?;
        to.ping(b"between", out)?;
        to.encoder().binary_fragment(second, true, out)
    };
    socket.send(fragments).await?;
    recv(&mut socket, Message::Pong(b"between".to_vec())).await?;
    recv(&mut socket, Message::Binary(long.clone())).await?;
    let goodbye = Some(CloseCode::NORMAL);
    socket.send(|to, out| to.close(goodbye, "", out)).await?;
    recv(&mut socket, Message::Close(Some(1000))).await?;
    visitor.finish().await?;
    read_to_fin(&mut visitor.conn, 0).await?;
    Ok(format!(
        "101, text, ping, {} bytes in fragments, close 1000, then FIN",
        long.len()
    ))
}

async fn recv(socket: &mut Socket<'_>, expected: Message) -> anyhow::Result<()> {
    let message = socket
        .receive()
        .await?
        .context("FIN came instead of a message")??;
    ensure!(
        message == expected,
        "{} came back instead of {}",
        kind(&message),
        kind(&expected)
    );
    Ok(())
}

/// A message without its content.
fn kind(message: &Message) -> String {
    match message {
        Message::Text(text) => format!("a text of {} bytes", text.len()),
        Message::Binary(bytes) => format!("{} binary bytes", bytes.len()),
        Message::Ping => "a ping".to_owned(),
        Message::Pong(_) => "a pong".to_owned(),
        Message::Close(code) => format!("a close with code {code:?}"),
    }
}
