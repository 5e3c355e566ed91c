//! Errors: every reason to refuse a message, each with a name.
//!
//! Out:   text for people, a status for the peer, a class for logs.
//! Never: repeats bytes of the message, except the one invalid byte.

use thiserror::Error;

/// Why a message was refused. Each violation has its own variant, so that logs and tests can
/// distinguish them.
///
/// `at` counts bytes from the start of the parsed buffer. A message is never repaired: after an
/// error, both sides may disagree on where the next message starts, so the connection must be
/// closed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The head did not end within [`Limits::head_bytes`](crate::Limits::head_bytes).
    #[error("the head does not end within {limit} bytes")]
    HeadTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// More field lines than [`Limits::fields`](crate::Limits::fields), in a head or in a trailer
    /// section.
    #[error("more than {limit} field lines")]
    TooManyFields {
        /// The limit, in lines.
        limit: usize,
    },
    /// The Connection fields of the head have more than
    /// [`Limits::connection_options`](crate::Limits::connection_options) elements together.
    #[error("the Connection fields have more than {limit} options")]
    TooManyConnectionOptions {
        /// The limit.
        limit: usize,
    },
    /// The request target is longer than [`Limits::target_bytes`](crate::Limits::target_bytes).
    #[error("the request target is longer than {limit} bytes")]
    TargetTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The method is longer than every known method (64 bytes).
    #[error("the method is longer than {limit} bytes")]
    MethodTooLong {
        /// The limit, in bytes.
        limit: usize,
    },

    /// A line ends with LF alone.
    #[error("byte {at}: a line ends with LF without CR")]
    BareLf {
        /// Where the LF is.
        at: usize,
    },
    /// CR without a following LF.
    #[error("byte {at}: CR without LF")]
    BareCr {
        /// Where the CR is.
        at: usize,
    },
    /// More than two empty lines before a request line (RFC 9112 section 2.2 recommends to ignore
    /// at least one).
    #[error("byte {at}: too many empty lines before the request line")]
    EmptyLines {
        /// Where the first excess line starts.
        at: usize,
    },
    /// The method is empty or has a byte that is not a token character.
    #[error("byte {at}: {byte:#04x} is not allowed in a method")]
    MethodByte {
        /// Where the byte is.
        at: usize,
        /// The byte.
        byte: u8,
    },
    /// There is no request target, or more than one space before it.
    #[error("byte {at}: no request target after one space")]
    TargetEmpty {
        /// Where the target should start.
        at: usize,
    },
    /// The target has a control, space, `#` or non-ASCII byte.
    #[error("byte {at}: {byte:#04x} is not allowed in a request target")]
    TargetByte {
        /// Where the byte is.
        at: usize,
        /// The byte.
        byte: u8,
    },
    /// The request line has more than its two spaces.
    #[error("byte {at}: an extra space in the request line")]
    ExtraSpace {
        /// Where the space is.
        at: usize,
    },
    /// The target is neither a path nor `scheme://authority/path`, or its authority is not valid.
    #[error("the request target is neither a path nor a valid absolute URI")]
    TargetForm,
    /// `*` with another method than OPTIONS (RFC 9112 section 3.2.4).
    #[error("the request target `*` is for OPTIONS only")]
    AsteriskTarget,
    /// The target of CONNECT is not `host:port` (RFC 9112 section 3.2.3).
    #[error("the target of CONNECT is not host:port")]
    ConnectTarget,
    /// CONNECT with Transfer-Encoding or a Content-Length above 0: it has no content (RFC 9110
    /// section 9.3.6), so one parser could read the bytes after it as a body and another as tunnel
    /// data.
    #[error("CONNECT with a body")]
    ConnectBody,
    /// The request line has no version, as in HTTP/0.9.
    #[error("the request line has no HTTP version")]
    VersionMissing,
    /// The version is not `HTTP/` digit `.` digit.
    #[error("byte {at}: not an HTTP version")]
    VersionInvalid {
        /// Where the version starts.
        at: usize,
    },
    /// A well-formed version other than 1.0 and 1.1.
    #[error("HTTP/{major}.{minor} is not supported, only 1.0 and 1.1")]
    VersionUnsupported {
        /// The digit before the point.
        major: u8,
        /// The digit after the point.
        minor: u8,
    },
    /// The status is not three digits from 100 to 999, between a space and a space or line end.
    #[error("byte {at}: not a status code of three digits")]
    StatusCode {
        /// Where the status should start.
        at: usize,
    },
    /// The reason phrase has a control byte.
    #[error("byte {at}: {byte:#04x} is not allowed in a reason phrase")]
    ReasonByte {
        /// Where the byte is.
        at: usize,
        /// The byte.
        byte: u8,
    },

    /// The first field line starts with white space (RFC 9112 section 2.2).
    #[error("byte {at}: white space before the first field")]
    LeadingWhitespace {
        /// Where the line starts.
        at: usize,
    },
    /// A field line is continued on the next one (RFC 9112 section 5.2).
    #[error("byte {at}: a folded field line")]
    ObsFold {
        /// Where the continuation starts.
        at: usize,
    },
    /// A field line without a colon.
    #[error("byte {at}: a field line without a colon")]
    ColonMissing {
        /// Where the line starts.
        at: usize,
    },
    /// A field line that starts with its colon.
    #[error("byte {at}: a field without a name")]
    NameEmpty {
        /// Where the line starts.
        at: usize,
    },
    /// White space between a field's name and its colon (RFC 9112 section 5.1).
    #[error("byte {at}: white space before the colon of a field")]
    SpaceBeforeColon {
        /// Where the white space starts.
        at: usize,
    },
    /// A field name has a byte that is not a token character.
    #[error("byte {at}: {byte:#04x} is not allowed in a field name")]
    NameByte {
        /// Where the byte is.
        at: usize,
        /// The byte.
        byte: u8,
    },
    /// A field value has NUL or another control byte except HTAB.
    #[error("byte {at}: {byte:#04x} is not allowed in a field value")]
    ValueByte {
        /// Where the byte is.
        at: usize,
        /// The byte.
        byte: u8,
    },

    /// An HTTP/1.1 request without Host (RFC 9112 section 3.2).
    #[error("the request has no Host")]
    HostMissing,
    /// A request with several Host fields.
    #[error("the request has more than one Host")]
    HostRepeated,
    /// Host is not `uri-host [ ":" port ]`, or is empty.
    #[error("the value of Host is not a host with an optional port")]
    HostInvalid,

    /// Host and `:authority` differ (RFC 9113 section 8.3.1).
    #[error("Host and :authority differ")]
    HostDiffers,

    /// A pseudo-header follows a regular field (RFC 9113 section 8.3).
    #[error("a pseudo-header after a regular field")]
    PseudoAfterField,
    /// A pseudo-header occurs twice.
    #[error("{name} occurs more than once")]
    PseudoRepeated {
        /// Its name.
        name: &'static str,
    },
    /// A pseudo-header that is not defined for this kind of message.
    #[error("an undefined pseudo-header")]
    PseudoUnknown,
    /// A pseudo-header that this message must have is missing or empty.
    #[error("{name} is missing or empty")]
    PseudoMissing {
        /// Its name.
        name: &'static str,
    },
    /// A pseudo-header that this message must not have: `:scheme` or `:path` with CONNECT (RFC 9113
    /// section 8.5), `:protocol` with another method, or before it was allowed (RFC 8441 section 4).
    #[error("{name} is not allowed in this request")]
    PseudoUnexpected {
        /// Its name.
        name: &'static str,
    },
    /// `:scheme` is neither `http` nor `https`.
    #[error("the scheme is neither http nor https")]
    SchemeUnknown,
    /// `:protocol` is no token.
    #[error(":protocol is not a token")]
    ProtocolInvalid,
    /// A value starts or ends with white space in a version that does not allow it (RFC 9113 section
    /// 8.2.1).
    #[error("byte {at}: white space around a field value")]
    ValueSpace {
        /// Where the white space is.
        at: usize,
    },
    /// A field about the connection in a version that has none: Connection, Keep-Alive,
    /// Proxy-Connection, Transfer-Encoding, Upgrade (RFC 9113 section 8.2.2).
    #[error("a field about the connection, which only HTTP/1 has")]
    ConnectionField,
    /// TE has another value than `trailers` (RFC 9113 section 8.2.2).
    #[error("TE is not `trailers`")]
    TeUnsupported,
    /// An interim response (1xx) ends its stream, or is 101, which only HTTP/1 has (RFC 9113 section
    /// 8.6).
    #[error("an interim response that is 101 or ends the stream")]
    InterimInvalid,

    /// Content-Length and Transfer-Encoding in one head (RFC 9112 section 6.1: a sign of request
    /// smuggling).
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    /// More than one Content-Length field, equal or not.
    #[error("more than one Content-Length")]
    LengthRepeated,
    /// Content-Length is not one plain decimal number.
    #[error("Content-Length is not one plain decimal number")]
    LengthInvalid,
    /// Content-Length is over 2^63-1.
    #[error("Content-Length is larger than 2^63-1")]
    LengthTooLarge,
    /// More than one Transfer-Encoding field.
    #[error("more than one Transfer-Encoding")]
    CodingRepeated,
    /// Transfer-Encoding in an HTTP/1.0 message (RFC 9112 section 6.1).
    #[error("Transfer-Encoding in an HTTP/1.0 message")]
    CodingOnHttp10,
    /// Transfer-Encoding is empty or has an empty or invalid element.
    #[error("Transfer-Encoding is not a list of codings")]
    CodingInvalid,
    /// `chunked` is applied more than once.
    #[error("the coding chunked is applied more than once")]
    ChunkedRepeated,
    /// A coding is applied after `chunked`, so that the end of the body is unknown.
    #[error("chunked is not the last transfer coding")]
    ChunkedNotLast,
    /// A request uses a transfer coding other than `chunked` alone.
    #[error("a transfer coding other than chunked")]
    CodingUnknown,
    /// A response uses a transfer coding other than `chunked` alone, which our request did not
    /// allow.
    #[error("the response uses a transfer coding that was not requested")]
    CodingUnasked,

    /// A chunk starts without a hexadecimal size, or the size is followed by something other than a
    /// digit, an extension or CRLF.
    #[error("{byte:#04x} is not allowed in a chunk size")]
    ChunkSizeByte {
        /// The byte.
        byte: u8,
    },
    /// A chunk size of more than 16 digits, or over 2^63-1.
    #[error("a chunk size is too large")]
    ChunkSizeTooLarge,
    /// A chunk extension does not follow the grammar of RFC 9112 section 7.1.1.
    #[error("{byte:#04x} is not allowed there in a chunk extension")]
    ChunkExtensionByte {
        /// The byte.
        byte: u8,
    },
    /// The chunk extensions of one message are longer than
    /// [`Limits::chunk_extension_bytes`](crate::Limits::chunk_extension_bytes) together.
    #[error("the chunk extensions of the message are longer than {limit} bytes")]
    ChunkExtensionsTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A chunk's size line, its data or the body does not end with CRLF.
    #[error("{byte:#04x} where the chunked coding requires CRLF")]
    ChunkLineEnd {
        /// The byte in its place.
        byte: u8,
    },
    /// The trailer section did not end within [`Limits::head_bytes`](crate::Limits::head_bytes).
    #[error("the trailer section does not end within {limit} bytes")]
    TrailersTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

