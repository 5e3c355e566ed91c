//! Dialler: opens a stream to a target.
//!
//! In:    a target and the address rules of whoever asks.
//! Out:   an open stream to an address that was checked, or the most telling of the failures.
//! Never: connects to an address that it has not checked, and never resolves a name a second time
//!        after the check.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::error::{DialError, Telling};
use crate::happy::{self, AttemptDelays, Family, Lost};
use crate::keepalive;
use crate::resolve::{Asker, ResolveError, Resolver};
use crate::rules::{AddressRules, CheckedAddr, Denied, Reason};
use crate::stream::Stream;
use crate::target::{HostName, Target};
use crate::tls::{TlsClient, TlsError, TlsOptions};

/// Where connections start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalAddress {
    /// This address alone; a peer's addresses of the other family are left out.
    Only(IpAddr),
    /// One address for each family.
    Each {
        /// For peers at IPv4 addresses.
        v4: Ipv4Addr,
        /// For peers at IPv6 addresses.
        v6: Ipv6Addr,
    },
}

impl LocalAddress {
    /// The address to start from towards `peer`, if there is one of its family.
    fn towards(self, peer: SocketAddr) -> Option<IpAddr> {
        match self {
            Self::Only(ip) => (ip.is_ipv4() == peer.is_ipv4()).then_some(ip),
            Self::Each { v4, .. } if peer.is_ipv4() => Some(v4.into()),
            Self::Each { v6, .. } => Some(v6.into()),
        }
    }
}

impl From<IpAddr> for LocalAddress {
    fn from(ip: IpAddr) -> Self {
        Self::Only(ip)
    }
}

/// How a dialler dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which address families are used. Default: both, IPv6 first.
    pub family: Family,
    /// The address to connect from, bound with any free port before each attempt. Default: the
    /// system chooses.
    pub local_address: Option<LocalAddress>,
    /// For connecting, all addresses of a name together; resolving has its own deadline. Default:
    /// 10 s.
    pub connect_timeout: Duration,
    /// Before the next address is tried beside one that has not answered, 10 ms to 2 s. Default:
    /// 250 ms (RFC 8305).
    pub attempt_delay: Duration,
    /// How long a connection is silent before the kernel probes it, so that a peer that vanished is
    /// noticed; 1 s to 32,767 s, in whole seconds. `None` turns the probes off. Default: 60 s, well
    /// within what NATs remember. Four probes without an answer, 15 s apart, end the connection.
    pub keepalive: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            family: Family::Any,
            local_address: None,
            connect_timeout: Duration::from_secs(10),
            attempt_delay: Duration::from_millis(250),
            keepalive: Some(keepalive::DEFAULT),
        }
    }
}

/// Opens streams. Cheap to clone; clones share the resolver and the trust in parents.
#[derive(Clone)]
pub struct Dialler {
    resolver: Resolver,
    asker: Asker,
    options: Options,
    segment_bytes: Option<u32>,
    spare: Arc<Semaphore>,
    parent_tls: Arc<ParentTls>,
}

/// The TLS client for `https` parents, made when the first of them is dialled.
struct ParentTls {
    options: TlsOptions,
    client: OnceLock<TlsClient>,
}

/// A stream that was opened.
#[derive(Debug)]
pub struct Dialled {
    /// The stream, with TCP_NODELAY and the keepalive of the options.
    pub stream: Stream,
    /// The address that was connected to (a parent proxy's, if one stands between); none for a Unix
    /// socket.
    pub peer: Option<SocketAddr>,
    /// Our own address on that connection.
    pub local: Option<SocketAddr>,
}

impl Dialler {
    /// A dialler that resolves names with `resolver`.
    pub fn new(resolver: Resolver, options: Options) -> Self {
        let spare = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let parent_tls = ParentTls::lazy(TlsOptions::default());
        Self {
            resolver,
            asker: Asker::Own,
            options,
            segment_bytes: None,
            spare,
            parent_tls,
        }
    }

    /// The same dialler, whose connections send no segments of more than `bytes` bytes, options
    /// included, and ask their peers for the same (`TCP_MAXSEG`). Default: as large as the path is
    /// said to carry. A system that refuses it is not an error.
    #[must_use]
    pub fn with_segments_of(self, bytes: Option<u32>) -> Self {
        Self {
            segment_bytes: bytes,
            ..self
        }
    }

    /// The same dialler, whose dials take a permit of `spare` for each attempt beyond the first
    /// that is open at once. Default: no bound but that of each dial ([`happy::ATTEMPTS_MAX`]).
    pub fn with_spare_attempts(self, spare: Arc<Semaphore>) -> Self {
        Self { spare, ..self }
    }

