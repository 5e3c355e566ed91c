//! Heads of HTTP messages, for every version: text, and an index over it.
//!
//! In:    the text of a head and the spans of its parts, from the parser of a version.
//! Out:   views of requests and responses; their framing; rules about names of fields.
//! Never: knows how a version encodes a head. Whatever reads or writes heads by these types works
//!        for all versions.
//!
//! The text has the fields as lines, `name: value CRLF`, and the index has the spans of names and
//! values. The parser of HTTP/1 indexes the bytes that it has received. A decoder of HPACK or QPACK
//! writes such lines and indexes them; its pseudo-headers are spans of the index and no fields.
//! Written heads go through [`HeadOut`], which each version implements.
//!
//! The framing of a message is decided once, from its whole head ([`Framed`]); a message without
//! one unambiguous framing is refused ([`Malformed`]).
//!
//! ```
//! use byway_head::{Framed, Limits, RequestHead, Span, Version};
//!
//! // What a decoder makes of `GET / HTTP/1.1` and one field.
//! let text = b"GET/host: a\r\n";
//! let (method, target) = (Span::new(0, 3), Span::new(3, 4));
//! let (name, value) = (Span::new(4, 8), Span::new(10, 11));
//!
//! let mut head = RequestHead::default();
//! head.start(method, target, Version::Http11, text)?;
//! head.section().push(name, value);
//! head.complete(text, &Limits::default())?;
//!
//! let request = head.view(text);
//! assert_eq!((request.method(), request.host()), (&b"GET"[..], Some(&b"a"[..])));
//! assert_eq!(request.framing(), Framed::None);
//! # Ok::<(), byway_head::Malformed>(())
//! ```

mod abuse_account;
mod block_writer;
mod builder;
mod error;
mod field;
mod field_sink;
mod forwarding;
mod framing;
mod hint;
mod hop;
pub mod huffman;
mod limits;
mod message;
pub mod octets;
mod out;
pub mod prefix_int;
mod reason;
mod repeat;
mod request;
mod response;
mod secret;
mod section;
pub mod string_literal;
mod target;
mod trailer;

pub use abuse_account::AbuseAccount;
pub use block_writer::{BlockEncoder, BlockWriter};
pub use builder::{RequestBuilder, ResponseBuilder, TrailersBuilder};
pub use error::Malformed;
pub use field::{Field, Fields, FieldsNamed, Line, Lines, Options};
pub use field_sink::{FieldSink, is_valid_field};
pub use forwarding::{is_alias, is_forwarding};
pub use framing::Framed;
pub use hint::KeepAliveHint;
pub use hop::is_hop_by_hop;
pub use limits::{CONNECTION_OPTIONS, Limits};
pub use message::Version;
pub use out::HeadOut;
pub use reason::reason_phrase;
pub use repeat::is_repeatable;
pub use request::{Request, RequestHead, Scheme};
pub use response::{Response, ResponseHead};
pub use secret::is_secret;
pub use section::{Section, Span};
pub use target::{Authority, TargetForm};
pub use trailer::{Trailers, may_be_trailer};