impl Malformed {
    /// The response status for a request with this violation: 400, 414, 431, 501 or 505. (It does
    /// not apply to responses: a malformed response is answered with 502.)
    pub fn status(&self) -> u16 {
        match self {
            Self::TargetTooLong { .. } => 414,
            Self::HeadTooLarge { .. }
            | Self::TooManyFields { .. }
            | Self::TrailersTooLarge { .. } => 431,
            Self::CodingUnknown | Self::MethodTooLong { .. } => 501,
            Self::VersionUnsupported { .. } => 505,
            _ => 400,
        }
    }

    /// A short, stable name in kebab case, for logs and metrics.
    pub fn class(&self) -> &'static str {
        match self {
            Self::HeadTooLarge { .. } => "head-too-large",
            Self::TooManyFields { .. } => "too-many-fields",
            Self::TooManyConnectionOptions { .. } => "too-many-connection-options",
            Self::TargetTooLong { .. } => "target-too-long",
            Self::MethodTooLong { .. } => "method-too-long",
            Self::BareLf { .. } => "bare-lf",
            Self::BareCr { .. } => "bare-cr",
            Self::EmptyLines { .. } => "empty-lines",
            Self::MethodByte { .. } => "method-byte",
            Self::TargetEmpty { .. } => "target-empty",
            Self::TargetByte { .. } => "target-byte",
            Self::ExtraSpace { .. } => "extra-space",
            Self::TargetForm => "target-form",
            Self::AsteriskTarget => "asterisk-target",
            Self::ConnectTarget => "connect-target",
            Self::ConnectBody => "connect-body",
            Self::VersionMissing => "version-missing",
            Self::VersionInvalid { .. } => "version-invalid",
            Self::VersionUnsupported { .. } => "version-unsupported",
            Self::StatusCode { .. } => "status-code",
            Self::ReasonByte { .. } => "reason-byte",
            Self::LeadingWhitespace { .. } => "leading-whitespace",
            Self::ObsFold { .. } => "obs-fold",
            Self::ColonMissing { .. } => "colon-missing",
            Self::NameEmpty { .. } => "name-empty",
            Self::SpaceBeforeColon { .. } => "space-before-colon",
            Self::NameByte { .. } => "name-byte",
            Self::ValueByte { .. } => "value-byte",
            Self::HostMissing => "host-missing",
            Self::HostRepeated => "host-repeated",
            Self::HostInvalid => "host-invalid",
            Self::HostDiffers => "host-differs",
            Self::PseudoAfterField => "pseudo-after-field",
            Self::PseudoRepeated { .. } => "pseudo-repeated",
            Self::PseudoUnknown => "pseudo-unknown",
            Self::PseudoMissing { .. } => "pseudo-missing",
            Self::PseudoUnexpected { .. } => "pseudo-unexpected",
            Self::SchemeUnknown => "scheme-unknown",
            Self::ProtocolInvalid => "protocol-invalid",
            Self::ValueSpace { .. } => "value-space",
            Self::ConnectionField => "connection-field",
            Self::TeUnsupported => "te-unsupported",
            Self::InterimInvalid => "interim-invalid",
            Self::LengthAndCoding => "length-and-coding",
            Self::LengthRepeated => "length-repeated",
            Self::LengthInvalid => "length-invalid",
            Self::LengthTooLarge => "length-too-large",
            Self::CodingRepeated => "coding-repeated",
            Self::CodingOnHttp10 => "coding-on-http10",
            Self::CodingInvalid => "coding-invalid",
            Self::ChunkedRepeated => "chunked-repeated",
            Self::ChunkedNotLast => "chunked-not-last",
            Self::CodingUnknown => "coding-unknown",
            Self::CodingUnasked => "coding-unasked",
            Self::ChunkSizeByte { .. } => "chunk-size-byte",
            Self::ChunkSizeTooLarge => "chunk-size-too-large",
            Self::ChunkExtensionByte { .. } => "chunk-extension-byte",
            Self::ChunkExtensionsTooLong { .. } => "chunk-extensions-too-long",
            Self::ChunkLineEnd { .. } => "chunk-line-end",
            Self::TrailersTooLarge { .. } => "trailers-too-large",
        }
    }
}
