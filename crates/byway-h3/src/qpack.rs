//! QPACK: header blocks of HTTP/3 (RFC 9204), without dynamic tables.
//!
//! In:    a whole header block; fields to write.
//! Out:   lines of fields in a [`FieldSink`](byway_head::FieldSink), such as a
//!        [`RequestBuilder`](byway_head::RequestBuilder); header blocks.
//! Never: keeps anything between blocks. This side allows its peer a table of size 0, and uses none
//!        of the peer's: so no block ever waits for another stream, and a small block cannot become
//!        a large head.
//!
//! ```
//! use byway_h3::qpack::{self, HeadWriter};
//! use byway_head::{HeadOut, Limits, RequestBuilder, RequestHead, Version};
//!
//! let mut block = Vec::new();
//! let mut out = HeadWriter::new(qpack::Encoder, &mut block);
//! out.request(b"GET", b"/a?b", b"example.com")?;
//! out.end();
//!
//! let (mut head, mut text, limits) = (RequestHead::default(), Vec::new(), Limits::default());
//! let mut builder = RequestBuilder::new(Version::Http3, &mut head, &mut text, &limits);
//! qpack::decode(&block, 4 * limits.head_bytes, &mut builder).expect("a valid block");
//! builder.finish(true)?;
//! assert_eq!(head.view(&text).path(), b"/a");
//! # Ok::<(), byway_head::Malformed>(())
//! ```

mod decoder;
mod encoder;
mod error;
mod instructions;
mod static_table;

pub use decoder::decode;
pub use encoder::Encoder;
pub use error::QpackError;
pub use instructions::{DecoderInstructions, EncoderInstructions};

/// A header block in progress.
pub type HeadWriter<'a> = byway_head::BlockWriter<'a, Encoder>;
