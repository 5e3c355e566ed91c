//! Reason: why a request or a tunnel ended; the one list for logs, metrics, documents, and the
//! responses of every protocol.
//!
//! Never: a word that changes, as logs, metrics and nodes of other versions have it.

use byway_dial::socks::ReplyCode;
use byway_http::h2::ErrorCode;
use byway_link::Code;

use super::Who;

/// How a fault is answered in each protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The SOCKS5 reply (RFC 1928 section 6).
    pub socks5: ReplyCode,
    /// The code that a link stream ends with.
    pub link: Code,
    /// The error type of the Proxy-Status field (RFC 9209 section 2.3).
    pub proxy_status: &'static str,
    /// The code that a stream of HTTP/2 is reset with, if its response was cut or cannot be sent.
    pub http2: ErrorCode,
}

/// For each list of reasons, the sides that can cause them, each with its answers: HTTP status,
/// SOCKS5 reply, link code, Proxy-Status, code of HTTP/2. Then for each reason its meaning and its
/// word.
/// `docs/reasons.md` has the same meanings.
macro_rules! reasons {
    ($(
        [$($($who:ident)+: $status:literal $socks5:ident $link:ident $proxy_status:literal $http2:ident),*] {
            $($(#[doc = $meaning:literal])+ $reason:ident = $word:literal,)+
        }
    )+) => {
        /// Why a request or a tunnel ended: one list for logs, metrics and the responses of every
        /// protocol. The word of a reason never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($($(#[doc = $meaning])+ $reason,)+)+
        }

        impl Reason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &[Self] = &[$($(Self::$reason,)+)+];

            /// The word in logs, metrics and responses.
            pub const fn word(self) -> &'static str {
                match self {
                    $($(Self::$reason => $word,)+)+
                }
            }

            /// The meaning, as in `docs/reasons.md`.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $($(Self::$reason => concat!($($meaning),+).trim_ascii_start(),)+)+
                }
            }

            /// The sides that can cause it, each with its answers; none for the end of a tunnel.
            pub const fn answers(self) -> &'static [(Who, Answer)] {
                match self {
                    $($(Self::$reason)|+ => &[$($((Who::$who, Answer {
                        status: $status,
                        socks5: ReplyCode::$socks5,
                        link: Code::$link,
                        proxy_status: $proxy_status,
                        http2: ErrorCode::$http2,
                    }),)+)*],)+
                }
            }
        }
    };
}

