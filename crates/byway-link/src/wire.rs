//! Wire: the protobuf messages between two nodes, each with its length in front.
//!
//! In:    bytes in any split.
//! Out:   complete messages, or a protocol violation of the peer.
//! Never: a message longer than [`MOST_MESSAGE_BYTES`], or an error because of a field that a newer
//!        version has added.
//!
//! [`ControlMessage`]s are sent on the first stream of each carrier, in both directions, as long as
//! it lives. [`Open`] is the first message of every other stream, [`Answer`] the first one back;
//! the bytes of the stream follow.

use std::fmt;

use bytes::{Buf, BufMut};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

/// The longest message, without its length.
pub const MOST_MESSAGE_BYTES: usize = 64 * 1024;

/// The longest first message of a carrier, in either direction, without its length. Neither side is
/// trusted before it.
pub const MOST_FIRST_BYTES: usize = 4 * 1024;

/// The longest [`Open`] or [`Answer`], without its length: each stream has one of each.
pub const MOST_ASK_BYTES: usize = 4 * 1024;

/// Each text of a fault in an [`Answer`], or of a [`Refused`], is cut to this many bytes.
const FAULT_TEXT_BYTES: usize = 1024;

/// Bytes of the length in front of a message, big endian.
pub const LENGTH_BYTES: usize = 4;

/// The versions of the protocol that this build speaks, the first and the last.
pub const VERSIONS: (u32, u32) = (1, 1);

/// [`Hello::features`]: an acceptor writes the Host that [`Opened::host`] requests.
pub const FEATURE_HOST: u64 = 1;

/// [`Hello::features`]: an acceptor reports requests if [`Opened::reports`] is set.
pub const FEATURE_REPORTS: u64 = 2;

/// [`Hello::features`]: both sides may use a carrier over several TLS connections, see [`Part`].
pub const FEATURE_BUNDLE: u64 = 4;

/// Every feature of this build.
pub const FEATURES: u64 = FEATURE_HOST | FEATURE_REPORTS | FEATURE_BUNDLE;

/// A message on the first stream of a carrier.
#[derive(Clone, PartialEq, Message)]
pub struct ControlMessage {
    /// Empty if a newer version sends an unknown message; it is skipped.
    #[prost(
        oneof = "Control",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16"
    )]
    pub control: Option<Control>,
}

/// See [`ControlMessage`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Control {
    /// Dialler, first carrier: requests a session.
    #[prost(message, tag = "1")]
    Hello(Hello),
    /// Acceptor: accepts the session.
    #[prost(message, tag = "2")]
    Welcome(Welcome),
    /// Dialler, each later carrier: attaches it to a session.
    #[prost(message, tag = "3")]
    Attach(Attach),
    /// Acceptor: refuses, with a reason. The carrier ends.
    #[prost(message, tag = "4")]
    Refused(Refused),
    /// Dialler: registers a service.
    #[prost(message, tag = "5")]
    Register(Register),
    /// Acceptor: the public address of a service.
    #[prost(message, tag = "6")]
    Registered(Registered),
    /// Either: requests a [`Control::Pong`].
    #[prost(uint64, tag = "7")]
    Ping(u64),
    /// The reply, with the number of the ping.
    #[prost(uint64, tag = "8")]
    Pong(u64),
    /// Either: the peer should open no more streams here; open ones may finish.
    #[prost(message, tag = "9")]
    GoAway(GoAway),
    /// Acceptor: a service of this session was refused, or taken by a newer process.
    #[prost(message, tag = "10")]
    Withdrawn(Withdrawn),
    /// Dialler: removes a service.
    #[prost(message, tag = "11")]
    Unregister(Unregister),
    /// Either, on QUIC: grants more bytes on these streams. (The mux has frames for it.)
    #[prost(message, tag = "12")]
    Credit(Credit),
    /// Acceptor: a request of one of the dialler's HTTP services has ended.
    #[prost(message, tag = "13")]
    Visited(Box<Visited>),
    /// Either: whether new streams should use TLS where it is attached (1) or not (0), as the
    /// sender has measured.
    #[prost(uint32, tag = "14")]
    PreferTls(u32),
    /// Either: whether new streams should use a bundle (1) or not (0), since the path loses what
    /// the sender sends over TLS.
    #[prost(uint32, tag = "15")]
    WantBundle(u32),
    /// Dialler, on each connection of a bundle: names the bundle that it belongs to. Nothing else
    /// is sent before the reply.
    #[prost(message, tag = "16")]
    Part(Part),
}

