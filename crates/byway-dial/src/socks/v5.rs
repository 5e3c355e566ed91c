//! SOCKS 5 (RFC 1928) with user and password (RFC 1929).
//!
//! In:    bytes, or messages to encode.
//! Out:   messages, or bytes.
//! Never: more than the parent module says.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    Command, Cursor, NO_ADDR, Parsed, SocksError, literal_target, named_target, need, put_counted,
    version,
};
use crate::target::Target;

const VERSION: u8 = 5;
/// The version of the sub-negotiation of RFC 1929.
const LOGIN_VERSION: u8 = 1;

const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// How the asking side proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    Open,
    /// With user and password (RFC 1929).
    Password,
}

impl Method {
    fn code(self) -> u8 {
        match self {
            Self::Open => 0x00,
            Self::Password => 0x02,
        }
    }
}

/// The first message: the methods that the asking side can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    methods: Vec<u8>,
}

impl Greeting {
    /// A greeting that offers `methods`.
    pub fn new(methods: &[Method]) -> Self {
        Self {
            methods: methods.iter().map(|method| method.code()).collect(),
        }
    }

    /// Whether it offers `method`.
    pub fn offers(&self, method: Method) -> bool {
        self.methods.contains(&method.code())
    }

    /// Reads one from the front of `buf`. An empty list is read as such; nothing in it can be
    /// chosen.
    ///
    /// # Errors
    /// [`SocksError::Version`].
    pub fn parse(buf: &[u8]) -> Parsed<Self> {
        let mut cursor = Cursor::new(buf);
        need!(version(&mut cursor, VERSION)?);
        let methods = need!(cursor.counted()).to_vec();
        Ok(Some((Self { methods }, cursor.taken)))
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put_counted(&self.methods, out);
    }
}

/// The answer to the greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodChoice {
    /// This method.
    Use(Method),
    /// None of those that were offered; the asking side must close.
    NoneAcceptable,
}

impl MethodChoice {
    /// Reads one from the front of `buf`.
    ///
    /// # Errors
    /// [`SocksError::Version`], [`SocksError::Method`].
    pub fn parse(buf: &[u8]) -> Parsed<Self> {
        let mut cursor = Cursor::new(buf);
        need!(version(&mut cursor, VERSION)?);
        let choice = match need!(cursor.byte()) {
            0x00 => Self::Use(Method::Open),
            0x02 => Self::Use(Method::Password),
            0xff => Self::NoneAcceptable,
            other => return Err(SocksError::Method(other)),
        };
        Ok(Some((choice, cursor.taken)))
    }

    /// Appends its bytes.
    pub fn encode(self, out: &mut Vec<u8>) {
        let code = match self {
            Self::Use(method) => method.code(),
            Self::NoneAcceptable => 0xff,
        };
        out.extend([VERSION, code]);
    }
}

/// User and password. Both may be empty on the wire, though RFC 1929 asks for one byte: refusing
/// them is policy.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: Vec<u8>,
    password: Vec<u8>,
}

impl Login {
    /// # Errors
    /// [`SocksError::TooLong`] beyond 255 bytes each.
    pub fn new(user: &[u8], password: &[u8]) -> Result<Self, SocksError> {
        for (what, text) in [("user", user), ("password", password)] {
            if text.len() > 255 {
                return Err(SocksError::TooLong(what, 255));
            }
        }
        Ok(Self {
            user: user.to_vec(),
            password: password.to_vec(),
        })
    }

    /// The user's name.
    pub fn user(&self) -> &[u8] {
        &self.user
    }

    /// The password.
    pub fn password(&self) -> &[u8] {
        &self.password
    }

    /// Reads one from the front of `buf`.
    ///
    /// # Errors
    /// [`SocksError::Version`].
    pub fn parse(buf: &[u8]) -> Parsed<Self> {
        let mut cursor = Cursor::new(buf);
        need!(version(&mut cursor, LOGIN_VERSION)?);
        let user = need!(cursor.counted()).to_vec();
        let password = need!(cursor.counted()).to_vec();
        Ok(Some((Self { user, password }, cursor.taken)))
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(LOGIN_VERSION);
        put_counted(&self.user, out);
        put_counted(&self.password, out);
    }
}

impl fmt::Debug for Login {
    /// Never shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.user.escape_ascii())
    }
}

/// The answer to a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginStatus {
    /// Welcome.
    Accepted,
    /// Wrong user or password; the connection ends.
    Refused,
}

impl LoginStatus {
    /// Reads one from the front of `buf`. Every status but 0 is a refusal.
    ///
    /// # Errors
    /// [`SocksError::Version`].
    pub fn parse(buf: &[u8]) -> Parsed<Self> {
        let mut cursor = Cursor::new(buf);
        need!(version(&mut cursor, LOGIN_VERSION)?);
        let status = if need!(cursor.byte()) == 0 {
            Self::Accepted
        } else {
            Self::Refused
        };
        Ok(Some((status, cursor.taken)))
    }

    /// Appends its bytes.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.extend([LOGIN_VERSION, u8::from(self == Self::Refused)]);
    }
}

/// What the asking side wants, and with whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    command: Command,
    target: Target,
}

impl Request {
    /// # Errors
    /// [`SocksError::Uncarried`] for a Unix socket.
    pub fn new(command: Command, target: Target) -> Result<Self, SocksError> {
        match target {
            Target::Unix(_) => Err(SocksError::Uncarried("the path of a Unix socket")),
            target => Ok(Self { command, target }),
        }
    }

