//! Byway's HTTP/1 codec: strict, incremental, without sockets and without a clock.
//!
//! In:    bytes as they arrive, split anywhere.
//! Out:   heads as an index over those bytes, bodies as steps over them, and bytes to send.
//! Never: repairs a message, copies a body, or accepts a message that two parsers could read
//!        differently.
//!
//! The framing of a message is decided once, from its whole head ([`Framed`]); a message without
//! one unambiguous framing is refused ([`Malformed`]). Output is written from the parsed structure
//! only ([`mod@write`]), so that the sender's spelling of lines is not passed on.
//!
//! ```
//! use byway_h1::{BodyDecoder, Framed, Limits, Parsed, RequestHead, Step};
//!
//! let buf = b"POST /a?b HTTP/1.1\r\nHost: example.com\r\nContent-Length: 2\r\n\r\nhi";
//! let limits = Limits::default();
//! let mut head = RequestHead::default();
//! let Parsed::Complete(head_len) = head.parse(buf, &limits)? else { panic!("read more and parse again") };
//! let request = head.view(buf);
//! assert_eq!(request.path(), b"/a");
//! assert_eq!(request.host(), Some(&b"example.com"[..]));
//!
//! let mut body = BodyDecoder::new(request.framing(), &limits);
//! assert_eq!(body.step(&buf[head_len..])?, Step::Data(2));
//! body.taken(2);
//! assert!(body.is_done());
//! # Ok::<(), byway_h1::Malformed>(())
//! ```

mod body;
mod chunked;
mod error;
mod extension;
mod field;
mod forwarding;
mod framing;
mod hint;
mod hop;
mod limits;
mod message;
mod octets;
mod reason;
mod repeat;
mod request;
mod response;
mod section;
mod target;
mod trailer;
pub mod write;

pub use body::{BodyDecoder, Step};
pub use error::{Malformed, Truncated};
pub use field::{Field, Fields, FieldsNamed, Line, Lines, Options};
pub use forwarding::{is_alias, is_forwarding};
pub use framing::Framed;
pub use hint::KeepAliveHint;
pub use hop::is_hop_by_hop;
pub use limits::{CONNECTION_OPTIONS, Limits};
pub use message::{Parsed, Version};
pub use reason::reason_phrase;
pub use repeat::is_repeatable;
pub use request::{Request, RequestHead};
pub use response::{Response, ResponseHead};
pub use target::{Authority, TargetForm};
pub use trailer::{Trailers, may_be_trailer};