/// See [`Control::Visited`]: the acceptor's access log record of the request. Bytes are as the
/// visitor sent them, truncated.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Visited {
    /// The service.
    #[prost(uint32, tag = "1")]
    pub service: u32,
    /// The visitor's address and port; empty if it came over a Unix socket.
    #[prost(string, tag = "2")]
    pub visitor: String,
    /// The id of the request.
    #[prost(string, tag = "3")]
    pub id: String,
    /// The method.
    #[prost(bytes = "vec", tag = "4")]
    pub method: Vec<u8>,
    /// The target.
    #[prost(bytes = "vec", tag = "5")]
    pub target: Vec<u8>,
    /// Whether it was HTTP/1.0; otherwise HTTP/1.1, or as `http_major` says.
    #[prost(bool, tag = "6")]
    pub is_http10: bool,
    /// Host.
    #[prost(bytes = "vec", optional, tag = "7")]
    pub host: Option<Vec<u8>>,
    /// Referer.
    #[prost(bytes = "vec", optional, tag = "8")]
    pub referer: Option<Vec<u8>>,
    /// User-Agent.
    #[prost(bytes = "vec", optional, tag = "9")]
    pub agent: Option<Vec<u8>>,
    /// The status that the visitor got; 0 for none.
    #[prost(uint32, tag = "10")]
    pub status: u32,
    /// Bytes of the request's body.
    #[prost(uint64, tag = "11")]
    pub in_bytes: u64,
    /// Bytes of the response's body.
    #[prost(uint64, tag = "12")]
    pub out_bytes: u64,
    /// Microseconds until it had a connection, without `connect_us`.
    #[prost(uint64, tag = "13")]
    pub queue_us: u64,
    /// Microseconds for opening a connection.
    #[prost(uint64, tag = "14")]
    pub connect_us: u64,
    /// Microseconds from then to the head of the response.
    #[prost(uint64, tag = "15")]
    pub first_byte_us: u64,
    /// Microseconds from that head to the end.
    #[prost(uint64, tag = "16")]
    pub transfer_us: u64,
    /// Whether it used a kept connection.
    #[prost(bool, tag = "17")]
    pub reused: bool,
    /// Whether it was sent more than once.
    #[prost(bool, tag = "18")]
    pub retried: bool,
    /// How it ended, one word: `done`, or the reason class.
    #[prost(string, tag = "19")]
    pub end: String,
    /// Which side ended it; empty if it went well.
    #[prost(string, tag = "20")]
    pub end_who: String,
    /// The phase in which it ended.
    #[prost(string, tag = "21")]
    pub end_phase: String,
    /// The major version of HTTP, from 2 on; 0 for HTTP/1.
    #[prost(uint32, tag = "22")]
    pub http_major: u32,
}

/// See [`Control::Credit`]. A grant takes two bytes on the wire and sixteen in memory, so
/// [`Message`] is implemented by hand: decoding keeps at most one grant more than [`MOST_GRANTS`],
/// which shows that there were too many.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Credit {
    /// Field 1, repeated. Each stream occurs once.
    pub grants: Vec<StreamCredit>,
}

/// The most grants of one [`Credit`].
pub const MOST_GRANTS: usize = 1024;

/// The field of [`Credit::grants`].
const GRANTS: u32 = 1;

impl Message for Credit {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        encoding::message::encode_repeated(GRANTS, &self.grants, buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag == GRANTS && self.grants.len() <= MOST_GRANTS {
            encoding::message::merge_repeated(wire_type, &mut self.grants, buf, context)
        } else {
            encoding::skip_field(wire_type, tag, buf, context)
        }
    }

