//! QUIC carrier: endpoints of links over quinn, and their limits.
//!
//! In:    a UDP socket and our key; as dialler, the pin and the address.
//! Out:   authenticated connections (`connection`), whose streams (`stream`) distinguish FIN,
//!        reset(code) and session loss.
//! Never: early data, datagrams, or unidirectional streams.

mod connection;
mod gate;
mod lingering;
mod pump;
mod reassembly;
mod stream;
mod windows;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use byway_dial::{peer_text, plain_words};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, ConnectionError, Endpoint, EndpointConfig, IdleTimeout, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
};
use quinn_proto::HashedConnectionIdGenerator;
use socket2::{Domain, Protocol, Socket, Type};

pub(crate) use self::connection::Quic;
pub(crate) use self::stream::QuicStream;
use crate::congestion::Congestion;
use crate::error::CLOSED;
use crate::key::{Fingerprint, Key};
use crate::mux::core::Side;
use crate::tls;
use crate::window::MOST_BYTES;

/// A connection without incoming packets for this long is dead. The session's own pings give up
/// sooner; this is for the handshake and for a session that cannot send pings.
pub(crate) const IDLE_TIMEOUT_MS: u32 = 40_000;

/// The most unacknowledged bytes of all streams of a connection together.
const SEND_WINDOW: u64 = 16 * 1024 * 1024;

/// Handshakes of one endpoint at a time; more wait for a Retry, then are refused.
const HANDSHAKES: usize = 1024;

/// How much a peer may send unread before it belongs to a session.
const PENDING_BYTES: u32 = 64 * 1024;

/// Bytes kept of one handshake that is not accepted or refused yet, and of all of them together.
const INCOMING_BYTES: u64 = 16 * 1024;

/// See [`INCOMING_BYTES`].
const ALL_INCOMING_BYTES: u64 = 1024 * 1024;

/// The requested socket buffer of the kernel in each direction; it grants what it allows.
const SOCKET_BYTES: usize = 4 * 1024 * 1024;

/// The round-trip time before one was measured. A third of RFC 9002's value, so that a lost first
/// packet costs 300 ms.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// How many packets may overtake one before it counts as lost; one that is late by an eighth of a
/// round trip always does. Links that spread packets over several queues or radio frames reorder by
/// more than the usual three.
const REORDERED_PACKETS: u32 = 32;

/// Binds a UDP socket with room for a burst.
///
/// # Errors
/// The error of the system.
pub fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        // A system without this option serves only IPv6 on this socket.
        let _ = socket.set_only_v6(!address.ip().is_unspecified());
    }
    // Optional: a small buffer is slower, but works.
    let _ = socket.set_recv_buffer_size(SOCKET_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// An endpoint that accepts links on `socket`, and its config. Must be called inside a runtime,
/// which then drives it.
///
/// # Errors
/// The error of the system or of rustls.
pub(crate) fn listen(
    socket: std::net::UdpSocket,
    key: &Key,
    congestion: Congestion,
) -> io::Result<(Endpoint, ServerConfig)> {
    let crypto = QuicServerConfig::try_from(tls::acceptor(key).map_err(io::Error::other)?)
        .map_err(io::Error::other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport(Side::Acceptor, congestion)?))
        .max_incoming(HANDSHAKES)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(ALL_INCOMING_BYTES);
    let at = endpoint_config(key, socket.local_addr()?);
    let endpoint = Endpoint::new(at, Some(config.clone()), socket, Arc::new(TokioRuntime))?;
    Ok((endpoint, config))
}

/// The same config with another congestion control.
pub(crate) fn with_congestion(
    config: &ServerConfig,
    congestion: Congestion,
) -> io::Result<ServerConfig> {
    let mut config = config.clone();
    config.transport_config(Arc::new(transport(Side::Acceptor, congestion)?));
    Ok(config)
}

