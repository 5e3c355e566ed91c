//! Parent proxy: opens a stream through a SOCKS 5 or HTTP CONNECT proxy that is no Byway.
//!
//! In:    the parent, its credentials, and the target.
//! Out:   a stream to the target, with not one byte of it read, or what the parent said instead.
//! Never: resolves the target's name (names travel to the parent), and never reads past the parent's answer.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::time::timeout;

use crate::answer_head::{self, BadHead};
use crate::dial::{Dialled, Dialler};
use crate::error::DialError;
use crate::rules::AddressRules;
use crate::socks::{
    Command, Greeting, Login, LoginStatus, Method, MethodChoice, Parsed, Reply, ReplyCode, Request, SocksError,
};
use crate::stream::{Broken, Read, Stream};
use crate::target::Target;

/// How a parent proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// SOCKS 5 (RFC 1928), with user and password if there are credentials (RFC 1929).
    Socks5,
    /// HTTP/1.1 CONNECT (RFC 9110 section 9.3.6), with Basic credentials if there are any (RFC 7617).
    HttpConnect,
}

/// A parent proxy, as the operator wrote it down.
#[derive(Clone, PartialEq, Eq)]
pub struct Parent {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Where it listens. The operator chose it, so no address rules apply to it.
    pub at: Target,
    /// User and password, if it asks for them.
    pub credentials: Option<(String, String)>,
}

impl fmt::Debug for Parent {
    /// Never shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.credentials.as_ref().map(|(user, _)| user);
        write!(f, "Parent({:?} at {}, user {user:?})", self.scheme, self.at)
    }
}

impl Dialler {
    /// Opens a stream to `target` through `parent`. The target's name travels to the parent as it is, and no address
    /// rule of ours is asked: whether this parent may be used for this target is policy's word.
    ///
    /// Connecting to the parent takes at most `connect_timeout`, and its answer once more as much, because the parent
    /// itself connects in that time.
    ///
    /// Cancel safe: dropping the future resets the connection to the parent.
    ///
    /// # Errors
    /// [`DialError::Parent`] with what failed: the way to the parent, or what the parent said.
    pub async fn open_via(&self, parent: &Parent, target: &Target) -> Result<Dialled, DialError> {
        let failed = |source| DialError::Parent { parent: parent.at.clone(), source };
        let plan = Plan::new(parent, target).map_err(failed)?;
        let dialled = self.open(&parent.at, &AddressRules::open()).await;
        let mut dialled = dialled.map_err(|error| failed(ParentError::Dial(Box::new(error))))?;
        let after = self.options().connect_timeout;
        match timeout(after, plan.run(&mut dialled.stream)).await {
            Ok(Ok(())) => Ok(dialled),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(failed(ParentError::Timeout { after })),
        }
    }
}