    fn encoded_len(&self) -> usize {
        encoding::message::encoded_len_repeated(GRANTS, &self.grants)
    }

    fn clear(&mut self) {
        self.grants.clear();
    }
}

/// The grant for one stream of a [`Credit`].
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct StreamCredit {
    /// The QUIC stream ID (RFC 9000 section 2.1).
    #[prost(uint64, tag = "1")]
    pub stream: u64,
    /// How many more bytes.
    #[prost(uint32, tag = "2")]
    pub bytes: u32,
}

/// See [`Control::Hello`].
#[derive(Clone, PartialEq, Message)]
pub struct Hello {
    /// The oldest version that the dialler speaks.
    #[prost(uint32, tag = "1")]
    pub version_from: u32,
    /// The newest.
    #[prost(uint32, tag = "2")]
    pub version_to: u32,
    /// Optional features, one bit each: [`FEATURES`].
    #[prost(uint64, tag = "3")]
    pub features: u64,
    /// The id of the dialler's grant.
    #[prost(bytes = "vec", tag = "4")]
    pub grant: Vec<u8>,
    /// Its secret. It travels inside TLS, to a peer that has proven the pinned key.
    #[prost(bytes = "vec", tag = "5")]
    pub secret: Vec<u8>,
    /// The epoch of the process: chosen at its start, higher than that of any earlier process of
    /// this identity.
    #[prost(uint64, tag = "6")]
    pub epoch: u64,
    /// How many sessions the process has tried to make; a later one replaces an earlier one.
    #[prost(uint64, tag = "7")]
    pub attempt: u64,
    /// The dialler's program and version, for people.
    #[prost(string, tag = "8")]
    pub program: String,
    /// What the session is for: a [`Purpose`].
    #[prost(uint32, tag = "9")]
    pub purpose: u32,
    /// The dialler's config allows only one kind of carrier: the kind of this one. An older dialler
    /// leaves it out.
    #[prost(bool, tag = "10")]
    pub one_kind: bool,
}

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The dialler exposes services: `byway serve` is at the other end.
    Serve,
    /// The dialler uses an egress: an exit is at the other end.
    Exit,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serve => "serve",
            Self::Exit => "exit",
        })
    }
}

impl Purpose {
    /// The number on the wire.
    pub const fn number(self) -> u32 {
        match self {
            Self::Serve => 1,
            Self::Exit => 2,
        }
    }

    /// From the wire.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Serve),
            2 => Some(Self::Exit),
            _ => None,
        }
    }
}

/// See [`Control::Welcome`].
#[derive(Clone, PartialEq, Message)]
pub struct Welcome {
    /// The version that both sides use.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// The features that both sides have.
    #[prost(uint64, tag = "2")]
    pub features: u64,
    /// Sixteen random bytes that prove the welcome, for [`Attach`].
    #[prost(bytes = "vec", tag = "3")]
    pub session: Vec<u8>,
    /// The acceptor's program and version, for people.
    #[prost(string, tag = "4")]
    pub program: String,
}

/// See [`Control::Attach`].
#[derive(Clone, PartialEq, Message)]
pub struct Attach {
    /// The session that this carrier belongs to.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
}

/// See [`Control::Part`]. The reply is a [`Welcome`] once all parts have arrived; then the bundle
/// is a carrier of the session.
#[derive(Clone, PartialEq, Message)]
pub struct Part {
    /// The session that the bundle belongs to.
    #[prost(bytes = "vec", tag = "1")]
    pub session: Vec<u8>,
    /// The bundle: a random number of the dialler.
    #[prost(uint64, tag = "2")]
    pub bundle: u64,
    /// The number of this connection, from 0.
    #[prost(uint32, tag = "3")]
    pub part: u32,
    /// The number of connections, 2 to 4.
    #[prost(uint32, tag = "4")]
    pub parts: u32,
}

/// See [`Control::Refused`].
#[derive(Clone, PartialEq, Message)]
pub struct Refused {
    /// A [`Refusal`].
    #[prost(uint32, tag = "1")]
    pub why: u32,
    /// A sentence for people.
    #[prost(string, tag = "2")]
    pub detail: String,
}