/// Connects to `address` from a new socket, so that after a change of network no dead socket is
/// reused.
pub(crate) async fn dial(
    address: SocketAddr,
    key: &Key,
    pin: Fingerprint,
    congestion: Congestion,
) -> Result<Quic, QuicError> {
    let unspecified: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = bind((unspecified, 0).into())?;
    let crypto = QuicClientConfig::try_from(tls::dialler(key, pin).map_err(io::Error::other)?);
    let mut config = ClientConfig::new(Arc::new(crypto.map_err(io::Error::other)?));
    config.transport_config(Arc::new(transport(Side::Dialler, congestion)?));
    let endpoint = Endpoint::new(
        endpoint_config(key, socket.local_addr()?),
        None,
        socket,
        Arc::new(TokioRuntime),
    )?;
    let connecting = endpoint
        .connect_with(config, address, NO_NAME)
        .map_err(io::Error::other)?;
    Ok(Quic::new(connecting.await?, Side::Dialler, Some(endpoint)))
}

/// The config of an endpoint whose stateless resets are valid for connections of an earlier process
/// of this node: after a crash, the peer gets a reset for its next packet.
fn endpoint_config(key: &Key, at: SocketAddr) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(key.reset_key(at)));
    let cid_key = key.cid_key(at);
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(cid_key)));
    config
}

/// The pin identifies the peer and no name is sent, but rustls requires one.
const NO_NAME: &str = "byway.invalid";

/// The initial limits of a connection: the control stream, which the dialler opens, and room for
/// its messages. See [`Quic::allow`].
fn transport(side: Side, congestion: Congestion) -> io::Result<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(side.control_streams().into())
        .max_concurrent_uni_streams(0_u8.into())
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        // A peer that respects its credit never reaches this; for any other peer it is the bound.
        .stream_receive_window(MOST_BYTES.into())
        .receive_window(PENDING_BYTES.into())
        .send_window(SEND_WINDOW)
        .initial_rtt(INITIAL_RTT)
        .packet_threshold(REORDERED_PACKETS)
        .congestion_controller_factory(congestion.factory())
        .datagram_receive_buffer_size(None);
    Ok(config)
}

/// Why a QUIC carrier was not established, or ended.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// A QUIC error; its text may contain the peer's own reason.
    #[error("{}", peer_text(&connection_words(.0)))]
    Connection(#[from] ConnectionError),
    /// An error of the system.
    #[error("UDP: {0}")]
    Io(#[from] io::Error),
}

/// The text of quinn, except for an orderly end, whose code has no meaning.
fn connection_words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) if close.reason.is_empty() => CLOSED.to_owned(),
        ConnectionError::ApplicationClosed(close) => {
            format!("{CLOSED}: {}", String::from_utf8_lossy(&close.reason))
        }
        ConnectionError::Reset => "the other side reset the connection".to_owned(),
        other => plain_words(&other.to_string()),
    }
}

impl Side {
    /// How many of the peer's streams are control streams.
    const fn control_streams(self) -> u32 {
        match self {
            Self::Dialler => 0,
            Self::Acceptor => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orderly_end_is_shown_without_its_code() {
        let shown = |reason: &'static str| {
            let close = quinn::ApplicationClose {
                error_code: VarInt::from_u32(0),
                reason: reason.into(),
            };
            QuicError::from(ConnectionError::ApplicationClosed(close)).to_string()
        };
        assert_eq!(shown(""), "the other side closed the connection");
        assert_eq!(
            shown("the node is leaving"),
            "the other side closed the connection: the node is leaving"
        );
    }

    #[test]
    fn the_reason_for_which_a_peer_closes_is_one_line_of_bounded_length() {
        let reason = "bye\n2026 INFO forged\u{1b}[31m\u{202e}".repeat(50).into();
        let closed = quinn::ApplicationClose {
            error_code: VarInt::from_u32(1),
            reason,
        };
        let shown = QuicError::from(ConnectionError::ApplicationClosed(closed)).to_string();
        assert!(
            shown.contains(r"bye\n2026 INFO forged\u{1b}[31m\u{202e}"),
            "{shown}"
        );
        assert!(
            shown.len() <= 203 && !shown.chars().any(char::is_control),
            "{shown}"
        );
    }
}