/// What a parent did instead of opening the stream.
#[derive(Debug, thiserror::Error)]
pub enum ParentError {
    /// The parent itself could not be dialled.
    #[error("{0}")]
    Dial(#[source] Box<DialError>),
    /// It did not answer in time.
    #[error("no answer to the request within {} s; the parent or its way to the target is stuck", after.as_secs_f32())]
    Timeout {
        /// The time allowed.
        after: Duration,
    },
    /// It closed the connection instead of answering.
    #[error("it closed the connection before its answer was complete")]
    Closed,
    /// The connection to it broke.
    #[error("the connection to it broke: {0}")]
    Broken(#[from] Broken),
    /// Its answer is no SOCKS.
    #[error("{0}; is it a SOCKS 5 proxy?")]
    Socks(#[source] SocksError),
    /// Its answer is no HTTP.
    #[error("{0}; is it an HTTP proxy?")]
    Http(#[source] BadHead),
    /// It wants credentials that we do not have, or others.
    #[error("it does not accept our credentials; set or correct the user and password of this parent")]
    Credentials,
    /// It forbids the target.
    #[error("its rules forbid the target")]
    Denied,
    /// It found no way to the target, or no such name.
    #[error("it cannot reach the target{}", code(*.status))]
    Unreachable {
        /// The HTTP status, if it is an HTTP proxy.
        status: Option<u16>,
    },
    /// The target refused its connection.
    #[error("the target refused the connection that it made")]
    Refused,
    /// The target did not answer it in time.
    #[error("the target did not answer it in time")]
    TargetTimeout,
    /// It failed for a reason of its own.
    #[error("it failed, without saying why{}", code(*.status))]
    Failed {
        /// The HTTP status, if it is an HTTP proxy.
        status: Option<u16>,
    },
    /// It does not know CONNECT, or not this kind of address.
    #[error("it does not support such a request{}", code(*.status))]
    Unsupported {
        /// The HTTP status, if it is an HTTP proxy.
        status: Option<u16>,
    },
    /// What we were to send does not fit the protocol.
    #[error("the request cannot be made: {0}")]
    Request(String),
}

fn code(status: Option<u16>) -> String {
    status.map(|status| format!(" (HTTP status {status})")).unwrap_or_default()
}

/// What will be said, made before anything is dialled.
enum Plan {
    Socks { login: Option<Login>, request: Request },
    Http { head: String },
}

impl Plan {
    fn new(parent: &Parent, target: &Target) -> Result<Self, ParentError> {
        match parent.scheme {
            Scheme::Socks5 => Self::socks(parent, target).map_err(|error| ParentError::Request(error.to_string())),
            Scheme::HttpConnect => Ok(Self::Http { head: connect_head(parent, target)? }),
        }
    }

    fn socks(parent: &Parent, target: &Target) -> Result<Self, SocksError> {
        let login = |(user, password): &(String, String)| Login::new(user.as_bytes(), password.as_bytes());
        Ok(Self::Socks {
            login: parent.credentials.as_ref().map(login).transpose()?,
            request: Request::new(Command::Connect, target.clone())?,
        })
    }

    async fn run(&self, stream: &mut Stream) -> Result<(), ParentError> {
        match self {
            Self::Socks { login, request } => ask_socks(stream, login.as_ref(), request).await,
            Self::Http { head } => ask_http(stream, head).await,
        }
    }
}

/// The longest SOCKS answer is a reply with a name of 255 bytes.
const SOCKS_ANSWER_MAX: usize = 4 + 1 + 255 + 2;

async fn ask_socks(stream: &mut Stream, login: Option<&Login>, request: &Request) -> Result<(), ParentError> {
    // With credentials, both: a parent that asks for none is free to take us without.
    let methods: &[Method] = if login.is_some() { &[Method::Open, Method::Password] } else { &[Method::Open] };
    say(stream, |out| Greeting::new(methods).encode(out)).await?;
    match (hear(stream, MethodChoice::parse).await?, login) {
        (MethodChoice::Use(Method::Open), _) => {}
        (MethodChoice::Use(Method::Password), Some(login)) => log_in(stream, login).await?,
        (MethodChoice::Use(Method::Password), None) | (MethodChoice::NoneAcceptable, _) => {
            return Err(ParentError::Credentials);
        }
    }
    say(stream, |out| request.encode(out)).await?;
    granted(hear(stream, Reply::parse).await?.code)
}

async fn log_in(stream: &mut Stream, login: &Login) -> Result<(), ParentError> {
    say(stream, |out| login.encode(out)).await?;
    match hear(stream, LoginStatus::parse).await? {
        LoginStatus::Accepted => Ok(()),
        LoginStatus::Refused => Err(ParentError::Credentials),
    }
}

fn granted(code: ReplyCode) -> Result<(), ParentError> {
    let status = None;
    Err(match code {
        ReplyCode::Succeeded => return Ok(()),
        ReplyCode::GeneralFailure => ParentError::Failed { status },
        ReplyCode::NotAllowed => ParentError::Denied,
        ReplyCode::NetworkUnreachable | ReplyCode::HostUnreachable => ParentError::Unreachable { status },
        ReplyCode::ConnectionRefused => ParentError::Refused,
        ReplyCode::TtlExpired => ParentError::TargetTimeout,
        ReplyCode::CommandNotSupported | ReplyCode::AddressTypeNotSupported => ParentError::Unsupported { status },
    })
}

async fn say(stream: &mut Stream, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), ParentError> {
    let mut out = Vec::new();
    encode(&mut out);
    Ok(stream.write_all(&out).await?)
}

/// Reads one message and not a byte more: what stands behind it belongs to the target.
async fn hear<T>(stream: &mut Stream, parse: fn(&[u8]) -> Parsed<T>) -> Result<T, ParentError> {
    let mut heard = [0; SOCKS_ANSWER_MAX];
    let mut len = 0;
    while let Some(next) = heard.get_mut(len..=len) {
        len += read_some(stream, next).await?;
        let so_far = heard.get(..len).unwrap_or_default();
        if let Some((message, _)) = parse(so_far).map_err(ParentError::Socks)? {
            return Ok(message);
        }
    }
    Err(ParentError::Socks(SocksError::TooLong("answer", SOCKS_ANSWER_MAX)))
}

async fn read_some(stream: &mut Stream, space: &mut [u8]) -> Result<usize, ParentError> {
    match stream.read(space).await? {
        Read::Data(read) => Ok(read),
        Read::Fin => Err(ParentError::Closed),
    }
}

fn connect_head(parent: &Parent, target: &Target) -> Result<String, ParentError> {
    if let Target::Unix(_) = target {
        return Err(ParentError::Request("the path of a Unix socket does not travel".into()));
    }
    let mut head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some((user, password)) = &parent.credentials {
        if user.contains(':') {
            return Err(ParentError::Request("a user with a `:` does not fit Basic credentials".into()));
        }
        head += &format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{password}")));
    }
    Ok(head + "\r\n")
}

async fn ask_http(stream: &mut Stream, head: &str) -> Result<(), ParentError> {
    stream.write_all(head.as_bytes()).await?;
    let mut budget = answer_head::MAX_BYTES;
    loop {
        let answer = hear_head(stream, budget).await?;
        budget = budget.saturating_sub(answer.len());
        match answer_head::status(&answer).map_err(ParentError::Http)? {
            // Interim answers other than 101, which nobody asked for, come before the answer.
            100 | 102..=199 => {}
            status => return connected(status),
        }
    }
}

/// Reads one head and not a byte more. A head that may not have ended yet lacks at least the rest of its last line end,
/// so that many bytes can be asked for without reading past it.
async fn hear_head(stream: &mut Stream, max: usize) -> Result<Vec<u8>, ParentError> {
    let mut head = Vec::new();
    loop {
        let missing = answer_head::missing(&head);
        if missing == 0 {
            return Ok(head);
        }
        if head.len() + missing > max {
            return Err(ParentError::Http(BadHead::TooLarge));
        }
        let mut space = [0; 4];
        let space = space.get_mut(..missing).unwrap_or_default();
        let read = read_some(stream, space).await?;
        head.extend(space.iter().take(read));
        answer_head::plausible(&head).map_err(ParentError::Http)?;
    }
}

fn connected(status: u16) -> Result<(), ParentError> {
    let told = Some(status);
    Err(match status {
        200..=299 => return Ok(()),
        401 | 407 => ParentError::Credentials,
        403 | 451 => ParentError::Denied,
        404 | 502 | 503 => ParentError::Unreachable { status: told },
        504 => ParentError::TargetTimeout,
        400 | 405 | 426 | 501 | 505 => ParentError::Unsupported { status: told },
        _ => ParentError::Failed { status: told },
    })
}

#[cfg(test)]
mod tests;
