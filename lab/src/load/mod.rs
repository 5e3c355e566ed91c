//! Load: the load on a measured program. It runs on the lab's main thread, on its own core.
//!
//! `reach` opens connections through a program, `tls` secures them (`tickets` keeps their sessions),
//! `wire` is either kind; `request` builds requests of HTTP/1.1, `http2` and `http3` are the generator's own.
//! These and `keepalive` send requests as fast as they are answered, `traffic` is one of them,
//! `paced` sends them at a fixed rate; `counters` counts what arrives, `segments` in how many pieces.
//! `handshakes` opens connections only; `bulk` moves one large body, `flow` measures one for a time,
//! `hold` opens connections and lets them idle, `visits` opens one for each small request,
//! `websocket` has messages echoed, `slowloris` sends heads that never end; `answer` parses
//! responses of HTTP/1.1, `scratch` is the buffer for bodies.

pub(crate) mod answer;
pub(crate) mod bulk;
pub(crate) mod counters;
pub(crate) mod flow;
pub(crate) mod handshakes;
pub(crate) mod hold;
pub(crate) mod http2;
pub(crate) mod http3;
pub(crate) mod keepalive;
pub(crate) mod paced;
pub(crate) mod reach;
pub(crate) mod request;
pub(crate) mod scratch;
mod segments;
pub(crate) mod slowloris;
pub(crate) mod tickets;
pub(crate) mod tls;
pub(crate) mod traffic;
pub(crate) mod visits;
pub(crate) mod websocket;
pub(crate) mod wire;