reasons! {
    // How it went, if nothing failed.
    [] {
        /// success; in the metrics `outcome="ok"`
        Done = "done",
        /// a reason that is missing here: please report it
        Other = "other",
    }
    // Deadlines.
    [Downstream: 408 GeneralFailure Protocol "http_request_error" CANCEL] {
        /// a SOCKS handshake was not complete in time; `limits.handshake_timeout`. There is no
        /// response
        Handshake = "handshake",
        /// a request's head was not complete in time; `limits.head_timeout`
        RequestHead = "request-head",
        /// a request's body arrived too slowly; `limits.min_rate`
        RequestRate = "request-rate",
        /// a response was read too slowly, and is truncated; `limits.min_rate`
        ResponseRate = "response-rate",
    }
    [Downstream: 408 GeneralFailure Protocol "http_request_error" CANCEL,
     Upstream: 504 HostUnreachable Timeout "http_response_timeout" INTERNAL_ERROR] {
        /// a request's body stalled: the client did not send it, or the upstream did not take it;
        /// `limits.body_progress`
        RequestBody = "request-body",
        /// the response body stalled: the upstream did not send it, or the client did not take it;
        /// `limits.body_progress`
        ResponseBody = "response-body",
    }
    [Upstream: 504 HostUnreachable Timeout "dns_timeout" INTERNAL_ERROR] {
        /// a name look-up got no answer within 5 s
        Resolve = "resolve",
    }
    [Upstream: 504 HostUnreachable Timeout "connection_timeout" INTERNAL_ERROR] {
        /// the connection to the upstream was not open in time; `dial.connect_timeout`
        Connect = "connect",
    }
    [Upstream: 504 HostUnreachable Timeout "http_response_timeout" INTERNAL_ERROR] {
        /// the upstream had the request, or had started its response head, and did not complete
        /// that head; or it sent neither a `100 Continue` nor a response to a client that waits for
        /// it; `limits.first_byte`
        FirstByte = "first-byte",
    }
    [Link: 503 GeneralFailure Lost "http_request_error" INTERNAL_ERROR] {
        /// the agent of an exposed service did not come back in time; `link.park`
        Parked = "parked",
    }
    // Limits.
    [Downstream: 431 GeneralFailure Protocol "http_request_error" PROTOCOL_ERROR,
     Upstream: 502 ConnectionRefused Broken "http_response_header_section_size" INTERNAL_ERROR] {
        /// more bytes of head or trailers than allowed; `limits.head_bytes`
        HeadTooLarge = "head-too-large",
        /// more fields than allowed; `limits.head_fields`
        TooManyFields = "too-many-fields",
    }
    [Downstream: 414 GeneralFailure Protocol "http_request_error" PROTOCOL_ERROR] {
        /// a request target of more than 16 KiB
        TargetTooLarge = "target-too-large",
    }
    [Downstream: 413 GeneralFailure Protocol "http_request_error" CANCEL] {
        /// a longer body than allowed; `max_body`
        BodyTooLarge = "body-too-large",
    }
    [Us: 503 GeneralFailure Busy "connection_limit_reached" INTERNAL_ERROR] {
        /// the queue for connections is full, and the client or the upstream has its share of it;
        /// `pool.queue`
        QueueFull = "queue-full",
        /// no connection to the upstream became free within `pool.queue_wait`;
        /// `pool.max_per_origin`
        MaxPerOrigin = "max-per-origin",
        /// the same for the connections of all upstreams together; `pool.max_total`
        MaxTotal = "max-total",
        /// the upstream had the most upgraded connections (WebSockets) allowed, and none ended
        /// within `pool.queue_wait`; `pool.max_upgraded_per_origin`. The upgrade was not sent to
        /// the upstream
        MaxUpgradedPerOrigin = "max-upgraded-per-origin",
        /// the user or client has too many name look-ups at once: an eighth of all run, and 1,024
        /// more wait already, or this one waited for 5 s without being sent. Usually its other
        /// names get no answer
        Lookups = "lookups",
        /// this process may open no more files and sockets (accepted connections stop below that,
        /// so something else took them), or those for tunnels on streams of HTTP/2 and HTTP/3 are in
        /// use, or the kernel could not report whether a target is this machine
        Descriptors = "descriptors",
    }
    [Us: 503 GeneralFailure Busy "proxy_internal_error" INTERNAL_ERROR] {
        /// this node is stopping
        Draining = "draining",
    }
    [Us Link: 503 GeneralFailure Busy "connection_limit_reached" INTERNAL_ERROR] {
        /// other clients waited for the upstream, and this client held more than its share of the
        /// connections to it, one of which waited for bytes of its request body (also before a `100
        /// Continue`) or for the client to read a response; or the queue was full, and this client
        /// had more of its slots than another one that needed one; or the same for the slots of
        /// visitors that wait for an agent (`link.parked`); or the client has its share of the
        /// descriptors for tunnels on streams of HTTP/2 and HTTP/3
        ClientShare = "client-share",
    }
    [Link: 503 GeneralFailure Busy "connection_limit_reached" INTERNAL_ERROR] {
        /// the most visitors allowed wait for an agent, and the client has its share of the slots;
        /// `link.parked`
        ParkedFull = "parked-full",
        /// the node at the other end of a link is at a limit of its own
        FarSideBusy = "far-side-busy",
        /// at the node at the other end of a link, this client has its share of the descriptors for
        /// streams, and the rest is reserved for other clients
        FarSideShare = "far-side-share",
    }
    // Decisions.
    [Downstream Us: 404 NotAllowed NotFound "destination_not_found" CANCEL] {
        /// no route matches, or the service does not exist
        NoRoute = "no-route",
    }
    [Downstream: 403 NotAllowed Denied "destination_ip_prohibited" CANCEL] {
        /// policy refuses the target
        Denied = "denied",
    }
    [Downstream: 407 NotAllowed Protocol "http_request_denied" CANCEL] {
        /// credentials are missing or wrong
        Unauthorized = "unauthorized",
    }
    [Downstream: 405 GeneralFailure Protocol "http_request_error" CANCEL] {
        /// CONNECT on an edge; TRACE with `Max-Forwards: 0`
        MethodNotAllowed = "method-not-allowed",
    }
    [Downstream: 508 GeneralFailure Broken "proxy_loop_detected" CANCEL] {
        /// the request has passed this node 16 times
        Loop = "loop",
    }
    [Downstream: 421 GeneralFailure Protocol "http_request_error" CANCEL] {
        /// a target of another scheme than `http:`, in clear text, and not from one of
        /// `trusted_proxies`
        Misdirected = "misdirected",
    }
    // Upstreams, links and this node.
    [Upstream: 502 HostUnreachable Unreachable "dns_error" INTERNAL_ERROR] {
        /// the name has no address
        NameNotFound = "name-not-found",
    }
    [Upstream: 502 NetworkUnreachable Unreachable "destination_ip_unroutable" INTERNAL_ERROR] {
        /// no route to the address
        Unreachable = "unreachable",
    }
    [Upstream: 502 ConnectionRefused Refused "connection_refused" INTERNAL_ERROR] {
        /// the target refused the connection
        Refused = "refused",
    }
    [Upstream: 502 ConnectionRefused Broken "tls_protocol_error" INTERNAL_ERROR] {
        /// TLS with the upstream failed
        Tls = "tls",
    }
    [Upstream: 502 ConnectionRefused Broken "connection_terminated" INTERNAL_ERROR,
     Downstream: 408 GeneralFailure Protocol "http_request_error" CANCEL] {
        /// a side closed or reset too early
        ClosedEarly = "closed-early",
    }
    [Link: 502 GeneralFailure Lost "destination_unavailable" INTERNAL_ERROR] {
        /// the link between two nodes was lost
        LinkLost = "link-lost",
    }
    [Us: 500 GeneralFailure Broken "proxy_internal_error" INTERNAL_ERROR] {
        /// an internal error
        Internal = "internal",
    }
    // The ends of tunnels, besides done and link-lost.
    [] {
        /// a tunnel carried nothing: once one side had finished, for `limits.half_closed_idle`;
        /// else for `limits.idle`
        Idle = "idle",
        /// a tunnel was closed to free a slot: other clients waited for an upgraded connection to
        /// its upstream, of which its client had more than its share
        Shed = "shed",
        /// a side reset a tunnel
        Reset = "reset",
        /// a socket, TLS or disk failed under a tunnel
        Error = "error",
    }
    // What is not supported.
    [Downstream: 505 GeneralFailure Broken "http_request_error" CANCEL,
     Upstream: 502 ConnectionRefused Broken "http_protocol_error" INTERNAL_ERROR] {
        /// another version than HTTP/1.0 and 1.1 in the first line of a message, or HTTP/2 after
        /// requests of HTTP/1 on the same connection
        HttpVersion = "http-version",
    }
    [Downstream: 501 CommandNotSupported Broken "http_request_error" CANCEL] {
        /// an unsupported transfer coding
        CodingUnknown = "coding-unknown",
        /// a method that is too long
        MethodTooLong = "method-too-long",
        /// BIND or UDP ASSOCIATE, which are not served
        SocksCommand = "socks-command",
        /// a network that links do not carry: only TCP is carried
        Network = "network",
    }
    [Downstream: 501 AddressTypeNotSupported Broken "http_request_error" CANCEL] {
        /// an address type that SOCKS does not have
        SocksAddressType = "socks-address-type",
    }
    // Malformed messages.
    [Downstream: 400 GeneralFailure Protocol "http_request_error" PROTOCOL_ERROR,
     Upstream: 502 ConnectionRefused Broken "http_protocol_error" INTERNAL_ERROR] {
        /// a CR without its LF
        BareCr = "bare-cr",
        /// an LF without its CR
        BareLf = "bare-lf",
        /// a byte that no chunk extension may hold
        ChunkExtensionByte = "chunk-extension-byte",
        /// chunk extensions of more than 16 KiB
        ChunkExtensionsTooLong = "chunk-extensions-too-long",
        /// a chunk whose line does not end
        ChunkLineEnd = "chunk-line-end",
        /// a chunk size that is not a hexadecimal number
        ChunkSizeByte = "chunk-size-byte",
        /// a chunk size that does not fit
        ChunkSizeTooLarge = "chunk-size-too-large",
        /// another transfer coding after chunked
        ChunkedNotLast = "chunked-not-last",
        /// chunked twice
        ChunkedRepeated = "chunked-repeated",
        /// a Transfer-Encoding that cannot be read
        CodingInvalid = "coding-invalid",
        /// a Transfer-Encoding in HTTP/1.0
        CodingOnHttp10 = "coding-on-http10",
        /// two Transfer-Encoding fields
        CodingRepeated = "coding-repeated",
        /// a field about the connection, which only HTTP/1 has, in HTTP/2 or HTTP/3
        ConnectionField = "connection-field",
        /// a pseudo-header after a regular field
        PseudoAfterField = "pseudo-after-field",
        /// a pseudo-header that the message must have is missing or empty
        PseudoMissing = "pseudo-missing",
        /// a pseudo-header twice
        PseudoRepeated = "pseudo-repeated",
        /// a pseudo-header that is not defined for the message
        PseudoUnknown = "pseudo-unknown",
        /// a TE other than `trailers` in HTTP/2 or HTTP/3
        TeUnsupported = "te-unsupported",
        /// white space around a field value in HTTP/2 or HTTP/3
        ValueSpace = "value-space",
        /// a field without a colon
        ColonMissing = "colon-missing",
        /// a space before the first field
        LeadingWhitespace = "leading-whitespace",
        /// Content-Length and Transfer-Encoding together
        LengthAndCoding = "length-and-coding",
        /// a Content-Length that is not a number
        LengthInvalid = "length-invalid",
        /// two Content-Length fields
        LengthRepeated = "length-repeated",
        /// a Content-Length that does not fit
        LengthTooLarge = "length-too-large",
        /// a byte that no field name may hold
        NameByte = "name-byte",
        /// a field without a name
        NameEmpty = "name-empty",
        /// a field that continues on the next line
        ObsFold = "obs-fold",
        /// a space before a colon
        SpaceBeforeColon = "space-before-colon",
        /// more than 64 options in all Connection fields of a head together
        TooManyConnectionOptions = "too-many-connection-options",
        /// a byte that no field value may hold
        ValueByte = "value-byte",
        /// an HTTP version that cannot be read
        VersionInvalid = "version-invalid",
    }
    [Downstream: 400 GeneralFailure Protocol "http_request_error" PROTOCOL_ERROR] {
        /// an absolute target of another scheme than http, at an egress
        AbsoluteScheme = "absolute-scheme",
        /// a path that an origin might read differently: `..`, `%2e%2e`, `\`, `%00`
        AmbiguousPath = "ambiguous-path",
        /// the target `*` with another method than OPTIONS
        AsteriskTarget = "asterisk-target",
        /// a Host that is not ASCII
        BadHost = "bad-host",
        /// a target that is neither an address nor a name with a port
        BadTarget = "bad-target",
        /// a body with CONNECT
        ConnectBody = "connect-body",
        /// a CONNECT target that is not an authority
        ConnectTarget = "connect-target",
        /// a body with CONNECT, at an egress
        ConnectWithBody = "connect-with-body",
        /// a Connection that lists a field for the upstream: Cookie, Authorization, Content-Type,
        /// Cache-Control, Via, Expect, and the forwarding fields of a trusted proxy
        ConnectionOption = "connection-option",
        /// too many empty lines before a request
        EmptyLines = "empty-lines",
        /// a path with an empty segment (`//`), at an edge with `reject_empty_segments`
        EmptySegment = "empty-segment",
        /// a path with a `%` that is not followed by two hexadecimal digits, such as `/100%` or
        /// `/%u002e`: `%25` is the character. The query is forwarded unchanged
        EscapeInvalid = "escape-invalid",
        /// more than one space in a request line
        ExtraSpace = "extra-space",
        /// the node at the other end of a link found the request malformed
        FarSide = "far-side",
        /// Host and `:authority` differ
        HostDiffers = "host-differs",
        /// a `:protocol` that is not a token
        ProtocolInvalid = "protocol-invalid",
        /// a pseudo-header that the request must not have, such as `:path` with CONNECT
        PseudoUnexpected = "pseudo-unexpected",
        /// a `:scheme` that is neither `http` nor `https`
        SchemeUnknown = "scheme-unknown",
        /// a Host that is not valid
        HostInvalid = "host-invalid",
        /// HTTP/1.1 without a Host
        HostMissing = "host-missing",
        /// two Host fields
        HostRepeated = "host-repeated",
        /// a Max-Forwards that is not a single number
        MaxForwards = "max-forwards",
        /// a byte that no method may hold
        MethodByte = "method-byte",
        /// a request for an origin, at an egress
        OriginForm = "origin-form",
        /// a SOCKS message that cannot be read
        Socks = "socks",
        /// the client started with SOCKS at a port that speaks HTTP: `byway proxy` serves SOCKS
        SocksAtHttpPort = "socks-at-http-port",
        /// a byte that no target may hold
        TargetByte = "target-byte",
        /// no target
        TargetEmpty = "target-empty",
        /// a target of an unknown form
        TargetForm = "target-form",
        /// the client started a TLS handshake at a port that speaks plain HTTP
        TlsAtPlainPort = "tls-at-plain-port",
        /// a request line without a version
        VersionMissing = "version-missing",
    }
    [Upstream: 502 ConnectionRefused Broken "http_protocol_error" INTERNAL_ERROR] {
        /// a transfer coding that was not requested
        CodingUnasked = "coding-unasked",
        /// 64 interim responses and no final one
        EndlessInterim = "endless-interim",
        /// an interim response that is 101 or ends its stream, in HTTP/2 or HTTP/3
        InterimInvalid = "interim-invalid",
        /// 101 before the upstream had received the whole request
        PrematureUpgrade = "premature-upgrade",
        /// a byte that no reason phrase may hold
        ReasonByte = "reason-byte",
        /// a status that is not valid
        StatusCode = "status-code",
        /// 101 to a request that did not request this upgrade
        UnaskedUpgrade = "unasked-upgrade",
        /// a final response that is a success to an extended CONNECT, whose client would take it for
        /// the beginning of a tunnel
        UpgradeIgnored = "upgrade-ignored",
        /// the upstream speaks HTTP/2 only: give its route `h2 = true`, or use a port that speaks
        /// HTTP/1.1
        UpstreamSpeaksHttp2 = "upstream-speaks-http2",
        /// plain HTTP was sent to an upstream that speaks TLS: write `https://` in front of it
        UpstreamSpeaksTls = "upstream-speaks-tls",
    }
    [Link: 502 GeneralFailure Broken "http_protocol_error" INTERNAL_ERROR] {
        /// the node at the other end of a link sent a reply that cannot be read
        LinkAnswer = "link-answer",
    }
}

impl Reason {
    /// The reason with this word, if this version knows it.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.word() == word)
    }

    /// Whether a deadline passed, so that waiting once more is of no use.
    pub const fn is_deadline(self) -> bool {
        matches!(
            self,
            Self::Handshake
                | Self::RequestHead
                | Self::RequestBody
                | Self::RequestRate
                | Self::Resolve
                | Self::Connect
                | Self::FirstByte
                | Self::ResponseBody
                | Self::ResponseRate
                | Self::Parked
        )
    }

    /// How a fault that `who` caused is answered.
    pub fn answer(self, who: Who) -> Answer {
        let answers = self.answers();
        let own = answers.iter().find(|(side, _)| *side == who);
        debug_assert!(own.is_some(), "{self:?} is never caused by {who:?}");
        own.or_else(|| answers.first())
            .map_or(INTERNAL_ERROR, |(_, answer)| *answer)
    }
}

/// The answer to what should not have happened.
const INTERNAL_ERROR: Answer = Answer {
    http2: ErrorCode::INTERNAL_ERROR,
    status: 500,
    socks5: ReplyCode::GeneralFailure,
    link: Code::Broken,
    proxy_status: "proxy_internal_error",
};

#[cfg(test)]
mod tests;
