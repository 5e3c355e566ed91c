//! SOCKS 5 (RFC 1928) with user and password (RFC 1929). The limits of the parent module apply.

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

/// The authentication of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// None.
    Open,
    /// User and password (RFC 1929).
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

/// The first message: the methods that the client supports.
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

    /// Parses a greeting from the front of `buf`. An empty list is accepted; no method can be
    /// chosen from it.
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

/// The reply to the greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodChoice {
    /// This method.
    Use(Method),
    /// None of the offered methods; the client must close.
    NoneAcceptable,
}

impl MethodChoice {
    /// Parses a choice from the front of `buf`.
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

/// User and password. Both may be empty, though RFC 1929 requires one byte: refusing them is
/// policy.
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

    /// Parses a login from the front of `buf`.
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

/// The reply to a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginStatus {
    /// Accepted.
    Accepted,
    /// Wrong user or password; the connection ends.
    Refused,
}

impl LoginStatus {
    /// Parses a status from the front of `buf`. Every status except 0 is a refusal.
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

/// A client's command and target.
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

    /// The command.
    pub fn command(&self) -> Command {
        self.command
    }

    /// The target. An address may have port 0 unless the command is CONNECT.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Parses a request from the front of `buf`. A name that is an address is read as the address.
    /// The reserved byte is ignored.
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
            // `new` rejects paths.
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

/// The result of a request. The numbers are those of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReplyCode {
    /// The stream is open.
    Succeeded = 0x00,
    /// The proxy failed.
    GeneralFailure = 0x01,
    /// Policy forbids the target.
    NotAllowed = 0x02,
    /// The target's network is unreachable.
    NetworkUnreachable = 0x03,
    /// The target is unreachable, or the name does not exist.
    HostUnreachable = 0x04,
    /// The target refused the connection.
    ConnectionRefused = 0x05,
    /// TTL expired; commonly used for a time-out.
    TtlExpired = 0x06,
    /// The proxy does not support the command.
    CommandNotSupported = 0x07,
    /// The proxy does not support the type of address.
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

/// The reply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The result.
    pub code: ReplyCode,
    /// The proxy's address towards the target; `0.0.0.0:0` if there is none or it is a name.
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

    /// Parses a reply from the front of `buf`, including its address. The reserved byte is ignored.
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

/// The host of a request or a reply.
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
