//! WebSocket: the handshake of RFC 6455, reassembly of messages, and an origin that echoes every
//! message.
//!
//! In:    an upgrade request, then masked frames.
//! Out:   101 with the accept key; each message unchanged, a pong for each ping, a close for a
//!        close.
//! Never: takes a message over [`MOST_MESSAGE_BYTES`], or a text that is not UTF-8.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use byway_dial::Read;
use byway_h1::{Framed, Request};

use super::frame::{BadFrame, Frame, Opcode, Sender};
use crate::http::conn::Conn;

/// The longest message, all its fragments together.
pub(super) const MOST_MESSAGE_BYTES: usize = 1024 * 1024;

/// The value of Sec-WebSocket-Accept for a key (RFC 6455 section 4.2.2).
pub(super) fn accept_key(key: &[u8]) -> String {
    let proof = [key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &proof))
}

/// The accept key, if `request` is a good handshake (RFC 6455 section 4.2.1).
pub(super) fn accepted(request: &Request<'_>) -> Option<String> {
    let is_upgrade = request.method() == b"GET"
        && request.framing() == Framed::None
        && request
            .upgrade()
            .is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        && request.field("Sec-WebSocket-Version") == Some(b"13");
    let key = request.field("Sec-WebSocket-Key").filter(|_| is_upgrade)?;
    let nonce = BASE64_STANDARD.decode(key).ok()?;
    (nonce.len() == 16).then(|| accept_key(key))
}

/// Sends every message back until either side closes.
pub(super) async fn echo(conn: &mut Conn) -> anyhow::Result<()> {
    let mut messages = Messages::default();
    while let Some(frame) = next_frame(conn, Sender::Visitor).await? {
        let back = match frame {
            Ok(frame) => messages.take(frame),
            Err(bad) => Err(bad.close_code()),
        };
        let back =
            back.unwrap_or_else(|code| Some(Frame::whole(Opcode::Close, code.to_be_bytes())));
        let Some(back) = back else { continue };
        back.encode(Sender::Origin, conn.queue());
        conn.flush().await?;
        if back.opcode == Opcode::Close {
            break;
        }
    }
    Ok(())
}

/// Reads one frame of the peer; `None` at its FIN.
pub(super) async fn next_frame(
    conn: &mut Conn,
    from: Sender,
) -> anyhow::Result<Option<Result<Frame, BadFrame>>> {
    loop {
        match Frame::parse(conn.unread(), from) {
            Ok(Some((frame, n))) => {
                conn.consume(n);
                return Ok(Some(Ok(frame)));
            }
            Ok(None) => {}
            Err(bad) => return Ok(Some(Err(bad))),
        }
        if conn.fill().await? == Read::Fin {
            return Ok(None);
        }
    }
}

/// Reassembles messages from frames.
#[derive(Default)]
struct Messages {
    /// The kind of the incomplete message, and its payload so far.
    partial: Option<(Opcode, Vec<u8>)>,
}

impl Messages {
    /// What to send back for `frame`, if anything; or the code to close with.
    fn take(&mut self, frame: Frame) -> Result<Option<Frame>, u16> {
        match (frame.opcode, self.partial.take()) {
            (Opcode::Ping | Opcode::Pong | Opcode::Close, partial) => {
                self.partial = partial;
                answer_control(frame)
            }
            (Opcode::Continuation, Some((opcode, mut payload))) => {
                payload.extend(frame.payload);
                self.grow(opcode, payload, frame.fin)
            }
            (Opcode::Text | Opcode::Binary, None) => {
                self.grow(frame.opcode, frame.payload, frame.fin)
            }
            // A continuation without a message, or a new message within another.
            _ => Err(1002),
        }
    }

    fn grow(
        &mut self,
        opcode: Opcode,
        payload: Vec<u8>,
        is_whole: bool,
    ) -> Result<Option<Frame>, u16> {
        if payload.len() > MOST_MESSAGE_BYTES {
            return Err(1009);
        }
        if !is_whole {
            self.partial = Some((opcode, payload));
            return Ok(None);
        }
        if opcode == Opcode::Text && std::str::from_utf8(&payload).is_err() {
            return Err(1007);
        }
        Ok(Some(Frame::whole(opcode, payload)))
    }
}

fn answer_control(frame: Frame) -> Result<Option<Frame>, u16> {
    match frame.opcode {
        Opcode::Ping => Ok(Some(Frame::whole(Opcode::Pong, frame.payload))),
        Opcode::Close => {
            close_code(&frame.payload).map(|payload| Some(Frame::whole(Opcode::Close, payload)))
        }
        _ => Ok(None),
    }
}

/// The payload to answer a close with: its own code, if it is one that may be sent (RFC 6455
/// section 7.4).
fn close_code(payload: &[u8]) -> Result<Vec<u8>, u16> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(Vec::new())
        } else {
            Err(1002)
        };
    };
    match u16::from_be_bytes(*code) {
        1000..=1003 | 1007..=1014 | 3000..=4999 if std::str::from_utf8(reason).is_ok() => {
            Ok(code.to_vec())
        }
        1000..=1003 | 1007..=1014 | 3000..=4999 => Err(1007),
        _ => Err(1002),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(opcode: Opcode, fin: bool, payload: &[u8]) -> Frame {
        Frame {
            fin,
            opcode,
            payload: payload.to_vec(),
        }
    }

    #[test]
    fn the_accept_key_is_that_of_rfc_6455_section_1_3() {
        assert_eq!(
            accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn a_message_in_fragments_comes_back_whole_with_a_ping_between_them() {
        let mut messages = Messages::default();
        assert_eq!(
            messages.take(fragment(Opcode::Text, false, b"gr\xc3")),
            Ok(None)
        );
        let pong = messages
            .take(fragment(Opcode::Ping, true, b"?"))
            .unwrap()
            .unwrap();
        assert_eq!(pong, Frame::whole(Opcode::Pong, "?"));
        let back = messages
            .take(fragment(Opcode::Continuation, true, b"\xbcn"))
            .unwrap()
            .unwrap();
        assert_eq!(back, Frame::whole(Opcode::Text, "grün"));
    }

    #[test]
    fn bad_messages_close_with_the_right_code() {
        let close = |frames: &[Frame]| {
            let mut messages = Messages::default();
            frames
                .iter()
                .find_map(|frame| messages.take(frame.clone()).err())
        };
        assert_eq!(
            close(&[fragment(Opcode::Continuation, true, b"")]),
            Some(1002)
        );
        assert_eq!(
            close(&[
                fragment(Opcode::Text, false, b""),
                fragment(Opcode::Text, true, b"")
            ]),
            Some(1002)
        );
        assert_eq!(close(&[fragment(Opcode::Text, true, b"\xff")]), Some(1007));
        let half = vec![0; MOST_MESSAGE_BYTES / 2 + 1];
        let halves = [
            fragment(Opcode::Binary, false, &half),
            fragment(Opcode::Continuation, true, &half),
        ];
        assert_eq!(close(&halves), Some(1009));
        assert_eq!(close(&[fragment(Opcode::Close, true, b"\x03")]), Some(1002));
        assert_eq!(
            close(&[fragment(Opcode::Close, true, &1005_u16.to_be_bytes())]),
            Some(1002)
        );
    }

    #[test]
    fn a_close_is_answered_with_its_own_code() {
        let close = |payload: &[u8]| {
            Messages::default()
                .take(fragment(Opcode::Close, true, payload))
                .unwrap()
                .unwrap()
        };
        assert_eq!(close(b"").payload, b"");
        assert_eq!(close(b"\x03\xe8bye").payload, b"\x03\xe8");
    }
}
