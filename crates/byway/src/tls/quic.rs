//! Quic: what the endpoints of HTTP/3 are made of: the config of a handshake, the limits of a
//! connection, and keys that outlive a restart.
//!
//! In:    the certificates and the ticket secret of this node.
//! Out:   configs of quinn.
//! Never: takes early data; lets a client send datagrams.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{hkdf, hmac};
use byway_http::h3::MOST_PEER_STREAMS;
use byway_tls::TicketSecret;
use byway_tls::quic::ChoosingConfig;
use byway_tls::quic::steering::SteeredConnectionIds;
use quinn::{EndpointConfig, IdleTimeout, ServerConfig, TransportConfig};
use rustls::AlertDescription;

use super::NodeTls;
use crate::config::LimitsPlan;

/// How much of the body of one request a client may send before it was read.
pub const STREAM_BYTES: u32 = 256 * 1024;

/// The same of all requests of one connection.
pub const CONNECTION_BYTES: u32 = 1024 * 1024;

/// How much of its responses a connection keeps until the client has acknowledged it.
pub const SEND_BYTES: u64 = 1024 * 1024;

/// Handshakes of one worker that wait to be accepted; more are refused.
pub const WAITING_HANDSHAKES: usize = 256;

/// Bytes kept of a handshake that waits, and of all that wait together.
const WAITING_BYTES: u64 = 16 * 1024;
const ALL_WAITING_BYTES: u64 = 1024 * 1024;

/// How long a client may be silent. It answers pings, so this ends connections only whose client has
/// vanished: those without requests end by the limits of HTTP/3, and a tunnel or a response may rest
/// for longer.
pub const SILENCE: Duration = Duration::from_secs(60);

/// How often a client is pinged that sends nothing: often enough for the tables of NATs, most of
/// which keep UDP for 30 s.
const PING: Duration = Duration::from_secs(20);

/// The keys of this node's endpoints. They are the same after a restart, and on nodes that share
/// the ticket secret.
pub struct QuicKeys {
    reset: hmac::Key,
    token: Arc<hkdf::Prk>,
    ids: u64,
}

impl QuicKeys {
    fn of(secret: &TicketSecret) -> io::Result<Self> {
        let reset: [u8; 32] = secret.derive("quic reset").map_err(io::Error::other)?;
        let token: [u8; 32] = secret.derive("quic token").map_err(io::Error::other)?;
        let ids: [u8; 8] = secret.derive("quic ids").map_err(io::Error::other)?;
        Ok(Self {
            reset: hmac::Key::new(hmac::HMAC_SHA256, &reset),
            token: Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&token)),
            ids: u64::from_be_bytes(ids),
        })
    }

    /// The config of the endpoint of one of `workers` workers.
    pub fn endpoint(&self, worker: usize, workers: usize) -> EndpointConfig {
        let mut config = EndpointConfig::new(Arc::new(self.reset.clone()));
        let ids = self.ids;
        config.cid_generator(move || Box::new(SteeredConnectionIds::new(ids, worker, workers)));
        config
    }
}

impl NodeTls {
    /// The keys of endpoints; `None` while no listener speaks TLS.
    ///
    /// # Errors
    /// If the provider fails.
    pub fn quic_keys(&self) -> io::Result<Option<QuicKeys>> {
        let secret = self
            .secret
            .lock()
            .as_ref()
            .map(|(_, secret)| secret.clone());
        secret.as_ref().map(QuicKeys::of).transpose()
    }

    /// The config of a QUIC connection. Its certificate is chosen among those that this node has when
    /// the ClientHello arrives. `None` while no listener speaks TLS.
    pub fn quic_server(
        self: &Arc<Self>,
        keys: &QuicKeys,
        limits: &LimitsPlan,
    ) -> Option<ServerConfig> {
        let any = self.server().as_ref()?.any_quic();
        let tls = Arc::clone(self);
        let crypto = ChoosingConfig::new(any, move |hello| {
            let server = tls.server();
            let server = server.as_ref();
            let server = server.ok_or(AlertDescription::InternalError)?;
            server.choose_quic(hello)
        });
        let mut config = ServerConfig::new(Arc::new(crypto), Arc::clone(&keys.token) as _);
        config
            .transport_config(Arc::new(transport(limits)))
            .max_incoming(WAITING_HANDSHAKES)
            .incoming_buffer_size(WAITING_BYTES)
            .incoming_buffer_size_total(ALL_WAITING_BYTES);
        Some(config)
    }
}

fn transport(limits: &LimitsPlan) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(limits.streams_per_connection.into())
        .max_concurrent_uni_streams(MOST_PEER_STREAMS.into())
        .max_idle_timeout(IdleTimeout::try_from(SILENCE).ok())
        .keep_alive_interval(Some(PING))
        .stream_receive_window(STREAM_BYTES.into())
        .receive_window(CONNECTION_BYTES.into())
        .send_window(SEND_BYTES)
        .datagram_receive_buffer_size(None);
    config
}
