//! Load: the load on a measured program. It runs on the lab's main thread, on its own core.
//!
//! `reach` opens connections through a program, `request` builds requests; `keepalive` sends them
//! as fast as they are answered, `paced` at a fixed rate; `bulk` moves one large body, `flow`
//! measures one for a time, `hold` opens connections and lets them idle, `visits` opens one for
//! each small request, `websocket` has messages echoed, `slowloris` sends heads that never end;
//! `answer` parses responses, `scratch` is the buffer for bodies.

pub(crate) mod answer;
pub(crate) mod bulk;
pub(crate) mod flow;
pub(crate) mod hold;
pub(crate) mod keepalive;
pub(crate) mod paced;
pub(crate) mod reach;
pub(crate) mod request;
pub(crate) mod scratch;
pub(crate) mod slowloris;
pub(crate) mod visits;
pub(crate) mod websocket;
