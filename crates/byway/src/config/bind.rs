//! Bind: what a listener listens on.
//!
//! In:    `127.0.0.1:8080`, `:8080`, `localhost:8080` or `unix:/run/x.sock`.
//! Out:   a socket address or the path of a Unix socket.
//! Never: resolves a name: `localhost` is 127.0.0.1, every other name is refused.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use byway_dial::Target;

/// What a listener listens on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bind {
    /// An address and a port; port 0 lets the system choose one. `[::]` means every address, IPv6
    /// and IPv4.
    Tcp(SocketAddr),
    /// The absolute path of a Unix socket.
    Unix(PathBuf),
}

/// Why a text is not a [`Bind`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBind {
    /// There is no port in it.
    #[error(
        "`{0}` has no port: write 127.0.0.1:8080, [::1]:8080, :8080 for every address, or unix:/run/x.sock"
    )]
    NoPort(String),
    /// A path without `unix:` before it.
    #[error("`{0}` is a path: for a Unix socket write unix:{0}")]
    SocketPath(String),
    /// A number alone.
    #[error(
        "`{0}` is a port alone: write 127.0.0.1:{0} for this machine only, or :{0} for every address"
    )]
    PortAlone(u16),
    /// The port is not valid.
    #[error("`{0}` is not a port: write a number from 0 to 65535, where 0 lets the system choose")]
    Port(String),
    /// A name, or something else that is not an address.
    #[error(
        "`{0}` is not an address of this machine: write 127.0.0.1, [::1], localhost, or nothing for every address"
    )]
    Host(String),
    /// A URL.
    #[error("`{0}` is a URL: a listener takes an address alone, such as 127.0.0.1:8080")]
    Url(String),
    /// A path that cannot name a Unix socket.
    #[error(transparent)]
    Path(#[from] BadSocketPath),
}

/// Why a path cannot name a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSocketPath {
    /// Relative or empty.
    #[error("`unix:{0}` is not absolute: write the whole path, such as unix:/run/app.sock")]
    Relative(String),
    /// Longer than the system's address structure.
    #[error(
        "the path of the Unix socket has {0} bytes: the system takes at most {MOST_PATH_BYTES}"
    )]
    TooLong(usize),
    /// Holds a control character.
    #[error("the path of the Unix socket holds a control character")]
    Control,
}

/// `sun_path` has 108 bytes on Linux (104 on the BSDs), one of them for the final zero.
const MOST_PATH_BYTES: usize = 103;

impl Bind {
    /// Whether only this machine can reach it: loopback addresses and Unix sockets.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(addr) => addr.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// The TCP address, if it is one.
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(addr) => Some(*addr),
            Self::Unix(_) => None,
        }
    }

    /// Whether the two cannot be listened on at once. Port 0 never clashes: the system chooses a
    /// free one.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix(a), Self::Unix(b)) => a == b,
            (Self::Tcp(a), Self::Tcp(b)) => {
                a.port() == b.port()
                    && a.port() != 0
                    && (a.ip() == b.ip() || covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
            }
            _ => false,
        }
    }

    /// Whether what is sent to `target` from this machine arrives here.
    pub fn answers(&self, target: &Target) -> bool {
        match (self, target) {
            (Self::Unix(here), Target::Unix(there)) => here == there,
            (Self::Tcp(here), Target::Addr(there)) => {
                let local = there.ip().is_loopback() || there.ip().is_unspecified();
                here.port() == there.port()
                    && (here.ip() == there.ip() || (local && covers(here.ip(), there.ip())))
            }
            _ => false,
        }
    }
}

/// `[::]` covers every address, `0.0.0.0` every IPv4 address.
fn covers(wildcard: IpAddr, ip: IpAddr) -> bool {
    match wildcard {
        IpAddr::V6(wildcard) => wildcard.is_unspecified(),
        IpAddr::V4(wildcard) => wildcard.is_unspecified() && ip.is_ipv4(),
    }
}

impl FromStr for Bind {
    type Err = BadBind;

    fn from_str(text: &str) -> Result<Self, BadBind> {
        if let Some(path) = text.strip_prefix("unix:") {
            check_socket_path(Path::new(path))?;
            return Ok(Self::Unix(path.into()));
        }
        if text.contains("://") {
            return Err(BadBind::Url(text.into()));
        }
        if let Ok(port) = text.parse::<u16>() {
            return Err(BadBind::PortAlone(port));
        }
        if text.starts_with('/') {
            return Err(BadBind::SocketPath(text.into()));
        }
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| BadBind::NoPort(text.into()))?;
        if host.contains(':') && !host.ends_with(']') {
            return Err(BadBind::NoPort(text.into()));
        }
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let number = port
            .parse::<u16>()
            .ok()
            .filter(|_| digits)
            .ok_or_else(|| BadBind::Port(port.into()))?;
        if host.is_empty() {
            return Ok(Self::Tcp((Ipv6Addr::UNSPECIFIED, number).into()));
        }
        if host.eq_ignore_ascii_case("localhost") {
            return Ok(Self::Tcp((Ipv4Addr::LOCALHOST, number).into()));
        }
        text.parse()
            .map(Self::Tcp)
            .map_err(|_| BadBind::Host(host.into()))
    }
}

