//! Discard: drops a response of an upstream that is not passed on.
//!
//! In:    its connection, after the response head.
//! Out:   the connection back in the pool, if the whole response came with its head; otherwise a
//!        closed one.
//! Never: waits for the rest: a new connection costs less.

use std::time::Duration;

use byway_h1::{BodyDecoder, Step};
use byway_head::{Framed, Limits};
use byway_pool::{Lease, Release};

use crate::http::conn::Conn;
use crate::outbound::pooled::PoolKey;

/// Releases `lease`. `keep` is how long it may be idle; `None` closes it.
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

/// Skips what has arrived of a body. Returns whether that was all of it.
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
