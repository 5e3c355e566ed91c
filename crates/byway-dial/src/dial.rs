//! Dialler: opens a stream to a target.
//!
//! In:    a target and the caller's address rules.
//! Out:   an open stream to a checked address, or the most informative failure.
//! Never: connects to an unchecked address, or resolves a name again after the check.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::error::{DialError, FailureRank};
use crate::happy::{self, AttemptDelays, Family, Lost};
use crate::keepalive;
use crate::resolve::{ClientId, ResolveError, Resolver};
use crate::rules::{AddressRules, CheckedAddr, Denied, Reason};
use crate::stream::Stream;
use crate::target::{HostName, Target};
use crate::tls::{TlsClient, TlsError, TlsOptions};

/// The local addresses of connections.
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
    /// The address to bind for a connection to `peer`, if there is one of its family.
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

/// The options of a dialler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which address families are used. Default: both, IPv6 first.
    pub family: Family,
    /// The address to connect from, bound with any free port before each attempt. Default: the
    /// system chooses.
    pub local_address: Option<LocalAddress>,
    /// The time to connect, for all addresses of a name together. Resolving has its own deadline.
    /// Default: 10 s.
    pub connect_timeout: Duration,
    /// The delay before the next address is tried while an attempt is pending, 10 ms to 2 s.
    /// Default: 250 ms (RFC 8305).
    pub attempt_delay: Duration,
    /// How long a connection is idle before the kernel probes it, to detect a dead peer: 1 s to
    /// 32,767 s, in whole seconds. `None` turns the probes off. Default: 60 s, well within the idle
    /// timeouts of NATs. Four probes without an answer, 15 s apart, end the connection.
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

/// Opens streams. Cheap to clone; clones share the resolver and the TLS client for parents.
#[derive(Clone)]
pub struct Dialler {
    resolver: Resolver,
    client: ClientId,
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

/// An open stream.
#[derive(Debug)]
pub struct Dialled {
    /// The stream, with TCP_NODELAY and the keepalive of the options.
    pub stream: Stream,
    /// The address of the peer (the parent proxy's, if there is one); `None` for a Unix socket.
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
            client: ClientId::Own,
            options,
            segment_bytes: None,
            spare,
            parent_tls,
        }
    }

    /// Limits the segments of connections to `bytes` bytes, TCP options included, in both
    /// directions (`TCP_MAXSEG`). Default: the path's MTU decides. A system that refuses the option
    /// is not an error.
    #[must_use]
    pub fn with_segments_of(self, bytes: Option<u32>) -> Self {
        Self {
            segment_bytes: bytes,
            ..self
        }
    }

    /// Makes each dial take a permit of `spare` for each simultaneous attempt beyond the first.
    /// Default: only the limit of each dial ([`happy::ATTEMPTS_MAX`]).
    pub fn with_spare_attempts(self, spare: Arc<Semaphore>) -> Self {
        Self { spare, ..self }
    }

    /// Counts the look-ups of this dialler against the share of `client`, who named the targets.
    /// Default: the program itself.
    pub fn on_behalf_of(self, client: ClientId) -> Self {
        Self { client, ..self }
    }

    /// Sets the TLS policy for `https` parents. Its application protocols are ignored: `http/1.1`
    /// is always offered. Default: the system's trusted roots.
    ///
    /// The system's roots are read from disk when the first such parent is dialled.
    pub fn with_parent_tls(self, tls: TlsOptions) -> Self {
        Self {
            parent_tls: ParentTls::lazy(tls),
            ..self
        }
    }

    /// The resolver of this dialler.
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// The options of this dialler.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Opens a stream to `target`. A name is resolved once and every address is checked against
    /// `rules`. Denied addresses are left out, and the race runs between the checked addresses
    /// only. Rules do not apply to Unix sockets.
    ///
    /// Cancel safe: dropping the future closes every unfinished connection. Nothing was sent on any
    /// of them.
    ///
    /// # Errors
    /// [`DialError`]: [`DialError::Denied`] if every address is denied; of several failures the
    /// most informative (refused, then unreachable, then no answer), with the number of addresses
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
    /// As [`Dialler::open`], except for failures to connect.
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
        match self.resolver.resolve_for(name, &self.client).await {
            Ok(found) => Ok(found.iter().map(|ip| SocketAddr::new(*ip, port)).collect()),
            Err(error) => Err(unresolved(name.clone(), error)),
        }
    }

    /// Whether the family option and the local address both admit `addr` in its canonical form.
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

    /// Connects to one of `addrs`, the result of [`Dialler::addresses`]. Cancel safe, as
    /// [`Dialler::open`].
    ///
    /// # Errors
    /// Of several failures the most informative, with the number of addresses tried.
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
            Err(lost) => Err(most_informative(lost, connect_timeout)),
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
        let rank = match source.kind() {
            // The listener's backlog is full; a Unix socket needs no local port.
            io::ErrorKind::WouldBlock => FailureRank::Unreachable,
            _ => FailureRank::of(&source),
        };
        Err(rank.error(Target::Unix(path.into()), source, 1, after))
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

/// The addresses that pass. If none passes: the first denial, or an `Unchecked` one, since that may
/// pass the next time.
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

/// One attempt. Takes only checked addresses.
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
        // The SYN carries the MSS option to the peer. Larger segments are no failure here.
        let _ = limit_segments(&socket, bytes);
    }
    let stream = socket.connect(addr).await?;
    if stream.local_addr().ok() == Some(addr) {
        // On loopback the kernel may choose the very port that is dialled as the local port and
        // connect the socket to itself.
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
fn most_informative(lost: Lost, after: Duration) -> DialError {
    let tried = lost.failures.len() + lost.unanswered;
    let failures = lost
        .failures
        .into_iter()
        .map(|(addr, source)| (FailureRank::of(&source), addr, source));
    match failures.min_by_key(|(rank, ..)| *rank) {
        Some((rank, addr, source)) if lost.unanswered == 0 || rank < FailureRank::TimedOut => {
            rank.error(Target::Addr(addr), source, tried, after)
        }
        _ => DialError::ConnectTimeout { after, tried },
    }
}

#[cfg(test)]
pub(crate) mod tests;
