//! Discard: an answer of an upstream that is not passed on.
//!
//! In:    its connection, behind the answer's head.
//! Out:   the connection back in the pool, if the whole answer had come with its head; else a
//!        closed one.
//! Never: waits: whatever has not come yet is not worth a connection.

use std::time::Duration;

use byway_agent::{Lease, Release};
use byway_h1::{BodyDecoder, Framed, Limits, Step};

use super::conn::Conn;
use crate::outbound::pooled::PoolKey;

/// Lets go of `lease`. `keep_alive` says how long it may be idle; `None` that it may not be kept.
pub fn discard(
    mut lease: Lease<PoolKey, Conn>,
    framed: Framed,
    codec: &Limits,
    keep: Option<Option<Duration>>,
) {
    let whole = skip_body(&mut lease, framed, codec);
    match keep {
        Some(idle) if whole && lease.unread().is_empty() && !lease.has_queued() => {
            lease.release(Release::Keep { idle })
        }
        _ => lease.release(Release::Close),
    }
}

/// Skips what is there of a body. Whether that was all of it.
fn skip_body(conn: &mut Conn, framed: Framed, codec: &Limits) -> bool {
    let mut decoder = BodyDecoder::new(framed, codec);
    loop {
        match decoder.step(conn.unread()) {
            Ok(Step::Data(n)) => {
                decoder.taken(n);
                conn.consume(n);
            }
            Ok(Step::Skip(n)) => conn.consume(n),
            Ok(Step::End(n)) => {
                conn.consume(n);
                return true;
            }
            Ok(Step::More) | Err(_) => return false,
        }
    }
}
