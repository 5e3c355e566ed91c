//! Hello: the first message of a client, read before anything is decided.
//!
//! Never: reads more than rustls accepts as a ClientHello (64 KiB).

use byway_dial::{Read, Stream};
use rustls::server::{Accepted, Acceptor};

use super::error::{HandshakeError, send_alert};

/// One read; a ClientHello with post-quantum key shares has about 1.8 KiB.
const READ_BYTES: usize = 4096;

/// The first byte of a TLS record with a handshake message.
const HANDSHAKE: u8 = 0x16;

/// Reads the whole ClientHello. Bytes behind it are kept in the result.
pub(super) async fn read(mut stream: Stream) -> Result<(Stream, Accepted), HandshakeError> {
    let mut acceptor = Acceptor::default();
    let mut buffer = vec![0; READ_BYTES];
    let mut is_first = true;
    loop {
        let read = match stream.read(&mut buffer).await? {
            Read::Data(read) => read,
            Read::Fin => return Err(HandshakeError::Closed),
        };
        let mut bytes = buffer.get(..read).unwrap_or_default();
        if is_first && bytes.first() != Some(&HANDSHAKE) {
            return Err(match is_http(bytes) {
                true => HandshakeError::PlainHttp(Box::new(stream)),
                false => HandshakeError::NotTls,
            });
        }
        is_first = false;
        while !bytes.is_empty() {
            // It fails when a message is longer than rustls accepts.
            if !matches!(acceptor.read_tls(&mut bytes), Ok(1..)) {
                return Err(HandshakeError::NotTls);
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) if bytes.is_empty() => return Ok((stream, accepted)),
                // A client waits for the server's answer before it sends more.
                Ok(Some(_)) => return Err(HandshakeError::NotTls),
                Err((error, alert)) => {
                    send_alert(&mut stream, alert).await;
                    return Err(HandshakeError::from_tls(error));
                }
            }
        }
    }
}

/// Whether a connection begins with the method of an HTTP request.
fn is_http(bytes: &[u8]) -> bool {
    let method = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase())
        .count();
    (3..=16).contains(&method) && bytes.get(method) == Some(&b' ')
}