/// Why a hello, an attach or a service is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No version in common.
    Version,
    /// The grant is not known, is revoked, or its secret is wrong.
    Grant,
    /// The grant does not allow this.
    Denied,
    /// Another identity or program has it.
    Held,
    /// A newer process of the same identity has it.
    Superseded,
    /// Too many of something; may succeed later.
    Busy,
    /// A violation of the protocol.
    Protocol,
    /// The session to attach to has ended.
    Gone,
}

impl Refusal {
    const ALL: [(u32, Self); 8] = [
        (1, Self::Version),
        (2, Self::Grant),
        (3, Self::Denied),
        (4, Self::Held),
        (5, Self::Superseded),
        (6, Self::Busy),
        (7, Self::Protocol),
        (8, Self::Gone),
    ];

    /// The number on the wire.
    pub fn number(self) -> u32 {
        Self::ALL
            .iter()
            .find(|(_, refusal)| *refusal == self)
            .map_or(0, |(number, _)| *number)
    }

    /// From the wire; an unknown refusal of a newer version reads as [`Refusal::Denied`].
    pub fn from_number(number: u32) -> Self {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == number)
            .map_or(Self::Denied, |(_, refusal)| *refusal)
    }

    /// Whether a retry is useless until an operator changes something.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Busy | Self::Gone)
    }
}

/// See [`Control::Register`].
#[derive(Clone, PartialEq, Message)]
pub struct Register {
    /// Chosen by the dialler, returned in [`Registered`] and [`Withdrawn`], and named in [`Open`].
    #[prost(uint32, tag = "1")]
    pub service: u32,
    /// A [`ServiceKind`].
    #[prost(uint32, tag = "2")]
    pub kind: u32,
    /// HTTP: the label in front of the domain. TCP: the name of the service within its identity.
    #[prost(string, tag = "3")]
    pub name: String,
    /// TCP: the public port; 0 for one that the acceptor chooses and keeps.
    #[prost(uint32, tag = "4")]
    pub port: u32,
}

/// See [`Control::Registered`].
#[derive(Clone, PartialEq, Message)]
pub struct Registered {
    /// The service.
    #[prost(uint32, tag = "1")]
    pub service: u32,
    /// Where it can be reached: `http://app.t.example.com:8081`, or `203.0.113.1:20022`.
    #[prost(string, tag = "2")]
    pub public: String,
}

/// See [`Control::Withdrawn`].
#[derive(Clone, PartialEq, Message)]
pub struct Withdrawn {
    /// The service.
    #[prost(uint32, tag = "1")]
    pub service: u32,
    /// A [`Refusal`].
    #[prost(uint32, tag = "2")]
    pub why: u32,
    /// A sentence for people.
    #[prost(string, tag = "3")]
    pub detail: String,
}

/// See [`Control::Unregister`].
#[derive(Clone, PartialEq, Message)]
pub struct Unregister {
    /// The service.
    #[prost(uint32, tag = "1")]
    pub service: u32,
}

/// See [`Control::GoAway`].
#[derive(Clone, PartialEq, Message)]
pub struct GoAway {
    /// A sentence for people.
    #[prost(string, tag = "1")]
    pub detail: String,
    /// No stream of the session is open here, and none will be opened: everything was received.
    #[prost(bool, tag = "2")]
    pub idle: bool,
    /// It replies to the peer's GoAway: that was received, and one with `idle` follows once no
    /// stream is open here. This side is not leaving.
    #[prost(bool, tag = "3")]
    pub heard: bool,
}

/// The protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceKind {
    /// HTTP, by name.
    Http,
    /// TCP, by port.
    Tcp,
}

impl ServiceKind {
    /// The number on the wire.
    pub const fn number(self) -> u32 {
        match self {
            Self::Http => 1,
            Self::Tcp => 2,
        }
    }

    /// From the wire.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Http),
            2 => Some(Self::Tcp),
            _ => None,
        }
    }
}

impl fmt::Display for ServiceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
        })
    }
}

