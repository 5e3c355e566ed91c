//! Byway's HTTP/1 codec: strict, incremental, without sockets and without a clock.
//!
//! In:    bytes as they arrive, split anywhere.
//! Out:   heads as an index over those bytes, bodies as steps over them, and bytes to send.
//! Never: repairs a message, copies a body, or accepts a message that two parsers could read
//!        differently.
//!
//! Heads are those of `byway-head`, which knows no version; a message without one unambiguous
//! framing is refused. Output is written from the parsed structure only ([`mod@write`]), so that the
//! sender's spelling of lines is not passed on.
//!
//! ```
//! use byway_h1::{BodyDecoder, Parsed, RequestParser, Step};
//! use byway_head::Limits;
//!
//! let buf = b"POST /a?b HTTP/1.1\r\nHost: example.com\r\nContent-Length: 2\r\n\r\nhi";
//! let limits = Limits::default();
//! let mut head = RequestParser::default();
//! let Parsed::Complete(head_len) = head.parse(buf, &limits)? else { panic!("read more and parse again") };
//! let request = head.view(buf);
//! assert_eq!(request.path(), b"/a");
//! assert_eq!(request.host(), Some(&b"example.com"[..]));
//!
//! let mut body = BodyDecoder::new(request.framing(), &limits);
//! assert_eq!(body.step(&buf[head_len..])?, Step::Data(2));
//! body.taken(2);
//! assert!(body.is_done());
//! # Ok::<(), byway_head::Malformed>(())
//! ```

mod body;
mod chunked;
mod extension;
mod message;
mod request;
mod response;
mod section;
pub mod write;

pub use body::{BodyDecoder, Step, Truncated};
pub use message::Parsed;
pub use request::RequestParser;
pub use response::ResponseParser;
pub use write::HeadWriter;