/// Checks what the system requires of the path of a Unix socket, and that it is absolute.
pub(super) fn check_socket_path(path: &Path) -> Result<(), BadSocketPath> {
    let shown = path.display().to_string();
    if !path.is_absolute() {
        return Err(BadSocketPath::Relative(shown));
    }
    let length = path.as_os_str().len();
    if length > MOST_PATH_BYTES {
        return Err(BadSocketPath::TooLong(length));
    }
    match shown.contains(char::is_control) {
        true => Err(BadSocketPath::Control),
        false => Ok(()),
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "{addr}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(text: &str) -> Bind {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_of_a_bind_is_read() {
        assert_eq!(bind("127.0.0.1:80").to_string(), "127.0.0.1:80");
        assert_eq!(bind("[::1]:80").to_string(), "[::1]:80");
        assert_eq!(bind(":8080").to_string(), "[::]:8080");
        assert_eq!(bind("LOCALHOST:80").to_string(), "127.0.0.1:80");
        assert_eq!(bind("127.0.0.1:0").to_string(), "127.0.0.1:0");
        assert_eq!(bind("unix:/run/x.sock").to_string(), "unix:/run/x.sock");
    }

    #[test]
    fn bad_binds_report_what_is_wrong() {
        let bad = |text: &str| text.parse::<Bind>().unwrap_err();
        assert_eq!(bad("127.0.0.1"), BadBind::NoPort("127.0.0.1".into()));
        assert_eq!(bad("::1"), BadBind::NoPort("::1".into()));
        assert_eq!(
            bad("/run/x.sock"),
            BadBind::SocketPath("/run/x.sock".into())
        );
        assert_eq!(bad("8080"), BadBind::PortAlone(8080));
        assert_eq!(bad("127.0.0.1:http"), BadBind::Port("http".into()));
        assert_eq!(bad("127.0.0.1:+80"), BadBind::Port("+80".into()));
        assert_eq!(bad("127.0.0.1:70000"), BadBind::Port("70000".into()));
        assert_eq!(bad("example.com:80"), BadBind::Host("example.com".into()));
        assert_eq!(bad("*:80"), BadBind::Host("*".into()));
        assert_eq!(
            bad("http://127.0.0.1:80"),
            BadBind::Url("http://127.0.0.1:80".into())
        );
        assert_eq!(
            bad("unix:x.sock"),
            BadBind::Path(BadSocketPath::Relative("x.sock".into()))
        );
        assert_eq!(
            bad(&format!("unix:/{}", "x".repeat(103))),
            BadBind::Path(BadSocketPath::TooLong(104))
        );
        assert_eq!(bad("unix:/run/\0"), BadBind::Path(BadSocketPath::Control));
    }

    #[test]
    fn loopback_and_unix_sockets_are_local_and_nothing_else_is() {
        for text in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
            "unix:/x",
        ] {
            assert!(bind(text).is_local(), "{text}");
        }
        for text in [":1", "0.0.0.0:1", "10.0.0.1:1", "[2001:db8::1]:1"] {
            assert!(!bind(text).is_local(), "{text}");
        }
    }

    #[test]
    fn every_address_overlaps_with_each_single_one_on_the_same_port() {
        assert!(bind(":80").overlaps(&bind("127.0.0.1:80")));
        assert!(bind("127.0.0.1:80").overlaps(&bind("0.0.0.0:80")));
        assert!(bind("unix:/a").overlaps(&bind("unix:/a")));
        assert!(!bind("0.0.0.0:80").overlaps(&bind("[::1]:80")));
        assert!(!bind(":80").overlaps(&bind(":81")));
        assert!(!bind("127.0.0.1:0").overlaps(&bind("127.0.0.1:0")));
    }

    #[test]
    fn a_listener_answers_its_own_address_and_loopback_if_it_listens_on_all() {
        let target = |text: &str| text.parse::<Target>().unwrap();
        assert!(bind("127.0.0.1:80").answers(&target("127.0.0.1:80")));
        assert!(bind(":80").answers(&target("127.0.0.1:80")));
        assert!(bind("unix:/a").answers(&target("unix:/a")));
        assert!(!bind(":80").answers(&target("192.0.2.1:80")));
        assert!(!bind(":80").answers(&target("127.0.0.1:81")));
        assert!(!bind("127.0.0.1:80").answers(&target("localhost:80")));
    }
}
