//! Bytes between two open streams, both ways, until both directions have ended.
//!
//! [`relay()`] moves bytes between two [`byway_dial::Stream`]s: TCP and Unix sockets, TLS, or any
//! [`byway_dial::Pipe`]. FIN, reset and the loss of a session stay three different events: a FIN is
//! forwarded after all data and leaves the other direction open, and nothing else ever looks like
//! one. Optional are a *spill*, which keeps the bytes for a slow reader in a file, so that the
//! sender can finish early, and a *rate limit* in each direction.
//!
//! ```
//! use std::sync::Arc;
//!
//! use byway_dial::{Broken, Read, Stream};
//! use byway_relay::{Early, Rate, RelayOptions, SpillBudget, SpillOptions, SpillPool, relay};
//! use tokio::net::{TcpListener, TcpStream};
//!
//! /// The relay's end of a connection, and the other one.
//! async fn connection() -> std::io::Result<(Stream, Stream)> {
//!     let listener = TcpListener::bind("127.0.0.1:0").await?;
//!     let connecting = TcpStream::connect(listener.local_addr()?);
//!     let (theirs, (ours, _)) = tokio::try_join!(connecting, listener.accept())?;
//!     Ok((Stream::tcp(ours), Stream::tcp(theirs)))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (downstream, mut client) = connection().await?;
//! let (upstream, mut service) = connection().await?;
//!
//! let budget = Arc::new(SpillBudget::of(64 << 20)); // bytes on disk, of all streams
//! let spill_pool = SpillPool::start(&std::env::temp_dir(), budget, |event| eprintln!("{event:?}"))?;
//! let options = RelayOptions {
//!     spill: Some(SpillOptions::new(spill_pool)), // for a client that reads slowly
//!     limit_down: Some(Arc::new(Rate::new(10_000_000))), // bytes per second
//!     ..RelayOptions::default()
//! };
//! let relay = relay(downstream, upstream, &options, Early::default());
//!
//! let conversation = async {
//!     client.write_all(b"question").await?;
//!     client.finish().await?; // the service sees the FIN, and can still answer
//!     let mut buf = [0; 16];
//!     assert_eq!(service.read(&mut buf).await?, Read::Data(8));
//!     assert_eq!(service.read(&mut buf).await?, Read::Fin);
//!     service.write_all(b"answer").await?;
//!     service.finish().await?;
//!     assert_eq!(client.read(&mut buf).await?, Read::Data(6));
//!     assert_eq!(client.read(&mut buf).await?, Read::Fin);
//!     Ok::<_, Broken>(())
//! };
//! let (end, conversation) = tokio::join!(relay, conversation);
//! conversation?;
//! assert!(end.is_clean());
//! assert_eq!((end.bytes.up, end.bytes.down), (8, 6));
//! # Ok(())
//! # }
//! ```
//!
//! # What it guarantees
//!
//! - **Data precedes FIN, and a reset may overtake both.** A reset or a lost session resets the
//!   other side at once, even while that direction is blocked; see [`Relay`] for a side that breaks
//!   after its FIN.
//! - **Dropping is a reset.** A relay that is dropped before its end resets both streams, so that a
//!   cancelled task never looks like a finished upload.
//! - **Memory is bounded, and none is held for an idle direction.** A direction holds one buffer of
//!   8 KiB, and of up to 256 KiB while a flow fills them; with a spill, [`SpillOptions::ring_bytes`]
//!   three times at most. The rest is back-pressure on the sender.
//! - **The end marker queues behind the data**, also on disk. A spill that fails, or has no room,
//!   becomes back-pressure and loses nothing.
//! - **No thread waits for a disk** but those of the [`SpillPool`].
//!
//! On Linux bulk bytes between two plain TCP sockets stay in the kernel (splice(2)), under the same
//! rules. A relay spawns nothing and needs a tokio runtime with time.
//!
//! # Parts
//!
//! [`Outflow`] is what a direction writes through; it can be used alone, between any source and a
//! slow reader. [`Buffer`] and [`Splice`] are its memory and its kernel pipe. [`Rate`] can be
//! changed while flows run. [`RelayCounters`] adds up what relays do. [`FairPermits`] are permits
//! that several users share, as they share the [`SpillBudget`].

#![forbid(unsafe_code)]

pub mod buffer;
mod counters;
mod direction;
mod end;
mod fair_permits;
mod idle_timer;
mod options;
mod outflow;
mod relay;
mod ring;
mod shape;
pub mod spill;
pub mod splice;

pub use buffer::{Buffer, Size};
pub use counters::RelayCounters;
pub use end::{End, EndKind, RelayError, RelayedBytes, Side};
pub use fair_permits::{FairPermit, FairPermits, NoPermit};
pub use options::{Early, RelayOptions};
pub use outflow::{DrainError, Drained, Outflow};
pub use relay::{Relay, relay};
pub use shape::Rate;
pub use spill::{SpillBudget, SpillDirError, SpillError, SpillEvent, SpillOptions, SpillPool};
pub use splice::Splice;
