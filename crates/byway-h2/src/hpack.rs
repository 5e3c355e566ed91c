//! HPACK: header blocks of HTTP/2 (RFC 7541).
//!
//! In:    a whole header block; fields to write.
//! Out:   lines of fields in a [`FieldSink`](byway_head::FieldSink), such as a
//!        [`RequestBuilder`](byway_head::RequestBuilder); header blocks.
//! Never: checks names and values that were received, which is the sink's task; holds more than its
//!        table.
//!
//! ```
//! use byway_h2::hpack::{Decoder, Encoder, HeadWriter, TABLE_BYTES};
//! use byway_head::{HeadOut, Limits, RequestBuilder, RequestHead, Scheme, Version};
//!
//! let (mut encoder, mut block) = (Encoder::default(), Vec::new());
//! let mut out = HeadWriter::new(&mut encoder, &mut block).scheme(Scheme::Https);
//! out.request(b"GET", b"/a?b", b"example.com")?;
//! out.field(b"Accept", b"*/*")?;
//! out.end();
//!
//! let (mut head, mut text, limits) = (RequestHead::default(), Vec::new(), Limits::default());
//! let mut decoder = Decoder::new(TABLE_BYTES);
//! let mut builder = RequestBuilder::new(Version::Http2, &mut head, &mut text, &limits);
//! decoder.decode(&block, 4 * limits.head_bytes, &mut builder).expect("a valid block");
//! builder.finish(true)?;
//!
//! let request = head.view(&text);
//! assert_eq!((request.path(), request.host()), (&b"/a"[..], Some(&b"example.com"[..])));
//! assert_eq!(request.field("accept"), Some(&b"*/*"[..]));
//! # Ok::<(), byway_head::Malformed>(())
//! ```

mod decoder;
mod encoder;
mod error;
mod indexing;
mod lookup;
mod static_table;
mod table;

pub use decoder::Decoder;
pub use encoder::Encoder;
pub use error::HpackError;

/// A header block in progress. Blocks must be sent in the order in which they end; after one that was
/// dropped before its end, the next block empties the tables of both sides.
pub type HeadWriter<'a> = byway_head::BlockWriter<'a, &'a mut Encoder>;

/// The size of a dynamic table before SETTINGS change it (RFC 9113 section 6.5.2), and the largest
/// that an [`Encoder`] uses.
pub const TABLE_BYTES: usize = 4096;
