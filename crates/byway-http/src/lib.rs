//! HTTP connections over streams, without policy: whichever program uses them, and on either side.
//!
//! A [`Source`] is what a message body is read from, a [`Sink`] what it is written to, in any
//! version of HTTP. [`h1`] is HTTP/1: a connection as a stream with the bytes that are read from it
//! and queued for it, and its bodies.
//!
//! ```
//! use std::future::poll_fn;
//!
//! use byway_head::{Framed, Limits};
//! use byway_http::h1::{Conn, H1Reading, H1Sink, H1Source, H1Writing};
//! use byway_http::{Part, Sink, Source};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (near, far) = byway_testkit::pipe::pair_of(1024);
//! # let (near, far) = (near.into_stream(), far.into_stream());
//! let mut sender = Conn::new(near); // any `byway_dial::Stream`
//! let mut writing = H1Writing::default();
//! writing.begin(Framed::Chunked);
//! let mut sink = H1Sink { conn: &mut sender, writing: &mut writing };
//! sink.queue_data(b"hello");
//! sink.end(std::iter::empty())?;
//! sender.flush().await?;
//!
//! let mut receiver = Conn::new(far);
//! let mut reading = H1Reading::new(Framed::Chunked, &Limits::default());
//! let mut source = H1Source { conn: &mut receiver, reading: &mut reading };
//! let mut body = Vec::new();
//! loop {
//!     match source.part()? {
//!         Part::Data(n) => {
//!             body.extend_from_slice(&source.data()[..n]);
//!             source.taken(n);
//!         }
//!         Part::More => poll_fn(|cx| source.poll_more(cx)).await?,
//!         Part::End => break source.finish(),
//!     }
//! }
//! assert_eq!(body, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! # What it guarantees
//!
//! - **A truncated body is never complete**: a [`Source`] ends a body only where its sender did.
//! - **An idle connection owns no memory** but its own: buffers and queues belong to the thread,
//!   which keeps a bounded number of them.
//! - **A wait has no time limit here.** Its user sets one, with one [`LazyTimer`] for each
//!   connection: later deadlines do not touch the timer.
//!
//! It spawns nothing, writes no log and has no configuration.

#![forbid(unsafe_code)]

mod body;
pub mod filter;
pub mod h1;
mod lazy_timer;
pub mod reactor_tick;
pub mod scratch;

pub use body::{BodyError, Part, Sink, Source};
pub use lazy_timer::LazyTimer;