    /// The same dialler for targets that `asker` has named: their look-ups count against its share.
    /// Default: the program itself.
    pub fn on_behalf_of(self, asker: Asker) -> Self {
        Self { asker, ..self }
    }

    /// The same dialler, which speaks TLS with `https` parents under the policy of `tls`; its
    /// application protocols are not looked at, since `http/1.1` is what a parent is asked for.
    /// Default: whom the system trusts.
    ///
    /// The system's roots are read from disk when the first such parent is dialled, and not if
    /// there is none.
    pub fn with_parent_tls(self, tls: TlsOptions) -> Self {
        Self {
            parent_tls: ParentTls::lazy(tls),
            ..self
        }
    }

    /// Who is asked for the addresses of names.
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// How this dialler dials.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Opens a stream to `target`. A name is resolved once and every address checked against
    /// `rules`; what is denied is left out, and the race runs between the checked addresses only.
    /// Rules say nothing about Unix sockets.
    ///
    /// Cancel safe: dropping the future closes every half-made connection. Nothing was sent on any
    /// of them.
    ///
    /// # Errors
    /// [`DialError`]: [`DialError::Denied`] if no address is left after the check; of several failures the most
    /// telling (refused, then unreachable, then no answer), with the number of addresses that were
    /// tried.
    pub async fn open(&self, target: &Target, rules: &AddressRules) -> Result<Dialled, DialError> {
        match target {
            Target::Unix(path) => self.open_unix(path).await,
            _ => self.connect(&self.addresses(target, rules).await?).await,
        }
    }

    /// The addresses that [`Dialler::open`] would race for, in that order, for
    /// [`Dialler::connect`]: resolved once, each checked against `rules`. None for a Unix socket.
    /// Cancel safe.
    ///
    /// # Errors
    /// As [`Dialler::open`], but for what only connecting can tell.
    pub async fn addresses(
        &self,
        target: &Target,
        rules: &AddressRules,
    ) -> Result<Vec<CheckedAddr>, DialError> {
        let found = match target {
            Target::Unix(_) => return Ok(Vec::new()),
            Target::Addr(addr) => vec![*addr],
            Target::Host { name, port } => self.resolve(name, *port).await?,
        };
        let family = self.family();
        let usable: Vec<_> = found
            .into_iter()
            .filter(|addr| self.may_use(*addr))
            .collect();
        if usable.is_empty() {
            return Err(DialError::WrongFamily {
                target: target.clone(),
                family,
            });
        }
        Ok(happy::order(&check_all(&usable, rules)?))
    }

    pub(crate) async fn resolve(
        &self,
        name: &HostName,
        port: u16,
    ) -> Result<Vec<SocketAddr>, DialError> {
        match self.resolver.resolve_for(name, &self.asker).await {
            Ok(found) => Ok(found.iter().map(|ip| SocketAddr::new(*ip, port)).collect()),
            Err(error) => Err(unresolved(name.clone(), error)),
        }
    }

    /// Whether both the family option and the local address admit `addr` in its plain form.
    fn may_use(&self, addr: SocketAddr) -> bool {
        let plain = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        let local = self
            .options
            .local_address
            .is_none_or(|local| local.towards(plain).is_some());
        local && self.options.family.admits(plain)
    }

    fn family(&self) -> Family {
        match self.options.local_address {
            Some(LocalAddress::Only(IpAddr::V4(_))) => Family::V4,
            Some(LocalAddress::Only(IpAddr::V6(_))) => Family::V6,
            Some(LocalAddress::Each { .. }) | None => self.options.family,
        }
    }

    pub(crate) fn parent_tls(&self) -> Result<&TlsClient, TlsError> {
        let ParentTls { options, client } = &*self.parent_tls;
        match client.get() {
            Some(tls) => Ok(tls),
            None => {
                let made = TlsClient::with_options(options.clone())?;
                Ok(client.get_or_init(|| made))
            }
        }
    }

    /// Connects to one of `addrs`, which [`Dialler::addresses`] has found. Cancel safe, as
    /// [`Dialler::open`].
    ///
    /// # Errors
    /// Of several failures the most telling, with the number of addresses that were tried.
    pub async fn connect(&self, addrs: &[CheckedAddr]) -> Result<Dialled, DialError> {
        let Options {
            connect_timeout,
            attempt_delay,
            ..
        } = self.options;
        let timing = AttemptDelays {
            attempt_delay,
            connect_timeout,
        };
        match happy::race(addrs, timing, &self.spare, |addr| {
            connect_tcp(addr, self.options, self.segment_bytes)
        })
        .await
        {
            Ok((addr, socket)) => Ok(dialled(addr, socket)),
            Err(lost) => Err(most_telling(lost, connect_timeout)),
        }
    }