/// The first message of a stream, from the side that opens it.
#[derive(Clone, PartialEq, Message)]
pub struct Open {
    /// The kind of the stream: [`NETWORK_TCP`]; UDP is reserved.
    #[prost(uint32, tag = "1")]
    pub network: u32,
    /// The number of a service that the receiver has registered; 0 for none.
    #[prost(uint32, tag = "2")]
    pub service: u32,
    /// Without a service, the host to dial: a name or an address, without brackets.
    #[prost(string, tag = "3")]
    pub host: String,
    /// And its port.
    #[prost(uint32, tag = "4")]
    pub port: u32,
    /// The client's address, for the log of the receiver; empty if not known.
    #[prost(string, tag = "5")]
    pub visitor: String,
    /// A number that is equal for all streams of one client of the sender, and says nothing else
    /// about it; it is another one for each receiver and after a restart. The receiver shares its
    /// memory between them. 0 if not known.
    #[prost(fixed64, tag = "6")]
    pub client: u64,
    /// The stream ends in order: the sender's FIN means that it neither sends nor reads more. A
    /// receiver that [agrees](Opened::ordered_end) does not pass it on, and resets its target once that
    /// has acknowledged everything before it. So no byte is lost, and no port is kept (TIME_WAIT).
    #[prost(bool, tag = "7")]
    pub ordered_end: bool,
}

/// [`Open::network`]: a TCP stream.
pub const NETWORK_TCP: u32 = 0;

/// The first message of a stream, from the side that accepts it.
#[derive(Clone, PartialEq, Message)]
pub struct Answer {
    /// Empty if a newer version sends an unknown answer.
    #[prost(oneof = "Answered", tags = "1, 2")]
    pub answered: Option<Answered>,
}

/// See [`Answer`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Answered {
    /// The receiver has connected.
    #[prost(message, tag = "1")]
    Opened(Opened),
    /// It has not, with the reason.
    #[prost(message, tag = "2")]
    Fault(OpenFault),
}

/// See [`Answered::Opened`].
#[derive(Clone, PartialEq, Message)]
pub struct Opened {
    /// Local address of the connection to the target; empty for a Unix socket.
    #[prost(string, tag = "1")]
    pub local: String,
    /// HTTP services: the Host header of requests on this stream; empty for the visitor's own.
    #[prost(string, tag = "2")]
    pub host: String,
    /// HTTP services: requests a [`Visited`] for each request on this stream.
    #[prost(bool, tag = "3")]
    pub reports: bool,
    /// Whether the stream ends as [`Open::ordered_end`] says.
    #[prost(bool, tag = "4")]
    pub ordered_end: bool,
}

/// See [`Answered::Fault`].
#[derive(Clone, PartialEq, Message)]
pub struct OpenFault {
    /// A [`Code`].
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// The reason class, one kebab-case word.
    #[prost(string, tag = "2")]
    pub class: String,
    /// A sentence for people.
    #[prost(string, tag = "3")]
    pub detail: String,
}

/// Why a stream was reset or not opened. 0 is a reset without a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The stream was dropped.
    None,
    /// The side that opened it violated the protocol.
    Protocol,
    /// No such service, no route.
    NotFound,
    /// Policy refuses it.
    Denied,
    /// No route to the target, or no such name.
    Unreachable,
    /// The target refused the connection.
    Refused,
    /// The target did not answer in time.
    Timeout,
    /// The target broke the connection or violated its protocol.
    Broken,
    /// A further link on the route was lost.
    Lost,
    /// Too many already, or the node is leaving.
    Busy,
}

