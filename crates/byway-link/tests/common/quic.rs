//! Raw QUIC: a connection on which a test may send whatever QUIC allows.

use std::net::SocketAddr;
use std::sync::Arc;

use byway_link::wire::{self, Control, ControlMessage};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};

use super::raw::RawKey;
use super::within;

/// A connection whose control stream is open. It owns its endpoint.
pub struct RawQuic {
    pub connection: Connection,
    pub send: SendStream,
    pub recv: RecvStream,
    _endpoint: Endpoint,
}

/// Starts a handshake.
pub fn call(endpoint: &Endpoint, address: SocketAddr, key: &RawKey) -> quinn::Connecting {
    let crypto = QuicClientConfig::try_from(key.dialling(&["byway/1"])).unwrap();
    let config = ClientConfig::new(Arc::new(crypto));
    endpoint
        .connect_with(config, address, "byway.invalid")
        .unwrap()
}

impl RawQuic {
    /// Dials, and proves `key`.
    pub async fn dialled(address: SocketAddr, key: &RawKey) -> Self {
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let connection = within(call(&endpoint, address, key)).await.unwrap();
        let (send, recv) = within(connection.open_bi()).await.unwrap();
        Self {
            connection,
            send,
            recv,
            _endpoint: endpoint,
        }
    }

    /// Sends a message on the control stream.
    pub async fn send(&mut self, control: Control) {
        let mut message = Vec::new();
        wire::encode(&ControlMessage::from(control), &mut message);
        within(self.send.write_all(&message)).await.unwrap();
    }

    /// Receives the next message on the control stream.
    pub async fn recv_control(&mut self) -> Control {
        let mut bytes = Vec::new();
        loop {
            if let Some((message, _)) = wire::decode::<ControlMessage>(&bytes).unwrap() {
                return message.control.unwrap();
            }
            let mut byte = [0];
            within(self.recv.read_exact(&mut byte)).await.unwrap();
            bytes.push(byte[0]);
        }
    }
}
