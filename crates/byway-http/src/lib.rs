//! HTTP connections over streams, without policy: whichever program uses them, and on either side.
//!
//! A [`Source`] is what a message body is read from, a [`Sink`] what it is written to, in any
//! version of HTTP. [`h1`] is HTTP/1: a connection as a stream with the bytes that are read from it
//! and queued for it, its bodies, a request and its response for a client
//! ([`ClientExchange`](h1::ClientExchange)), and the heads of requests for a server
//! ([`read_request`](h1::read_request)). [`h2`] and [`h3`] are the later versions, whose streams are
//! sources and sinks themselves; [`h2`] has an example of a server and a client.
//!
//! ```
//! use std::convert::Infallible;
//! use std::future::poll_fn;
//! use std::time::Duration;
//!
//! use byway_head::{Framed, HeadOut, Limits};
//! use byway_http::h1::{ClientExchange, Conn, read_request};
//! use byway_http::{LazyTimer, Part, Source};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (near, far) = byway_testkit::pipe::pair_of(1024);
//! # let (near, far) = (near.into_stream(), far.into_stream());
//! let limits = Limits::default();
//! let http_alone = |_: &[u8]| None::<Infallible>; // or an error for the first bytes of TLS
//!
//! // The client sends a request.
//! let mut client = Conn::new(near); // over any `byway_dial::Stream`
//! let mut exchange = ClientExchange::begin(&mut client); // or the lease of a pool
//! exchange.write_head(Framed::None, |mut head| {
//!     head.request(b"GET", b"/", b"example.com")?;
//!     head.end();
//!     Ok::<_, byway_head::Malformed>(())
//! })?;
//! exchange.lease.flush().await?;
//!
//! // The server reads it, and responds.
//! let (mut server, mut timer) = (Conn::new(far), LazyTimer::default());
//! let within = Duration::from_secs(30);
//! let read = read_request(&mut server, &mut timer, &limits, within, http_alone).await;
//! let request = read.map_err(|error| format!("{error:?}"))?;
//! assert_eq!(request.view().host(), Some(&b"example.com"[..]));
//! server.queue().extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
//! server.flush().await?;
//!
//! // The client reads the response.
//! let head = poll_fn(|cx| exchange.poll_head(cx, &limits, http_alone)).await;
//! head.map_err(|error| format!("{error:?}"))?;
//! let framed = exchange.response().framing(b"GET")?;
//! let _ = exchange.begin_body(framed, &limits, None);
//! let (mut source, mut body) = (exchange.source(), Vec::new());
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
//! assert_eq!(exchange.kept(), Ok(None)); // the connection may carry another request
//! # Ok(())
//! # }
//! ```
//!
//! # What it guarantees
//!
//! - **A truncated body is never complete**: a [`Source`] ends a body only where its sender did.
//! - **An idle connection owns no memory** but its own: buffers and queues belong to the thread,
//!   which keeps a bounded number of them.
//! - **A client's wait has no time limit here.** Its user sets one, with one [`LazyTimer`] for each
//!   connection: later deadlines do not touch the timer.
//!
//! It spawns nothing, writes no log and has no configuration.

#![forbid(unsafe_code)]

mod body;
pub mod filter;
pub mod h1;
pub mod h2;
pub mod h3;
mod lazy_timer;
pub mod reactor_tick;
pub mod scratch;

pub use body::{BodyError, Part, Sink, Source};
pub use lazy_timer::LazyTimer;
