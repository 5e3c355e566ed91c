//! Dialogue: the request to a parent proxy, and its response.
//!
//! In:    the parent, and the target in the form in which it is sent.
//! Out:   a stream that now leads to the target, with no byte of it read, or the parent's failure.
//! Never: reads past the parent's response, or has a deadline (the caller sets it).

use super::{Parent, ParentError, Scheme};
use crate::answer_head::{self, BadHead};
use crate::socks::{
    Command, Greeting, Login, LoginStatus, Method, MethodChoice, Parsed, Reply, Reply4, ReplyCode,
    ReplyCode4, Request, Request4, SocksError,
};
use crate::stream::{Read, Stream};
use crate::target::Target;

/// The messages to send, built before anything is dialled.
pub(super) enum Dialogue {
    Socks4 {
        request: Request4,
    },
    Socks5 {
        login: Option<Login>,
        request: Request,
    },
    Http {
        head: String,
    },
}

impl Dialogue {
    /// For `target` in the form in which it is sent: a name only if the parent resolves names.
    pub(super) fn new(parent: &Parent, target: &Target) -> Result<Self, ParentError> {
        let made = match parent.scheme {
            Scheme::Http | Scheme::Https => {
                return Ok(Self::Http {
                    head: connect_head(parent, target)?,
                });
            }
            Scheme::Socks4 | Scheme::Socks4a => Self::socks4(parent, target),
            Scheme::Socks5 | Scheme::Socks5h => Self::socks5(parent, target),
        };
        made.map_err(|error| ParentError::Request(error.to_string()))
    }

    fn socks4(parent: &Parent, target: &Target) -> Result<Self, SocksError> {
        let user = parent.credentials.as_ref().map_or("", |(user, _)| user);
        Ok(Self::Socks4 {
            request: Request4::new(Command::Connect, target.clone(), user.as_bytes())?,
        })
    }

    fn socks5(parent: &Parent, target: &Target) -> Result<Self, SocksError> {
        let login =
            |(user, password): &(String, String)| Login::new(user.as_bytes(), password.as_bytes());
        Ok(Self::Socks5 {
            login: parent.credentials.as_ref().map(login).transpose()?,
            request: Request::new(Command::Connect, target.clone())?,
        })
    }

    /// Sends the request and receives the response.
    pub(super) async fn run(&self, stream: &mut Stream) -> Result<(), ParentError> {
        match self {
            Self::Socks4 { request } => ask_socks4(stream, request).await,
            Self::Socks5 { login, request } => ask_socks5(stream, login.as_ref(), request).await,
            Self::Http { head } => ask_http(stream, head).await,
        }
    }
}

/// The longest SOCKS answer is a reply with a name of 255 bytes.
const SOCKS_ANSWER_MAX: usize = 4 + 1 + 255 + 2;

async fn ask_socks4(stream: &mut Stream, request: &Request4) -> Result<(), ParentError> {
    send(stream, |out| request.encode(out)).await?;
    match recv(stream, Reply4::parse).await?.code {
        ReplyCode4::Granted => Ok(()),
        // Version 4 has one code for "forbidden", "unreachable" and "refused".
        ReplyCode4::Rejected => Err(ParentError::Failed { status: None }),
        ReplyCode4::NoIdentd | ReplyCode4::OtherUser => Err(ParentError::Credentials),
    }
}

async fn ask_socks5(
    stream: &mut Stream,
    login: Option<&Login>,
    request: &Request,
) -> Result<(), ParentError> {
    // With credentials, both: the parent may still choose no authentication.
    let methods: &[Method] = if login.is_some() {
        &[Method::Open, Method::Password]
    } else {
        &[Method::Open]
    };
    send(stream, |out| Greeting::new(methods).encode(out)).await?;
    match (recv(stream, MethodChoice::parse).await?, login) {
        (MethodChoice::Use(Method::Open), _) => {}
        (MethodChoice::Use(Method::Password), Some(login)) => log_in(stream, login).await?,
        (MethodChoice::Use(Method::Password), None) | (MethodChoice::NoneAcceptable, _) => {
            return Err(ParentError::Credentials);
        }
    }
    send(stream, |out| request.encode(out)).await?;
    granted(recv(stream, Reply::parse).await?.code)
}

