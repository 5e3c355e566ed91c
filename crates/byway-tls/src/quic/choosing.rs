//! Choosing: the TLS config of a QUIC connection by its ClientHello, so that several protocols and
//! host names share one UDP port.
//!
//! In:    the first CRYPTO bytes of a connection.
//! Out:   a TLS session with the config that was chosen for them.
//! Never: keeps more than one ClientHello, or sends anything before the choice.
//!
//! quinn demands its session before the ClientHello has arrived. The session made here collects the
//! ClientHello, which may be split over several packets, and then passes everything on to a session
//! of the chosen config. The keys of Initial packets do not depend on the choice (RFC 9001 section
//! 5.2), and quinn needs nothing else of a session until its first flight is written. The transport
//! parameters are those of the endpoint for every protocol: after the choice, the owner of the
//! connection raises its limits (`quinn::Connection::set_max_concurrent_bi_streams` and others).

use std::any::Any;
use std::sync::Arc;

use quinn_proto::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session,
    UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::AlertDescription;
use rustls::server::{Acceptor, ClientHello};

/// The most bytes that a ClientHello may have. Large ones have a post-quantum key share (1.2 KiB)
/// and a session ticket.
pub const CLIENT_HELLO_BYTES: usize = 16 * 1024;

/// A TLS config for QUIC, as quinn takes it.
pub type QuicConfig = Arc<dyn ServerConfig>;

/// Chooses the config for a ClientHello, or says with which alert the handshake is refused.
pub type Choose = dyn Fn(&ClientHello<'_>) -> Result<QuicConfig, AlertDescription> + Send + Sync;

/// A TLS config for QUIC that chooses another one for each connection, once its ClientHello is
/// known.
pub struct ChoosingConfig {
    /// Has the keys of Initial packets and the tags of Retry packets, which are the same for all
    /// configs.
    initial: QuicConfig,
    choose: Arc<Choose>,
}

impl ChoosingConfig {
    /// Chooses with `choose`. `any` is one of the configs that it returns.
    ///
    /// `choose` runs while quinn holds the lock of its endpoint or connection: it must not block.
    pub fn new(
        any: QuicConfig,
        choose: impl Fn(&ClientHello<'_>) -> Result<QuicConfig, AlertDescription>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            initial: any,
            choose: Arc::new(choose),
        }
    }
}

impl ServerConfig for ChoosingConfig {
    fn initial_keys(
        &self,
        version: u32,
        dst_cid: &ConnectionId,
    ) -> Result<Keys, UnsupportedVersion> {
        self.initial.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.initial.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn Session> {
        Box::new(ChoosingSession::Collecting(Box::new(Collecting {
            config: self,
            version,
            params: *params,
            acceptor: Acceptor::default(),
            hello: Vec::new(),
        })))
    }
}

/// A session of a connection whose config is chosen by its ClientHello.
enum ChoosingSession {
    Collecting(Box<Collecting>),
    Chosen(Box<dyn Session>),
}

/// A ClientHello that has not arrived whole.
struct Collecting {
    config: Arc<ChoosingConfig>,
    version: u32,
    params: TransportParameters,
    /// Finds the end of the ClientHello and reads it.
    acceptor: Acceptor,
    /// What has arrived, for the chosen session.
    hello: Vec<u8>,
}

impl Collecting {
    /// Takes bytes of the handshake; returns the chosen session once the ClientHello is whole.
    fn push(&mut self, bytes: &[u8]) -> Result<Option<Box<dyn Session>>, TransportError> {
        if self.hello.len() + bytes.len() > CLIENT_HELLO_BYTES {
            let reason = format!("the ClientHello is larger than {CLIENT_HELLO_BYTES} bytes");
            return Err(alert(AlertDescription::DecodeError, reason));
        }
        self.hello.extend_from_slice(bytes);
        for fragment in bytes.chunks(RECORD_BYTES) {
            let length = u16::try_from(fragment.len())
                .unwrap_or(u16::MAX)
                .to_be_bytes();
            let record = [&[HANDSHAKE, 3, 3], &length[..], fragment].concat();
            let mut unread = &record[..];
            while !unread.is_empty() {
                let read = self
                    .acceptor
                    .read_tls(&mut unread)
                    .map_err(|error| alert(AlertDescription::InternalError, error.to_string()))?;
                if read == 0 {
                    break;
                }
            }
        }
        let accepted = match self.acceptor.accept() {
            Ok(None) => return Ok(None),
            Ok(Some(accepted)) => accepted,
            Err((error, _)) => {
                return Err(alert(AlertDescription::DecodeError, error.to_string()));
            }
        };
        let config = (self.config.choose)(&accepted.client_hello()).map_err(|refused| {
            alert(
                refused,
                "no protocol and name of this ClientHello are served here".into(),
            )
        })?;
        Ok(Some(config.start_session(self.version, &self.params)))
    }
}

/// The type of a handshake record, and the most bytes that a record may have (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;
const RECORD_BYTES: usize = 1 << 14;

fn alert(description: AlertDescription, reason: String) -> TransportError {
    TransportError {
        code: TransportErrorCode::crypto(description.into()),
        frame: None,
        reason,
    }
}

impl ChoosingSession {
    fn chosen(&self) -> Option<&dyn Session> {
        match self {
            Self::Collecting(_) => None,
            Self::Chosen(session) => Some(&**session),
        }
    }

    fn chosen_mut(&mut self) -> Option<&mut Box<dyn Session>> {
        match self {
            Self::Collecting(_) => None,
            Self::Chosen(session) => Some(session),
        }
    }
}

impl Session for ChoosingSession {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        match self {
            Self::Chosen(session) => session.initial_keys(dst_cid, side),
            // Only clients, which change their keys after a Retry, call this. A session for `params`
            // has the same keys.
            Self::Collecting(collecting) => Arc::clone(&collecting.config.initial)
                .start_session(collecting.version, &collecting.params)
                .initial_keys(dst_cid, side),
        }
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.chosen()?.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.chosen()?.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.chosen()?.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.chosen()?.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.chosen().is_none_or(Session::is_handshaking)
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        match self {
            Self::Chosen(session) => session.read_handshake(buf),
            Self::Collecting(collecting) => {
                let Some(mut session) = collecting.push(buf)? else {
                    return Ok(false);
                };
                let ready = session.read_handshake(&collecting.hello)?;
                *self = Self::Chosen(session);
                Ok(ready)
            }
        }
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.chosen()
            .map_or(Ok(None), Session::transport_parameters)
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        self.chosen_mut()?.write_handshake(buf)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.chosen_mut()?.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.chosen()
            .is_some_and(|session| session.is_valid_retry(orig_dst_cid, header, payload))
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        match self.chosen() {
            Some(session) => session.export_keying_material(output, label, context),
            None => Err(ExportKeyingMaterialError),
        }
    }
}

#[cfg(test)]
mod tests;
