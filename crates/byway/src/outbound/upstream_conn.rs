//! Upstream conn: a connection of HTTP/1 to an upstream, as the pool keeps it.

use std::borrow::{Borrow, BorrowMut};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use byway_dial::{Pipe, Stream};
use byway_http::h1::Conn;
use byway_http::reactor_tick;
use byway_pool::Probe;

use crate::observe::request_report::Reports;

/// A connection of HTTP/1 to an upstream, and what the agent of an exposed service requests.
pub struct UpstreamConn {
    /// The connection.
    pub http: Conn,
    /// The Host header of its requests, if one is set.
    pub host: Option<Arc<str>>,
    /// Where its requests are reported, if anywhere.
    pub reports: Option<Arc<Reports>>,
    /// Whether it is a stream of a link that ends in order: its FIN is turned into a reset by the
    /// far side, once the service has acknowledged everything before it.
    pub ordered_end: bool,
    /// Whether it ends behind the next response, as no other request may use it.
    pub single_use: bool,
}

impl UpstreamConn {
    /// A connection that has carried no request yet.
    pub fn new(stream: Stream) -> Self {
        Self {
            http: Conn::new(stream),
            host: None,
            reports: None,
            ordered_end: false,
            single_use: false,
        }
    }

    /// It is at a message boundary: if it ends while it is idle, it does so in order. A reset would
    /// overtake what the service has not read yet of a request that it has answered.
    pub fn rests(&mut self) {
        if self.ordered_end {
            self.stream().close_on_drop();
        }
    }

    /// A request of this client uses it again.
    pub fn is_used_again(&mut self, client: u64) {
        // Another client may have opened it.
        self.stream().count_for(client);
        if self.ordered_end {
            self.stream().reset_on_drop();
        }
    }
}

impl Deref for UpstreamConn {
    type Target = Conn;

    #[inline]
    fn deref(&self) -> &Conn {
        &self.http
    }
}

impl DerefMut for UpstreamConn {
    #[inline]
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.http
    }
}

impl Borrow<Conn> for UpstreamConn {
    #[inline]
    fn borrow(&self) -> &Conn {
        &self.http
    }
}

impl BorrowMut<Conn> for UpstreamConn {
    #[inline]
    fn borrow_mut(&mut self) -> &mut Conn {
        &mut self.http
    }
}

impl byway_pool::Conn for UpstreamConn {
    fn probe(&mut self) -> Probe {
        match self.http.is_reusable() {
            true => Probe::Clean,
            false => Probe::Dirty,
        }
    }

    fn may_be_readable(&mut self) -> bool {
        self.http.may_be_readable()
    }

    fn reactor_tick() -> u64 {
        reactor_tick::current()
    }
}
