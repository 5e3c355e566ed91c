//! Scene: where the journeys take place: a running origin, a running node, and the ways through the one to the other.
//!
//! In:    a way, and for ways that can name one, a target.   Out: an open stream.   Never: says a word of HTTP on it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::bail;
use byway_dial::socks::{Command, Reply4, ReplyCode4, Request4};
use byway_dial::{AddressRules, Dialler, Options, Parent, Read, Resolver, Scheme, Stream, Target};

use super::origin::Origin;
use super::plan::{Addresses, PASSWORD, USER};
use crate::node::Node;
use crate::relay::RelayCounters;

/// See the head of the file.
pub(super) struct Scene {
    /// What stands behind.
    pub(super) origin: Origin,
    /// Where the node listens.
    pub(super) at: Addresses,
    /// What its relays count.
    pub(super) counters: Arc<RelayCounters>,
    dialler: Dialler,
}

/// A way from a visitor to the origin's HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A request to the edge.
    Edge,
    /// A request in absolute form to the egress.
    Absolute,
    /// SOCKS5 to an address.
    Socks5,
    /// SOCKS5 with a password, to a name.
    Socks5Password,
    /// SOCKS4a, to a name.
    Socks4a,
    /// HTTP CONNECT to an address.
    Connect,
    /// A plain TCP forward.
    Forward,
}

impl Way {
    /// Every way.
    pub(super) const ALL: [Self; 7] =
        [Self::Edge, Self::Absolute, Self::Socks5, Self::Socks5Password, Self::Socks4a, Self::Connect, Self::Forward];

    /// Whether the node reads the requests, or only carries bytes.
    pub(super) fn speaks_http(self) -> bool {
        matches!(self, Self::Edge | Self::Absolute)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Edge => "edge",
            Self::Absolute => "absolute form",
            Self::Socks5 => "SOCKS5",
            Self::Socks5Password => "SOCKS5 with password",
            Self::Socks4a => "SOCKS4a",
            Self::Connect => "CONNECT",
            Self::Forward => "TCP forward",
        })
    }
}

impl Scene {
    /// A scene on the runtime that this is called on.
    pub(super) fn new(node: &Node, origin: Origin, at: Addresses) -> Self {
        let resolver = Resolver::system(tokio::runtime::Handle::current());
        let counters = Arc::clone(&node.shared().relay_counters);
        Self { origin, at, counters, dialler: Dialler::new(resolver, Options::default()) }
    }

    /// Opens a stream to the origin's HTTP, or for ways that speak HTTP to the node itself.
    pub(super) async fn enter(&self, way: Way) -> anyhow::Result<Stream> {
        match way {
            Way::Edge => self.straight(&Target::Addr(self.at.edge)).await,
            Way::Absolute => self.straight(&Target::Addr(self.at.open)).await,
            Way::Forward => self.straight(&Target::Addr(self.at.http)).await,
            _ => self.through(way, self.origin.http).await,
        }
    }

    /// Opens a stream to an address of this machine through the egress; for ways that are there for names, by its name.
    pub(super) async fn through(&self, way: Way, to: SocketAddr) -> anyhow::Result<Stream> {
        let by_name = Target::from_host("localhost", to.port())?;
        let credentials = Some((USER.to_owned(), PASSWORD.to_owned()));
        match way {
            Way::Socks5 => self.through_parent(Scheme::Socks5, self.at.open, None, &Target::Addr(to)).await,
            Way::Socks5Password => self.through_parent(Scheme::Socks5, self.at.guarded, credentials, &by_name).await,
            Way::Connect => self.through_parent(Scheme::HttpConnect, self.at.open, None, &Target::Addr(to)).await,
            Way::Socks4a => self.through_socks4a(&by_name).await,
            Way::Edge | Way::Absolute | Way::Forward => bail!("{way} leads to no target of the visitor's choice"),
        }
    }

    /// Opens a stream through the listener `at`, with whatever credentials.
    pub(super) async fn through_parent(
        &self,
        scheme: Scheme,
        at: SocketAddr,
        credentials: Option<(String, String)>,
        target: &Target,
    ) -> anyhow::Result<Stream> {
        let parent = Parent { scheme, at: Target::Addr(at), credentials };
        Ok(self.dialler.open_via(&parent, target).await?.stream)
    }

    /// Opens a stream without any detour.
    pub(super) async fn straight(&self, target: &Target) -> anyhow::Result<Stream> {
        Ok(self.dialler.open(target, &AddressRules::open()).await?.stream)
    }

    async fn through_socks4a(&self, target: &Target) -> anyhow::Result<Stream> {
        let mut stream = self.straight(&Target::Addr(self.at.open)).await?;
        let mut request = Vec::new();
        Request4::new(Command::Connect, target.clone(), b"demo")?.encode(&mut request);
        stream.write_all(&request).await?;
        let mut reply = Vec::new();
        loop {
            if let Some((reply, _)) = Reply4::parse(&reply)? {
                match reply.code {
                    ReplyCode4::Granted => return Ok(stream),
                    code => bail!("SOCKS4 reply {}: {code:?}", code as u8),
                }
            }
            // Not a byte more than the reply: what stands behind it is the target's.
            let mut byte = [0];
            if stream.read(&mut byte).await? == Read::Fin {
                bail!("the egress closed within its SOCKS4 reply");
            }
            reply.extend(byte);
        }
    }
}
