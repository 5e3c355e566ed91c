//! HTTP/2: connections whose streams are sources and sinks of bodies, and streams of bytes.
//!
//! The task that owns a connection calls [`Server::poll`] or [`Client::poll`] until it is ready. A
//! server polls the futures of its requests in that task ([`StreamFutures`]); a client opens streams
//! from any task, by a [`ClientSession`]. An [`H2Stream`] is the [`Source`](crate::Source) of the
//! body that it receives and the [`Sink`](crate::Sink) of the one that it sends; dropping it before
//! both have ended resets it.
//!
//! ```
//! use std::future::poll_fn;
//! use std::pin::Pin;
//! use std::time::Duration;
//!
//! use byway_dial::Pipe;
//! use byway_head::{HeadOut, Malformed, Scheme};
//! use byway_http::h2::{
//!     Arrived, BufferBudget, Client, ClientTimeouts, H2Stream, Limits, Server, ServerTimeouts,
//!     StreamFutures,
//! };
//! use byway_http::{Part, Sink, Source};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (near, far) = byway_testkit::pipe::streams();
//! let within = Duration::from_secs(30);
//!
//! /// Sends a response with a body and a trailer.
//! async fn respond(mut stream: H2Stream) {
//!     let written = stream.write_head(|head| {
//!         head.response(200, b"")?;
//!         head.field(b"content-type", b"text/plain")?;
//!         head.end();
//!         Ok::<_, Malformed>(())
//!     });
//!     stream.queue_data(b"hello");
//!     let trailer = byway_head::Field { name: b"x-sum", value: b"5" };
//!     if written.is_ok() && stream.end([trailer].into_iter()).is_ok() {
//!         let _ = stream.flush().await; // an error: the client has left
//!     }
//! }
//!
//! // The server, over any `byway_dial::Stream`.
//! let server = async {
//!     let timeouts = ServerTimeouts { head: within, idle: within, write: within };
//!     let budget = BufferBudget::default(); // shared by all connections
//!     let mut server = Server::new(far, &[], Limits::default(), timeouts, budget);
//!     let mut futures = StreamFutures::<Pin<Box<dyn Future<Output = ()>>>>::new();
//!     poll_fn(|cx| {
//!         let begin = |arrived| match arrived {
//!             Arrived::Request(stream, _head) => Some(Box::pin(respond(stream)) as Pin<Box<_>>),
//!             Arrived::Unacceptable(..) | Arrived::Malformed(_) => None,
//!         };
//!         server.poll(cx, &mut futures, begin, |()| {})
//!     })
//!     .await
//! };
//!
//! // The client: a task for the connection, and requests on streams of it.
//! let timeouts = ClientTimeouts { write: within, quiet: within, pong: within };
//! let (mut client, session) = Client::new(near, Limits::default(), Scheme::Http, timeouts);
//! let connection = async {
//!     let end = poll_fn(|cx| client.poll(cx, |_announced| {})).await;
//!     client.into_stream().close_on_drop();
//!     end
//! };
//! let request = async {
//!     let mut stream = session.open();
//!     stream.write_head(|head| {
//!         head.request(b"GET", b"/", b"example.com")?;
//!         head.end();
//!         Ok::<_, Malformed>(())
//!     })?;
//!     stream.end(std::iter::empty())?; // no body
//!     stream.flush().await?;
//!     let head = poll_fn(|cx| stream.poll_head::<()>(cx)).await;
//!     head.map_err(|error| format!("{error:?}"))?;
//!     assert_eq!(stream.response().status(), 200);
//!     stream.expect(stream.response().framing(b"GET")?);
//!     let mut body = Vec::new();
//!     loop {
//!         match stream.part()? {
//!             Part::Data(n) => {
//!                 body.extend_from_slice(&stream.data()[..n]);
//!                 stream.taken(n); // the server may send more
//!             }
//!             Part::More => poll_fn(|cx| stream.poll_more(cx)).await?,
//!             Part::End => break,
//!         }
//!     }
//!     assert_eq!(body, b"hello");
//!     assert_eq!(stream.trailers().count(), 1);
//!     drop(stream);
//!     session.close(); // both connections end in order
//!     Ok::<_, Box<dyn std::error::Error>>(())
//! };
//! let (_, _, done) = tokio::join!(server, connection, request);
//! # done
//! # }
//! ```

mod buffer_budget;
mod client;
mod driver;
mod inbox;
mod kept_head;
mod outlet;
mod pipe;
mod server;
mod shared;
mod stream;
mod stream_futures;
mod text;

pub use buffer_budget::BufferBudget;
pub(crate) use buffer_budget::{BudgetShare, SPARED_BYTES};
pub use byway_h2::{ConnectionError, ErrorCode, Limits};
pub use client::{Announced, Client, ClientEnd, ClientEvent, ClientSession, ClientTimeouts};
pub use kept_head::KeptHead;
pub use server::{Arrived, Server, ServerEnd, ServerTimeouts};
pub use stream::H2Stream;
pub use stream_futures::StreamFutures;
pub use text::RequestText;