async fn log_in(stream: &mut Stream, login: &Login) -> Result<(), ParentError> {
    send(stream, |out| login.encode(out)).await?;
    match recv(stream, LoginStatus::parse).await? {
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
        ReplyCode::NetworkUnreachable | ReplyCode::HostUnreachable => {
            ParentError::Unreachable { status }
        }
        ReplyCode::ConnectionRefused => ParentError::Refused,
        ReplyCode::TtlExpired => ParentError::TargetTimeout,
        ReplyCode::CommandNotSupported | ReplyCode::AddressTypeNotSupported => {
            ParentError::Unsupported { status }
        }
    })
}

async fn send(stream: &mut Stream, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), ParentError> {
    let mut out = Vec::new();
    encode(&mut out);
    Ok(stream.write_all(&out).await?)
}

/// Reads exactly one message: the bytes after it belong to the target.
async fn recv<T>(stream: &mut Stream, parse: fn(&[u8]) -> Parsed<T>) -> Result<T, ParentError> {
    let mut buf = [0; SOCKS_ANSWER_MAX];
    let mut len = 0;
    while let Some(next) = buf.get_mut(len..=len) {
        len += read_some(stream, next).await?;
        let so_far = buf.get(..len).unwrap_or_default();
        if let Some((message, _)) = parse(so_far).map_err(ParentError::Socks)? {
            return Ok(message);
        }
    }
    Err(ParentError::Socks(SocksError::TooLong(
        "answer",
        SOCKS_ANSWER_MAX,
    )))
}

async fn read_some(stream: &mut Stream, space: &mut [u8]) -> Result<usize, ParentError> {
    match stream.read(space).await? {
        Read::Data(read) => Ok(read),
        Read::Fin => Err(ParentError::Closed),
    }
}

/// A target prints as an authority: a valid host name or an address, IPv6 in brackets, without line
/// ends.
fn connect_head(parent: &Parent, target: &Target) -> Result<String, ParentError> {
    if let Target::Unix(_) = target {
        return Err(ParentError::Request(
            "the path of a Unix socket cannot be sent".into(),
        ));
    }
    let mut head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(authorization) = parent.authorization()? {
        head += &format!("Proxy-Authorization: {authorization}\r\n");
    }
    Ok(head + "\r\n")
}

async fn ask_http(stream: &mut Stream, head: &str) -> Result<(), ParentError> {
    stream.write_all(head.as_bytes()).await?;
    let mut budget = answer_head::MAX_BYTES;
    loop {
        let answer = recv_head(stream, budget).await?;
        budget = budget.saturating_sub(answer.len());
        match answer_head::status(&answer).map_err(ParentError::Http)? {
            // Interim responses precede the final one. 101 is not one of them, since no upgrade was
            // requested.
            100 | 102..=199 => {}
            status => return connected(status),
        }
    }
}

/// Reads exactly one head. An unfinished head lacks at least the rest of its last line end, so
/// reading that number of bytes never reads past it.
async fn recv_head(stream: &mut Stream, max: usize) -> Result<Vec<u8>, ParentError> {
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

pub(super) fn connected(status: u16) -> Result<(), ParentError> {
    let code = Some(status);
    Err(match status {
        200..=299 => return Ok(()),
        401 | 407 => ParentError::Credentials,
        403 | 451 => ParentError::Denied,
        404 | 502 | 503 => ParentError::Unreachable { status: code },
        504 => ParentError::TargetTimeout,
        400 | 405 | 426 | 501 | 505 => ParentError::Unsupported { status: code },
        _ => ParentError::Failed { status: code },
    })
}