impl Code {
    const ALL: [(u32, Self, &'static str); 10] = [
        (0, Self::None, "NONE"),
        (1, Self::Protocol, "PROTOCOL"),
        (2, Self::NotFound, "NOT_FOUND"),
        (3, Self::Denied, "DENIED"),
        (4, Self::Unreachable, "UNREACHABLE"),
        (5, Self::Refused, "REFUSED"),
        (6, Self::Timeout, "TIMEOUT"),
        (7, Self::Broken, "BROKEN"),
        (8, Self::Lost, "LOST"),
        (9, Self::Busy, "BUSY"),
    ];

    /// The number on the wire.
    pub fn number(self) -> u32 {
        Self::ALL
            .iter()
            .find(|(_, code, _)| *code == self)
            .map_or(0, |(number, ..)| *number)
    }

    /// From the wire; an unknown code of a newer version reads as [`Code::Broken`].
    pub fn from_number(number: u32) -> Self {
        Self::ALL
            .iter()
            .find(|(known, ..)| *known == number)
            .map_or(Self::Broken, |(_, code, _)| *code)
    }

    /// Its name in logs.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, code, _)| *code == self)
            .map_or("NONE", |(.., name)| *name)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A protocol violation of the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// It announced a message that is too long.
    #[error("a message of {bytes} bytes was announced; the limit is {most}")]
    TooLong {
        /// The announced length.
        bytes: usize,
        /// The limit for this kind of message.
        most: usize,
    },
    /// A [`Credit`] has more grants than [`MOST_GRANTS`].
    #[error("a message grants credit to more than {MOST_GRANTS} streams")]
    TooManyGrants,
    /// It is not a protobuf message of this type.
    #[error("a message that cannot be read: {0}")]
    Malformed(String),
}

/// Appends the length of `message`, and then `message`.
pub fn encode(message: &impl Message, out: &mut Vec<u8>) {
    let length = u32::try_from(message.encoded_len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    // A `Vec` grows: the only possible error, a buffer that is too small, cannot occur.
    let _ = message.encode(out);
}

/// The message at the front of `bytes` and its length in bytes; `None` if it is not complete yet.
///
/// # Errors
/// [`BadMessage`], as soon as it is certain.
pub fn decode<M: Message + Default>(bytes: &[u8]) -> Result<Option<(M, usize)>, BadMessage> {
    decode_within(bytes, MOST_MESSAGE_BYTES)
}

/// The same for a message of at most `most` bytes.
///
/// # Errors
/// [`BadMessage`], as soon as it is certain.
pub fn decode_within<M: Message + Default>(
    bytes: &[u8],
    most: usize,
) -> Result<Option<(M, usize)>, BadMessage> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length > most {
        return Err(BadMessage::TooLong {
            bytes: length,
            most,
        });
    }
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    match M::decode(body) {
        Ok(message) => Ok(Some((message, LENGTH_BYTES + length))),
        Err(error) => Err(BadMessage::Malformed(error.to_string())),
    }
}

/// The [`ControlMessage`] at the front of `bytes`, of at most `most` bytes, and its length in
/// bytes.
///
/// # Errors
/// [`BadMessage`], as soon as it is certain.
pub(crate) fn decode_control(
    bytes: &[u8],
    most: usize,
) -> Result<Option<(ControlMessage, usize)>, BadMessage> {
    let decoded = decode_within::<ControlMessage>(bytes, most)?;
    match &decoded {
        Some((
            ControlMessage {
                control: Some(Control::Credit(credit)),
            },
            _,
        )) if credit.grants.len() > MOST_GRANTS => Err(BadMessage::TooManyGrants),
        _ => Ok(decoded),
    }
}

/// How many bytes of the message at the front of `bytes` are missing, as far as is known: those of
/// its length first.
pub(crate) fn missing(bytes: &[u8]) -> usize {
    match bytes.first_chunk::<LENGTH_BYTES>() {
        None => LENGTH_BYTES - bytes.len(),
        Some(length) => {
            (LENGTH_BYTES + u32::from_be_bytes(*length) as usize).saturating_sub(bytes.len())
        }
    }
}

impl OpenFault {
    /// The same with texts that fit into an [`Answer`].
    pub(crate) fn cut(mut self) -> Self {
        for text in [&mut self.class, &mut self.detail] {
            text.truncate(text.floor_char_boundary(FAULT_TEXT_BYTES));
        }
        self
    }
}

impl Refused {
    /// A refusal whose text fits into a first message.
    pub(crate) fn cut(why: Refusal, mut detail: String) -> Self {
        detail.truncate(detail.floor_char_boundary(FAULT_TEXT_BYTES));
        Self {
            why: why.number(),
            detail,
        }
    }
}

impl From<Control> for ControlMessage {
    fn from(control: Control) -> Self {
        Self {
            control: Some(control),
        }
    }
}

impl From<Answered> for Answer {
    fn from(answered: Answered) -> Self {
        Self {
            answered: Some(answered),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(message: &impl Message) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(message, &mut bytes);
        bytes
    }

    #[test]
    fn a_message_is_complete_at_its_last_byte_and_not_before() {
        let open = Open {
            host: "example.com".into(),
            port: 80,
            ..Open::default()
        };
        let bytes = encoded(&open);
        for end in 0..bytes.len() {
            assert_eq!(decode::<Open>(&bytes[..end]).unwrap(), None);
        }
        let more = [bytes.as_slice(), b"GET"].concat();
        assert_eq!(decode::<Open>(&more).unwrap(), Some((open, bytes.len())));
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_the_message_arrives() {
        assert_eq!(
            decode::<Open>(&[0, 1, 0, 1]),
            Err(BadMessage::TooLong {
                bytes: 65_537,
                most: MOST_MESSAGE_BYTES
            })
        );
        let get = BadMessage::TooLong {
            bytes: 0x4745_5420,
            most: MOST_MESSAGE_BYTES,
        };
        assert_eq!(decode::<Open>(b"GET / HTTP/1.1\r\n"), Err(get));
        assert_eq!(decode::<Open>(&[0, 1, 0, 0]), Ok(None));
    }

    #[test]
    fn fields_of_a_newer_version_are_skipped() {
        // Field 99 of a control message, and field 77 of an Open.
        let control: Vec<u8> = vec![0, 0, 0, 4, 0x9a, 0x06, 0x01, 0x00];
        assert_eq!(
            decode::<ControlMessage>(&control).unwrap().unwrap().0,
            ControlMessage { control: None }
        );
        let open: Vec<u8> = vec![0, 0, 0, 5, 0x20, 80, 0xe8, 0x04, 7];
        assert_eq!(decode::<Open>(&open).unwrap().unwrap().0.port, 80);
    }

    #[test]
    fn every_code_and_refusal_reads_back_from_its_number() {
        for (number, code, name) in Code::ALL {
            assert_eq!(
                (Code::from_number(number), code.number(), code.name()),
                (code, number, name)
            );
        }
        for (number, refusal) in Refusal::ALL {
            assert_eq!(
                (Refusal::from_number(number), refusal.number()),
                (refusal, number)
            );
        }
        assert_eq!(
            (Code::from_number(77), Refusal::from_number(77)),
            (Code::Broken, Refusal::Denied)
        );
    }

    #[test]
    fn a_credit_keeps_a_bounded_number_of_grants_in_memory() {
        let credit = |count: usize| {
            let grants = (0..count as u64)
                .map(|stream| StreamCredit { stream, bytes: 7 })
                .collect();
            ControlMessage::from(Control::Credit(Credit { grants }))
        };
        let whole = encoded(&credit(MOST_GRANTS));
        assert_eq!(
            decode_control(&whole, MOST_MESSAGE_BYTES),
            Ok(Some((credit(MOST_GRANTS), whole.len())))
        );
        // Empty grants: two bytes each.
        let grants = vec![StreamCredit::default(); 32_000];
        let many = encoded(&ControlMessage::from(Control::Credit(Credit { grants })));
        assert_eq!(
            decode_control(&many, MOST_MESSAGE_BYTES),
            Err(BadMessage::TooManyGrants)
        );
        let Some((
            ControlMessage {
                control: Some(Control::Credit(kept)),
            },
            _,
        )) = decode::<ControlMessage>(&many).unwrap()
        else {
            panic!("no credit");
        };
        assert!(
            kept.grants.capacity() <= 2 * MOST_GRANTS,
            "room for {} grants",
            kept.grants.capacity()
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<ControlMessage>(&bytes);
            let _ = decode::<Open>(&bytes);
            let _ = decode::<Answer>(&bytes);
        }
    }
}