    async fn open_unix(&self, path: &Path) -> Result<Dialled, DialError> {
        let after = self.options.connect_timeout;
        let source = match timeout(after, UnixStream::connect(path)).await {
            Ok(Ok(socket)) => {
                return Ok(Dialled {
                    stream: Stream::unix(socket),
                    peer: None,
                    local: None,
                });
            }
            Ok(Err(source)) => source,
            Err(_) => return Err(DialError::ConnectTimeout { after, tried: 1 }),
        };
        let telling = match source.kind() {
            // The listener's backlog is full; a Unix socket needs no local port.
            io::ErrorKind::WouldBlock => Telling::Unreachable,
            _ => Telling::of(&source),
        };
        Err(telling.error(Target::Unix(path.into()), source, 1, after))
    }
}

impl ParentTls {
    fn lazy(tls: TlsOptions) -> Arc<Self> {
        let options = TlsOptions {
            alpn: vec![b"http/1.1".to_vec()],
            ..tls
        };
        Arc::new(Self {
            options,
            client: OnceLock::new(),
        })
    }
}

fn unresolved(name: HostName, error: ResolveError) -> DialError {
    match error {
        ResolveError::NotFound => DialError::NotFound { name },
        ResolveError::Timeout => DialError::ResolveTimeout { name },
        error @ ResolveError::Exhausted(_) => DialError::Exhausted(io::Error::other(error)),
        ResolveError::Busy => DialError::TooManyLookups { name },
        ResolveError::Failed(reason) => DialError::ResolveFailed { name, reason },
    }
}

/// Those of `addrs` that pass; if none does, the denial of the first, or of one that may pass the
/// next time.
pub(crate) fn check_all(
    addrs: &[SocketAddr],
    rules: &AddressRules,
) -> Result<Vec<CheckedAddr>, Denied> {
    let mut refused: Option<Denied> = None;
    let mut checked = Vec::with_capacity(addrs.len());
    for addr in addrs {
        match rules.check(*addr) {
            Ok(addr) => checked.push(addr),
            Err(denied) if refused.is_none() || matches!(denied.reason, Reason::Unchecked(_)) => {
                refused = Some(denied)
            }
            Err(_) => {}
        }
    }
    match refused {
        Some(denied) if checked.is_empty() => Err(denied),
        _ => Ok(checked),
    }
}

/// One attempt. The connector takes nothing but checked addresses.
async fn connect_tcp(
    addr: CheckedAddr,
    options: Options,
    segment_bytes: Option<u32>,
) -> io::Result<TcpStream> {
    let addr = addr.addr();
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    if let Some(delay) = options.keepalive {
        keepalive::set(&socket, delay)?;
    }
    if let Some(local) = options.local_address.and_then(|local| local.towards(addr)) {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    if let Some(bytes) = segment_bytes {
        // What a peer is asked for travels with the first packet. A larger segment is no failure
        // here.
        let _ = limit_segments(&socket, bytes);
    }
    let stream = socket.connect(addr).await?;
    if stream.local_addr().ok() == Some(addr) {
        // On loopback the kernel may choose the very port we dial as our own and connect the socket
        // to itself.
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

#[cfg(unix)]
fn limit_segments(socket: &TcpSocket, bytes: u32) -> io::Result<()> {
    socket2::SockRef::from(socket).set_tcp_mss(bytes)
}

#[cfg(not(unix))]
fn limit_segments(_: &TcpSocket, _: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn dialled(addr: CheckedAddr, socket: TcpStream) -> Dialled {
    let local = socket.local_addr().ok();
    Dialled {
        stream: Stream::tcp(socket),
        peer: Some(addr.addr()),
        local,
    }
}

/// One error for all attempts.
fn most_telling(lost: Lost, after: Duration) -> DialError {
    let tried = lost.failures.len() + lost.unanswered;
    let told = lost
        .failures
        .into_iter()
        .map(|(addr, source)| (Telling::of(&source), addr, source));
    match told.min_by_key(|(telling, ..)| *telling) {
        Some((telling, addr, source)) if lost.unanswered == 0 || telling < Telling::TimedOut => {
            telling.error(Target::Addr(addr), source, tried, after)
        }
        _ => DialError::ConnectTimeout { after, tried },
    }
}

#[cfg(test)]
pub(crate) mod tests;
