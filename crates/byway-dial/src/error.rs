//! Dial error: why no stream could be opened, with the faulty side and the remedy.

use std::io;
use std::time::Duration;

use crate::happy::Family;
use crate::parent::ParentError;
use crate::rules::{Denied, Reason};
use crate::target::{HostName, Target};
use crate::tls::TlsError;

/// Why no stream was opened.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error("`{name}` has no address: no such name is known here")]
    NotFound {
        /// The name.
        name: HostName,
    },
    /// The name was not resolved in time.
    #[error(
        "`{name}` was not resolved in time; the resolver of this machine may be down or overloaded"
    )]
    ResolveTimeout {
        /// The name.
        name: HostName,
    },
    /// The name was not looked up, because its user has reached the limit of look-ups per user.
    #[error(
        "`{name}` was not looked up: this user has too many look-ups at once; try again when some have ended"
    )]
    TooManyLookups {
        /// The name.
        name: HostName,
    },
    /// The resolver failed.
    #[error(
        "`{name}` was not resolved: {reason}; the resolver of this machine may be down or misconfigured"
    )]
    ResolveFailed {
        /// The name.
        name: HostName,
        /// The resolver's message.
        reason: String,
    },
    /// The target has no address of the permitted family.
    #[error(
        "{target} has no address of the family to use ({family}); the options `family` and `local_address` decide"
    )]
    WrongFamily {
        /// The target.
        target: Target,
        /// The permitted family.
        family: Family,
    },
    /// The address rules deny every address of the target; this is the first denial.
    #[error(transparent)]
    Denied(Denied),
    /// The kernel could not report whether an address of the target is one of this machine's own,
    /// and no other address passed.
    #[error(transparent)]
    Unchecked(Denied),
    /// Nothing listens on the port.
    #[error("{addr} refused the connection; nothing listens there{}", of(*.tried))]
    Refused {
        /// The address that refused.
        addr: Target,
        /// How many addresses were tried in all.
        tried: usize,
    },
    /// There is no route, or a firewall forbids the connection.
    #[error("{addr} cannot be reached: {source}{}", of(*.tried))]
    Unreachable {
        /// The address that cannot be reached.
        addr: Target,
        /// How many addresses were tried in all.
        tried: usize,
        /// The system error.
        source: io::Error,
    },
    /// No address answered in time.
    #[error("no answer to the connection attempt within {} s{}", after.as_secs_f32(), of(*.tried))]
    ConnectTimeout {
        /// The time allowed.
        after: Duration,
        /// How many addresses were tried in all.
        tried: usize,
    },
    /// The TLS handshake failed.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The proxy selection returned no route to the target.
    #[error("no route leads to {target}: the proxy selection returned none, not even a direct one")]
    NoRoute {
        /// The target.
        target: Target,
    },
    /// The parent proxy, or the connection to it, failed.
    #[error("through the parent proxy {parent}: {source}")]
    Parent {
        /// The parent proxy.
        parent: Target,
        /// What failed.
        source: ParentError,
    },
    /// This machine has run out of open files, buffers, local ports or local addresses.
    #[error(
        "this machine cannot open another connection: {0}; raise the limit of open files, or, if addresses or ports ran out, look at `local_address` and net.ipv4.ip_local_port_range"
    )]
    Exhausted(#[source] io::Error),
    /// Any other failure of the system.
    #[error("the connection to {addr} failed: {source}")]
    Io {
        /// The dialled address.
        addr: Target,
        /// The system error.
        source: io::Error,
    },
}

impl From<Denied> for DialError {
    fn from(denied: Denied) -> Self {
        match denied.reason {
            Reason::Unchecked(_) => Self::Unchecked(denied),
            _ => Self::Denied(denied),
        }
    }
}

/// " (3 addresses were tried)" if more than one was.
fn of(tried: usize) -> String {
    if tried > 1 {
        format!(" ({tried} addresses were tried)")
    } else {
        String::new()
    }
}

/// The meaning of a system error for a dial, the most informative first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FailureRank {
    /// Out of files or buffers: this is unrelated to the peer and causes the other failures.
    Exhausted,
    Refused,
    Unreachable,
    Other,
    TimedOut,
    /// This machine lacks the address family or a route: less informative than the result of
    /// another address.
    NoRoute,
    NoLocalPort,
}

impl FailureRank {
    pub(crate) fn of(error: &io::Error) -> Self {
        /// ENFILE and EMFILE are the same numbers on every Unix; the standard library has no kind
        /// for them.
        const OUT_OF_FILES: [i32; 2] = [23, 24];
        if error
            .raw_os_error()
            .is_some_and(|code| OUT_OF_FILES.contains(&code))
        {
            return Self::Exhausted;
        }
        match error.kind() {
            io::ErrorKind::OutOfMemory => Self::Exhausted,
            io::ErrorKind::ConnectionRefused => Self::Refused,
            // A reset or an abort during the handshake counts as a refusal.
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Self::Refused,
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotFound => Self::Unreachable,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => Self::NoRoute,
            // Linux reports WouldBlock when no local port is left to bind, and AddrNotAvailable
            // when none is left to this peer.
            io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::AddrInUse
            | io::ErrorKind::WouldBlock => Self::NoLocalPort,
            _ => Self::Other,
        }
    }

    /// The error for a failed connection to `addr`.
    pub(crate) fn error(
        self,
        addr: Target,
        source: io::Error,
        tried: usize,
        after: Duration,
    ) -> DialError {
        match self {
            Self::Exhausted | Self::NoLocalPort => DialError::Exhausted(source),
            Self::Refused => DialError::Refused { addr, tried },
            Self::Unreachable | Self::NoRoute => DialError::Unreachable {
                addr,
                tried,
                source,
            },
            Self::TimedOut => DialError::ConnectTimeout { after, tried },
            Self::Other => DialError::Io { addr, source },
        }
    }
}
