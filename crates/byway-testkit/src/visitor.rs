//! Visitor: a client of the program under test that sends any bytes.
//!
//! In:    an address and bytes.
//! Out:   what a `Wire` returns, and responses.
//! Never: corrects what a test wants to send.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::ops::{Deref, DerefMut};

use socket2::{Domain, Socket, Type};

use crate::message::Message;
use crate::wire::Wire;

/// A client of the program under test: a TCP connection that sends the bytes of a test unchanged
/// and reads responses.
pub struct Visitor(Wire);

impl Visitor {
    /// Connects.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self(Wire::new(TcpStream::connect(address).unwrap_or_else(
            |error| panic!("connecting to {address}: {error}"),
        )))
    }

    /// Connects with a receive buffer of about `bytes`, so that few bytes are in flight to a visitor
    /// that does not read.
    #[track_caller]
    pub fn connect_with_buffer(address: SocketAddr, bytes: usize) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(bytes).unwrap();
        socket
            .connect(&address.into())
            .unwrap_or_else(|error| panic!("connecting to {address}: {error}"));
        Self(Wire::new(socket.into()))
    }

    /// Connects from this address of this machine.
    #[track_caller]
    pub fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::new(source, 0).into())
            .unwrap_or_else(|error| panic!("binding to {source}: {error}"));
        socket
            .connect(&address.into())
            .unwrap_or_else(|error| panic!("connecting to {address} from {source}: {error}"));
        Self(Wire::new(socket.into()))
    }

    /// Sends a GET for `path`, with a Host, and returns the response.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Message {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: test.example\r\n\r\n"
        ))
    }

    /// Sends a request unchanged and reads its response.
    #[track_caller]
    pub fn ask(&mut self, request: &str) -> Message {
        self.send(request);
        self.response_to(request.split(' ').next().unwrap_or_default())
    }

    /// Reads the response to a GET.
    #[track_caller]
    pub fn response(&mut self) -> Message {
        self.response_to("GET")
    }

    /// Resets the connection.
    pub fn reset(self) {
        self.0.reset();
    }
}

impl Deref for Visitor {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.0
    }
}

impl DerefMut for Visitor {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.0
    }
}
