//! Http2: the generator's own HTTP/2 (RFC 9113), as little of it as the questions need.
//!
//! `frame` cuts received bytes into frames and writes frames; `block` encodes the header block of a
//! request; `client` is one connection without I/O; `multiplexed` runs many connections.

mod block;
mod client;
mod frame;
pub(crate) mod multiplexed;

pub(crate) use block::RequestBlock;
pub(crate) use client::{Client, Expected, PREFACE};
pub(crate) use frame::{Frame, FrameReader, Kind, flag, write_frame};
