//! SOCKS 4 and its extension 4a, which supports names. The limits of the parent module apply.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use super::{Command, Cursor, Parsed, SocksError, literal_target, named_target, need, version};
use crate::target::Target;

const VERSION: u8 = 4;
/// The version byte of replies is 0.
const REPLY_VERSION: u8 = 0;
/// The longest user id and the longest name, in bytes without the NUL.
const TEXT_MAX: usize = 255;
/// The address for "a name follows": 0.0.0.x with x not 0.
const NAME_FOLLOWS: Ipv4Addr = Ipv4Addr::new(0, 0, 0, 1);

/// A client's command and target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request4 {
    command: Command,
    target: Target,
    user: Vec<u8>,
}

impl Request4 {
    /// A request; `user` is an unverified claim and may be empty.
    ///
    /// # Errors
    /// [`SocksError::Uncarried`] for a UDP relay, an IPv6 address, `0.0.0.x`, a Unix socket, or a
    /// NUL in `user`; [`SocksError::TooLong`] if `user` has more than 255 bytes.
    pub fn new(command: Command, target: Target, user: &[u8]) -> Result<Self, SocksError> {
        if command == Command::UdpAssociate {
            return Err(SocksError::Uncarried("UDP in version 4"));
        }
        match &target {
            Target::Addr(SocketAddr::V4(addr)) if !name_follows(*addr.ip()) => {}
            Target::Host { .. } => {}
            _ => return Err(SocksError::Uncarried("this kind of address in version 4")),
        }
        if user.len() > TEXT_MAX {
            return Err(SocksError::TooLong("user id", TEXT_MAX));
        }
        if user.contains(&0) {
            return Err(SocksError::Uncarried("a NUL in a user id"));
        }
        Ok(Self {
            command,
            target,
            user: user.to_vec(),
        })
    }

    /// The command: CONNECT or BIND.
    pub fn command(&self) -> Command {
        self.command
    }

    /// The target.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The user id, an unverified claim.
    pub fn user(&self) -> &[u8] {
        &self.user
    }

    /// Parses a request from the front of `buf`. A name that is an address is read as the address.
    ///
    /// # Errors
    /// [`SocksError::Version`], [`SocksError::Command`], [`SocksError::TooLong`],
    /// [`SocksError::Target`].
    pub fn parse(buf: &[u8]) -> Parsed<Self> {
        let mut cursor = Cursor::new(buf);
        need!(version(&mut cursor, VERSION)?);
        let command = match need!(cursor.byte()) {
            1 => Command::Connect,
            2 => Command::Bind,
            other => return Err(SocksError::Command(other)),
        };
        let port = need!(cursor.port());
        let ip = Ipv4Addr::from(need!(cursor.array::<4>()));
        let user = need!(cursor.until_nul("user id", TEXT_MAX)?).to_vec();
        let target = match name_follows(ip) {
            true => named_target(need!(cursor.until_nul("host name", TEXT_MAX)?), port)?,
            false => literal_target(ip.into(), port, command)?,
        };
        Ok(Some((
            Self {
                command,
                target,
                user,
            },
            cursor.taken,
        )))
    }

    /// Appends its bytes. A name that is an IPv6 address is encoded as that name.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (ip, name) = match &self.target {
            Target::Addr(SocketAddr::V4(addr)) if !name_follows(*addr.ip()) => (*addr.ip(), None),
            Target::Addr(addr) => (NAME_FOLLOWS, Some(addr.ip().to_string())),
            Target::Host { name, .. } => (NAME_FOLLOWS, Some(name.to_string())),
            // `new` rejects paths.
            Target::Unix(_) => (Ipv4Addr::UNSPECIFIED, None),
        };
        out.extend([VERSION, if self.command == Command::Bind { 2 } else { 1 }]);
        out.extend(self.target.port().unwrap_or(0).to_be_bytes());
        out.extend(ip.octets());
        out.extend(self.user.iter().chain(&[0]));
        if let Some(name) = name {
            out.extend(name.as_bytes().iter().chain(&[0]));
        }
    }
}

fn name_follows(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [0, 0, 0, last] if last != 0)
}

/// The result of a request. The numbers are those of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReplyCode4 {
    /// The stream is open.
    Granted = 90,
    /// Refused, or it failed.
    Rejected = 91,
    /// The proxy could not reach the client's identd.
    NoIdentd = 92,
    /// The identd reports another user.
    OtherUser = 93,
}

/// The reply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply4 {
    /// The result.
    pub code: ReplyCode4,
    /// The proxy's address towards the target; only used for BIND.
    pub bound: SocketAddrV4,
}

impl Reply4 {
    /// A reply without an address.
    pub fn new(code: ReplyCode4) -> Self {
        Self {
            code,
            bound: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
        }
    }

    /// A reply with our address, if version 4 supports it.
    pub fn granted(bound: SocketAddr) -> Self {
        let plain = Self::new(ReplyCode4::Granted);
        match bound.ip().to_canonical() {
            IpAddr::V4(ip) => Self {
                bound: SocketAddrV4::new(ip, bound.port()),
                ..plain
            },
            IpAddr::V6(_) => plain,
        }
    }

    /// Parses a reply from the front of `buf`.
    ///
    /// # Errors
    /// [`SocksError::Version`], [`SocksError::Code`].
    pub fn parse(buf: &[u8]) -> Parsed<Self> {
        let mut cursor = Cursor::new(buf);
        need!(version(&mut cursor, REPLY_VERSION)?);
        let code = match need!(cursor.byte()) {
            90 => ReplyCode4::Granted,
            91 => ReplyCode4::Rejected,
            92 => ReplyCode4::NoIdentd,
            93 => ReplyCode4::OtherUser,
            other => return Err(SocksError::Code(other)),
        };
        let port = need!(cursor.port());
        let ip = Ipv4Addr::from(need!(cursor.array::<4>()));
        Ok(Some((
            Self {
                code,
                bound: SocketAddrV4::new(ip, port),
            },
            cursor.taken,
        )))
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend([REPLY_VERSION, self.code as u8]);
        out.extend(self.bound.port().to_be_bytes());
        out.extend(self.bound.ip().octets());
    }
}