    /// What is wanted.
    pub fn command(&self) -> Command {
        self.command
    }

    /// With whom. An address may have port 0 unless the command is CONNECT.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Reads one from the front of `buf`. A name that spells an address is read as the address. The
    /// reserved byte is not looked at.
    ///
    /// # Errors
    /// [`SocksError::Version`], [`SocksError::Command`], [`SocksError::AddressType`],
    /// [`SocksError::Target`].
    pub fn parse(buf: &[u8]) -> Parsed<Self> {
        let mut cursor = Cursor::new(buf);
        need!(version(&mut cursor, VERSION)?);
        let command = command(need!(cursor.byte()))?;
        need!(cursor.byte());
        let host = need!(Host::parse(&mut cursor)?);
        let port = need!(cursor.port());
        let target = match host {
            Host::Ip(ip) => literal_target(ip, port, command)?,
            Host::Name(name) => named_target(name, port)?,
        };
        Ok(Some((Self { command, target }, cursor.taken)))
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let command = match self.command {
            Command::Connect => 1,
            Command::Bind => 2,
            Command::UdpAssociate => 3,
        };
        out.extend([VERSION, command, 0]);
        match &self.target {
            Target::Host { name, port } => {
                out.push(NAME);
                put_counted(name.as_str().as_bytes(), out);
                out.extend(port.to_be_bytes());
            }
            Target::Addr(addr) => put_addr(*addr, out),
            // `new` takes no path.
            Target::Unix(_) => put_addr(NO_ADDR, out),
        }
    }
}

fn command(code: u8) -> Result<Command, SocksError> {
    match code {
        1 => Ok(Command::Connect),
        2 => Ok(Command::Bind),
        3 => Ok(Command::UdpAssociate),
        other => Err(SocksError::Command(other)),
    }
}

/// How a request ended. The numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReplyCode {
    /// The stream is open.
    Succeeded = 0x00,
    /// The proxy itself failed.
    GeneralFailure = 0x01,
    /// Policy forbids the target.
    NotAllowed = 0x02,
    /// No way to the target's network.
    NetworkUnreachable = 0x03,
    /// No way to the target, or no such name.
    HostUnreachable = 0x04,
    /// The target refused the connection.
    ConnectionRefused = 0x05,
    /// The packet's hops ran out; commonly said for a timeout.
    TtlExpired = 0x06,
    /// The proxy does not know the command.
    CommandNotSupported = 0x07,
    /// The proxy does not know the kind of address.
    AddressTypeNotSupported = 0x08,
}

impl ReplyCode {
    const ALL: [Self; 9] = [
        Self::Succeeded,
        Self::GeneralFailure,
        Self::NotAllowed,
        Self::NetworkUnreachable,
        Self::HostUnreachable,
        Self::ConnectionRefused,
        Self::TtlExpired,
        Self::CommandNotSupported,
        Self::AddressTypeNotSupported,
    ];

    fn from_byte(byte: u8) -> Result<Self, SocksError> {
        Self::ALL
            .into_iter()
            .find(|code| *code as u8 == byte)
            .ok_or(SocksError::Code(byte))
    }
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// How it ended.
    pub code: ReplyCode,
    /// The proxy's address on the other side; `0.0.0.0:0` if it does not say or says it with a
    /// name.
    pub bound: SocketAddr,
}

impl Reply {
    /// A reply without an address.
    pub fn new(code: ReplyCode) -> Self {
        Self {
            code,
            bound: NO_ADDR,
        }
    }

    /// Reads one from the front of `buf`, its address included. The reserved byte is not looked at.
    ///
    /// # Errors
    /// [`SocksError::Version`], [`SocksError::Code`], [`SocksError::AddressType`].
    pub fn parse(buf: &[u8]) -> Parsed<Self> {
        let mut cursor = Cursor::new(buf);
        need!(version(&mut cursor, VERSION)?);
        let code = ReplyCode::from_byte(need!(cursor.byte()))?;
        need!(cursor.byte());
        let host = need!(Host::parse(&mut cursor)?);
        let port = need!(cursor.port());
        let bound = match host {
            Host::Ip(ip) => SocketAddr::new(ip, port),
            Host::Name(_) => NO_ADDR,
        };
        Ok(Some((Self { code, bound }, cursor.taken)))
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend([VERSION, self.code as u8, 0]);
        put_addr(self.bound, out);
    }
}

/// The host in a request or a reply, as it stands on the wire.
enum Host<'a> {
    Ip(IpAddr),
    Name(&'a [u8]),
}

impl<'a> Host<'a> {
    fn parse(cursor: &mut Cursor<'a>) -> Result<Option<Self>, SocksError> {
        Ok(match need!(cursor.byte()) {
            IPV4 => cursor
                .array::<4>()
                .map(|octets| Self::Ip(Ipv4Addr::from(octets).into())),
            IPV6 => cursor
                .array::<16>()
                .map(|octets| Self::Ip(Ipv6Addr::from(octets).into())),
            NAME => cursor.counted().map(Self::Name),
            other => return Err(SocksError::AddressType(other)),
        })
    }
}

fn put_addr(addr: SocketAddr, out: &mut Vec<u8>) {
    match addr.ip() {
        IpAddr::V4(ip) => {
            out.push(IPV4);
            out.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(IPV6);
            out.extend(ip.octets());
        }
    }
    out.extend(addr.port().to_be_bytes());
}
