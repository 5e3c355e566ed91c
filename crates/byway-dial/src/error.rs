//! Dial error: why no stream could be opened, in words that say whose side it is and what to do.

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
    /// The name was not looked up, because the user it was for has as many look-ups as one user may
    /// have.
    #[error(
        "`{name}` was not looked up: this user has too many look-ups at once; try again when some have ended"
    )]
    TooManyLookups {
        /// The name.
        name: HostName,
    },
    /// The resolver failed.
    #[error(
        "`{name}` was not resolved: {reason}; the resolver of this machine may be down or wrongly set up"
    )]
    ResolveFailed {
        /// The name.
        name: HostName,
        /// The resolver's own words.
        reason: String,
    },
    /// The target has only addresses of the family that may not be used.
    #[error(
        "{target} has no address of the family to use ({family}); the options `family` and `local_address` decide"
    )]
    WrongFamily {
        /// What was asked for.
        target: Target,
        /// The family that may be used.
        family: Family,
    },
    /// The address rules forbid every address of the target; this is the first.
    #[error(transparent)]
    Denied(Denied),
    /// The kernel could not be asked whether an address of the target is one of this machine's own,
    /// and no other address passed.
    #[error(transparent)]
    Unchecked(Denied),
    /// Nothing listens there.
    #[error("{addr} refused the connection; nothing listens there{}", of(*.tried))]
    Refused {
        /// Who refused.
        addr: Target,
        /// How many addresses were tried in all.
        tried: usize,
    },
    /// There is no way there, or a firewall forbids it.
    #[error("{addr} cannot be reached: {source}{}", of(*.tried))]
    Unreachable {
        /// Who cannot be reached.
        addr: Target,
        /// How many addresses were tried in all.
        tried: usize,
        /// What the system says.
        source: io::Error,
    },
    /// Nobody answered in time.
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
    /// Nobody named a way to the target.
    #[error(
        "no route leads to {target}: whatever chooses the proxy named none, not even the direct way"
    )]
    NoRoute {
        /// What was asked for.
        target: Target,
    },
    /// The parent proxy, or the way to it, failed.
    #[error("through the parent proxy {parent}: {source}")]
    Parent {
        /// The parent proxy.
        parent: Target,
        /// What failed.
        source: ParentError,
    },
    /// This machine has run out of what a connection needs: open files, buffers, local ports or a
    /// local address.
    #[error(
        "this machine cannot open another connection: {0}; raise the limit of open files, or look at `local_address`"
    )]
    Exhausted(#[source] io::Error),
    /// Any other failure of the system.
    #[error("the connection to {addr} failed: {source}")]
    Io {
        /// Who was dialled.
        addr: Target,
        /// What the system says.
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

/// " (3 addresses were tried)" if that says more than nothing.
fn of(tried: usize) -> String {
    if tried > 1 {
        format!(" ({tried} addresses were tried)")
    } else {
        String::new()
    }
}

/// What a system error means to one who dials, the most telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Telling {
    /// Out of files or buffers: it says nothing of the peer, and all else follows from it.
    Exhausted,
    Refused,
    Unreachable,
    Other,
    TimedOut,
    /// This machine lacks the address family or a route: less telling than what another address
    /// did.
    NoRoute,
    NoLocalPort,
}

impl Telling {
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
            // A reset or an abort in the middle of the handshake is a refusal that came late.
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Self::Refused,
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotFound => Self::Unreachable,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => Self::NoRoute,
            // Linux says WouldBlock when no local port is left to bind, and AddrNotAvailable when
            // none is left to this peer.
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
